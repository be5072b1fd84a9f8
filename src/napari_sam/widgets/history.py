"""Undo and redo: at once, or beside Qt's thread for a step that changed a whole stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam.annotation import Session
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.records import Step
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.telling import Tell, words_of

# Steps of more blocks, which are planes mostly, would keep the window waiting.
_FEW_BLOCKS = 2
# Kinds of steps that are no nouns by themselves.
_CALLED = {"automatic": "commit of automatic masks", "propagate": "propagation"}
# Edits of any number of objects.
_OF_SEVERAL = ("delete", "classify", "fill holes", "remove islands", "smooth")

Move = Literal["undo", "redo"]


@dataclass(frozen=True)
class _Move:
    """One way through the history, in words, in the store, and to the session."""

    name: Move
    done: str
    find: Callable[[], Step | None]
    write: Callable[[], Step | None]
    announce: Callable[[Step], bool | None]


def own_strokes(viewer: ViewerModel, ours: Labels) -> Labels | None:
    """Give the active Labels layer if it is another one, in which the user has painted.

    napari keeps its strokes, and its key is ours while an annotation runs.
    """
    active = viewer.layers.selection.active
    if not isinstance(active, Labels) or active is ours or not active.editable:
        return None
    # napari tells nobody whether there is anything to take back; where nothing was painted, such as in labels
    # whose object served as a prompt, the user means the last commit.
    strokes = (getattr(active, name, ()) for name in ("_undo_history", "_redo_history"))
    return active if any(map(len, strokes)) else None


class History:
    """Go one step back or forth, and say which.

    Parameters
    ----------
    session
        Whose steps.
    tell
        Told what was done; and, with True, what went wrong.
    """

    def __init__(self, session: Session, tell: Tell) -> None:
        store = session.store
        self._tell = tell
        self._store = store
        back = _Move(
            "undo", "was taken back", store.ledger.last_done, store.undo_aside, session.announce_undo
        )
        forth = _Move(
            "redo", "was done again", store.ledger.first_undone, store.redo_aside, session.announce_redo
        )
        self._moves = {move.name: move for move in (back, forth)}
        self._job = LatestJob()
        self._connections = Connections()
        self._connections.add(self._job.finished, self._on_finished)
        self._connections.add(self._job.failed, self._on_failed)

    @property
    def is_busy(self) -> bool:
        """Whether a step is being taken back or done again."""
        return self._job.is_busy

    def close(self) -> None:
        """Let go; a step that is under way is finished by its thread."""
        self._connections.close()
        self._job.close()

    def move(self, name: Move) -> None:
        """Take the last step back, or do the step again that was taken back last."""
        move = self._moves[name]
        if self._job.is_busy:
            self._tell("A step is being taken back or done again; wait until it is.")
            return
        try:
            with self._store.writing():  # in the middle of a write the last step is not what it will be
                step = move.find()
        except LabelsError as error:
            self._on_failed(error)
            return
        if step is None:
            self._tell(f"There is nothing to {move.name}.")
        elif len(self._store.ledger.regions(step.number)) > _FEW_BLOCKS:
            self._tell(f"{move.name.capitalize()} of the {_called(step)} ...")
            self._job.submit(lambda _progress: (move, move.write()), key=move)
        else:
            try:
                self._on_finished((move, move.write()))
            except (ValueError, OSError) as error:
                self._on_failed(error)

    def _on_finished(self, result: tuple[_Move, Step | None]) -> None:
        move, step = result
        if step is None:
            return
        stays = "; the prompt that is there stays" if move.announce(step) else ""
        which = "" if step.label is None else f" of label {step.label}"
        if step.kind in _OF_SEVERAL and (count := self._store.ledger.count_of(step.number)) > 1:
            which = f" of {count} objects"
        self._tell(f"The {_called(step)}{which} {move.done}{stays}.")

    def _on_failed(self, error: Exception) -> None:
        self._tell(words_of(error), problem=True)


def _called(step: Step) -> str:
    """Name a step in a sentence."""
    return _CALLED.get(step.kind, step.kind)
