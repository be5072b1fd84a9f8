"""Time encoding, clicks and batches of prompts on this machine, beside Meta's own code on the same weights.

    python benchmarks/speed.py [--torchvision-stand-in FOLDER] [--runs 5] [--models nano vit_b] [--memory]

Official and ours take turns within one process, so that both meet the same state of the machine. Weights
and images are seeded: the time does not depend on their values. Prints a Markdown table.

A click is what a user waits for, from a point on an encoded plane to the mask that is shown, in the plane's
own pixels; the official predictor upscales all three candidates, ours the others when they are asked for.
The batches are 64 points and end in low-resolution masks; of the second, only the masks of the best
30 % by score are wanted. The bound is the time that the operations of our code would take at the rate of
large matrix products, measured in the same run. ``--memory`` adds peaks above the loaded weights, each
measured in a process of its own (Linux).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from official import OfficialPredictor, add_option, load_official

from napari_sam.inference.prompts import Prompt
from napari_sam.model.layers import project
from napari_sam.model.mask_decoder import CANDIDATES
from napari_sam.model.sam import CONFIGS, Sam, SamConfig
from seeded import predictor_of, seeded_image, seeded_model, seeded_weights

# Side of the square plane that each model is timed on: its own input, so that resizing costs nothing.
_MODELS = {name: CONFIGS[name].image_size for name in ("nano", "vit_b", "vit_l", "vit_h")}
# A click is short: this many are timed for each encoding.
_CLICKS_PER_RUN = 15
_BATCH = 64
_PASSING = 0.3
_GEMM_SIDE = 2048


@dataclass
class Timing:
    """Seconds of each run, ours and the official, and the billions of operations of ours if counted."""

    what: str
    operations: float | None
    ours: list[float] = field(default_factory=list)
    official: list[float] = field(default_factory=list)

    def row(self, rate: float) -> str:
        """Give the medians as a row of the table; ``rate`` is that of matrix products in GFLOP/s."""
        ours = median(self.ours)
        cells = [self.what, _seconds(ours), "-", "-", "-", "-"]
        if self.operations is not None:
            bound = self.operations / rate
            cells[4:6] = _seconds(bound), f"{100 * bound / ours:.0f} %"
        if self.official:
            official = median(self.official)
            cells[2:4] = _seconds(official), f"{official / ours:.1f} x"
        return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each row (default 5)")
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=["nano", "vit_b"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--memory", action="store_true", help="measure peaks of memory too")
    parser.add_argument("--peak", nargs=3, metavar=("MODEL", "WHOSE", "WHAT"), help=argparse.SUPPRESS)
    add_option(parser)
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs is {arguments.runs}; give at least 1.")
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(_peak(*arguments.peak, arguments.torchvision_stand_in))
        return

    # Meta's code has no nano; where it cannot be loaded, say so before anything is timed.
    compared = arguments.models != ["nano"]
    official = load_official(arguments.torchvision_stand_in) if compared else None
    rates = [_gemm_rates()]
    timings: list[Timing] = []
    for name in arguments.models:
        timings += _time_model(name, arguments.runs, None if name == "nano" else official)
        rates.append(_gemm_rates())
    blas, onednn = (median(x) for x in zip(*rates, strict=True))
    print(
        f"{_processor()}, {os.cpu_count()} cores, {arguments.threads} threads; torch {torch.__version__}; "
        f"fp32 matrix products {blas:.0f} GFLOP/s by torch's BLAS, {onednn:.0f} by oneDNN; medians of "
        f"{arguments.runs} runs, of clicks {arguments.runs * _CLICKS_PER_RUN}.\n"
    )
    print("| | ours | segment-anything 1.0 | faster | bound | reached |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for timing in timings:
        print(timing.row(max(blas, onednn)))
    if arguments.memory:
        _print_memory([name for name in arguments.models if name != "nano"], arguments.torchvision_stand_in)


class Ours:
    """The jobs that are timed, by our code."""

    def __init__(self, config: SamConfig) -> None:
        self.sam = seeded_model(config)
        self.predictor = predictor_of(self.sam)
        self.image = seeded_image(config.image_size, config.image_size)
        self.prompt = Prompt([(0.43 * config.image_size, 0.38 * config.image_size)])
        self.points = _points(config)
        self.pe = self.sam.image_pe()
        embedding = torch.randn(1, *self.predictor.embedding_shape)
        self.features = self.sam.features(embedding.contiguous(memory_format=torch.channels_last))
        self.embedding = self.predictor.embedding_from(embedding[0].numpy(), self.image.shape[:2])

    def encode(self) -> None:
        """Embed the plane."""
        self.predictor.encode(self.image)

    def click(self) -> None:
        """Predict three candidates from a point, and a full-size mask of the best, which is shown."""
        prediction = self.predictor.predict(self.embedding, self.prompt)
        prediction.mask(prediction.best)

    @torch.inference_mode()
    def batch(self) -> torch.Tensor:
        """Give the scores."""
        return self.sam.decode(self.features, self.points, None, None, CANDIDATES, self.pe)[1]

    @torch.inference_mode()
    def passing(self, least_score: float) -> None:
        """Decode the batch, but only the masks with a higher score."""
        sparse, dense = self.sam.prompt_encoder(self.points)
        self.sam.mask_decoder.passing(self.features, self.pe, sparse, dense, least_score)


class Official:
    """The same jobs by Meta's code, as its predictor and its automatic mask generator do them."""

    def __init__(self, module: ModuleType, config: SamConfig) -> None:
        self.predictor = OfficialPredictor(module, config, seeded_weights(config))
        self.sam = self.predictor.sam
        self.image = seeded_image(config.image_size, config.image_size)
        self.points = _points(config)
        self.prompt = Prompt([(0.43 * config.image_size, 0.38 * config.image_size)])
        self.features = torch.randn(1, config.decoder.width, config.grid, config.grid)

    def encode(self) -> None:
        """Embed the plane."""
        self.predictor.encode(self.image)

    def click(self) -> None:
        """Predict three full-size masks from a point; the official predictor has no way to ask for one."""
        self.predictor.predict(self.prompt, multimask=True)

    @torch.inference_mode()
    def batch(self) -> None:
        """Decode the batch."""
        sparse, dense = self.sam.prompt_encoder(points=self.points, boxes=None, masks=None)
        self.sam.mask_decoder(
            image_embeddings=self.features,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )


