"""Objects are edited as a whole, each edit is one step, and undo gives everything back."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

from napari_sam.inference.prompts import Prompt
from napari_sam.objects.category_labels import CategoryLabels
from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry
from napari_sam.storage.origins import Making
from napari_sam.storage.records import Step

SHAPE = (4, 30, 40)
GEOMETRY = Geometry("zyx", (2.0, 0.5, 0.25), units=["micrometer"] * 3)
# (planes, rows, columns) of objects 1 to 3; 2 and 3 lie side by side.
BOXES = {
    1: (range(1, 3), slice(2, 12), slice(3, 9)),
    2: (range(1), slice(15, 25), slice(10, 20)),
    3: (range(2), slice(15, 25), slice(20, 26)),
}
ALL = tuple(slice(0, n) for n in SHAPE)


def at(z: int) -> Plane:
    return Plane((1, 2), (z, 0, 0))


def mask_of(label: int) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    mask[BOXES[label][1:]] = True
    return mask


@pytest.fixture
def store(tmp_path: Path) -> LabelsStore:
    store = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, GEOMETRY)
    for label, (planes, _, _) in BOXES.items():
        for number, z in enumerate(planes):
            making = Making(
                "click", Prompt([(label, z)]), None, "nano", "0" * 64, "contrast", 0.5 + label / 10
            )
            store.commit(at(z), mask_of(label), making, label=label if number else None)
    return store


@pytest.fixture
def objects(store: LabelsStore) -> Objects:
    return Objects(store)


EDITS = [
    pytest.param(lambda x: x.delete([1, 3]), {2}, id="delete"),
    pytest.param(lambda x: x.merge([2, 3, 1]), {2}, id="merge"),
    pytest.param(lambda x: x.renumber(1, 9), {9, 2, 3}, id="renumber"),
    pytest.param(lambda x: x.split(3, at(0), [[(16, 22)], [(24, 22)]]), {1, 2, 3, 4}, id="split"),
    pytest.param(lambda x: x.smooth(2), {1, 2, 3}, id="smooth"),
    pytest.param(lambda x: x.rename(2, "odd"), {1, 2, 3}, id="rename"),
    pytest.param(lambda x: x.classify([1, 2], "nucleus"), {1, 2, 3}, id="classify"),
]


@pytest.mark.parametrize(("edit", "left"), EDITS)
def test_no_other_thread_writes_between_what_it_reads_first_and_its_step(
    store: LabelsStore,
    edit: Callable[[Objects], Step],
    left: set[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused, checked = list[str](), Objects._checked

    def undo() -> None:
        with pytest.raises(LabelsError) as refusal:
            store.undo()
        refused.append(str(refusal.value))

    def meanwhile(objects: Objects, labels: Iterable[int]) -> list[int]:
        other = threading.Thread(target=undo)
        other.start()
        other.join()
        return checked(objects, labels)

    monkeypatch.setattr(Objects, "_checked", meanwhile)
    edit(Objects(store))
    assert refused and all("are being written" in x for x in refused)
    assert {info.label for info in store.ledger.objects()} == left


class Stopped(Exception):
    """What a user's stop raises."""


CHANGES = [edit for edit in EDITS if edit.id not in ("rename", "classify")]


@pytest.mark.parametrize(("edit", "left"), EDITS)
def test_in_a_thread_of_its_own_it_is_the_same_step_of_which_nobody_is_told(
    store: LabelsStore, edit: Callable[[Objects], Step], left: set[int]
) -> None:
    told, shares = list[Step](), list[float]()
    store.changed.connect(told.append)
    step = edit(Objects(store, aside=shares.append))
    assert store.ledger.steps()[-1] == step and not told
    assert {info.label for info in store.ledger.objects()} == left
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize(("edit", "left"), CHANGES)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_is_stopped_leaves_nothing(
    store: LabelsStore, edit: Callable[[Objects], Step], left: set[int], after: int
) -> None:
    before, steps, told = np.asarray(store.array[:]), store.ledger.steps(), list[float]()

    def stop(share: float) -> None:
        told.append(share)
        if len(told) > after:
            raise Stopped

    with pytest.raises(Stopped):
        edit(Objects(store, aside=stop))
    assert_array_equal(store.array[:], before)
    assert store.ledger.steps() == steps
    edit(Objects(store))
    assert {info.label for info in store.ledger.objects()} == left


