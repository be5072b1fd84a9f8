"""Objects are made anew from their prompts by another model, in a store of their own."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from napari_sam.channels import Composite
from napari_sam.encoding import Embedder
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiles import predict_plane
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.planes import Plane, Planes
from napari_sam.previews import shown_first
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change, Labels, Position, region_of, to_block
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.making import made_aside
from napari_sam.storage.opening import LabelsError, is_taken
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.reading import read_array
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


def replay_labels(
    store: LabelsStore,
    planes: Planes,
    predictor: Predictor,
    path: str | Path,
    *,
    cache: str | Path | None = None,
    masks_as_prompts: bool = False,
    progress: Progress = ignore_progress,
) -> Replay:
    """Make all objects of a store anew from their prompts, in a new store; the old one stays as it is.

    Each plane of an object is predicted from the prompt, and the candidate, that the ledger has of it. Where
    two new masks overlap, the object gets the pixels that had them before, and pixels that were erased from a
    mask stay erased; what was painted onto it is not repeated. Objects, or planes of them, without prompts
    (painted, imported, parted) are copied first and keep all their pixels.

    Parameters
    ----------
    store
        The old one; it may be open for reading only.
    planes
        The image that it was made of.
    predictor
        The other model.
    path
        Folder of the new store, which appears when it is whole.
    cache
        Folder of the embeddings; they stay in memory if left out.
    masks_as_prompts
        Give the model what has no prompt as a mask prompt instead of copying it: so it refines what another
        program found.
    progress
        Told the share of the prompts that is done; what it raises ends the replay, and nothing is left of it.

    Raises
    ------
    LabelsError
        If ``path`` is taken or cannot be written.
    ValueError
        If the image has another shape than the labels.
    """
    path = Path(path).expanduser()
    if planes.shape != tuple(store.array.shape):
        raise ValueError(
            f"The image has shape {planes.shape}, the labels {tuple(store.array.shape)}; "
            "give the image that they were made of."
        )
    if is_taken(path):
        raise LabelsError(f"{path} exists already; a replay needs a new name.")
    folder = None if cache is None else Path(cache).expanduser()
    with made_aside(path) as partial, closing(_like(store, partial)) as new:
        asked, kept = _parted(store, masks_as_prompts)
        work = _Work(store, new)
        work.copy(kept)
        embedder = Embedder(planes, predictor, EmbeddingCache(planes, predictor, folder))
        done, count = 0, max(1, sum(map(len, asked.values())))
        for plane, origins in asked.items():
            made = []
            for origin in origins:
                made.append(_made_anew(origin, planes, predictor, embedder))
                done += 1
                progress(done / count)
            work.draw(plane, origins, made)
        objects = tuple(_compared(store.ledger, new.ledger, asked, kept))
    return Replay(path, predictor.identity.architecture, objects)


def image_of(store: LabelsStore, path: str | Path) -> Planes:
    """Open the image that labels were made of, colours included, with the contrast that they were made with.

    Raises
    ------
    LabelsError
        If the file cannot be read.
    ValueError
        If it is another image: one of another shape.
    """
    path = Path(path).expanduser()
    array, _ = read_array(path)
    shape, wanted = tuple(array.shape), tuple(store.array.shape)
    composite = _recorded_channels(store.ledger)
    if composite is not None:
        axis = -1 if composite.axis is None else store.geometry.axes.find(composite.axis)
        if axis < 0:
            raise ValueError(
                f"The labels were made of {len(composite.channels)} layers together, not of {path} alone; "
                "replay them in Python, with `ChannelArrays` of these."
            )
        count = len(composite.channels)
        if shape == tuple(count if x == axis else n for x, n in enumerate(wanted)):
            return Planes(array, store.geometry.axes, name=path.stem, channels=composite)
    colours = shape[:-1] == wanted and shape[-1] in (3, 4)
    if shape != wanted and not colours:
        raise ValueError(
            f"{path} has shape {shape}, the labels {wanted}; give the image that they were made of."
        )
    axes = store.geometry.axes + "s" * colours
    return Planes(array, axes, name=path.stem, limits=_recorded_contrast(store.ledger))


def _recorded_channels(ledger: LedgerView) -> Composite | None:
    """Give the channels as most prompts were made with them; None if that was one alone."""
    recorded = Counter(x.making.preprocessing for x in ledger.origins() if x.making.preprocessing)
    return Composite.read(recorded.most_common(1)[0][0]) if recorded else None


def _recorded_contrast(ledger: LedgerView) -> tuple[float, float] | None:
    """Give the two intensities that most prompts were made with; None if none are recorded."""
    recorded = Counter(x.making.preprocessing for x in ledger.origins())
    for text, _ in recorded.most_common():
        with suppress(ValueError):
            low, high = map(float, text.removeprefix("contrast ").split(":"))
            if low < high:  # a constant image has none
                return low, high
    return None


def _like(store: LabelsStore, path: Path) -> LabelsStore:
    """Make an empty store of the same shape, axes and categories."""
    new = LabelsStore.create(path, store.array.shape, store.geometry)
    for category in store.ledger.categories():
        new.ledger.put_category(category)
    return new


def _parted(
    store: LabelsStore, masks_as_prompts: bool
) -> tuple[dict[Plane, list[Origin]], dict[Position, list[int]]]:
    """Tell what is asked of the model, by plane in the order in which it was made, from what is copied."""
    own = (store.array.ndim - 2, store.array.ndim - 1)
    asked = [x for x in store.ledger.origins() if not x.making.prompt.is_empty and _is_there(x, store, own)]
    # An object that was prompted across the stack has pixels on planes that no prompt names.
    across = {x.label for x in asked if x.plane.displayed != own}
    prompted = {(x.label, x.plane.position[:-2]) for x in asked}
    kept: dict[Position, list[int]] = {}
    for position in store.ledger.positions():
        for label, runs in store.ledger.masks_at(position).items():
            if label in across or (label, position) in prompted:
                continue
            if masks_as_prompts:
                plane = Plane(own, (*position, 0, 0))
                prompt = Prompt(mask=runs.on(plane.shape(store.array.shape)))
                asked.append(Origin(label, plane, runs, Making("import", prompt)))
            else:
                kept.setdefault(position, []).append(label)
    by_plane: dict[Plane, list[Origin]] = {}
    for origin in sorted(asked, key=lambda x: (x.plane.displayed != own, x.plane.position, x.time)):
        by_plane.setdefault(origin.plane, []).append(origin)
    return by_plane, kept


def _is_there(origin: Origin, store: LabelsStore, own: tuple[int, int]) -> bool:
    """Tell whether anything is left on its plane: an object that was erased there is not made anew."""
    if origin.plane.displayed == own:
        return store.ledger.mask(origin.label, origin.plane.position[:-2]) is not None
    return bool((store.read(origin.plane) == origin.label).any())


def _made_anew(origin: Origin, planes: Planes, predictor: Predictor, embedder: Embedder) -> Origin | None:
    """Ask the model what the ledger says it was asked; None where it finds nothing."""
    plane, prompt, candidate = origin.plane, origin.making.prompt, origin.making.candidate
    shape = plane.shape(planes.shape)
    if prompt.mask is not None and prompt.mask.dtype != bool:
        # Logits are another model's; what they say in pixels, every model understands.
        prompt = replace(prompt, mask=origin.mask.on(shape))
    found = predict_plane(predictor, shape, prompt, lambda tile: embedder.embed(plane, tile), candidate)
    chosen = shown_first(found, prompt, candidate)
    runs = MaskRuns.of(found.masks[chosen])
    if runs is None:
        return None
    identity = predictor.identity
    making = replace(
        origin.making,
        prompt=prompt,
        model=identity.architecture,
        weights_hash=identity.weights_hash,
        preprocessing=planes.preprocessing,
        score=float(found.scores[chosen]),
    )
    return Origin(origin.label, plane, runs, making)


class _Work:
    """Write objects into the new store as they lay in the old one."""

    def __init__(self, old: LabelsStore, new: LabelsStore) -> None:
        self._old, self._new = old, new
        self._infos = {info.label: info for info in old.ledger.objects()}

    def copy(self, kept: dict[Position, list[int]]) -> None:
        """Copy the masks of objects as they are, with what is known of their making."""
        ndim, shape = self._old.array.ndim, self._old.array.shape
        known = {(x.label, x.plane): x for x in self._old.ledger.origins()}
        for position, labels in kept.items():
            plane = Plane((ndim - 2, ndim - 1), (*position, 0, 0))
            after = np.zeros(shape[-2:], self._new.array.dtype)
            for label in labels:
                runs = self._old.ledger.mask(label, position)
                assert runs is not None  # the ledger has just named it
                after[runs.index][runs.mask()] = label
            self._write(plane, after, [known[label, plane] for label in labels if (label, plane) in known])

    def draw(self, plane: Plane, was: Sequence[Origin], made: Sequence[Origin | None]) -> None:
        """Draw the masks of one plane in the order of their making."""
        before, after = self._old.read(plane), self._new.read(plane)
        fixed = after != 0
        earlier: dict[int, Origin] = {}
        for old, new in zip(was, made, strict=True):
            if new is None:
                continue
            # What the old mask claimed and nobody has was erased, or outside of the object it was to lie in.
            shape = plane.shape(self._old.array.shape)
            mask = new.mask.on(shape) & ~fixed & ~(old.mask.on(shape) & (before == 0))
            # Others that lie here keep what is theirs, unless this one had taken it from them.
            free = mask & (after == 0)
            for label in np.unique(after[mask]).tolist():
                if label in earlier and _had_taken(old, earlier[label], before):
                    free |= mask & (after == label)
            after[free] = new.label
            earlier[new.label] = old
        self._write(plane, after, [x for x in made if x is not None])

    def _write(self, plane: Plane, after: Labels, origins: Sequence[Origin]) -> None:
        before = self._new.read(plane)
        runs = MaskRuns.of(before != after)
        if runs is None:
            return
        rows, columns = runs.index
        region = region_of(plane, rows, columns)
        block = self._new.block(region)
        change = Change(region, block, to_block(plane, after[rows, columns]).astype(block.dtype))
        there = set(np.unique(after).tolist())
        infos = [info for label, info in self._infos.items() if label in there]
        self._new.write("replay", [change], origins=[x for x in origins if x.label in there], objects=infos)


def _had_taken(one: Origin, other: Origin, labels: Labels) -> bool:
    """Tell whether most of what both masks claimed had become the one's."""
    shape = (labels.shape[0], labels.shape[1])
    contested = labels[one.mask.on(shape) & other.mask.on(shape)]
    return bool(np.count_nonzero(contested == one.label) > np.count_nonzero(contested == other.label))


def _compared(
    old: LedgerView, new: LedgerView, asked: dict[Plane, list[Origin]], kept: dict[Position, list[int]]
) -> Iterable[ReplayedObject]:
    replayed = {x.label for origins in asked.values() for x in origins}
    copied = {label for labels in kept.values() for label in labels}
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
    low = np.maximum(one.box[:2], other.box[:2])
    high = np.minimum(one.box[2:], other.box[2:])
    if (low >= high).any():
        return 0
    parts = []
    for runs in (one, other):
        row, column = (low - runs.box[:2]).tolist()
        height, width = (high - low).tolist()
        parts.append(runs.mask()[row : row + height, column : column + width])
    return int(np.count_nonzero(parts[0] & parts[1]))


def _score(ledger: LedgerView, label: int) -> float | None:
    scores = [x.making.score for x in ledger.origins(label) if x.making.score is not None]
    return float(np.mean(scores)) if scores else None
