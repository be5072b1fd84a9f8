"""The tables of a training and their picture, which grow while it runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"The training needs {missing.name}, which is not installed; install 'napari-sam-stack[training]'."
    ) from missing

LOG, VALIDATION, PICTURE = "log.csv", "validation.csv", "curves.png"
# The words of the tables.
_TRAINING = ("loss", "iou", "proposals", "drawing", "closer", "closer_iou", "scored")
_MEASURED = ("click", "box")
# Points of a training curve that are averaged for its bold line.
_SMOOTHED = 15


class Table:
    """A growing CSV file with a header, one row for each measurement of a step.

    Parameters
    ----------
    path
        Of the file. One with other columns, of an earlier version, is kept aside as ``NAME.old.csv``.
    columns
        The names, ``step`` first.
    resumed_at
        Later rows are taken out: the run that wrote them was stopped after its last checkpoint.
    """

    def __init__(self, path: Path, columns: Sequence[str], resumed_at: int) -> None:
        self._path = path
        self._columns = tuple(columns)
        kept: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) == self._columns:
                    kept = [row for row in reader if int(row["step"]) <= resumed_at]
                else:
                    path.replace(path.with_suffix(".old.csv"))
        partial = path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(kept)
        partial.replace(path)

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)


def open_tables(folder: Path, resumed_at: int) -> tuple[Table, Table]:
    """Open the tables of the training and of the validation in ``folder``."""
    return (
        Table(folder / LOG, ("step", *_TRAINING, "rate", "seconds"), resumed_at),
        Table(folder / VALIDATION, ("step", "set", "objects", *_MEASURED), resumed_at),
    )


def draw_curves(folder: Path) -> None:
    """Draw the tables of ``folder`` into its ``curves.png``, replacing it in one move."""
    log, measured = _read(folder / LOG), _read(folder / VALIDATION)
    steps = _numbers(log, "step")
    figure = Figure(figsize=(11, 8), layout="constrained")
    loss, crops, click, box = figure.subplots(2, 2, sharex=True).flat
    for name, colour in (
        ("loss", "C0"),
        ("proposals", "C1"),
        ("drawing", "C3"),
        ("closer", "C4"),
        ("scored", "C5"),
    ):
        _draw_smoothed(loss, steps, _numbers(log, name), name, colour)
    loss.set(title="Loss of the training crops", yscale="log")
    _draw_smoothed(crops, steps, _numbers(log, "iou"), "best of three, first prompt", "C2")
    _draw_smoothed(crops, steps, _numbers(log, "closer_iou"), "from close up, first prompt", "C4")
    crops.set(title="IoU of the training crops")
    for axes, name, title in ((click, "click", "one click"), (box, "box", "tight box")):
        for number, chosen in enumerate(dict.fromkeys(row["set"] for row in measured)):
            rows = [row for row in measured if row["set"] == chosen]
            # What was trained on is dashed: the distance to it tells how much is learned by heart.
            style = "--" if chosen.endswith("/train") else "-"
            axes.plot(
                _numbers(rows, "step"),
                _numbers(rows, name),
                style,
                color=f"C{number}",
                marker=".",
                label=chosen,
            )
        axes.set(title=f"IoU of whole images, {title}", xlabel="step")
    for axes in (crops, click, box):
        axes.set(ylim=(0, 1))
    for axes in (loss, crops, click, box):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", loc="best")
    partial = folder / f"{PICTURE}.partial"
    figure.savefig(partial, format="png", dpi=100)
    partial.replace(folder / PICTURE)


def _draw_smoothed(
    axes: Axes, steps: NDArray[np.float64], values: NDArray[np.float64], name: str, colour: str
) -> None:
    """Draw a noisy curve thinly and its running mean boldly."""
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=1)
    if len(values) >= _SMOOTHED:
        window = np.ones(_SMOOTHED) / _SMOOTHED
        half = _SMOOTHED // 2
        axes.plot(steps[half:-half], np.convolve(values, window, "valid"), color=colour, label=name)
    else:
        axes.plot(steps, values, color=colour, label=name)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _numbers(rows: Sequence[Mapping[str, str]], column: str) -> NDArray[np.float64]:
    return np.array([float(row[column]) for row in rows])