@pytest.mark.parametrize(("edit", "left"), EDITS)
def test_each_edit_is_one_step_back_and_forth(
    store: LabelsStore, objects: Objects, edit: Callable[[Objects], object], left: set[int]
) -> None:
    before, rows, steps = store.array[:], objects.rows(), len(store.ledger.steps())
    origins = [(x.label, x.plane, x.time) for x in store.ledger.origins()]
    edit(objects)
    after, edited = store.array[:], objects.rows()
    assert len(store.ledger.steps()) == steps + 1
    assert {row.label for row in edited} == left == set(np.unique(after)) - {0}
    assert_array_equal(store.ledger.block(ALL, after.dtype), after)
    assert (rows, before.tobytes()) != (edited, after.tobytes())
    store.undo()
    assert_array_equal(store.array[:], before)
    assert objects.rows() == rows
    assert [(x.label, x.plane, x.time) for x in store.ledger.origins()] == origins
    store.redo()
    assert_array_equal(store.array[:], after)
    assert objects.rows() == edited


def test_deleted_objects_become_background(store: LabelsStore, objects: Objects) -> None:
    before = store.array[:]
    objects.delete([1])
    assert_array_equal(store.array[:], np.where(before == 1, 0, before))


def test_merged_objects_keep_the_prompts_of_planes_on_which_one_of_them_lay(
    store: LabelsStore, objects: Objects
) -> None:
    """Objects 2 and 3 share the first plane: a prompt of either would stand for half of what is there."""
    before = store.array[:]
    objects.merge([2, 3, 1])
    assert_array_equal(store.array[:], np.where(before > 0, 2, 0))
    origins = sorted(store.ledger.origins(2), key=lambda x: x.plane.position)
    assert [(x.plane.position[0], x.making.prompt.points) for x in origins] == [
        (0, ()),
        (1, ()),
        (2, ((1, 2),)),
    ]
    assert_array_equal(origins[0].mask.on(SHAPE[1:]), mask_of(2) | mask_of(3))


@pytest.mark.parametrize("order", [[4, 2], [2, 4]], ids=["painted first", "prompted first"])
def test_no_prompt_stands_for_what_was_painted(
    store: LabelsStore, objects: Objects, order: list[int]
) -> None:
    store.labels[0, 2:5, 30:35] = 4
    objects.merge(order)
    (origin,) = store.ledger.origins(order[0])
    assert origin.making.prompt.is_empty


def test_a_prompt_stays_behind_where_its_object_was_erased(store: LabelsStore, objects: Objects) -> None:
    """Object 3 lies on the second plane alone by now, as 1 does; what 3 was on the first is forgotten."""
    store.labels[0, 15:25, 20:26] = 0
    objects.merge([2, 3])
    prompts = {x.plane.position[0]: x.making.prompt.points for x in store.ledger.origins(2)}
    assert prompts == {0: ((2, 0),), 1: ((3, 1),)}


def test_what_was_prompted_across_the_stack_keeps_its_prompts_where_it_is_alone(
    store: LabelsStore, objects: Objects
) -> None:
    """Object 1 lies on row 3 and 8 too."""
    mask = np.zeros((SHAPE[0], SHAPE[2]), bool)
    mask[2:, 30:35] = True
    for row in (3, 8):
        making = Making("click", Prompt([(3, 32)]), None, "nano", "0" * 64, "contrast", 0.9)
        store.commit(Plane((0, 2), (0, row, 0)), mask, making)
    objects.merge([4, 5])
    assert {x.plane.position[1]: x.making.prompt.is_empty for x in store.ledger.origins(4)} == {
        3: False,
        8: False,
    }
    objects.merge([1, 4])
    alone = {x.plane for x in store.ledger.origins(1) if not x.making.prompt.is_empty}
    assert len(store.ledger.origins(1)) == 4 and alone == {at(1)}


