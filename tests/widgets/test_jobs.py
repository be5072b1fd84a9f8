"""Results that come too late are not just forgotten: whoever asked for them says what becomes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.jobs import LatestJob
from widgets.driving import wait_until


class Held:
    """A job that gives its result when it is told to."""

    def __init__(self, result: str) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self._result = result

    def __call__(self, _progress: object) -> str:
        self.began.set()
        assert self.may_end.wait(60)
        return self._result


class Watched:
    """Jobs whose results are noted: those that arrive, and those that are discarded."""

    def __init__(self) -> None:
        self.arrived, self.discarded = list[str](), list[str]()
        self.threads = set[threading.Thread]()
        self.job = LatestJob(self._discard)
        self.job.finished.connect(self.arrived.append)

    def _discard(self, result: str) -> None:
        self.discarded.append(result)
        self.threads.add(threading.current_thread())


@pytest.fixture
def watched(qapp: QApplication) -> Iterator[Watched]:
    made = Watched()
    yield made
    made.job.close()
    wait_until(lambda: not any(thread.name == "napari-sam" for thread in threading.enumerate()))


@pytest.mark.parametrize(
    "too_late",
    [
        pytest.param(LatestJob.cancel, id="cancelled"),
        pytest.param(LatestJob.close, id="closed"),
        pytest.param(lambda job: job.submit(lambda _: "new", key=2), id="replaced"),
    ],
)
@pytest.mark.parametrize("on_its_way", [False, True], ids=["while it runs", "before it arrives"])
def test_a_result_that_comes_too_late_is_discarded_beside_the_window(
    watched: Watched, too_late: Callable[[LatestJob], None], on_its_way: bool
) -> None:
    old = Held("old")
    watched.job.submit(old, key=1)
    assert old.began.wait(60)
    if on_its_way:  # its thread has ended it, but this one has handled no event yet
        old.may_end.set()
        while not watched.job._coming:
            time.sleep(0.001)
    too_late(watched.job)
    old.may_end.set()
    wait_until(lambda: watched.discarded == ["old"] and not watched.job.is_busy)
    assert "old" not in watched.arrived
    assert threading.current_thread() not in watched.threads


def test_what_is_wanted_arrives_once_and_is_kept(watched: Watched) -> None:
    watched.job.submit(lambda _: "wanted", key=1)
    wait_until(lambda: watched.arrived == ["wanted"] and not watched.job.is_busy)
    watched.job.cancel()
    watched.job.close()
    assert watched.arrived == ["wanted"] and not watched.discarded


def test_the_next_job_begins_after_the_one_before_is_discarded(watched: Watched) -> None:
    """It may need what that has: the same labels, to which one session at a time may write."""
    old, seen = Held("old"), list[list[str]]()
    watched.job.submit(old, key=1)
    assert old.began.wait(60)
    watched.job.submit(lambda _: seen.append(list(watched.discarded)), key=2)
    old.may_end.set()
    wait_until(lambda: not watched.job.is_busy)
    assert seen == [["old"]]


def test_a_discard_that_fails_is_told_and_the_next_job_runs(qapp: QApplication) -> None:
    def fail(_result: object) -> None:
        raise OSError("the disk is full")

    job, told = LatestJob(fail), list[str]()
    job.failed.connect(lambda error: told.append(str(error)))
    job.finished.connect(told.append)
    old = Held("old")
    job.submit(old, key=1)
    assert old.began.wait(60)
    job.submit(lambda _: "new", key=2)
    old.may_end.set()
    wait_until(lambda: told == ["the disk is full", "new"])
    job.close()
