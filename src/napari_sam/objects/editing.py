"""Edits of whole objects: each is one step of the history."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from napari_sam.objects.category_labels import CategoryLabels
from napari_sam.objects.importing import OtherLabels, to_import
from napari_sam.objects.measuring import ObjectRow, measure_all, write_rows
from napari_sam.objects.merging import merged_origins
from napari_sam.objects.reshaping import Form, box_around, largest_part, majority, reshaped
from napari_sam.objects.splitting import split_labels
from napari_sam.plane import Plane, Position
from napari_sam.progress import Progress, between, ignore_progress, reporting
from napari_sam.region import Region
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change, Labels
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.packing import PackedChanges
from napari_sam.storage.records import Category, Draft, ObjectInfo, Step, as_label

# Okabe and Ito, "Color Universal Design" (2008): told apart by colour-blind readers too.
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
# A mask is made of all pixels within that of each pixel.
_LARGEST_RADIUS = 50
# Other programs are told colours as three numbers, which names do not give.
_COLOUR = re.compile("#[0-9a-fA-F]{6}")

# Which share of the progress of an edit comes before its step is written.
_PLANNING = 0.5
P = ParamSpec("P")
T = TypeVar("T")

# Makes other labels of a part of a plane: told these, the masks that are edited, and the part's first pixel.
PlaneEdit = Callable[[Labels, Mapping[int, MaskRuns], tuple[int, int]], Labels]


def _in_one_turn(edit: Callable[Concatenate[Objects, P], T]) -> Callable[Concatenate[Objects, P], T]:
    """Let no other thread write between what an edit reads first and what it writes."""

    @wraps(edit)
    def turned(objects: Objects, /, *arguments: P.args, **named: P.kwargs) -> T:
        with objects.store.writing():
            return edit(objects, *arguments, **named)

    return turned


class Objects:
    """Measure and edit the objects of one store.

    Every edit is one step, which the session's undo takes back; each raises `LabelsError` if the store cannot
    be written, and a `ValueError` for a label that is not there, and changes nothing then.

    Parameters
    ----------
    store
        Where they are.
    aside
        Told, 0 to 1, how far an edit is, where that is made in a thread of its own: what it raises ends the
        edit, of which nothing is left, and nobody is told of the step (see `LabelsStore.write_aside`).
    """

    def __init__(self, store: LabelsStore, aside: Progress | None = None) -> None:
        self.store = store
        self._ledger = store.ledger
        self._aside = aside
        self._progress = ignore_progress if aside is None else between(aside, 0.0, _PLANNING)

    # Reading

    def rows(self) -> list[ObjectRow]:
        """Give all objects, by label, with what they measure."""
        return measure_all(self._ledger, self.store.geometry)

    def write_csv(self, path: str | Path) -> None:
        """Write `rows` as a table, one line for each object."""
        write_rows(self.rows(), self.store.geometry.axes, Path(path))

    # Whole objects

    @_in_one_turn
    def delete(self, labels: int | Iterable[int]) -> Step:
        """Turn objects into background."""
        chosen = self._checked(labels)
        return self._relabel(dict.fromkeys(chosen, 0), Draft("delete", chosen[0]))

    @_in_one_turn
    def merge(self, labels: Iterable[int]) -> Step:
        """Make several objects one, that of the first label; it learns the others' prompts.

        No prompt is kept on a plane on which several of them lie: it would give one of them alone. The object
        is its own mask prompt there when it is taken up, and is copied in a replay.
        """
        chosen = self._checked(labels)
        first, *others = chosen
        if not others:
            raise ValueError(f"Only object {first} was given to be merged; give two or more.")
        origins = merged_origins(self.store, chosen, between(self._progress, 0.1, 0.4))
        return self._relabel(dict.fromkeys(others, first), Draft("merge", first, origins=origins))

    @_in_one_turn
    def renumber(self, label: int, new: int) -> Step:
        """Give an object another label, which none has."""
        (label,) = self._checked(label)
        new = as_label(new)
        if new < 1 or self._ledger.object(new) is not None:
            raise ValueError(f"{new} is no free label; choose a number from 1 on that no object has.")
        self.store.check_label(new)
        origins = [replace(origin, label=new) for origin in self._ledger.origins(label)]
        info = replace(self._info(label), label=new)
        return self._relabel({label: new}, Draft("renumber", label, origins=origins, objects=[info]))

    @_in_one_turn
    def split(self, label: int, plane: Plane, groups: Sequence[Sequence[tuple[float, float]]]) -> Step:
        """Part an object between groups of points: each pixel goes to the nearest; see `split_labels`.

        Where ``plane`` is one of a z-stack's, the object is parted in all of its planes.

        Parameters
        ----------
        label, plane
            The object, and the plane that the points lie on, one of the array's own.
        groups
            Two groups of points ``(row, column)`` or more. The first keeps the label, the others become new
            objects.

        Raises
        ------
        ValueError
            If there are fewer than two groups, a point lies beside the object, or the dtype of the labels
            holds none for the new objects.
        """
        (label,) = self._checked(label)
        if len(groups) < 2 or not all(groups):
            raise ValueError(f"{len(groups)} groups of points do not part an object; give two, none empty.")
        region = self._extent(label, plane)
        before = self.store.block(region)
        numbers = [label, *islice(self.store.new_labels(), len(groups) - 1)]
        after = split_labels(before, label, numbers, _seeds(region, plane, groups), self._spacing())
        return self._write(Draft("split", label, [Change(region, before, after)]))

    # The shape of objects, plane by plane; other objects keep what is theirs

    @_in_one_turn
    def fill_holes(self, labels: int | Iterable[int]) -> Step | None:
        """Let one object, or each of several, have the background that it encloses; None if there is none."""
        return self._reshape("fill holes", labels, binary_fill_holes)

    @_in_one_turn
    def remove_islands(self, labels: int | Iterable[int]) -> Step | None:
        """Keep the largest part on each plane of one object, or of each of several; None if all have one."""
        return self._reshape("remove islands", labels, largest_part)

    @_in_one_turn
    def smooth(self, labels: int | Iterable[int], radius: int = 2) -> Step | None:
        """Round the outline of one object or several; None if nothing changes.

        Each pixel becomes what most within ``radius`` are. An object stays as it is on a plane on which
        nothing of it would be left, because it is too thin.
        """
        if radius not in range(1, _LARGEST_RADIUS + 1):
            raise ValueError(
                f"The radius {radius} smooths nothing; give a whole number of pixels, 1 to {_LARGEST_RADIUS}."
            )
        return self._reshape("smooth", labels, majority(int(radius)), margin=int(radius))

    # Names and categories

    @_in_one_turn
    def rename(self, label: int, name: str) -> Step:
        """Give an object a name."""
        (label,) = self._checked(label)
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is no name; give words, or '' for none.")
        return self._write(Draft("rename", label, objects=[replace(self._info(label), name=name)]))

    @_in_one_turn
    def classify(self, labels: int | Iterable[int], category: str) -> Step:
        """Put objects into a category, which is made if it is new; the empty name takes them out of any."""
        if not isinstance(category, str):
            raise ValueError(f"{category!r} is no name of a category; give words, or '' for none.")
        chosen = self._checked(labels)
        # From here on it is not stopped: a category that is made is no part of the step.
        colour = self.add_category(category).colour if category else ""
        infos = [replace(self._info(label), category=category, colour=colour) for label in chosen]
        return self._write(Draft("classify", chosen[0], objects=infos), to_the_end=True)

    def categories(self) -> list[Category]:
        """All categories, by number."""
        return self._ledger.categories()

    @_in_one_turn
    def add_category(self, name: str, colour: str | None = None) -> Category:
        """Make a category, with a colour that the others do not have; one that is there already stays.

        Parameters
        ----------
        name
            What it is called.
        colour
            As ``"#rrggbb"``; one that is there already gets it.

        Raises
        ------
        ValueError
            For a colour that is written otherwise, or an empty name.
        """
        self.store.check_writable()
        if not name:
            raise ValueError("A category needs a name; give one, such as 'dividing'.")
        if colour is not None and not _COLOUR.fullmatch(colour):
            raise ValueError(
                f"The colour {colour!r} of the category {name!r} is not written as #rrggbb; give one such as "
                f"{_COLOURS[0]}."
            )
        there = {category.name: category for category in self.categories()}
        if name in there and colour is None:
            return there[name]
        numbers = (category.number for category in there.values())
        number = there[name].number if name in there else 1 + max(numbers, default=0)
        category = Category(name, number, colour or _COLOURS[(number - 1) % len(_COLOURS)])
        self._ledger.put_category(category)
        return category

    def category_plane(self, position: Position) -> NDArray[np.uint16]:
        """Give the number of the category of each pixel on one of the array's own planes; 0 for none."""
        return CategoryLabels(self.store)[position]

    # From elsewhere

    @_in_one_turn
    def import_labels(self, labels: Any) -> Step | None:
        """Add the objects of a label image of the same shape, under new labels; what is there stays.

        One step; None if the image holds nothing that is free. An imported object has no prompts, and is its
        own mask prompt when it is taken up.

        Parameters
        ----------
        labels
            Integer array of the store's shape, of which leading axes of length one may be missing;
            background 0. It is read plane by plane.
        """
        other = OtherLabels(labels, self.store.array.shape)
        changes, origins = to_import(self.store, other, self._progress)
        return self._write(Draft("import", changes=changes, origins=origins)) if changes else None

    def _write(self, draft: Draft, to_the_end: bool = False) -> Step:
        """Do one step, not stopped if it is ``to_the_end``, and tell of it unless another thread does."""
        aside = ignore_progress if to_the_end or self._aside is None else self._aside
        step = self.store.write_aside(draft, between(aside, _PLANNING, 1.0))
        if self._aside is None:
            self.store.changed.emit(step)
        return step

    def _checked(self, labels: int | Iterable[int]) -> list[int]:
        several = labels if isinstance(labels, Iterable) else [labels]
        chosen = list(dict.fromkeys(map(as_label, several)))
        for label in reporting(chosen, self._progress, 0.0, 0.1):
            self._info(label)
        if not chosen:
            raise ValueError("No object was chosen; give one label or more.")
        return chosen

    def _info(self, label: int) -> ObjectInfo:
        info = self._ledger.object(label)
        if info is None:
            raise ValueError(f"There is no object {label}; choose one that is there.")
        return info

    def _relabel(self, new: dict[int, int], draft: Draft) -> Step:
        """Write other labels over objects: one block for each plane, around all of them."""
        changes = self._changes_of(
            new, lambda plane, masks, _: _renumbered(plane, {label: new[label] for label in masks})
        )
        return self._write(replace(draft, changes=changes))

    def _reshape(self, kind: str, labels: int | Iterable[int], form: Form, margin: int = 0) -> Step | None:
        """Give objects other forms by one rule: one block for each plane, around all of them."""
        chosen = self._checked(labels)
        changes = self._changes_of(
            chosen, lambda plane, masks, corner: reshaped(plane, masks, form, margin, corner), margin
        )
        return self._write(Draft(kind, chosen[0], changes)) if changes else None

    def _changes_of(self, labels: Collection[int], edit: PlaneEdit, margin: int = 0) -> PackedChanges:
        """Give what an edit makes of objects, plane by plane; nothing but that stays in memory."""
        changes = PackedChanges()
        for position, masks in reporting(self._masks_of(labels).items(), self._progress, 0.6, 1.0):
            region = _around(position, list(masks.values()), self.store.array.shape, margin)
            before = self.store.block(region)
            corner = (region[-2].start, region[-1].start)
            after = edit(before.reshape(before.shape[-2:]), masks, corner)
            changes.add(region, before, after.reshape(before.shape))
        return changes

    def _masks_of(self, labels: Collection[int]) -> dict[Position, dict[int, MaskRuns]]:
        """Give the masks of objects plane by plane."""
        there: dict[Position, dict[int, MaskRuns]] = {}
        for label in reporting(labels, self._progress, 0.4, 0.6):
            for position, runs in self._ledger.masks(label).items():
                there.setdefault(position, {})[label] = runs
        return dict(sorted(there.items()))

    def _spacing(self) -> list[float]:
        """Give the distance of neighbouring pixels along each axis, in one unit as far as that is known."""
        geometry = self.store.geometry
        pairs = zip(geometry.pixel_size, geometry.sizes, strict=True)
        return [own if size is None else size for own, size in pairs]

    def _extent(self, label: int, plane: Plane) -> Region:
        """Give the block that holds an object on a plane; in a z-stack, on all planes along z."""
        if (here := plane.own_position) is None:
            raise ValueError("An object is parted on the image's own planes; show its last two axes.")
        z = self.store.geometry.find("z")
        masks = {
            position: runs
            for position, runs in self._ledger.masks(label).items()
            if all(a == b for axis, (a, b) in enumerate(zip(position, here, strict=True)) if axis != z)
        }
        if here not in masks:
            raise ValueError(f"The object {label} is not on this plane; show one that it is on.")
        region = list(_around(here, list(masks.values()), self.store.array.shape))
        if 0 <= z < len(here):
            along = [position[z] for position in masks]
            region[z] = slice(min(along), max(along) + 1)
        return tuple(region)


