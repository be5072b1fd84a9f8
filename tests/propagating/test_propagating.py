"""One click, one plane, and the object on all its planes: with the shipped model, on drawn spheres."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.prompts_of_masks import tight_box
from napari_sam.matching import iou
from napari_sam.plane import Plane
from napari_sam.propagating.finding import request_propagation, run_propagation
from napari_sam.propagating.writing import propagate, write_propagation
from napari_sam.starting import open_session
from napari_sam.storage.errors import LabelsError

SHAPE = (12, 96, 112)
# Centre (z, row, column) and radius in planes, and how many pixels a plane is thick.
SPHERE, OTHER = ((5, 40, 36), 4), ((5, 60, 84), 3)
THICKNESS = 4
FLATS = (5, slice(70, 86), slice(10, 26)), (8, slice(70, 86), slice(40, 56))


def ball(centre: tuple[int, int, int], radius: float) -> NDArray[np.bool_]:
    z, row, column = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    across = np.hypot(row - centre[1], column - centre[2]) / THICKNESS
    inside: NDArray[np.bool_] = np.hypot(z - centre[0], across) <= radius
    return inside


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint8]:
    """Two bright spheres in faint noise, the first with sections on the planes 1 to 9, and flat squares."""
    rng = np.random.default_rng(0)
    clean = 40 + 140 * (ball(*SPHERE) | ball(*OTHER))
    for flat in FLATS:
        clean[flat] = 180
    return np.clip(clean + rng.normal(0, 4, SHAPE), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings that are made once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def session(stack: NDArray[np.uint8], cache: Path, tmp_path: Path) -> Iterator[Session]:
    """A session whose object 1 is the section of the first sphere through its middle, by one click."""
    made = open_session(stack, "zyx", labels=tmp_path / "cells.zarr", cache=cache)
    made.go_to(z=5)
    made.add_point((40, 36))
    made.predict()
    assert made.commit() == 1
    yield made
    made.close()


def planes_of(session: Session, label: int) -> list[int]:
    """The planes on which an object has pixels."""
    found: list[int] = np.flatnonzero((session.labels[:] == label).any((1, 2))).tolist()
    return found


def test_the_object_is_found_on_all_its_planes_and_ends_where_it_ends(session: Session) -> None:
    planes = propagate(session, 1)
    there = planes_of(session, 1)
    assert there == list(range(there[0], there[-1] + 1)), "no gap"
    assert [plane.position[0] for plane in planes] == [z for z in there if z != 5]
    assert 1 <= there[0] <= 2 and 8 <= there[-1] <= 9
    assert iou(session.labels[:] == 1, ball(*SPHERE)) > 0.85


def test_it_is_one_step_that_the_session_tells_and_undo_takes_back(session: Session) -> None:
    before, told = session.labels[:], list[str]()
    session.committed.connect(lambda step: told.append(step.kind))
    propagate(session, 1)
    after = session.labels[:]
    assert told == ["propagate"] and session.store.ledger.steps()[-1].label == 1
    session.undo()
    np.testing.assert_array_equal(session.labels[:], before)
    assert session.plane.position[0] == 5, "where it was prompted"
    session.redo()
    np.testing.assert_array_equal(session.labels[:], after)
    assert session.plane.position[0] == 5
    nearest = planes_of(session, 1)[0]
    session.go_to(z=0)
    session.undo()
    assert session.plane.position[0] == nearest


def test_the_ledger_knows_how_each_plane_was_made(session: Session) -> None:
    propagate(session, 1)
    makings = {x.plane.position[0]: x.making for x in session.store.ledger.origins(1)}
    assert {z: x.source for z, x in makings.items()} == {
        z: "click" if z == 5 else "propagated" for z in planes_of(session, 1)
    }
    assert makings[6].prompt == Prompt(box=tight_box(session.labels[5] == 1)), "of the plane before"
    assert makings[6].model == "nano" and makings[6].score is not None and makings[6].score > 0.5


def test_the_reach_is_the_number_of_planes_on_each_side(session: Session) -> None:
    propagate(session, 1, reach=2)
    assert planes_of(session, 1) == [3, 4, 5, 6, 7]


def test_planes_that_were_made_by_hand_stay_and_end_it(session: Session) -> None:
    square = np.zeros(SHAPE[1:], bool)
    square[30:50, 30:50] = True
    session.store.commit(Plane((1, 2), (7, 0, 0)), square, label=1)
    propagate(session, 1)
    there = planes_of(session, 1)
    assert there[-1] == 7 and there[0] < 3
    np.testing.assert_array_equal(session.labels[7] == 1, square)


def test_what_is_corrected_is_propagated_anew_and_what_lay_behind_goes(session: Session) -> None:
    """The user sees that it went astray, draws what is right on one of the planes, and propagates that."""
    propagate(session, 1)
    session.labels[7] = ball(*OTHER)[7]
    session.store.end_stroke()
    before = session.labels[:]
    session.go_to(z=7)
    propagate(session, 1)
    after = session.labels[:]
    np.testing.assert_array_equal(after[7], before[7])
    assert iou(after[6] == 1, ball(*OTHER)[6]) > 0.6, "an earlier propagation is replaced"
    assert not (after[9] == 1).any(), "and none is left behind the new end"
    np.testing.assert_array_equal(after[5], before[5], "the click stays, and ends it")
    made_on = {x.plane.position[0] for x in session.store.ledger.origins(1)}
    assert made_on == set(planes_of(session, 1))
    session.undo()
    np.testing.assert_array_equal(session.labels[:], before)


def test_what_lies_between_a_correction_and_the_next_fixed_plane_stays(session: Session) -> None:
    propagate(session, 1)
    before = session.labels[:]
    flat = np.zeros(SHAPE, bool)
    flat[FLATS[1]] = True  # nothing like the object: the search from it ends at once
    session.store.commit(Plane((1, 2), (8, 0, 0)), flat[8], label=1)
    session.go_to(z=8)
    assert propagate(session, 1) == ()
    np.testing.assert_array_equal(session.labels[6:8], before[6:8])


def test_where_the_user_has_erased_it_it_ends_and_what_lies_behind_goes(session: Session) -> None:
    propagate(session, 1)
    assert planes_of(session, 1)[-1] > 7
    session.labels[7] = 0
    session.store.end_stroke()
    propagate(session, 1)
    assert planes_of(session, 1)[-1] == 6


def test_pixels_that_others_took_fix_nothing(session: Session) -> None:
    propagate(session, 1)
    other = np.zeros(SHAPE[1:], bool)
    other[38:41, 34:37] = True
    session.store.commit(Plane((1, 2), (7, 0, 0)), other, overlap="replace")
    before = session.labels[:]
    planes = [plane.position[0] for plane in propagate(session, 1)]
    assert planes[-1] == planes_of(session, 1)[-1] > 7
    np.testing.assert_array_equal(session.labels[:], before, "and it is found as it was")


def test_a_write_of_another_thread_is_waited_for(session: Session) -> None:
    writes, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with session.store.writing():
            writes.set()
            may_end.wait(60)

    other = threading.Thread(target=write)
    other.start()
    assert writes.wait(60)

    def let_it_end(done: float) -> None:
        if done >= 0.9:  # the search is over
            may_end.set()

    assert propagate(session, 1, progress=let_it_end)
    other.join()


def test_what_was_changed_since_is_no_earlier_propagation(session: Session) -> None:
    propagate(session, 1)
    session.labels[7, 40, 36] = 0
    session.store.end_stroke()
    before = session.labels[:]
    propagate(session, 1)
    np.testing.assert_array_equal(session.labels[7:], before[7:])


def test_others_keep_their_pixels_and_end_it_where_they_have_most(session: Session) -> None:
    other = ball(*SPHERE)[7]
    session.store.commit(Plane((1, 2), (7, 0, 0)), other)
    small = np.zeros(SHAPE[1:], bool)
    small[38:43, 34:39] = True
    session.store.commit(Plane((1, 2), (4, 0, 0)), small)
    propagate(session, 1)
    assert planes_of(session, 1)[-1] == 6
    np.testing.assert_array_equal(session.labels[7] == 2, other)
    np.testing.assert_array_equal(session.labels[4] == 3, small)
    assert (session.labels[4] == 1).any()


def test_with_replace_it_takes_them(session: Session) -> None:
    session.store.commit(Plane((1, 2), (7, 0, 0)), ball(*SPHERE)[7])
    propagate(session, 1, overlap="replace")
    assert planes_of(session, 1)[-1] >= 8


def test_planes_across_the_stack_work_alike(session: Session) -> None:
    session.show(Plane((0, 2), (0, 40, 0)))
    session.set_box((0.5, 19.5, 9.5, 52.5))
    session.predict()
    label = session.commit(overlap="replace")
    planes = propagate(session, label, reach=2, overlap="replace")
    assert [plane.position[1] for plane in planes] == [38, 39, 41, 42]
    assert all(plane.displayed == (0, 2) for plane in planes)
    there = slice(38, 43)
    assert iou(session.labels[:, there] == label, ball(*SPHERE)[:, there]) > 0.7


def test_stopped_it_has_written_nothing(session: Session) -> None:
    before, asked = session.labels[:], list[float]()

    class Stop(Exception):
        pass

    def stop(done: float) -> None:
        asked.append(done)
        if done > 0.3:
            raise Stop

    with pytest.raises(Stop):
        propagate(session, 1, progress=stop)
    assert asked == sorted(asked)
    np.testing.assert_array_equal(session.labels[:], before)
    assert session.store.ledger.steps()[-1].kind == "commit"


def test_an_object_that_is_gone_meanwhile_is_not_written(session: Session) -> None:
    found = run_propagation(session, request_propagation(session, 1))
    session.objects.delete([1])
    with pytest.raises(ValueError, match="The object 1 is gone; it was not propagated"):
        write_propagation(session, found)
    assert not session.labels[:].any()


def test_one_that_is_on_one_plane_alone_is_no_step(session: Session) -> None:
    flat = np.zeros(SHAPE, bool)
    flat[FLATS[0]] = True
    label = session.store.commit(session.plane, flat[5]).label
    assert label == 2
    assert propagate(session, label) == ()
    assert session.store.ledger.steps()[-1].kind == "commit"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"label": 4}, "The object 4 has no pixel on the plane z 5; go to one", id="label"),
        pytest.param({"label": 0}, "The object 0 has no pixel", id="background"),
        pytest.param({"overlap": "inside"}, "give overlap='inside' and the label", id="inside nothing"),
        pytest.param(
            {"overlap": "inside", "inside": 1}, "cannot be propagated inside itself", id="inside it"
        ),
        pytest.param({"axis": "t"}, r"'t' is no axis to move along; .* moves along \['z'\]", id="axis"),
        pytest.param({"axis": "y"}, r"'y' is no axis to move along", id="displayed"),
        pytest.param({"reach": 0}, "The reach is 0 planes; give 1 or more", id="reach"),
    ],
)
def test_what_cannot_be_is_told(session: Session, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        propagate(session, **{"label": 1, **arguments})  # type: ignore[arg-type]


def test_the_reach_is_a_whole_number(session: Session) -> None:
    with pytest.raises(TypeError, match=r"The reach is 2\.5; give a whole number of planes"):
        request_propagation(session, 1, reach=2.5)  # type: ignore[arg-type]


def test_along_positions_objects_go_on_only_if_that_is_asked_for(
    stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    with closing(open_session(stack, "pyx", labels=tmp_path / "cells.zarr", cache=tmp_path)) as session:
        session.store.commit(session.plane, ball(*SPHERE)[5])
        with pytest.raises(ValueError, match=r"no axis along which objects go on; name one of \['p'\]"):
            request_propagation(session, 1)
        assert len(request_propagation(session, 1, axis="p").sides[1]) == len(stack) - 1


def test_an_image_of_one_plane_has_nowhere_to_go(tmp_path: Path) -> None:
    image = np.zeros((48, 56), np.uint8)
    with closing(open_session(image, labels=tmp_path / "cells.zarr", cache=tmp_path)) as session:
        session.store.commit(session.plane, np.ones(image.shape, bool))
        with pytest.raises(ValueError, match="This image has no axis along which objects go on"):
            request_propagation(session, 1)


def test_labels_that_can_only_be_read_are_refused_before_the_work(session: Session) -> None:
    session.store.read_only = "they were opened to be read"
    with pytest.raises(LabelsError, match="can only be read"):
        request_propagation(session, 1)
