"""What the ledger knows of objects and steps, as plain values."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import SupportsIndex

from napari_sam.plane import Plane, Position
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change
from napari_sam.storage.origins import Origin


def as_label(value: SupportsIndex) -> int:
    """Take a whole number of any kind as a label: 31.5 would be taken for another object's.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{value!r} is no label; give a whole number.") from None


@dataclass(frozen=True)
class ObjectInfo:
    """What is said of one object; its pixels are elsewhere."""

    label: int
    name: str = ""
    category: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Category:
    """A semantic class of objects, with its number in an exported map of classes."""

    name: str
    number: int
    colour: str


@dataclass(frozen=True)
class Step:
    """One thing that was done, and can be undone.

    Attributes
    ----------
    number
        Rises from step to step.
    kind
        Such as ``"commit"``, ``"brush"`` or ``"delete"``.
    label
        The object that it was about, if it was one.
    time
        ISO 8601, UTC.
    """

    number: int
    kind: str
    label: int | None
    time: str


@dataclass(frozen=True, eq=False)
class Draft:
    """A step before it is recorded: its pixels, and the rows that change with them.

    Attributes
    ----------
    kind, label
        What is done, and to which object, for the history.
    changes
        The pixels, as they are (see `RecordedVolume.block`) and are to be.
    masks
        As `changed_masks` gives them; `StepWriter` adds them.
    origins
        New ones; each replaces that of the same label and plane.
    unmade
        Labels and planes of which the origin ends with the step.
    objects
        What is said of these objects from now on. Objects that get their first pixels need none, and those
        that lose their last go by themselves.
    """

    kind: str
    label: int | None = None
    changes: Sequence[Change] = ()
    masks: Mapping[tuple[int, Position], MaskRuns | None] = field(default_factory=dict)
    origins: Sequence[Origin] = ()
    unmade: Sequence[tuple[int, Plane]] = ()
    objects: Sequence[ObjectInfo] = ()
