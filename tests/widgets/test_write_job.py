"""A write ends whole or not at all, and what came of it is told once, whatever happens around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from qtpy.QtWidgets import QApplication

from napari_sam.progress import Progress
from napari_sam.widgets.write_job import WriteJob
from widgets.driving import wait_until


class Told:
    """What a job told."""

    def __init__(self) -> None:
        self.all = list[object]()
        self.job = WriteJob[str](lambda _done: None, self.all.append, self.all.append)


@pytest.fixture
def told(qapp: QApplication) -> Iterator[Told]:
    before = set(threading.enumerate())
    made = Told()
    yield made
    made.job.close()
    wait_until(lambda: not any(x.name == "napari-sam" for x in set(threading.enumerate()) - before))


def test_what_was_written_is_told(told: Told) -> None:
    told.job.start(lambda _progress: "written")
    wait_until(lambda: not told.job.is_busy)
    assert told.all == ["written"]


def test_after_a_failure_the_next_one_is_told_as_well(qapp: QApplication) -> None:
    """It begins while the thread may not have told yet that the one before has ended."""
    told = list[object]()

    def fail(_progress: Progress) -> str:
        raise OSError("the disk is full")

    def go_on(error: Exception) -> None:
        told.append(str(error))
        job.start(lambda _progress: "written")

    job = WriteJob[str](lambda _done: None, told.append, go_on)
    for _ in range(20):
        job.start(fail)
        wait_until(lambda: not job.is_busy)
    job.close()
    assert told == ["the disk is full", "written"] * 20


def test_a_stop_before_it_begins_is_told(told: Told) -> None:
    for number in range(50):
        told.job.start(lambda progress: str(progress(0.0)))
        told.job.cancel()
        wait_until(lambda: not told.job.is_busy)
        assert len(told.all) == number + 1 and told.all[-1] in (None, "None")


def test_a_stop_that_comes_too_late_loses_nothing(told: Told) -> None:
    began, may_end = threading.Event(), threading.Event()

    def write(_progress: Progress) -> str:
        began.set()
        assert may_end.wait(60)
        return "written"

    told.job.start(write)
    assert began.wait(60)
    told.job.cancel()
    may_end.set()
    wait_until(lambda: not told.job.is_busy)
    assert told.all == ["written"]


def test_what_was_written_is_announced_once_also_where_the_job_is_closed_by_then(qapp: QApplication) -> None:
    announced, ended = list[str](), list[object]()
    began, may_end = threading.Event(), threading.Event()
    job = WriteJob[str](lambda _done: None, ended.append, ended.append, announced.append)

    def write(_progress: Progress) -> str:
        began.set()
        assert may_end.wait(60)
        return "written"

    job.start(write)
    assert began.wait(60)
    job.close()
    may_end.set()
    wait_until(lambda: len(announced) > 0)
    assert announced == ["written"] and not ended