def test_a_split_goes_through_the_stack_and_along_the_middle(store: LabelsStore, objects: Objects) -> None:
    objects.split(3, at(0), [[(16, 22)], [(24, 22)]])
    for z in (0, 1):
        upper, lower = np.argwhere(store.array[z] == 3), np.argwhere(store.array[z] == 4)
        assert abs(len(upper) - len(lower)) <= 6 * 2
        assert upper[:, 0].max() <= lower[:, 0].min()
    assert_array_equal(np.isin(store.array[:2], [3, 4]).any(0), mask_of(3))


def test_a_split_takes_points_of_a_turned_plane(store: LabelsStore, objects: Objects) -> None:
    objects.split(3, Plane((2, 1), (0, 0, 0)), [[(22, 16)], [(22, 24)]])
    upper, lower = np.argwhere(store.array[0] == 3), np.argwhere(store.array[0] == 4)
    assert len(upper) > 20 < len(lower) and upper[:, 0].max() <= lower[:, 0].min()


@pytest.mark.parametrize(
    ("scale", "units"),
    [
        pytest.param((1.0, 0.1, 0.1), ("micrometer",) * 3, id="one unit"),
        pytest.param((1.0, 100.0, 100.0), ("micrometer", "nanometer", "nanometer"), id="two units"),
    ],
)
def test_a_split_goes_by_distances_in_space(
    tmp_path: Path, scale: tuple[float, ...], units: tuple[str, ...]
) -> None:
    """From the points on the first plane, planes are farther than columns."""
    store = LabelsStore.create(tmp_path / "x.zarr", (6, 9, 9), Geometry("zyx", scale, units=units))
    store.labels[:] = 1
    store.labels[1:, :, 4:] = 0
    store.labels[1:, :, :4] = 0
    store.labels[:, 4, :2] = 1
    Objects(store).split(1, at(0), [[(4, 0)], [(4, 8)]])
    assert (store.array[0, :, 5:] == 2).all() and (store.array[0, :, :4] == 1).all()
    assert (store.array[1:, 4, :2] == 1).all()


def test_a_split_goes_by_ways_inside_the_object(store: LabelsStore, objects: Objects) -> None:
    """A horseshoe: across its gap the other end is near, but the way around is far."""
    horseshoe = np.zeros(SHAPE[1:], bool)
    horseshoe[2:28, 2:6] = horseshoe[2:28, 8:12] = horseshoe[24:28, 2:12] = True
    store.commit(at(3), horseshoe)
    objects.split(4, at(3), [[(2, 5)], [(20, 8)]])
    assert (store.array[3, 2:15, 2:6] == 4).all()
    assert (store.array[3, 2:28, 8:12] == 5).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_split_that_finds_no_label_in_another_programs_dtype_changes_nothing(
    tmp_path: Path, dtype: type[np.integer[Any]]
) -> None:
    highest = int(np.iinfo(dtype).max)
    labels = np.zeros((10, highest), dtype)
    labels[0] = np.arange(1, highest + 1)
    labels[2:8, 6:9] = highest
    zarr.create_array(tmp_path / "narrow.zarr", data=labels)
    with closing(LabelsStore.open(tmp_path / "narrow.zarr")) as store:
        with pytest.raises(LabelsError, match=f"hold no label beyond {highest}; go on in a new store"):
            Objects(store).split(highest, Plane((0, 1), (0, 0)), [[(3, 7)], [(5, 7)], [(7, 7)]])
        assert_array_equal(store.array[:], labels)
        assert store.ledger.steps() == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_split_takes_a_free_label_where_the_dtype_ends(
    tmp_path: Path, dtype: type[np.unsignedinteger[Any]]
) -> None:
    highest = np.iinfo(dtype).max
    labels = np.zeros((10, 12), dtype)
    labels[2:8, 1:4], labels[2:8, 6:9] = 1, highest
    zarr.create_array(tmp_path / "narrow.zarr", data=labels)
    with closing(LabelsStore.open(tmp_path / "narrow.zarr")) as store:
        groups = [[(3.0, 7.0)], [(5.0, 7.0)], [(7.0, 7.0)]]
        Objects(store).split(highest, Plane((0, 1), (0, 0)), groups)
        assert set(np.unique(store.array[:])) == {0, 1, 2, 3, highest}
        store.undo()
        assert_array_equal(store.array[:], labels)


