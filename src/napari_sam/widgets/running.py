"""Which session runs in which viewer, for the widgets beside the one that started it."""

from __future__ import annotations

import weakref

from napari.components import ViewerModel
from psygnal import Signal

from napari_sam.annotation import Session


class RunningSessions:
    """The running session of each viewer.

    Attributes
    ----------
    changed
        Emitted with a viewer whose session has started or ended.
    """

    changed = Signal(object)

    def __init__(self) -> None:
        self._sessions: weakref.WeakKeyDictionary[ViewerModel, Session] = weakref.WeakKeyDictionary()

    def get(self, viewer: ViewerModel) -> Session | None:
        """Give the session that runs in a viewer."""
        return self._sessions.get(viewer)

    def put(self, viewer: ViewerModel, session: Session | None) -> None:
        """Note that a session has started, or, with None, that it has ended."""
        if self._sessions.get(viewer) is session:
            return
        if session is None:
            del self._sessions[viewer]
        else:
            self._sessions[viewer] = session
        self.changed.emit(viewer)


running = RunningSessions()
