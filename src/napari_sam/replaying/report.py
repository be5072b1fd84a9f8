"""What came of a replay: each object as it was and as it became."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from napari_sam.region import common
from napari_sam.runs import MaskRuns
from napari_sam.storage.view import LedgerView

How = Literal["replayed", "copied", "partly replayed"]


@dataclass(frozen=True)
class ReplayedObject:
    """One object, as it was and as it became.

    Attributes
    ----------
    label, name, category
        What it is called, in both stores.
    how
        ``"replayed"``, ``"copied"`` where it has no prompts, or ``"partly replayed"`` where some of its
        planes have.
    planes
        On how many of the array's own planes it was.
    old_pixels, new_pixels
        How many it had and has; none if nothing came of its prompts.
    iou
        Intersection over union of the two, all planes together.
    old_score, new_score
        The models' own estimates, the mean over the planes that have one.
    """

    label: int
    name: str
    category: str
    how: How
    planes: int
    old_pixels: int
    new_pixels: int
    iou: float
    old_score: float | None
    new_score: float | None


@dataclass(frozen=True)
class Replay:
    """What came of a replay.

    Attributes
    ----------
    path
        Folder of the new store.
    model
        The architecture of the model that made it.
    objects
        All objects of the old store, by label.
    """

    path: Path
    model: str
    objects: tuple[ReplayedObject, ...]

    def write_csv(self, path: str | Path) -> None:
        """Write a line for each object."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(ReplayedObject)])
            for row in self.objects:
                writer.writerow(
                    "" if x is None else f"{x:.4f}" if isinstance(x, float) else x for x in astuple(row)
                )

    def summary(self) -> str:
        """Say in a few lines how many objects there are and how well they agree."""
        made = [x for x in self.objects if x.how != "copied"]
        copied = len(self.objects) - len(made)
        lines = [
            f"{len(made)} objects made anew by {self.model}, {copied} without prompts copied: {self.path}"
        ]
        if made:
            ious = np.array([x.iou for x in made])
            lines.append(
                f"IoU of old and new: mean {ious.mean():.3f}, median {np.median(ious):.3f}, "
                f"{np.count_nonzero(ious < 0.5)} below 0.5"
            )
        if gone := [x.label for x in self.objects if x.new_pixels == 0]:
            shown = ", ".join(map(str, gone[:10])) + (" ..." if len(gone) > 10 else "")
            lines.append(f"Nothing came of {len(gone)}: {shown}")
        return "\n".join(lines)


def compared(
    old: LedgerView, new: LedgerView, replayed: Collection[int], copied: Collection[int]
) -> Iterator[ReplayedObject]:
    """Compare the objects of two ledgers; one that was partly replayed is among both sets of labels."""
    for info in old.objects():
        before, after = old.masks(info.label), new.masks(info.label)
        old_pixels, new_pixels = (sum(runs.area for runs in masks.values()) for masks in (before, after))
        shared = sum(_shared(before[x], after[x]) for x in before.keys() & after.keys())
        how: How = "replayed" if info.label not in copied else "partly replayed"
        yield ReplayedObject(
            info.label,
            info.name,
            info.category,
            how if info.label in replayed else "copied",
            len(before),
            old_pixels,
            new_pixels,
            shared / (old_pixels + new_pixels - shared),
            _score(old, info.label),
            _score(new, info.label),
        )


def _shared(one: MaskRuns, other: MaskRuns) -> int:
    """Count the pixels that two masks of a plane share."""
    window = common(one.index, other.index)
    return 0 if window is None else int(np.count_nonzero(one.within(window) & other.within(window)))


def _score(ledger: LedgerView, label: int) -> float | None:
    scores = [x.making.score for x in ledger.each_origin(label) if x.making.score is not None]
    return float(np.mean(scores)) if scores else None