def _around(position: Position, masks: Sequence[MaskRuns], shape: Sequence[int], margin: int = 0) -> Region:
    """Give the block around masks of one plane, with a margin where there is room."""
    row0, column0, row1, column1 = box_around(masks, shape[-2:], margin)
    return (*(slice(x, x + 1) for x in position), slice(row0, row1), slice(column0, column1))


def _renumbered(block: Labels, new: Mapping[int, int]) -> Labels:
    """Give some labels of a block other numbers: one look-up for each pixel, of however many labels."""
    old = np.array(sorted(new), block.dtype)
    numbers = np.array([new[label] for label in old.tolist()], block.dtype)
    at = np.minimum(np.searchsorted(old, block), len(old) - 1)
    after: Labels = np.where(old[at] == block, numbers[at], block)
    return after


def _seeds(
    region: Region, plane: Plane, groups: Sequence[Sequence[tuple[float, float]]]
) -> list[list[tuple[int, ...]]]:
    """Give the points of each group as pixels of the block."""
    first = [x.start for x in region]

    def pixel(point: tuple[float, float]) -> tuple[int, ...]:
        place = list[float](plane.position)
        for axis, x in zip(plane.displayed, point, strict=True):
            place[axis] = x
        return tuple(int(np.floor(x + 0.5)) - start for x, start in zip(place, first, strict=True))

    return [[pixel(point) for point in group] for group in groups]
