"""Two processes on one image: what one has encoded the other finds, and only one writes the labels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.tiling import Tile
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from seeded import seeded_image

COUNT, SHAPE = 24, (40, 50)

# Opens the labels and, when it is told to, encodes the planes that it reads, one after the other. What it
# does it appends to a log that both share: a line is one write, so their order is that of what happened.
_PROCESS = """
import os
import sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from napari_sam.annotation import Session
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from seeded import seeded_predictor, tiny_config

name, folder = sys.argv[1], Path(sys.argv[2])
log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
predictor = seeded_predictor(tiny_config())
encode, shown = predictor.encode, None


def logged(image, progress):
    os.write(log, f"{name} encodes {shown}\\n".encode())
    return encode(image, progress)


predictor.encode = logged
planes = Planes(np.load(folder / "stack.npy"), "zyx", name="image")
store = LabelsStore.open_or_create(folder / "labels.zarr", planes.shape, planes.axes)
session = Session(planes, predictor, store, EmbeddingCache(planes, predictor, folder / "cache"))
try:
    store.commit(session.plane, np.ones(planes.shape[1:], bool))
    print("written", flush=True)
except ValueError as error:
    print(error, flush=True)
for shown in map(int, sys.stdin.readline().split()):
    os.write(log, f"{name} looks at {shown}\\n".encode())
    session.embedder.prepare(Plane((1, 2), (shown, 0, 0)))
    os.write(log, f"{name} has {shown}\\n".encode())
    assert session.embedder.cache.problem is None, session.embedder.cache.problem
session.close()
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    stack = np.stack([seeded_image(*SHAPE, seed=z)[..., 0] for z in range(COUNT)])
    np.save(tmp_path / "stack.npy", stack)
    (tmp_path / "process.py").write_text(_PROCESS)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])

    def start_(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "process.py"), name, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )

    return start_


@pytest.mark.parametrize(
    "towards",
    [
        pytest.param(False, id="side by side", marks=pytest.mark.slow),
        pytest.param(True, id="towards each other"),
    ],
)
def test_two_processes_share_what_is_encoded(
    start: Callable[[str], subprocess.Popen[str]],
    tiny_predictor: Predictor,
    tmp_path: Path,
    towards: bool,
) -> None:
    orders = {"one": list(range(COUNT)), "other": list(range(COUNT))[:: -1 if towards else 1]}
    processes = {name: start(name) for name in orders}
    answers = []
    for process in processes.values():
        assert process.stdout is not None
        answers.append(process.stdout.readline())
    # Both have the image open before either begins, and one of them the labels.
    answers.sort(key="written\n".__ne__)
    assert answers[0] == "written\n"
    assert "open in another window or program; close it there, then start" in answers[1]
    for name, process in processes.items():
        assert process.stdin is not None
        process.stdin.write(" ".join(map(str, orders[name])) + "\n")
        process.stdin.flush()
    for process in processes.values():
        process.communicate(timeout=300)
        assert process.returncode == 0

    lines = (tmp_path / "log").read_text().splitlines()
    encoded = [line for line in lines if " encodes " in line]
    assert len(set(encoded)) == len(encoded), "a process encoded a plane twice"
    for line in encoded:
        name, number = line.split(" encodes ")
        looked = lines.index(f"{name} looks at {number}")
        before = {x.split()[0] for x in lines[:looked] if x.endswith(f" has {number}")}
        assert not before, f"{name} encoded plane {number}, which {before} had finished"
    # They meet at one plane at most.
    assert COUNT <= len(encoded) <= (COUNT + 1 if towards else 2 * COUNT)

    planes = Planes(np.load(tmp_path / "stack.npy"), "zyx", name="image")
    cache = EmbeddingCache(planes, tiny_predictor, tmp_path / "cache")
    for number in range(COUNT):
        plane = Plane((1, 2), (number, 0, 0))
        found = cache.get(plane, Tile(0, 0, 0, *SHAPE), planes.digest(planes.read(plane)))
        assert found is not None, f"plane {number} is torn"
        expected = tiny_predictor.encode(planes.image(plane)).features
        torch.testing.assert_close(found.features, expected, atol=1e-2, rtol=1e-2)

    store = LabelsStore.open(tmp_path / "labels.zarr", planes.shape)
    assert not store.read_only
    assert [info.label for info in store.ledger.objects()] == [1]
    store.close()