def test_numbers_of_numpy_are_labels(store: LabelsStore, objects: Objects) -> None:
    for label in np.unique(store.array[:])[1:]:
        assert store.ledger.object(label) is not None and store.ledger.origins(label)
    objects.renumber(np.uint32(1), np.uint32(12))
    assert store.ledger.origins(12) and [row.label for row in objects.rows()][-1] == 12


def test_renumbered_objects_keep_name_and_prompts(store: LabelsStore, objects: Objects) -> None:
    objects.rename(1, "odd")
    objects.renumber(1, 12)
    (row,) = (row for row in objects.rows() if row.label == 12)
    assert (row.name, row.planes) == ("odd", 2)
    assert {x.making.prompt.points for x in store.ledger.origins(12)} == {((1, 1),), ((1, 2),)}


def test_holes_are_filled_where_nobody_else_is(store: LabelsStore, objects: Objects) -> None:
    store.labels[0, 18, 13:15] = 0
    store.labels[0, 21, 13] = 8
    objects.fill_holes(2)
    assert store.array[0, 18, 13:15].tolist() == [2, 2]
    assert store.array[0, 21, 13] == 8
    assert objects.fill_holes(1) is None


def test_islands_are_removed(store: LabelsStore, objects: Objects) -> None:
    store.labels[1, 28, 35:38] = 1
    objects.remove_islands(1)
    assert_array_equal(store.array[1] == 1, mask_of(1))
    assert objects.remove_islands(1) is None


def test_smoothing_rounds_corners_and_spares_neighbours(store: LabelsStore, objects: Objects) -> None:
    objects.smooth(2, radius=3)
    assert store.array[0, 15, 10] == 0 and store.array[0, 20, 15] == 2
    assert_array_equal(store.array[0] == 3, mask_of(3))


def test_what_is_too_thin_to_be_smoothed_stays(store: LabelsStore, objects: Objects) -> None:
    store.labels[2, range(15, 27), range(15, 27)] = 4
    before = store.array[:]
    assert objects.smooth(4) is None
    assert_array_equal(store.array[:], before)
    store.labels[3, 15:27, 15:27] = 4  # on another plane it is not
    thick = store.array[:]
    objects.smooth(4)
    assert_array_equal(store.array[2], before[2])
    assert 0 < (store.array[3] == 4).sum() < (thick[3] == 4).sum()


def test_an_object_around_another_is_not_smoothed_away(store: LabelsStore, objects: Objects) -> None:
    store.labels[3, 5:14, 5:14] = 4
    store.labels[3, 6:13, 6:13] = 5
    objects.smooth(4)
    assert (store.array[3] == 4).any()


