"""What was annotated stays: on disk, as it was, whatever is annotated next to it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from ome_zarr_models.v05.image_label import ImageLabel

from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry
from napari_sam.storage.origins import Making

SHAPE = (5, 6, 7)
PLANE = Plane((1, 2), (3, 0, 0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cells.zarr"


@pytest.fixture
def store(path: Path) -> LabelsStore:
    return LabelsStore.create(path, SHAPE, "zyx")


def square(rows: slice, columns: slice, shape: tuple[int, int] = (6, 7)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


SQUARE = square(slice(1, 4), slice(2, 5))


def chunk_files(path: Path) -> dict[str, tuple[int, bytes]]:
    """What is on disk for each chunk, and when it was written."""
    folder = path / "0" / "c"
    return {
        file.relative_to(folder).as_posix(): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


def label_image(path: Path, level: str, zarr_format: Literal[2, 3] = 3) -> zarr.Array[Any]:
    """Labels as another program writes them, with one object, and the pixels of a coarser level beside it."""
    size = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
    multiscale = {
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
        "datasets": [
            {"path": level, "coordinateTransformations": size},
            {"path": "coarse", "coordinateTransformations": [{"type": "scale", "scale": [2.0, 1.0, 1.0]}]},
        ],
    }
    ome = {"multiscales": [multiscale], "image-label": {}}
    attributes = {"ome": {"version": "0.5", **ome}} if zarr_format == 3 else ome
    group = zarr.create_group(path, attributes=attributes, zarr_format=zarr_format)
    group.create_array("coarse", shape=(5, 3, 4), dtype="uint16")
    array = group.create_array(level, shape=SHAPE, chunks=(1, 3, 3), dtype="uint16")
    array[4, 5, 6] = 41
    return array


class TestCreate:
    @pytest.mark.parametrize("axes", ["yx", "zyx", "tyx", "tzyx", "czyx", "tczyx", "TZYX"])
    def test_is_a_valid_ome_zarr_label_image(self, path: Path, axes: str) -> None:
        shape, scale = range(2, 2 + len(axes)), np.arange(1, 1 + len(axes)) / 2
        units = ["second" if axis == "t" else "µm" if axis in "zyx" else None for axis in axes.lower()]
        geometry = Geometry(axes, scale, scale + 1, units)
        array = LabelsStore.create(path, shape, geometry).array
        assert (array.shape, array.dtype, array.metadata.zarr_format) == (tuple(shape), np.uint32, 3)
        described = ImageLabel.from_zarr(zarr.open_group(path, mode="r")).ome_attributes
        (multiscale,) = described.multiscales
        assert "".join(axis.name for axis in multiscale.axes) == axes
        assert [axis.type for axis in multiscale.axes][-2:] == ["space", "space"]
        assert multiscale.datasets[0].path == "0"
        placed = multiscale.datasets[0].coordinateTransformations
        assert (placed[0].scale, placed[1].translation) == (scale.tolist(), (scale + 1).tolist())
        expected = [{"µm": "micrometer"}.get(unit, unit) for unit in units]
        assert [axis.unit for axis in multiscale.axes] == expected
        reopened = LabelsStore.open(path).geometry
        assert (reopened.axes, reopened.pixel_size) == (axes, tuple(scale))
        assert (list(reopened.translation), list(reopened.units)) == ((scale + 1).tolist(), expected)

    @pytest.mark.parametrize("axes", ["mtczyx", "ab", "zcyx", "zyxt"])
    def test_axes_that_ngff_has_no_words_for_keep_their_sizes(self, path: Path, axes: str) -> None:
        scale, units = [0.5] * len(axes), ["micrometer"] * len(axes)
        geometry = Geometry(axes, scale, [*range(len(axes))], units)
        array = LabelsStore.create(path, range(2, 2 + len(axes)), geometry).array
        assert array.metadata.dimension_names == tuple(axes)
        again = LabelsStore.open(path, array.shape)
        assert again.next_label == 1 and again.geometry == geometry
        again.rename_axes(axes[::-1])
        assert again.geometry.scale == scale
        again.close()
        assert LabelsStore.open(path).geometry.axes == axes[::-1]

    def test_chunks_are_planes_and_parts_of_large_planes(self, path: Path) -> None:
        store = LabelsStore.create(path, (2, 3, 50, 3000), "tzyx")
        assert store.array.chunks == (1, 1, 50, 512)
        assert chunk_files(path) == {}

    def test_a_folder_that_is_missing_is_made(self, tmp_path: Path) -> None:
        path = tmp_path / "some" / "where" / "cells.zarr"
        LabelsStore.create(path, (4, 4), "yx")
        assert LabelsStore.open(str(path)).path == path

    def test_the_home_folder_is_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        LabelsStore.open_or_create("~/cells.zarr", (4, 4), "yx")
        assert (tmp_path / "cells.zarr").is_dir()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            pytest.param("notes", "exists already; open it, or choose another name", id="a foreign folder"),
            pytest.param("table.csv", "exists already", id="a file"),
            pytest.param(
                "table.csv/cells.zarr", r"cannot be stored at .*cells\.zarr \(Not a dir", id="below a file"
            ),
            pytest.param("x" * 300, r"cannot be stored at .*\(File name too long\)", id="a name too long"),
        ],
    )
    def test_refuses_a_place_it_cannot_have(self, tmp_path: Path, name: str, message: str) -> None:
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "monday.txt").write_text("kept")
        (tmp_path / "table.csv").write_text("kept")
        with pytest.raises(LabelsError, match=message):
            LabelsStore.create(tmp_path / name, (4, 4), "yx")
        assert {x.name for x in tmp_path.iterdir()} == {"notes", "table.csv"}
        assert (tmp_path / "table.csv").read_text() == "kept"

    def test_refuses_a_scale_of_another_length(self, path: Path) -> None:
        with pytest.raises(ValueError, match=r"\[2\.0\] has not one number for each axis of 'zyx'"):
            LabelsStore.create(path, SHAPE, Geometry("zyx", [2.0]))
        assert not path.exists()

    def test_what_exists_is_opened_not_made_anew(self, path: Path, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        again = LabelsStore.open_or_create(path, SHAPE, "zyx")
        assert_array_equal(again.read(PLANE), SQUARE)


class TestOpen:
    def test_nothing_is_lost(self, path: Path, store: LabelsStore) -> None:
        for z in (0, 4, 2):
            store.commit(Plane((1, 2), (z, 0, 0)), SQUARE)
        again = LabelsStore.open(path, SHAPE)
        expected = np.zeros(SHAPE, np.uint32)
        expected[[0, 4, 2]] = np.array([1, 2, 3])[:, None, None] * SQUARE
        assert_array_equal(again.array[:], expected, strict=True)
        assert again.next_label == 4

    def test_another_images_labels_are_refused(self, path: Path, store: LabelsStore) -> None:
        with pytest.raises(
            LabelsError, match=r"have shape \(5, 6, 7\), the image \(5, 7, 6\).*or a new name"
        ):
            LabelsStore.open(path, (5, 7, 6))
        with pytest.raises(LabelsError, match=r"the image \(6, 7\)"):
            LabelsStore.open_or_create(path, (6, 7), "yx")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(None, "no labels store", id="nothing"),
            pytest.param({}, "no labels store", id="an empty folder"),
            pytest.param({"notes.txt": "mine"}, "no labels store", id="a foreign folder"),
            pytest.param({"zarr.json": "mine"}, "no labels store", id="no JSON"),
            pytest.param({"zarr.json": "[]"}, "no labels store", id="JSON of another kind"),
            pytest.param({"zarr.json": "{}"}, "holds no integer array '0'", id="metadata that say nothing"),
            pytest.param(
                {"zarr.json": '{"zarr_format": 3, "node_type": "array"'},
                "no labels store",
                id="torn metadata",
            ),
            pytest.param(
                {"zarr.json": '{"zarr_format": 3, "node_type": "array"}'},
                "no labels store",
                id="half the metadata",
            ),
        ],
    )
    def test_a_folder_that_is_none_stays_as_it_is(
        self, path: Path, content: dict[str, str] | None, message: str
    ) -> None:
        if content is not None:
            path.mkdir()
            for name, text in content.items():
                (path / name).write_text(text)
        with pytest.raises(LabelsError, match=message):
            LabelsStore.open(path, SHAPE)
        assert path.exists() == (content is not None)
        assert {file.name: file.read_text() for file in path.glob("*")} == (content or {})

    @pytest.mark.parametrize("dtype", ["float32", "bool", "complex64"])
    def test_an_array_of_no_integers_is_refused(self, path: Path, dtype: str) -> None:
        zarr.create_array(path, shape=SHAPE, dtype=dtype)
        with pytest.raises(LabelsError, match="holds no integer array"):
            LabelsStore.open(path, SHAPE)

    @pytest.mark.parametrize(
        "attributes",
        [
            pytest.param({"ome": {"version": "0.5", "multiscales": []}}, id="NGFF 0.5"),
            pytest.param({"multiscales": []}, id="NGFF 0.4"),
        ],
    )
    def test_an_images_intensities_are_refused(self, path: Path, attributes: dict[str, Any]) -> None:
        zarr.create_group(path, attributes=attributes).create_array("0", shape=SHAPE, dtype=np.uint16)
        with pytest.raises(LabelsError, match="is an OME-Zarr image, not labels; choose"):
            LabelsStore.open(path, SHAPE)

    @pytest.mark.parametrize(
        "layout",
        [
            pytest.param({}, id="v3"),
            pytest.param({"chunk_key_encoding": {"name": "default", "separator": "."}}, id="v3, dots"),
            pytest.param({"chunk_key_encoding": {"name": "v2", "separator": "."}}, id="v3, keys of v2"),
            pytest.param({"shards": (2, 6, 6)}, id="v3, shards"),
            pytest.param({"zarr_format": 2}, id="v2"),
            pytest.param(
                {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}, id="v2, nested"
            ),
        ],
    )
    @pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
    def test_other_programs_labels_are_taken_up(self, path: Path, layout: dict[str, Any], dtype: str) -> None:
        array = zarr.create_array(path, shape=SHAPE, chunks=(1, 3, 3), dtype=dtype, **layout)
        array[4, 5, 6] = 41
        store = LabelsStore.open(path, SHAPE)
        assert store.commit(PLANE, SQUARE).label == 42
        assert_array_equal(zarr.open_array(path)[3], 42 * SQUARE.astype(dtype), strict=True)
        assert array[4, 5, 6] == 41

    @pytest.mark.parametrize("zarr_format", [2, 3])
    @pytest.mark.parametrize("level", ["s0", "scale/full"])
    def test_the_level_of_their_label_images_may_have_any_name(
        self, path: Path, level: str, zarr_format: Literal[2, 3]
    ) -> None:
        array = label_image(path, level, zarr_format)
        store = LabelsStore.open(path, SHAPE)
        assert store.geometry.scale == [2.0, 0.5, 0.5]
        assert store.commit(PLANE, SQUARE).label == 42
        store.close()
        assert_array_equal(array[3], 42 * SQUARE)
        assert array[4, 5, 6] == 41 and not (path / "0").exists()
        again = LabelsStore.open(path, SHAPE)
        assert [x.label for x in again.ledger.objects()] == [41, 42]

    def test_their_axes_are_renamed_where_their_level_is(self, path: Path) -> None:
        label_image(path, "s0")
        store = LabelsStore.open(path)
        with pytest.raises(ValueError, match="no words for the axes 'ytx'"):
            store.rename_axes("ytx")  # which would leave nothing that names the level
        store.rename_axes("tyx")
        store.close()
        again = LabelsStore.open(path, SHAPE)
        assert (again.geometry.axes, again.geometry.scale) == ("tyx", [2.0, 0.5, 0.5])
        assert again.array.metadata.dimension_names == ("t", "y", "x") and again.array[4, 5, 6] == 41

    def test_the_axes_of_an_array_alone_are_renamed(self, path: Path) -> None:
        zarr.create_array(path, shape=SHAPE, dtype="uint16")
        store = LabelsStore.open(path)
        store.rename_axes("nyx")
        store.close()
        assert LabelsStore.open(path).geometry.axes == "nyx"

    @pytest.mark.parametrize(
        ("multiscales", "message"),
        [
            pytest.param([], "no labels store, or not a whole one", id="no image"),
            pytest.param([{"datasets": []}], "no labels store, or not a whole one", id="no level"),
            pytest.param(
                [{"datasets": [{"path": "s0"}]}], "no integer array 's0'", id="a level that is gone"
            ),
        ],
    )
    def test_label_images_without_their_level_are_refused(
        self, path: Path, multiscales: list[Any], message: str
    ) -> None:
        ome = {"version": "0.5", "multiscales": multiscales, "image-label": {}}
        zarr.create_group(path, attributes={"ome": ome})
        with pytest.raises(LabelsError, match=message):
            LabelsStore.open(path)


class TestCommit:
    def test_a_new_object_keeps_what_is_there(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.commit(PLANE, np.ones((6, 7), bool))
        assert_array_equal(store.read(PLANE), np.where(SQUARE, 1, 2))
        assert np.count_nonzero(store.array[:]) == 42

    @settings(max_examples=40)
    @given(data=st.data())
    def test_others_pixels_never_change(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        store = LabelsStore.create(tmp_path_factory.mktemp("labels") / "cells.zarr", (3, 4, 5), "zyx")
        volume = data.draw(arrays(np.uint32, (3, 4, 5), elements=st.integers(0, 9)))
        store.labels[:] = volume
        store.labels[0, 0, 0] = 9  # so that the next label is 10
        volume[0, 0, 0] = 9
        store.end_stroke()
        displayed = data.draw(st.sampled_from(list(permutations(range(3), 2))))
        plane = Plane.at(displayed, [data.draw(st.integers(0, n - 1)) for n in volume.shape])
        before = plane.to_plane(volume[plane.index()])
        mask = data.draw(arrays(bool, before.shape))
        expected = volume.copy()
        expected[plane.index()] = plane.to_plane(np.where(mask & (before == 0), 10, before))
        if np.array_equal(expected, volume):
            with pytest.raises(ValueError, match=r"is empty|already annotated"):
                store.commit(plane, mask)
            assert_array_equal(store.array[:], volume)
        else:
            store.commit(plane, mask)
            assert_array_equal(store.array[:], expected)
            store.undo()
            assert_array_equal(store.array[:], volume)
            store.redo()
            assert_array_equal(store.array[:], expected)

    def test_only_the_chunks_under_the_mask_are_written(self, path: Path) -> None:
        store = LabelsStore.create(path, (3, 2100, 1100), "zyx")
        corner = square(slice(5, 30), slice(508, 518), (2100, 1100))
        store.commit(Plane((1, 2), (1, 0, 0)), corner)
        first = chunk_files(path)
        assert set(first) == {"1/0/0", "1/0/1"}
        store.commit(Plane((1, 2), (1, 0, 0)), square(slice(2090, 2100), slice(0, 9), (2100, 1100)))
        second = chunk_files(path)
        assert set(second) == {"1/0/0", "1/0/1", "1/4/0"}
        assert {key: second[key] for key in first} == first

    def test_through_the_planes_of_a_stack(self, path: Path, store: LabelsStore) -> None:
        """An object in an XZ plane, columns first: one row of each YX plane."""
        mask = square(slice(2, 6), slice(1, 3), (7, 5))
        store.commit(Plane.at((2, 0), (0, 4, 0)), mask)
        expected = np.zeros(SHAPE, np.uint32)
        expected[1:3, 4, 2:6] = 1
        assert_array_equal(LabelsStore.open(path).array[:], expected)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            pytest.param(np.zeros((6, 7), bool), "mask is empty; there is nothing to commit", id="empty"),
            pytest.param(SQUARE, r"already annotated \(label 1\); erase", id="all annotated"),
            pytest.param(SQUARE.T, r"shape \(7, 6\), the plane \(6, 7\)", id="of another plane"),
            pytest.param(np.ones((60, 70), bool), "give a mask of the plane", id="too large"),
        ],
    )
    def test_a_mask_that_leaves_nothing_to_write(
        self, store: LabelsStore, mask: NDArray[np.bool_], message: str
    ) -> None:
        store.commit(PLANE, SQUARE)
        before = store.array[:]
        with pytest.raises(ValueError, match=message):
            store.commit(PLANE, mask)
        assert_array_equal(store.array[:], before)
        assert store.next_label == 2

    def test_labels_painted_by_hand_are_not_given_again(self, path: Path, store: LabelsStore) -> None:
        store.labels[0, 0, :2] = 7, 3
        assert store.commit(PLANE, SQUARE).label == 8
        assert LabelsStore.open(path).next_label == 9

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            pytest.param(np.full(SHAPE[1:], -1), "-1 is no label; write numbers from 1 on", id="an array"),
            pytest.param(-1, "-1 is no label", id="a number"),
            pytest.param(np.array([[1.0], [np.nan]] * 3), "nan is no label", id="not a number"),
            pytest.param(1.7, "1.7 is no label; write whole numbers, such as 1", id="broken"),
            pytest.param(np.int64(2**32), "hold no label beyond 4294967295", id="too high"),
        ],
    )
    def test_what_is_no_label_is_not_painted(self, store: LabelsStore, value: Any, message: str) -> None:
        with pytest.raises(LabelsError, match=message):
            store.labels[0] = value
        assert not store.array[:].any()
        assert store.commit(PLANE, SQUARE).label == 1

    def test_labels_beyond_32_bits_stay_whole(self, path: Path) -> None:
        array = zarr.create_array(path, shape=(6, 7), dtype=np.int64)
        array[2, 2], array[0, 0] = 2**40, -1
        commit = LabelsStore.open(path).commit(Plane((0, 1), (0, 0)), np.ones((6, 7), bool))
        assert (commit.label, array[2, 2], array[0, 0], array[1, 1]) == (2**40 + 1, 2**40, -1, 2**40 + 1)

    def test_the_mask_prompt_of_a_large_plane_is_read_back(self, path: Path) -> None:
        store = LabelsStore.create(path, (2, 20_000), "yx")
        mask = np.zeros((2, 20_000), bool)
        mask[:, 19_000:] = True
        store.commit(Plane((0, 1), (0, 0)), mask, Making("click", Prompt(mask=mask)))
        (origin,) = store.ledger.origins()
        assert origin.making.prompt.mask is not None
        assert_array_equal(origin.making.prompt.mask, mask)

    def test_a_dtype_that_is_used_up_says_so(self, path: Path) -> None:
        labels = np.zeros(SHAPE, np.int8)
        labels[1:].flat[:127] = range(1, 128)
        array = zarr.create_array(path, data=labels)
        with pytest.raises(LabelsError, match="are int8 and hold no label beyond 127; go on in a new store"):
            LabelsStore.open(path).commit(PLANE, SQUARE)
        assert_array_equal(array[:], labels)

    def test_where_the_dtype_ends_labels_that_nobody_has_are_given(self, path: Path) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[1, 0, :3] = 1, 3, 255
        zarr.create_array(path, data=labels)
        store = LabelsStore.open(path)
        assert [store.commit(PLANE, SQUARE).label, store.next_label] == [2, 4]
        store.close()

    def test_one_stroke_of_the_highest_label_uses_none_up(self, path: Path, store: LabelsStore) -> None:
        store.labels[0, 0, 0] = 2**32 - 1
        store.undo()
        assert store.commit(PLANE, SQUARE).label == 1

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, float])
    def test_a_mask_that_is_not_boolean_is_refused(self, store: LabelsStore, dtype: type[Any]) -> None:
        """As an index it would mean two rows, the first and the second."""
        with pytest.raises(ValueError, match="give a boolean one, such as labels == 3"):
            store.commit(PLANE, SQUARE.astype(dtype))
        assert not store.array[:].any()

    def test_no_object_is_refined_inside_itself(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        with pytest.raises(ValueError, match="object 1 cannot be refined inside itself"):
            store.commit(PLANE, SQUARE, label=1, overlap="inside", inside=1)

    def test_a_place_that_cannot_be_written_loses_nothing(self, path: Path, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        blocked = path / "0" / "c" / "2"
        blocked.write_text("a file where a folder has to be")
        elsewhere = Plane((1, 2), (2, 0, 0))
        with pytest.raises(LabelsError, match=r"cannot be written .*\. Free some space"):
            store.commit(elsewhere, SQUARE)
        blocked.unlink()
        # Part of the failed one may be on disk, so its number is not given again.
        assert store.commit(elsewhere, SQUARE).label == 3
        assert_array_equal(LabelsStore.open(path).read(PLANE), SQUARE)


class TestUndo:
    def test_gives_back_what_was_there(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.commit(PLANE, np.ones((6, 7), bool))
        store.undo()
        assert_array_equal(store.read(PLANE), SQUARE)

    def test_keeps_what_was_written_past_the_ledger(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.array[3, 2, 3] = 9
        store.undo()
        expected = np.zeros((6, 7))
        expected[2, 3] = 9
        assert_array_equal(store.read(PLANE), expected)

    def test_does_not_free_the_label(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.undo()
        assert store.commit(PLANE, SQUARE).label == 2

    def test_has_no_limit_and_outlives_the_process(self, path: Path, store: LabelsStore) -> None:
        volumes = [store.array[:]]
        for number in range(30):
            plane = Plane((1, 2), (number % 5, 0, 0))
            row = number // 5
            store.commit(plane, square(slice(row, row + 1), slice(1, 6)))
            volumes.append(store.array[:])
        for expected in volumes[-2::-1]:
            store.close()
            store = LabelsStore.open(path)
            assert store.undo() is not None
            assert_array_equal(store.array[:], expected)
        assert store.undo() is None
        for expected in volumes[1:]:
            store.close()
            store = LabelsStore.open(path)
            assert store.redo() is not None
            assert_array_equal(store.array[:], expected)
        assert store.redo() is None

    def test_something_new_ends_redo(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.commit(PLANE, square(slice(4, 6), slice(0, 7)))
        store.undo()
        store.undo()
        store.commit(PLANE, square(slice(5, 6), slice(0, 7)))
        assert store.redo() is None
        assert [info.label for info in store.ledger.objects()] == [3]


class TestOverlap:
    @settings(max_examples=100)
    @given(share=st.integers(1, 100), seed=st.integers(0, 2**31))
    def test_in_keep_mode_no_committed_pixel_changes(
        self, tmp_path_factory: pytest.TempPathFactory, share: int, seed: int
    ) -> None:
        """The new mask covers so many percent of the object that is there."""
        store = LabelsStore.create(tmp_path_factory.mktemp("labels") / "cells.zarr", (20, 30), "yx")
        plane, rng = Plane((0, 1), (0, 0)), np.random.default_rng(seed)
        first = square(slice(0, 10), slice(0, 10), (20, 30))
        store.commit(plane, first)
        covered = rng.permutation(np.flatnonzero(first))[: share * first.sum() // 100]
        second = square(slice(10, 20), slice(5, 25), (20, 30))
        second.flat[covered] = True
        store.commit(plane, second)
        assert_array_equal(store.array[:] == 1, first)
        assert_array_equal(store.array[:] == 2, second & ~first)

    @pytest.mark.parametrize(
        ("overlap", "inside", "expected"),
        [
            pytest.param("keep", None, [1, 1, 1, 2, 2, 2, 3, 3, 0], id="keep"),
            pytest.param("replace", None, [1, 3, 3, 3, 3, 3, 3, 3, 0], id="replace"),
            pytest.param("inside", 1, [1, 3, 3, 2, 2, 2, 0, 0, 0], id="inside one"),
            pytest.param("inside", 2, [1, 1, 1, 3, 3, 3, 0, 0, 0], id="all of another"),
        ],
    )
    def test_modes(self, path: Path, overlap: Any, inside: int | None, expected: list[int]) -> None:
        store = LabelsStore.create(path, (1, 9), "yx")
        plane = Plane((0, 1), (0, 0))
        store.commit(plane, np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0]], bool))
        store.commit(plane, np.array([[0, 0, 0, 1, 1, 1, 0, 0, 0]], bool))
        store.commit(plane, np.array([[0, 1, 1, 1, 1, 1, 1, 1, 0]], bool), overlap=overlap, inside=inside)
        assert store.array[0].tolist() == expected
        there = set(expected) - {0}
        assert {info.label for info in store.ledger.objects()} == there
        store.undo()
        assert store.array[0].tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 0]
        assert [info.label for info in store.ledger.objects()] == [1, 2]

    def test_refined_inside_another_it_keeps_what_it_has_and_gives_the_rest_back(self, path: Path) -> None:
        store = LabelsStore.create(path, (1, 9), "yx")
        plane = Plane((0, 1), (0, 0))
        store.commit(plane, np.array([[0, 1, 1, 1, 1, 1, 1, 1, 0]], bool))
        store.commit(plane, np.array([[0, 0, 1, 1, 1, 0, 0, 0, 0]], bool), overlap="inside", inside=1)
        store.commit(
            plane, np.array([[0, 0, 0, 1, 1, 1, 1, 1, 1]], bool), label=2, overlap="inside", inside=1
        )
        assert store.array[0].tolist() == [0, 1, 1, 2, 2, 2, 2, 2, 0]

    @pytest.mark.parametrize(
        ("overlap", "inside", "message"),
        [
            pytest.param("over", None, "'over' is unknown; choose keep, replace or inside", id="unknown"),
            pytest.param("inside", None, "give overlap='inside' and the label", id="inside of nothing"),
            pytest.param("keep", 1, "do not belong together", id="a label too many"),
            pytest.param("inside", 1, "No pixel of the mask lies in the object 1", id="elsewhere"),
            pytest.param("inside", 7, "There is no object 7", id="inside of none"),
        ],
    )
    def test_that_are_wrong_change_nothing(
        self, store: LabelsStore, overlap: Any, inside: int | None, message: str
    ) -> None:
        store.commit(PLANE, SQUARE)
        with pytest.raises(ValueError, match=message):
            store.commit(PLANE, square(slice(5, 6), slice(0, 2)), overlap=overlap, inside=inside)
        assert_array_equal(store.read(PLANE), SQUARE)
        assert len(store.ledger.steps()) == 1


class TestRefine:
    def test_replaces_the_objects_own_mask_alone(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.commit(PLANE, square(slice(1, 4), slice(5, 7)))
        assert store.commit(PLANE, square(slice(0, 2), slice(3, 7)), label=1).kind == "refine"
        expected = np.zeros((6, 7))
        expected[0, 3:7], expected[1, 3:5], expected[1:4, 5:7] = 1, 1, 2
        assert_array_equal(store.read(PLANE), expected)
        store.undo()
        assert_array_equal(store.read(PLANE) == 1, SQUARE)

    def test_on_another_plane_the_object_grows(self, store: LabelsStore) -> None:
        store.commit(PLANE, SQUARE)
        store.commit(Plane((1, 2), (4, 0, 0)), SQUARE, label=1)
        store.commit(Plane.at((2, 0), (0, 5, 0)), square(slice(2, 3), slice(0, 5), (7, 5)), label=1)
        expected = np.zeros(SHAPE)
        expected[3:5] = SQUARE
        expected[:, 5, 2] = 1
        assert_array_equal(store.array[:], expected)
        assert store.ledger.extents() == {1: (5, 9 + 9 + 5)}

    def test_needs_an_object(self, store: LabelsStore) -> None:
        with pytest.raises(ValueError, match="There is no object 4"):
            store.commit(PLANE, SQUARE, label=4)
