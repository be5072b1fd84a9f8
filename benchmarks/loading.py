"""Measure what it costs to load a checkpoint: time, and memory at its peak.

    python benchmarks/loading.py [--model vit_h] [--folder FOLDER] [--runs 3]

Writes a checkpoint with seeded weights (2.6 GB for ViT-H), loads it in processes of their own, and deletes
it. Memory is what the operating system charges the process with at its peak, less what Python and PyTorch
took before; pages of a mapped file count once they are touched. So that mapping hides nothing, it is given
after loading, and again once every weight was read, as by an encoding. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from napari_sam.model.sam import CONFIGS
from seeded import seeded_weights

WAYS = {
    "from the folder of models (mapped)": "load_model(model)",
    "a file of one's own (read)": "load_model(model, path)",
    "torch.load, then load_state_dict": "naive(model, path)",
}

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
import torch
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.weights import catalogue, folder, loading
from napari_sam.weights.loading import load_model
from dataclasses import replace

def naive(model, path):
    sam = Sam(CONFIGS[model])
    sam.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return sam, None

def peak():
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

model, path = sys.argv[1], sys.argv[2]
row = catalogue.CATALOGUE[model]
catalogue.CATALOGUE[model] = replace(row, file=Path(path).name, sha256=None, xxh128=None)
torch.set_grad_enabled(False)
before, start = peak(), time.perf_counter()
sam, _ = {call}
seconds, loaded = time.perf_counter() - start, peak() - before
total = sum(float(x.sum(dtype=torch.float64)) for x in sam.state_dict().values())
print(json.dumps(dict(seconds=seconds, loaded=loaded, touched=peak() - before, total=total)))
"""


def main() -> None:
    """Write the checkpoint, load it in every way, print the table, delete the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="vit_h", choices=[name for name in CONFIGS if name != "nano"])
    parser.add_argument("--folder", type=Path, help="where the checkpoint is written for a while")
    parser.add_argument("--runs", type=int, default=3, help="loads in each way (default 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / f"{arguments.model}.pth"
        torch.save(seeded_weights(CONFIGS[arguments.model]), path)
        size = path.stat().st_size
        print(f"{arguments.model}, {size / 1e9:.2f} GB; torch {torch.__version__}; runs: {arguments.runs}\n")
        print("| | time | peak memory / file | once all is read |\n| --- | ---: | ---: | ---: |")
        totals = set()
        for name, call in WAYS.items():
            if "mapped" in name:  # the first load hashes the file, and records that
                print(_row(f"{name}, the first time", [_load(call, arguments.model, path)], size))
            runs = [_load(call, arguments.model, path) for _ in range(arguments.runs)]
            totals |= {run["total"] for run in runs}
            print(_row(name, runs, size), flush=True)
    assert len(totals) == 1, "the ways loaded different weights"


def _load(call: str, model: str, path: Path) -> dict[str, float]:
    """Load in a process of its own."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{call}", call), model, str(path)],
        env=os.environ | {"NAPARI_SAM_MODELS": str(path.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(finished.stdout)
    return result


def _row(name: str, runs: list[dict[str, float]], size: int) -> str:
    seconds, loaded, touched = (median(run[key] for run in runs) for key in ("seconds", "loaded", "touched"))
    return f"| {name} | {seconds:.2f} s | {loaded / size:.2f} | {touched / size:.2f} |"


if __name__ == "__main__":
    main()
