"""``kill -9`` at any moment: what was done is there, what was not done is not, and nothing is half there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_sam.storage.labels import LabelsStore
from storage import scripted

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.mark.parametrize("kills", [pytest.param(20), pytest.param(200, marks=pytest.mark.slow)])
def test_kill_at_random_moments_loses_nothing(tmp_path: Path, kills: int) -> None:
    """One session that is killed again and again; each child goes on where the one before it was killed."""
    path, done = tmp_path / "cells.zarr", tmp_path / "done"
    LabelsStore.create(path, scripted.SHAPE, "zyx").close()
    done.write_bytes(b"%012d" % 0)
    model, rng = scripted.Model(), np.random.default_rng(0)
    number = caught = 0
    command = [sys.executable, scripted.__file__, str(path), str(done)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(kills):
            process.stdin.write(f"{rng.uniform(-0.1, 0.5)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            acknowledged = int(done.read_bytes())
            while number < acknowledged:
                model.do(scripted.operation(number))
                number += 1

            store = LabelsStore.open(path, scripted.SHAPE)
            assert not store.read_only
            found = store.array[:]
            if not np.array_equal(found, model.volume):  # the one under way was recorded: then it is whole
                model.do(scripted.operation(number))
                number, caught = number + 1, caught + 1
            assert_array_equal(found, model.volume)
            assert_array_equal(
                store.ledger.block(tuple(slice(0, n) for n in found.shape), found.dtype), found
            )
            assert {info.label for info in store.ledger.objects()} == set(np.unique(found)) - {0}
            assert store.next_label == model.highest + 1
            store.close()
            done.write_bytes(b"%012d" % number)
        process.stdin.close()
    assert number > kills / 4, "the session hardly moved"
    print(f"{kills} kills, {number} operations, {caught} of them finished after the kill")
