"""A run goes on after its process was killed, and proposals on disk are never those of another plane."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from automatic import killed
from automatic.discs import SHAPE, disc, proposals_of
from napari_sam.annotation import Session
from napari_sam.automatic import proposing
from napari_sam.automatic.proposing import propose_plane
from napari_sam.automatic.stack import StackRun, planes_along
from napari_sam.inference.automatic import Generation
from napari_sam.inference.proposals import Proposals
from napari_sam.storage.proposals import ProposalFiles

DIGEST = b"d" * 32


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each plane that the model is asked for."""
    calls: list[object] = []
    propose = proposing.propose

    def counted(*arguments: object) -> Proposals:
        calls.append(arguments)
        return propose(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(proposing, "propose", counted)
    return calls


def masks_of(run: StackRun) -> list[list[object]]:
    """Give all that a run has found, to be compared."""
    numbers = [run.numbers(plane).tolist() for plane in run.planes]
    found = [run.found[plane] for plane in run.planes]
    return [[n, x.masks, x.scores.tolist(), x.points.tolist()] for n, x in zip(numbers, found, strict=True)]


def test_a_run_that_was_killed_goes_on_in_another_process(
    open_session: Callable[..., Session], stack: NDArray[np.uint8], tmp_path: Path, asked: list[object]
) -> None:
    np.save(tmp_path / "stack.npy", stack)
    folders = [str(tmp_path / name) for name in ("stack.npy", "cells.zarr", "cache")]
    command = [sys.executable, killed.__file__, *folders, "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n", "two planes are done, and the third is under way"
        process.kill()
    session = open_session(stack, cache=tmp_path / "cache")
    assert not session.store.read_only
    resumed = StackRun(session, planes_along(session, "z"))
    resumed.compute()
    assert len(asked) == 2, "what was done is not done again"
    session.close()
    other = open_session(stack, cache=tmp_path / "another cache")
    uninterrupted = StackRun(other, planes_along(other, "z"))
    uninterrupted.compute()
    assert len(asked) == 2 + 4
    assert masks_of(resumed) == masks_of(uninterrupted)


def test_another_selection_needs_no_model(session: Session, asked: list[object]) -> None:
    StackRun(session, planes_along(session, "z")).compute()
    asked.clear()
    selection = replace(StackRun(session, planes_along(session, "z")).selection, min_area=10)
    StackRun(session, planes_along(session, "z"), selection=selection).compute()
    assert asked == []


def test_a_run_from_the_disk_can_be_stopped(session: Session) -> None:
    StackRun(session, planes_along(session, "z")).compute()
    again = StackRun(session, planes_along(session, "z"))

    def stop(done: float) -> None:
        if done >= 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        again.compute(stop)
    assert again.done == 2


def test_an_edited_plane_is_proposed_anew(
    open_session: Callable[..., Session], stack: NDArray[np.uint8], tmp_path: Path, asked: list[object]
) -> None:
    session = open_session(stack, cache=tmp_path / "cache")
    propose_plane(session)
    stack[0, 10:30, 10:30] = 200
    propose_plane(session)
    propose_plane(session, generation=Generation(score_floor=0.5))
    propose_plane(session, generation=Generation(points_per_batch=7))
    assert len(asked) == 3, "the size of the batches changes no mask"


@pytest.fixture
def files(session: Session, tmp_path: Path) -> ProposalFiles:
    return ProposalFiles(tmp_path / "kept", session.predictor)


def kept_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "kept").rglob("*.npz"))


@pytest.mark.parametrize("masks", [[], [disc(40, 50), disc(100, 90, 4)]], ids=["none", "two"])
def test_what_is_kept_is_what_was_proposed(
    files: ProposalFiles, masks: list[NDArray[np.bool_]], tmp_path: Path
) -> None:
    proposals = replace(proposals_of(masks), message=None if masks else "Nothing there.", score_floor=0.4)
    assert files.get(DIGEST, Generation()) is None
    files.put(DIGEST, Generation(), proposals)
    again = files.get(DIGEST, Generation())
    assert again is not None and again.shape == SHAPE
    for field in fields(Proposals):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(proposals, field.name))
    assert files.get(b"e" * 32, Generation()) is None
    assert len(kept_files(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "a pickle"])
def test_a_damaged_file_is_as_good_as_none(files: ProposalFiles, damage: str, tmp_path: Path) -> None:
    files.put(DIGEST, Generation(), proposals_of([disc(40, 50), disc(100, 90, 4)]))
    (path,) = kept_files(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 255
    kept = {"torn": content[:-40], "flipped": content, "empty": b"", "a pickle": b"\x80\x04N."}
    path.write_bytes(bytes(kept[damage]))
    assert files.get(DIGEST, Generation()) is None
    files.put(DIGEST, Generation(), proposals_of([disc(40, 50)]))
    again = files.get(DIGEST, Generation())
    assert again is not None and len(again) == 1


def test_the_budget_is_kept(session: Session, tmp_path: Path) -> None:
    proposals = proposals_of([disc(40, 50)])
    files = ProposalFiles(tmp_path / "kept", session.predictor)
    files.put(DIGEST, Generation(), proposals)
    (path,) = kept_files(tmp_path)
    size = path.stat().st_size
    small = ProposalFiles(tmp_path / "kept", session.predictor, budget=4 * size)
    for number in range(9):
        small.put(bytes([number]) * 32, Generation(), proposals)
        assert sum(x.stat().st_size for x in kept_files(tmp_path)) <= 4 * size
    assert small.get(bytes([8]) * 32, Generation()) is not None, "the latest is there"


def test_a_folder_that_is_removed_is_made_again(files: ProposalFiles, tmp_path: Path) -> None:
    proposals = proposals_of([disc(40, 50)])
    files.put(DIGEST, Generation(), proposals)
    shutil.rmtree(tmp_path / "kept")
    assert files.get(DIGEST, Generation()) is None
    files.put(DIGEST, Generation(), proposals)
    assert files.problem is None and files.get(DIGEST, Generation()) is not None


def test_a_disk_that_refuses_costs_nothing_but_the_files(session: Session, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder would be")
    files = ProposalFiles(tmp_path / "kept", session.predictor)
    files.put(DIGEST, Generation(), proposals_of([disc(40, 50)]))
    assert files.problem is not None and "cannot be written" in files.problem
    assert files.get(DIGEST, Generation()) is None
