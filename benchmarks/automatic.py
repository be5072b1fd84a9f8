"""Automatic masks beside Meta's own generator on the same weights: the same masks, the time, the memory.

    python benchmarks/automatic.py [--torchvision-stand-in FOLDER] [--parity] [--speed] [--memory] [--nano]

``--parity``: ``nano`` on real images of scikit-image and of the package, by both programs. Meta's ``Sam``
takes our image encoder. Removing small regions needs OpenCV there. Of the flat logits of ``nano`` none passes
the default stability; so for the defaults they are made eight times as steep, by its last weights.

``--speed``: the grid of 1024 points on an embedding of ViT-B's shape, seeded weights, a plane of 1024 x 1024.
Ours runs all of them; of Meta's code ``--points`` (a multiple of 64) are measured and extrapolated, since
each batch takes the same time. The thresholds let 30 % of the masks pass by score, half of these by
stability.

``--memory``: the peak above the weights of the same, each in a process of its own (Linux).

``--nano``: a plane of 512 x 512 from the pixels to the masks, by the grid and by learned prompts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import ModuleType

import numpy as np
import torch
from skimage.io import imread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from official import (
    OfficialPredictor,
    add_option,
    generate_official,
    load_official,
    official_with_encoder,
)

from automatic_cases import CASES, generate_ours, nano, pairwise_iou, real_image
from napari_sam.demo import demo_stack
from napari_sam.inference.automatic import GRID, LEARNED, Generation, propose, suited_selection
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.proposals import Selection
from napari_sam.inference.results import Embedding
from napari_sam.model.sam import CONFIGS
from seeded import seeded_predictor, seeded_weights

_BATCH = 64
_PASSING_SCORE, _PASSING_STABILITY = 0.3, 0.5
# The seeded decoder's logits are small: by so many of their deviations the threshold is moved.
_OFFSET = 0.1


def print_parity(official: ModuleType, names: list[str] | None) -> None:
    """Run all cases by both programs and print how their masks agree."""
    print(
        "| case | image | official masks | ours | each official one has ours at | each of ours has one at |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for case in CASES:
        if names and case.name not in names:
            continue
        image, sam = real_image(case.image), nano(case.steep)
        model = official_with_encoder(official, sam)
        records = generate_official(official, model, image, case.official_settings)
        theirs = [record["segmentation"] for record in records]
        masks = [mask.on(image.shape[:2]) for mask in generate_ours(case)[1].masks]
        ious = pairwise_iou(theirs, masks)
        worst = [f"{ious.max(axis).min():.4f}" if ious.size else "-" for axis in (1, 0)]
        size = " x ".join(map(str, image.shape[:2]))
        cells = [case.name, f"{case.image}, {size}", str(len(theirs)), str(len(masks)), *worst]
        print(f"| {' | '.join(cells)} |", flush=True)


class VitB:
    """The batches of points on an embedding of ViT-B's shape, by our code."""

    def __init__(self, thresholds: Sequence[float] | None = None) -> None:
        config = CONFIGS["vit_b"]
        self.predictor = seeded_predictor(config)
        features = np.random.default_rng(0).standard_normal((256, config.grid, config.grid), np.float32)
        self.embedding: Embedding = self.predictor.embedding_from(features, (1024, 1024))
        self.thresholds = self._choose_thresholds() if thresholds is None else thresholds
        self.offset, self.score, self.stability = self.thresholds

    def _choose_thresholds(self) -> tuple[float, float, float]:
        """Choose an offset and thresholds that let the shares pass of the first points."""
        points = np.random.default_rng(1).uniform(0, 1024, (_BATCH, 2))
        found = self.predictor.point_decoder(self.embedding).passing(points, -np.inf)
        offset = _OFFSET * float(found.logits.std())
        score = float(found.scores.quantile(1 - _PASSING_SCORE))
        best = found.logits[found.scores > score]
        high, low = ((best > level).flatten(1).sum(1) for level in (offset, -offset))
        return offset, score, float((high / low).quantile(1 - _PASSING_STABILITY))

    def generation(self, per_side: int) -> Generation:
        """Give the settings whose floors are at the thresholds."""
        return Generation(
            points_per_side=per_side,
            stability_score_offset=self.offset,
            prompts=GRID,
            score_floor=self.score,
            stability_floor=self.stability,
        )

    def run(self, per_side: int) -> int:
        """Run a grid up to the selection: how many masks passed the thresholds."""
        proposals = propose(self.predictor, self.embedding, self.generation(per_side))
        proposals.select(Selection(self.score, self.stability))
        return len(proposals)


