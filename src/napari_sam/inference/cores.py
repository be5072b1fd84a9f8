"""Work cut into parts that run side by side, each on cores of its own.

A step that is spread over the cores of a processor waits at its end for the slowest of them, and what cannot
be spread leaves the others idle. Of very many small steps, such as those of many prompts, that is a good part
of the time; parts that share nothing lose none of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Lock
from types import TracebackType
from typing import Self, TypeVar

import torch

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

# Parts of each thread that are begun, or wait for their turn.
_AHEAD = 2
# While threads are started, new ones would take a share of the cores for all of them.
_starting = Lock()


class Cores:
    """Threads among which PyTorch's cores are shared out, from entering to leaving; none if one is enough.

    Parameters
    ----------
    most
        So many threads at most; there are never more than cores.

    Attributes
    ----------
    count
        The threads that there are, once it was entered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        with _starting:
            cores = torch.get_num_threads()
            self.count = max(1, min(self._most, cores))
            if self.count > 1:
                self._pool = _pool(self.count, cores)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[[_Part], _Result], parts: Iterable[_Part]) -> Iterator[_Result]:
        """Give what a function makes of each part, in the order of the parts; an error comes at its turn.

        No more parts are begun than keep the threads busy while the results are taken.
        """
        if self._pool is None:
            yield from map(function, parts)
            return
        begun: deque[Future[_Result]] = deque()
        for part in parts:
            begun.append(self._pool.submit(function, part))
            if len(begun) > _AHEAD * self.count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _pool(count: int, cores: int) -> ThreadPoolExecutor:
    """Start threads in each of which PyTorch computes with its share of the cores.

    PyTorch keeps that number for each thread, but takes the last one that was set for all threads to come; so
    it is set back at once.
    """
    started = Barrier(count + 1)

    def begin() -> None:
        torch.set_num_threads(cores // count)
        torch.get_num_threads()  # only what was asked for once is kept
        started.wait()

    pool = ThreadPoolExecutor(count, "napari-sam core", begin)
    for _ in range(count):
        pool.submit(_nothing)
    started.wait()
    torch.set_num_threads(cores)
    return pool


def _nothing() -> None:
    """Do nothing, in a thread that begins for it."""
