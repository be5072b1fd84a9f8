"""Measure what a stack costs: the first mask, the cache, the worker, for stacks of 10 to 5000 planes.

``python benchmarks/stacks.py`` prints Markdown tables. Planes are computed where they are read: a long stack
costs neither memory nor disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data

from napari_sam.annotation import Session
from napari_sam.demo import demo_stack
from napari_sam.encoding import Embedder
from napari_sam.hovering import mask_under
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiles import predict_plane
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.progress import Progress
from napari_sam.storage.embeddings import Budget, EmbeddingCache
from napari_sam.storage.labels import LabelsStore

_SIDE = 512
_REPEATS = 5


class Noise:
    """Planes of noise around a bright disc, made when they are read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, side: int = _SIDE) -> None:
        self.shape = (count, side, side)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.uint8]:
        number, rows, columns = key
        down, across = (
            np.arange(self.shape[1])[x].astype(np.float32) for x in (rows, columns) if isinstance(x, slice)
        )
        middle = self.shape[1] // 2
        disc = np.hypot(down[:, None] - middle, across[None] - middle) < 30
        assert isinstance(number, int)
        noise = np.random.default_rng(number).integers(20, 40, disc.shape, np.uint8)
        return noise + np.uint8(140) * disc


def first_mask(predictor: Predictor, count: int, folder: Path) -> float:
    """Seconds from an opened image to the mask of a click in its middle plane."""
    began = time.perf_counter()
    planes = Planes(Noise(count), "zyx")
    store = LabelsStore.open_or_create(folder / f"{count}.zarr", planes.shape, planes.axes)
    session = Session(planes, predictor, store, EmbeddingCache(planes, predictor, folder / "cache"))
    session.go_to(z=count // 2)
    session.add_point((_SIDE / 2, _SIDE / 2))
    preview = session.predict()
    assert preview is not None
    return time.perf_counter() - began


def cache_figures(predictor: Predictor, folder: Path) -> tuple[int, float]:
    """Bytes of a plane on disk, and the median seconds to read one with its digest known."""
    planes = Planes(Noise(_REPEATS), "zyx")
    embedder = Embedder(planes, predictor, EmbeddingCache(planes, predictor, folder))
    shown = [Plane((1, 2), (z, 0, 0)) for z in range(_REPEATS)]
    for plane in shown:
        embedder.prepare(plane)
    size = sum(file.stat().st_size for file in folder.rglob("c/**/*") if file.is_file()) // _REPEATS
    fresh = EmbeddingCache(planes, predictor, folder)
    seconds = []
    for plane in shown:
        tile = embedder.whole(plane)
        assert tile is not None
        digest = planes.digest(planes.read(plane))
        began = time.perf_counter()
        assert fresh.get(plane, tile, digest) is not None
        seconds.append(time.perf_counter() - began)
    return size, float(np.median(seconds))


def overhead(predictor: Predictor) -> float:
    """How much longer a plane takes through the embedder, reading and caching left out of neither."""
    planes = Planes(np.stack([Noise(1)[n, :, :] for n in range(_REPEATS + 1)]), "zyx")
    embedder = Embedder(planes, predictor, EmbeddingCache(planes, predictor, None))
    direct, wrapped = [], []
    for z in range(_REPEATS + 1):
        plane = Plane((1, 2), (z, 0, 0))
        began = time.perf_counter()
        predictor.encode(planes.image(plane))
        middle = time.perf_counter()
        embedder.prepare(plane, background=True)
        direct.append(middle - began)
        wrapped.append(time.perf_counter() - middle)
    return float(np.median(wrapped[1:]) / np.median(direct[1:]))  # the first warms up


def large_click(predictor: Predictor, side: int) -> tuple[float, float]:
    """Seconds of a click in a plane of ``side`` x ``side``, its tile's encoding included.

    Of the very first one, which looks for the contrast of the stack too, and the median of those that follow.
    """
    planes = Planes(Noise(_REPEATS, side), "zyx")
    embedder = Embedder(planes, predictor, EmbeddingCache(planes, predictor, None))
    seconds = []
    for z in range(_REPEATS):
        plane = Plane((1, 2), (z, 0, 0))
        prompt = Prompt([(side / 2, side / 2)])
        began = time.perf_counter()
        predict_plane(predictor, (side, side), prompt, lambda tile, plane=plane: embedder.embed(plane, tile))
        seconds.append(time.perf_counter() - began)
    return seconds[0], float(np.median(seconds[1:]))


def memory_and_resuming(predictor: Predictor, count: int, folder: Path) -> tuple[float, float, float]:
    """Encode ``count`` planes with room for 32 of them in memory, and once more after a restart.

    Returns the growth of the process in MiB over the last nine tenths, and the seconds of both runs.
    """
    planes = Planes(Noise(count), "zyx")
    room = Budget(memory_bytes=32 * 4 * int(np.prod(predictor.embedding_shape)))
    seconds, sizes = [], []
    for _ in range(2):
        embedder = Embedder(planes, predictor, EmbeddingCache(planes, predictor, folder, room))
        began = time.perf_counter()
        for z in range(count):
            embedder.prepare(Plane((1, 2), (z, 0, 0)), background=True)
            if z == count // 10 and not sizes:
                sizes.append(_resident())
        seconds.append(time.perf_counter() - began)
        sizes.append(_resident())
    return (sizes[1] - sizes[0]) / 2**20, seconds[0], seconds[1]


def agreement(predictor: Predictor) -> tuple[float, float]:
    """IoU of masks from the cache's 16 bits a value with those of full precision: the mean, and the least."""
    found = []
    for image in (data.coins(), data.cell(), demo_stack()[2]):
        full = predictor.encode(image)
        down, across = (np.linspace(0, length - 1, 10)[1:-1] for length in image.shape)
        for point in product(down, across):
            masks = [
                x.mask(x.best)
                for x in (predictor.predict(e, Prompt([point])) for e in (full, full.rounded()))
            ]
            union = np.count_nonzero(masks[0] | masks[1])
            found.append(np.count_nonzero(masks[0] & masks[1]) / union if union else 1.0)
    return float(np.mean(found)), float(np.min(found))


def time_to_stop(predictor: Predictor) -> float:
    """Longest seconds from a cancel, at any moment of an encoding, to its end."""
    image = Noise(1)[0, :, :]
    began = time.perf_counter()
    predictor.encode(image)
    whole, random, seconds = time.perf_counter() - began, np.random.default_rng(0), []
    for _ in range(4 * _REPEATS):
        cancelled = threading.Event()

        def report(_done: float, cancelled: threading.Event = cancelled) -> None:
            if cancelled.is_set():
                raise InterruptedError

        def encode(report: Progress = report) -> None:
            with suppress(InterruptedError):
                predictor.encode(image, report)

        worker = threading.Thread(target=encode)
        worker.start()
        time.sleep(random.uniform(0, 0.9 * whole))
        began = time.perf_counter()
        cancelled.set()
        worker.join()
        seconds.append(time.perf_counter() - began)
    return max(seconds)


def hover(predictor: Predictor, folder: Path) -> float:
    """Median seconds from a cursor at rest on an encoded plane to the mask under it."""
    planes = Planes(Noise(1), "zyx")
    store = LabelsStore.open_or_create(folder / "hover.zarr", planes.shape, planes.axes)
    session = Session(planes, predictor, store, EmbeddingCache(planes, predictor, None))
    session.run(session.request())
    seconds = []
    for n in range(2 * _REPEATS):
        began = time.perf_counter()
        assert mask_under(session, session.plane, (_SIDE / 2 + n, _SIDE / 2)) is not None
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def _resident() -> int:
    """Bytes of memory that the process has (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--planes", type=int, default=1000, help="of the run that measures memory")
    parser.add_argument("--only-stop", action="store_true", help="measure how soon an encoding ends alone")
    options = parser.parse_args()
    predictor = load_predictor(options.model, options.checkpoint, options.device)
    threads = torch.get_num_threads()
    print(f"{options.model} on {predictor.device}, {threads} threads, torch {torch.__version__}\n")
    predictor.encode(np.zeros((_SIDE, _SIDE), np.uint8))
    print(f"An encoding that is cancelled ends within {1000 * time_to_stop(predictor):.0f} ms.", flush=True)
    if options.only_stop:
        return
    mean, least = agreement(predictor)
    print(f"Masks from 16 bits a value: IoU {mean:.4f} on average, at least {least:.4f}.\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| planes in the stack | first mask, s |\n|---|---|")
        for count in (10, 100, 1000, 5000):
            print(f"| {count} | {first_mask(predictor, count, folder):.2f} |", flush=True)
        print("\n| side of the plane | first click, s | first on another plane, s |\n|---|---|---|")
        for side in (512, 2000, 20_000):
            first, other = large_click(predictor, side)
            print(f"| {side} | {first:.2f} | {other:.2f} |", flush=True)
        size, seconds = cache_figures(predictor, folder / "figures")
        print(f"\nHover: {1000 * hover(predictor, folder):.0f} ms.")
        grown, first, again = memory_and_resuming(predictor, options.planes, folder / "memory")
        print(f"{options.planes} planes: {first:.1f} s, after a restart {again:.1f} s, {grown:+.0f} MiB.")
        print(f"\nCache: {size / 2**20:.2f} MiB per plane, read in {1000 * seconds:.1f} ms.")
    print(f"Encoding through the background worker's path takes {overhead(predictor):.2f} of a direct call.")


if __name__ == "__main__":
    main()