def test_smoothing_eats_nothing_at_the_images_border(store: LabelsStore, objects: Objects) -> None:
    store.labels[3] = 4
    assert objects.smooth(4) is None
    store.labels[3, 20:] = 0
    objects.smooth(4)
    assert (store.array[3, :20] == 4).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(lambda x: x.delete([1, 7]), "There is no object 7", id="delete"),
        pytest.param(lambda x: x.delete("12"), "'1' is no label; give a whole number", id="words"),
        pytest.param(lambda x: x.delete([1.5]), r"1\.5 is no label", id="fraction"),
        pytest.param(lambda x: x.renumber(3, 2.5), r"2\.5 is no label", id="renumber to a fraction"),
        pytest.param(lambda x: x.smooth(1, 1.5), "radius 1.5 smooths nothing", id="radius"),
        pytest.param(lambda x: x.smooth(1, 1000), "radius 1000 smooths nothing", id="large radius"),
        pytest.param(lambda x: x.rename(1, None), "None is no name", id="no name"),
        pytest.param(lambda x: x.classify([1], None), "None is no name of a category", id="no category"),
        pytest.param(lambda x: x.delete([]), "No object was chosen", id="nothing"),
        pytest.param(lambda x: x.merge([1]), "Only object 1 was given", id="merge one"),
        pytest.param(lambda x: x.renumber(1, 2), "2 is no free label", id="taken"),
        pytest.param(lambda x: x.renumber(1, 0), "0 is no free label", id="background"),
        pytest.param(lambda x: x.renumber(1, 2**32), "hold no label beyond 4294967295", id="too large"),
        pytest.param(lambda x: x.split(1, at(1), [[(3, 4)]]), "1 groups of points", id="one group"),
        pytest.param(lambda x: x.split(1, at(1), [[(3, 4)], [(20, 4)]]), "group 2 lies beside", id="beside"),
        pytest.param(lambda x: x.split(1, at(0), [[(3, 4)], [(5, 4)]]), "not on this plane", id="elsewhere"),
        pytest.param(lambda x: x.import_labels(np.zeros((2, 2), int)), "whole numbers of the", id="import"),
        pytest.param(lambda x: x.import_labels(np.full(SHAPE, -1)), "-1 is no label", id="negative"),
        pytest.param(lambda x: x.import_labels("cells.tif"), "A str is no label image", id="path"),
    ],
)
def test_a_mistake_changes_nothing(
    store: LabelsStore, objects: Objects, edit: Callable[[Objects], object], message: str
) -> None:
    before, steps = store.array[:], store.ledger.steps()
    with pytest.raises(ValueError, match=message):
        edit(objects)
    assert_array_equal(store.array[:], before)
    assert store.ledger.steps() == steps


def test_measures_are_in_the_images_units(store: LabelsStore, objects: Objects) -> None:
    row = objects.rows()[0]
    pixel = 0.5 * 0.25
    assert (row.label, row.planes, row.unit, row.source) == (1, 2, "micrometer", "click")
    assert row.area == pytest.approx(2 * 60 * pixel)
    assert row.volume == pytest.approx(2 * 60 * pixel * 2.0)
    assert row.score == pytest.approx(0.6)
    assert row.centre == pytest.approx((1.5, 6.5, 5.5))


@pytest.mark.parametrize(
    ("units", "area", "volume", "unit"),
    [
        pytest.param(("nanometer", "micrometer", "micrometer"), 15.0, 15.0 * 0.002, "micrometer", id="z"),
        pytest.param(("micrometer", "micrometer", "nanometer"), 15e3, 15e3 * 2e3, "nanometer", id="y and z"),
        pytest.param((None, "micrometer", "micrometer"), 15.0, None, "micrometer", id="z has no size"),
        pytest.param(("second", "micrometer", "micrometer"), 15.0, None, "micrometer", id="z is a time"),
        pytest.param(("micrometer", None, "micrometer"), 120.0, None, "pixel", id="y has no size"),
        pytest.param(("parsec", "parsec", "parsec"), 15.0, 30.0, "parsec", id="any unit, if it is one"),
        pytest.param(None, 15.0, 30.0, "", id="a size without a unit"),
    ],
)
def test_measures_are_in_the_unit_of_the_last_axis(
    tmp_path: Path, units: tuple[str | None, ...] | None, area: float, volume: float | None, unit: str
) -> None:
    store = LabelsStore.create(tmp_path / "x.zarr", SHAPE, replace(GEOMETRY, units=units))
    for z in BOXES[1][0]:
        store.labels[z] = mask_of(1)
    (row,) = Objects(store).rows()
    assert (row.area, row.unit) == (pytest.approx(area), unit)
    assert row.volume == (None if volume is None else pytest.approx(volume))


