"""Objects are made anew from their prompts by another model, in a store of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_sam.encoding import Embedder
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.tiles import predict_plane
from napari_sam.plane import Plane, Position
from napari_sam.planes import Planes
from napari_sam.previews import shown_first
from napari_sam.progress import Progress, ignore_progress
from napari_sam.replaying.plan import Question, plan_of
from napari_sam.replaying.report import Replay, compared
from napari_sam.runs import MaskRuns
from napari_sam.storage.aside import folder_aside, is_taken
from napari_sam.storage.changes import Change, Labels
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.errors import LabelsError, explained
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.ome import make_group
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.origins import Origin
from napari_sam.storage.records import Draft

# Mask prompts are as large as their plane: so many bytes of them are held until they are recorded.
_MOST_MASK_BYTES = 2**27


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
    (painted, imported, parted) are copied first and keep all their pixels. So is what an object that was
    prompted in another view, across the planes, has beside that prompt's mask.

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
        If ``path`` is taken or cannot be written, or the old ledger is damaged.
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
    with explained(store.path / LEDGER), folder_aside(path) as partial, closing(_like(store, partial)) as new:
        plan = plan_of(store, masks_as_prompts)
        work = _Work(store, new)
        work.copy(plan.kept)
        embedder = Embedder(planes, predictor, EmbeddingCache(planes, predictor, folder))
        done, count = 0, max(1, sum(map(len, plan.asked.values())))
        for plane, questions in plan.asked.items():
            made = []
            for question in questions:
                made.append(_made_anew(question, planes, predictor, embedder))
                done += 1
                progress(done / count)
            work.draw(plane, questions, made)
        objects = tuple(compared(store.ledger, new.ledger, plan.replayed, plan.copied))
    return Replay(path, predictor.identity.architecture, objects)


def _like(store: LabelsStore, path: Path) -> LabelsStore:
    """Make an empty store of the same shape, axes and categories in an empty folder."""
    # New labels are 32 bits; those of another program may be larger numbers.
    is_large = store.ledger.highest > np.iinfo(np.uint32).max
    make_group(path, store.array.shape, store.geometry, store.array.dtype if is_large else None)
    Ledger.create(path / LEDGER).close()
    new = LabelsStore.open(path)
    for category in store.ledger.categories():
        new.ledger.put_category(category)
    return new


def _made_anew(question: Question, planes: Planes, predictor: Predictor, embedder: Embedder) -> Origin | None:
    """Ask the model what the ledger says it was asked; None where it finds nothing.

    The prompt of what it gives has no mask; see `Question.prompt`.
    """
    origin = question.origin
    plane, candidate = origin.plane, origin.making.candidate
    shape = plane.shape(planes.shape)
    prompt = question.prompt(shape)
    found = predict_plane(predictor, shape, prompt, lambda tile: embedder.embed(plane, tile), candidate)
    chosen = shown_first(found, prompt, candidate)
    runs = MaskRuns.of(found.masks[chosen])
    if runs is None:
        return None
    identity = predictor.identity
    making = replace(
        origin.making,
        prompt=replace(prompt, mask=None),
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

    def copy(self, kept: Mapping[Position, Mapping[int, MaskRuns | None]]) -> None:
        """Copy what no prompt gives, with what is known of its making; see `Plan`."""
        shape = self._old.array.shape
        known = {(x.label, x.plane): x for x in self._old.ledger.each_origin() if x.making.prompt.is_empty}
        for position, masks in kept.items():
            plane = Plane.own(position)
            after = np.zeros(shape[-2:], self._new.array.dtype)
            for label, part in masks.items():
                runs = self._old.ledger.mask(label, position) if part is None else part
                assert runs is not None  # the ledger has just named it
                after[runs.index][runs.mask()] = label
            self._write(plane, after, [known[label, plane] for label in masks if (label, plane) in known])

    def draw(self, plane: Plane, was: Sequence[Question], made: Sequence[Origin | None]) -> None:
        """Draw the masks of one plane in the order of their making."""
        before, after = self._old.read(plane), self._new.read(plane)
        fixed = after != 0
        earlier: dict[int, Origin] = {}
        shape = plane.shape(self._old.array.shape)
        pairs = [(x, new) for x, new in zip(was, made, strict=True) if new is not None]
        for old, new in ((x.origin, new) for x, new in pairs):
            # What the old mask claimed and nobody has was erased, or outside of the object it was to lie in.
            mask = new.mask.on(shape) & ~fixed & ~(old.mask.on(shape) & (before == 0))
            # Others that lie here keep what is theirs, unless this one had taken it from them.
            free = mask & (after == 0)
            for label in np.unique(after[mask]).tolist():
                if label in earlier and _had_taken(old, earlier[label], before):
                    free |= mask & (after == label)
            after[free] = new.label
            earlier[new.label] = old
        self._write(
            plane,
            after,
            (replace(new, making=replace(new.making, prompt=x.prompt(shape))) for x, new in pairs),
        )

    def _write(self, plane: Plane, after: Labels, origins: Iterable[Origin]) -> None:
        before = self._new.read(plane)
        runs = MaskRuns.of(before != after)
        if runs is None:
            return
        rows, columns = runs.index
        region = plane.region(rows, columns)
        block = self._new.block(region)
        change = Change(region, block, plane.to_block(after[rows, columns]).astype(block.dtype))
        there = set(np.unique(after).tolist())
        infos = [info for label, info in self._infos.items() if label in there]
        waiting: list[Origin] = []
        size = 0
        for origin in (x for x in origins if x.label in there):
            if size > _MOST_MASK_BYTES:  # so many are a step of their own, before that of the pixels
                self._new.write(Draft("replay", origins=waiting))
                waiting, size = [], 0
            waiting.append(origin)
            mask = origin.making.prompt.mask
            size += 0 if mask is None else mask.nbytes
        self._new.write(Draft("replay", changes=[change], origins=waiting, objects=infos))


def _had_taken(one: Origin, other: Origin, labels: Labels) -> bool:
    """Tell whether most of what both masks claimed had become the one's."""
    shape = (labels.shape[0], labels.shape[1])
    contested = labels[one.mask.on(shape) & other.mask.on(shape)]
    return bool(np.count_nonzero(contested == one.label) > np.count_nonzero(contested == other.label))
