"""Time encoding and clicks on this machine, beside Meta's own code on the same weights.

    python benchmarks/speed.py [--torchvision-stand-in FOLDER] [--runs 5] [--models nano vit_b]

Official and ours take turns within one process, so that both meet the same state of the machine. Weights
and images are seeded: the time does not depend on their values. A click is what a user waits for, from a
point on an encoded plane to its three masks in the plane's own pixels. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from official import OfficialPredictor, add_option, load_official

from napari_sam.inference.prompts import Prompt
from napari_sam.model.sam import CONFIGS
from seeded import seeded_image, seeded_predictor, seeded_weights

# Side of the square plane that each model is timed on: its own input, so that resizing costs nothing.
_MODELS = {name: CONFIGS[name].image_size for name in ("nano", "vit_b", "vit_l", "vit_h")}
# A click is short: this many are timed for each encoding.
_CLICKS_PER_RUN = 5
_GEMM_SIDE = 1536


@dataclass
class Timing:
    """Seconds of each run, ours and the official code's."""

    what: str
    ours: list[float] = field(default_factory=list)
    official: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Give the medians as a row of the table."""
        ours = median(self.ours)
        if not self.official:
            return f"| {self.what} | {_seconds(ours)} | – | – |"
        official = median(self.official)
        return f"| {self.what} | {_seconds(ours)} | {_seconds(official)} | {official / ours:.1f} x |"


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="encodings per model (default 5)")
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=["nano", "vit_b"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    add_option(parser)
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs is {arguments.runs}; give at least 1.")
    torch.set_num_threads(arguments.threads)

    # Meta's code has no nano; where it cannot be loaded, say so before anything is timed.
    compared = arguments.models != ["nano"]
    official = load_official(arguments.torchvision_stand_in) if compared else None
    gemm = [_gemm_rate()]
    timings: list[Timing] = []
    for name in arguments.models:
        timings += _time_model(name, arguments.runs, None if name == "nano" else official)
        gemm.append(_gemm_rate())
    print(
        f"{_processor()}, {os.cpu_count()} cores, {arguments.threads} threads; torch {torch.__version__}; "
        f"fp32 matrix product {median(gemm):.0f} GFLOP/s; medians of {arguments.runs} encodings and "
        f"{arguments.runs * _CLICKS_PER_RUN} clicks.\n"
    )
    print("| | ours | segment-anything 1.0 | faster |\n| --- | ---: | ---: | ---: |")
    for timing in timings:
        print(timing.row())


def _time_model(name: str, runs: int, module: ModuleType | None) -> list[Timing]:
    """Time encoding and clicks of one model, in turns with those of the official ``module`` if given."""
    config = CONFIGS[name]
    side = _MODELS[name]
    image = seeded_image(side, side)
    prompt = Prompt([(0.43 * side, 0.38 * side)])
    encode, click = Timing(f"{name}: encode {side} x {side}"), Timing(f"{name}: click")
    ours = seeded_predictor(config)
    embedding = ours.encode(image)  # also warms up, as the next lines do
    ours.predict(embedding, prompt)
    official = None
    if module is not None:
        official = OfficialPredictor(module, config, seeded_weights(config))
        official.encode(image)
        official.predict(prompt, multimask=True)
    for _ in range(runs):
        encode.ours.append(_time(lambda: ours.encode(image)))
        if official is not None:
            encode.official.append(_time(lambda: official.encode(image)))
        for _ in range(_CLICKS_PER_RUN):
            click.ours.append(_time(lambda: ours.predict(embedding, prompt)))
            if official is not None:
                click.official.append(_time(lambda: official.predict(prompt, multimask=True)))
        print(f"{name}: {len(encode.ours)} of {runs} runs", file=sys.stderr)
    return [encode, click]


def _time(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def _gemm_rate() -> float:
    """Measure what the machine gives just now, in GFLOP/s of single-precision matrix products."""
    a, b = torch.randn(2, _GEMM_SIDE, _GEMM_SIDE)
    a @ b
    return 2 * _GEMM_SIDE**3 / median(_time(lambda: a @ b) for _ in range(7)) / 1e9


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
