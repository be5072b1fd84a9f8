"""What a replay asks the model anew of each object, and what it copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane, Position
from napari_sam.region import Region, common, relative_to, shape_of
from napari_sam.runs import MaskRuns
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making, Origin


@dataclass(frozen=True, eq=False)
class Question:
    """What the model is asked about one plane of an object.

    Attributes
    ----------
    origin
        What the ledger says of it; its prompt has no mask.
    mask
        That of the prompt, as run lengths: decoded it is as large as the plane.
    """

    origin: Origin
    mask: MaskRuns | None

    @classmethod
    def of(cls, origin: Origin) -> Question:
        """Ask again what the user asked."""
        making, mask = origin.making, origin.making.prompt.mask
        if mask is None:
            return cls(origin, None)
        # Logits are another model's; what they say in pixels, every model understands.
        runs = MaskRuns.of(mask.astype(bool)) if mask.dtype == bool else origin.mask
        making = replace(making, prompt=replace(making.prompt, mask=None))
        return cls(replace(origin, making=making), runs or origin.mask)

    def prompt(self, shape: tuple[int, int]) -> Prompt:
        """Give the whole prompt for a plane of this shape."""
        # Earlier versions recorded points of a grid beside thin planes.
        prompt = self.origin.making.prompt.onto(shape)
        return prompt if self.mask is None else replace(prompt, mask=self.mask.on(shape))


@dataclass(frozen=True)
class Plan:
    """What becomes of a store's objects.

    Attributes
    ----------
    asked
        What the model is asked, by plane in the order in which it was made.
    kept
        What is copied on each of the array's own planes: labels, and the part of their masks that no prompt
        across the planes gives; None for all of it.
    """

    asked: Mapping[Plane, Sequence[Question]]
    kept: Mapping[Position, Mapping[int, MaskRuns | None]]

    @property
    def replayed(self) -> set[int]:
        """Labels of the objects that the model is asked about."""
        return {x.origin.label for questions in self.asked.values() for x in questions}

    @property
    def copied(self) -> set[int]:
        """Labels of the objects of which anything is copied."""
        return {label for masks in self.kept.values() for label in masks}


def plan_of(store: LabelsStore, masks_as_prompts: bool) -> Plan:
    """Tell what is asked of the model from what is copied.

    Parameters
    ----------
    store
        The old one.
    masks_as_prompts
        Whether the model is asked about what has no prompt, too, with its mask as the prompt.
    """
    asked = [
        Question.of(x)
        for x in store.ledger.each_origin()
        if not x.making.prompt.is_empty and _is_there(x, store)
    ]
    prompted = {(x.origin.label, x.origin.plane.own_position) for x in asked}
    across: dict[int, list[Origin]] = {}
    for x in asked:
        if x.origin.plane.own_position is None:
            across.setdefault(x.origin.label, []).append(x.origin)
    kept: dict[Position, dict[int, MaskRuns | None]] = {}
    for position in store.ledger.positions():
        for label, runs in store.ledger.masks_at(position).items():
            if (label, position) in prompted:
                continue
            if label in across:
                if (rest := _beside(across[label], position, runs)) is not None:
                    kept.setdefault(position, {})[label] = rest
            elif masks_as_prompts:
                asked.append(Question(Origin(label, Plane.own(position), runs, Making("import")), runs))
            else:
                kept.setdefault(position, {})[label] = None
    by_plane: dict[Plane, list[Question]] = {}
    for question in sorted(asked, key=lambda x: _order(x.origin)):
        by_plane.setdefault(question.origin.plane, []).append(question)
    return Plan(by_plane, kept)


def _order(origin: Origin) -> tuple[bool, tuple[int, ...], tuple[int, int], str]:
    plane = origin.plane
    return plane.own_position is None, plane.position, plane.displayed, origin.time


def _is_there(origin: Origin, store: LabelsStore) -> bool:
    """Tell whether anything is left on its plane: an object that was erased there is not made anew."""
    if (position := origin.plane.own_position) is not None:
        return store.ledger.mask(origin.label, position) is not None
    return bool((store.read(origin.plane) == origin.label).any())


def _beside(across: Sequence[Origin], position: Position, runs: MaskRuns) -> MaskRuns | None:
    """Give what an object has on a plane beside the masks that were prompted across it; None for nothing."""
    left = runs.mask()
    for origin in across:
        left &= ~_crossing(origin, position, runs.index)
    return MaskRuns.of(left, runs.box[:2])


def _crossing(origin: Origin, position: Position, window: Region) -> NDArray[np.bool_]:
    """Draw what of a mask, which lies across the array's own planes, is within a window of one of them."""
    wanted = (*(slice(x, x + 1) for x in position), *window)
    there = origin.plane.region(*origin.mask.index)
    drawn = np.zeros(shape_of(wanted), bool)
    if (both := common(wanted, there)) is not None:
        block = origin.plane.to_block(origin.mask.mask())
        drawn[relative_to(wanted, both)] = block[relative_to(there, both)]
    return drawn.reshape(drawn.shape[-2:])