class OfficialVitB:
    """The same by Meta's generator."""

    def __init__(self, official: ModuleType, same: VitB) -> None:
        config = CONFIGS["vit_b"]
        sam = OfficialPredictor(official, config, seeded_weights(config)).sam
        self.generator = official.SamAutomaticMaskGenerator(
            sam,
            pred_iou_thresh=same.score,
            stability_score_thresh=same.stability,
            stability_score_offset=same.offset,
        )
        predictor = self.generator.predictor
        predictor.original_size = predictor.input_size = (1024, 1024)
        predictor.features = same.embedding.features.contiguous()
        predictor.is_image_set = True

    @torch.no_grad()
    def run(self, batches: int) -> int:
        """Run the first batches of the default grid: how many masks passed the thresholds."""
        points = self.generator.point_grids[0] * 1024
        box, size = [0, 0, 1024, 1024], (1024, 1024)
        return sum(
            len(self.generator._process_batch(points[_BATCH * n :][:_BATCH], size, box, size)["rles"])  # noqa: SLF001
            for n in range(batches)
        )


def print_speed(official: ModuleType, points: int) -> None:
    """Time the default grid on an embedding of ViT-B's shape."""
    job = VitB()
    peer = OfficialVitB(official, job)
    job.run(4)  # warms up
    start = perf_counter()
    found = job.run(32)
    mine = perf_counter() - start
    start = perf_counter()
    theirs_found = peer.run(points // _BATCH)
    theirs = (perf_counter() - start) * 1024 / points
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; thresholds: {job.score:.3f}, ", end=""
    )
    print(f"{job.stability:.3f}; of 3072 masks {found} passed, of the official {3 * points} {theirs_found}\n")
    print("| 1024 points, ViT-B's decoder, 1024 x 1024 | ours | segment-anything 1.0 | faster |")
    print("| --- | ---: | ---: | ---: |")
    print(
        f"| embedding to masks | {mine:.1f} s | {theirs:.0f} s (of {points} points) | {theirs / mine:.1f} x |"
    )


def print_memory(stand_in: Path | None) -> None:
    """Print the peaks above the weights and the embedding."""
    peaks = []
    thresholds = VitB().thresholds  # chosen in this process, lest its memory hide what the job takes
    for whose in ("ours", "official"):
        command = [sys.executable, __file__, "--peak", whose, *map(str, thresholds)]
        command += [] if stand_in is None else ["--torchvision-stand-in", str(stand_in)]
        peaks.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    mine, theirs = peaks
    print("\n| peak above the weights | ours | segment-anything 1.0 | share |")
    print("| --- | ---: | ---: | ---: |")
    print(f"| 64 points, ViT-B's decoder | {mine:.0f} MB | {theirs:.0f} MB | {mine / theirs:.2f} |")


def peak(whose: str, thresholds: Sequence[float], stand_in: Path | None) -> float:
    """Run one batch in this process: by how many MB its memory grew at most."""
    job = VitB(thresholds)
    if whose == "official":
        other = OfficialVitB(load_official(stand_in), job)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    if whose == "official":
        other.run(1)
    else:
        job.run(8)
    return _memory("VmHWM") - before


def _memory(entry: str) -> float:
    """Read an entry of this process's memory in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(entry)).split()[1]) / 1024


def print_nano(image: Path | None, device: str | None) -> None:
    """Time a plane of 512 x 512 by nano, from pixels to selected masks."""
    plane = demo_stack()[0][:512, :512] if image is None else imread(image)
    predictor = load_predictor("nano", device=device)
    propose(predictor, plane, Generation())  # warms up
    where = f"{predictor.device}, {torch.get_num_threads()} threads"
    print(f"\n| nano, {plane.shape[0]} x {plane.shape[1]}, {where} ", end="")
    print("| encode and propose | images per second | proposals | select | masks |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for prompts in (GRID, LEARNED):
        generation = Generation(prompts=prompts)
        start = perf_counter()
        proposals = propose(predictor, plane, generation)
        proposed = perf_counter()
        selected = proposals.select(suited_selection(predictor, generation))
        chosen = perf_counter()
        print(
            f"| {prompts} | {proposed - start:.2f} s | {1 / (proposed - start):.1f} | {len(proposals)} "
            f"| {1000 * (chosen - proposed):.0f} ms | {len(selected)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parity", nargs="*", metavar="CASE", help="compare the masks, of all or some cases")
    parser.add_argument("--speed", action="store_true", help="time the grid on ViT-B's decoder")
    parser.add_argument("--points", type=int, default=_BATCH, help="points measured of Meta's code")
    parser.add_argument("--memory", action="store_true", help="measure peaks of memory")
    parser.add_argument("--nano", action="store_true", help="time nano from pixels to masks")
    parser.add_argument("--image", type=Path, help="the plane for --nano instead of a bundled one")
    parser.add_argument("--device", help="for --nano; the fastest one there is, if left out")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    add_option(parser)
    options = parser.parse_args()
    if options.points < _BATCH or options.points % _BATCH:
        parser.error(f"--points is {options.points}; give a multiple of {_BATCH}.")
    if options.peak:
        print(peak(options.peak[0], [float(x) for x in options.peak[1:]], options.torchvision_stand_in))
        return
    if options.parity is not None:
        print_parity(load_official(options.torchvision_stand_in), options.parity)
    if options.speed:
        print_speed(load_official(options.torchvision_stand_in), options.points)
    if options.memory:
        print_memory(options.torchvision_stand_in)
    if options.nano:
        print_nano(options.image, options.device)


if __name__ == "__main__":
    main()
