"""Threads that work for an object, and end before Python does."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - see the end of this module
import threading
from collections.abc import Callable
from typing import Protocol

# So long the end of Python waits for all threads together: a step of an encoding takes a fraction of it.
_PATIENCE_S = 5.0


class Owner(Protocol):
    """Whom a thread works for."""

    def close(self) -> None:
        """Tell the thread to end at its next step; may be called more than once."""

    @property
    def is_closed(self) -> bool:
        """Whether it was told to."""


_owners: dict[threading.Thread, Owner] = {}
_lock = threading.Lock()


def start(owner: Owner, work: Callable[[], None], name: str) -> threading.Thread:
    """Run ``work`` in a thread for ``owner``.

    The owner is kept until its thread has ended and `release` is called. Else the thread itself might hold it
    last, and a Qt object must not be destroyed in a thread that it does not live in. When Python ends, the
    owners are closed and their threads awaited: one that is inside PyTorch then would take the process down,
    and one that writes needs the executors, which end soon after.
    """
    release()
    thread = threading.Thread(target=work, name=name, daemon=True)
    with _lock:
        _owners[thread] = owner
        thread.start()
    # Registered last it runs first, before Qt's objects go; registered again it moves there.
    atexit.unregister(_end_all)
    atexit.register(_end_all)
    return thread


def release() -> bool:
    """Let go of the owners whose threads have ended; to be called where these live.

    Returns
    -------
    bool
        Whether owners are left that were closed: their threads are still about to end.
    """
    with _lock:
        ended = [_owners.pop(thread) for thread in list(_owners) if not thread.is_alive()]
        left = list(_owners.values())
    ended.clear()  # outside the lock, for what goes with them may come back here
    return any(owner.is_closed for owner in left)


def _end_all() -> None:
    """Close all owners, and wait for their threads."""
    with _lock:
        running = dict(_owners)
    for owner in running.values():
        owner.close()
    for thread in running:
        thread.join(_PATIENCE_S / len(running))
    release()


# Python ends its executors, by which zarr writes, before anything that is registered with `atexit` runs. This
# comes before them, since it is registered after the module that does it was imported. Where it is missing,
# for it is Python's own, a write that is under way at the end fails and costs the plane that is written.
_register: Callable[[Callable[[], None]], None] | None = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_end_all)
