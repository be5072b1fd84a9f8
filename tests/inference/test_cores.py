"""Parts of one piece of work are computed side by side, and come in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from napari_sam.inference.cores import Cores


@pytest.fixture(autouse=True)
def two_cores(use_cores: Callable[[int], None]) -> None:
    """Let PyTorch compute with two cores, whatever the machine has."""
    use_cores(2)


def test_results_come_in_the_order_of_the_parts() -> None:
    last = threading.Event()

    def double(part: int) -> int:
        if part == 0:
            assert last.wait(10)  # the other thread goes on meanwhile
        if part == 3:
            last.set()
        return 2 * part

    with Cores(2) as cores:
        assert list(cores.map(double, range(6))) == [0, 2, 4, 6, 8, 10]


def test_each_thread_computes_with_its_share_and_all_others_as_before() -> None:
    with Cores(2) as cores:
        inside = list(cores.map(lambda _: torch.get_num_threads(), range(4)))
        here = torch.get_num_threads()
        elsewhere: list[int] = []
        thread = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    assert inside == [1, 1, 1, 1]
    assert (here, elsewhere) == (2, [2])


@pytest.mark.parametrize("most", [0, 1], ids=["too little work", "one part"])
def test_one_part_at_a_time_needs_no_thread(most: int) -> None:
    with Cores(most) as cores:
        assert cores.count == 1
        assert list(cores.map(lambda _: threading.current_thread(), range(2))) == 2 * [
            threading.current_thread()
        ]


def test_never_more_threads_than_cores() -> None:
    with Cores(64) as cores:
        assert cores.count == 2


def test_an_error_comes_at_its_turn_and_ends_the_threads() -> None:
    def fail_at_two(part: int) -> int:
        if part == 2:
            raise ValueError("two")
        return part

    found: list[int] = []
    with Cores(2) as cores:
        results = cores.map(fail_at_two, range(40))
        found += [next(results), next(results)]
        with pytest.raises(ValueError, match="two"):
            next(results)
    assert found == [0, 1]
    assert not [thread for thread in threading.enumerate() if "napari-sam core" in thread.name]


def test_only_a_few_parts_are_begun_before_the_first_is_taken() -> None:
    begun = []
    with Cores(2) as cores:
        results = cores.map(begun.append, range(100))
        next(results)
        assert len(begun) <= 6
        results.close()


def test_several_that_start_together_take_no_cores_from_threads_to_come(
    use_cores: Callable[[int], None],
) -> None:
    use_cores(8)

    def begin() -> None:
        with Cores(4):
            pass

    for _ in range(10):  # each thread asks for the first time how many cores there are
        together = [threading.Thread(target=begin) for _ in range(4)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [8]
