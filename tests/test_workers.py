"""A thread's owner outlives it, and goes where it lives; at the end of Python no thread is left."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref

import pytest

from napari_sam import workers


class Waiting:
    """An owner whose thread waits until it is told to end."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self.thread = workers.start(self, self._work, "waiting")

    def _work(self) -> None:
        self._end.wait()

    def close(self) -> None:
        self._end.set()

    @property
    def is_closed(self) -> bool:
        return self._end.is_set()


def test_an_owner_is_let_go_of_by_whom_it_belongs_to_and_not_by_its_thread() -> None:
    owner = Waiting()
    thread, gone = owner.thread, weakref.ref(owner)
    owner.close()
    del owner
    thread.join()
    assert gone() is not None, "its own thread held it last"
    workers.release()
    assert gone() is None


def test_nothing_is_let_go_of_while_its_thread_runs() -> None:
    owner = Waiting()
    workers.release()
    assert workers._owners[owner.thread] is owner
    owner.close()
    owner.thread.join()
    workers.release()


def test_it_is_told_that_threads_are_about_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_owners", {})
    may_end = threading.Event()
    owner = Waiting()
    assert not workers.release()
    slow = workers.start(owner, may_end.wait, "slow")
    owner.close()
    owner.thread.join()
    assert workers.release()
    may_end.set()
    slow.join()
    assert not workers.release()


_WORKS_AT_THE_END = """
from concurrent.futures import ThreadPoolExecutor
from napari_sam import workers

class Working:
    closed = False
    def work(self):
        with ThreadPoolExecutor() as executor:
            while not self.closed:
                executor.submit(lambda: None).result()
            executor.submit(print, "ended", flush=True).result()
    def close(self):
        self.closed = True
    @property
    def is_closed(self):
        return self.closed

working = Working()
workers.start(working, working.work, "working")
print("over", flush=True)
"""


def test_python_and_its_executors_end_after_the_threads() -> None:
    command = [sys.executable, "-c", _WORKS_AT_THE_END]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["over", "ended"], "")