def _time_model(name: str, runs: int, module: ModuleType | None) -> list[Timing]:
    """Time one model's rows, in turns with those of the official ``module`` if given."""
    config = CONFIGS[name]
    side = _MODELS[name]
    counted = _operations(config)
    encode = Timing(f"{name}: encode {side} x {side}", counted["encode"])
    click = Timing(f"{name}: click", counted["click"])
    batch = Timing(f"{name}: {_BATCH} points", None)
    passing = Timing(f"{name}: {_BATCH} points, {_PASSING:.0%} pass", None)
    ours = Ours(config)
    ours.encode()  # warms up, as the next lines do
    ours.click()
    best = ours.batch().amax(1)
    threshold = float(best.sort().values[round((1 - _PASSING) * _BATCH) - 1])
    official = None
    if module is not None:
        official = Official(module, config)
        official.encode()
        official.click()
    # One row after the other: what a batch leaves of the memory slows the clicks after it.
    for _ in range(_CLICKS_PER_RUN * runs):
        click.ours.append(_time(ours.click))
        if official is not None:
            click.official.append(_time(official.click))
    for done in range(1, runs + 1):
        encode.ours.append(_time(ours.encode))
        if official is not None:
            encode.official.append(_time(official.encode))
        print(f"{name}: {done} of {runs} encodings", file=sys.stderr)
    for done in range(1, runs + 1):
        batch.ours.append(_time(ours.batch))
        passing.ours.append(_time(lambda: ours.passing(threshold)))
        if official is not None:
            # Which masks pass is known to it only after all are made, so one time serves both rows.
            batch.official.append(_time(official.batch))
            passing.official.append(batch.official[-1])
        print(f"{name}: {done} of {runs} batches", file=sys.stderr)
    return [encode, click, batch, passing]


def _operations(config: SamConfig) -> dict[str, float]:
    """Count the billions of multiplications and additions of our code's matrix products."""
    with torch.device("meta"):
        sam = Sam(config).eval()
        image = torch.empty(1, 3, config.image_size, config.image_size)
        features = torch.empty(1, config.features_width, config.grid, config.grid)
        point = (torch.empty(1, 1, 2), torch.empty(1, 1))
    counts = {}
    with torch.inference_mode():
        pe = sam.image_pe()
        known = sam.look_at(features, pe)
        for what, job in (
            ("encode", lambda: sam.image_encoder(image)),
            ("click", lambda: sam.decode(features, point, None, None, CANDIDATES, pe, known)),
        ):
            with FlopCounterMode(display=False) as counter:
                job()
            counts[what] = counter.get_total_flops() / 1e9
    return counts


def _points(config: SamConfig) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(_BATCH, 1, 2, generator=generator) * config.image_size, torch.ones(_BATCH, 1)


def _print_memory(models: list[str], stand_in: Path | None) -> None:
    """Print the peaks above the weights."""
    print("\n| peak of memory above the weights | ours | segment-anything 1.0 | share |")
    print("| --- | ---: | ---: | ---: |")
    for name in models:
        for what in ("encode", "batch"):
            peaks = []
            for whose in ("ours", "official"):
                command = [sys.executable, __file__, "--peak", name, whose, what]
                command += [] if stand_in is None else ["--torchvision-stand-in", str(stand_in)]
                peaks.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
            title = "encode" if what == "encode" else f"{_BATCH} points"
            ours, official = peaks
            print(f"| {name}: {title} | {ours:.0f} MB | {official:.0f} MB | {ours / official:.2f} |")


def _peak(name: str, whose: str, what: str, stand_in: Path | None) -> float:
    """Do one job in this process: by how many MB its memory grew at most."""
    config = CONFIGS[name]
    job = Ours(config) if whose == "ours" else Official(load_official(stand_in), config)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    getattr(job, what)()
    return _memory("VmHWM") - before


def _memory(entry: str) -> float:
    """Read an entry of this process's memory in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(entry)).split()[1]) / 1024


def _time(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


@torch.inference_mode()
def _gemm_rates() -> tuple[float, float]:
    """Measure what the machine gives just now, in GFLOP/s: torch's matrix product, and oneDNN's."""
    a, b = torch.randn(2, _GEMM_SIDE, _GEMM_SIDE)
    rates = []
    for product in (lambda: a @ b.T, lambda: project(a, b)):
        product()
        rates.append(2 * _GEMM_SIDE**3 / median(_time(product) for _ in range(5)) / 1e9)
    return rates[0], rates[1]


def _processor() -> str:
    """Name the processor's model."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    main()