def test_the_table_is_written(objects: Objects, tmp_path: Path) -> None:
    objects.rename(3, "one, two")
    objects.write_csv(tmp_path / "objects.csv")
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["1", "2", "3"]
    assert (rows[2]["name"], rows[0]["centre_z"], float(rows[0]["volume"])) == ("one, two", "1.50", 30.0)


def test_categories_have_numbers_colours_and_a_map(store: LabelsStore, objects: Objects) -> None:
    objects.classify([1, 2], "nucleus")
    objects.classify([3], "debris")
    assert [(x.name, x.number) for x in objects.categories()] == [("nucleus", 1), ("debris", 2)]
    assert len({x.colour for x in objects.categories()}) == 2
    labels = store.array[0]
    assert_array_equal(objects.category_plane((0,)), np.select([labels == 2, labels == 3], [1, 2]))
    objects.classify([3], "")
    assert_array_equal(objects.category_plane((0,)), labels == 2)


@pytest.mark.parametrize("colour", ["red", "#f00", "#ff0000ff", "ff0000", "#ff00zz", "#ff0000\n", ""])
def test_a_colour_that_no_export_could_write_is_refused(objects: Objects, colour: str) -> None:
    with pytest.raises(ValueError, match="is not written as #rrggbb; give one such as #e69f00"):
        objects.add_category("nucleus", colour)
    assert objects.categories() == []
    assert objects.add_category("nucleus", "#FF0000").colour == "#FF0000"


def test_other_labels_are_imported_beside_what_is_there(store: LabelsStore, objects: Objects) -> None:
    before = store.array[:]
    other = np.zeros(SHAPE, np.int16)
    other[0, 10:20, 5:15] = 7
    other[1, 10:20, 5:15] = 7
    other[3, :3, :3] = 5
    step = objects.import_labels(other)
    assert step is not None and step.kind == "import"
    new = store.array[:]
    assert_array_equal(new[before > 0], before[before > 0])
    assert_array_equal(new[before == 0] == 4, other[before == 0] == 7)
    assert_array_equal(new[before == 0] == 5, other[before == 0] == 5)
    assert {x.making.source for x in store.ledger.origins(4)} == {"import"}
    store.undo()
    assert_array_equal(store.array[:], before)
    assert objects.import_labels(np.zeros(SHAPE, np.uint8)) is None


def test_labels_may_lack_axes_of_length_one(tmp_path: Path) -> None:
    store = LabelsStore.create(tmp_path / "one.zarr", (1, 1, *SHAPE[1:]), "tzyx")
    other = np.zeros(SHAPE[1:], np.int16)
    other[10:20, 5:15] = 7
    assert Objects(store).import_labels(zarr.array(other)) is not None
    assert_array_equal(store.array[0, 0] == 1, other == 7)
    with pytest.raises(ValueError, match=r"give whole numbers of the image's shape \(1, 1, 30, 40\)"):
        Objects(store).import_labels(np.zeros((1, *other.shape, 1), int))


def test_a_store_that_can_only_be_read_says_so(store: LabelsStore) -> None:
    second = LabelsStore.open(store.path)
    with pytest.raises(LabelsError, match="can only be read"):
        Objects(second).delete([1])
    with pytest.raises(LabelsError, match="can only be read"):
        Objects(second).add_category("x")
    assert len(Objects(second).rows()) == 3


def test_categories_are_read_after_the_end(store: LabelsStore, objects: Objects) -> None:
    """A layer that shows them may outlive its session."""
    objects.classify([1], "alive")
    shown = CategoryLabels(store)
    before = np.asarray(shown)
    store.close()
    assert_array_equal(shown[...], before)
    assert before.any()
