"""Views across the chunks of labels: the pixels that zarr gives, without decoding every chunk each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.storage import sections
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.sections import Sections

SHAPE = (40, 24, 30)


@pytest.fixture
def array(tmp_path: Path) -> zarr.Array[Any]:
    """Forty planes in chunks of one; on every third there are labels."""
    made = zarr.create_array(tmp_path / "labels.zarr", shape=SHAPE, chunks=(1, 24, 30), dtype="u4")
    rng = np.random.default_rng(0)
    for z in range(0, 40, 3):
        made[z] = rng.integers(0, 5, SHAPE[1:])
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Receives the size of each chunk that is decoded for a section."""
    sizes, of = list[int](), sections._Runs.of

    def counted(chunk: Any) -> Any:
        sizes.append(chunk.size)
        return of(chunk)

    monkeypatch.setattr(sections._Runs, "of", counted)
    return sizes


@pytest.mark.parametrize("key", [np.s_[:, 5], np.s_[:, :, 7], np.s_[3:35, 2, 4:9], np.s_[..., -1]], ids=str)
def test_a_chunk_is_decoded_once_and_only_where_there_is_one(
    array: zarr.Array[Any], decoded: list[int], key: Any
) -> None:
    seen = Sections(array)
    for _ in range(2):
        np.testing.assert_array_equal(seen[key], array[key])
    assert len(decoded) == len(range(3, 35, 3)) if key[0] == slice(3, 35) else len(decoded) == 14
    np.testing.assert_array_equal(seen[:, 20, 3:], array[:, 20, 3:])
    assert len(decoded) == 14


def test_what_is_read_ahead_is_not_decoded_again(array: zarr.Array[Any], decoded: list[int]) -> None:
    seen = Sections(array)
    seen.read_ahead()
    assert len(decoded) == 14
    np.testing.assert_array_equal(seen[:, 5], array[:, 5])
    assert len(decoded) == 14
    array[3, 5] = 8
    seen.read_ahead([np.s_[2:5, 0:6, 0:6]])
    assert len(decoded) == 15, "planes 2 and 4 have none"
    assert (seen[:, 5][3] == 8).all() and len(decoded) == 15


def test_reading_ahead_leaves_room_and_can_be_ended(array: zarr.Array[Any], decoded: list[int]) -> None:
    seen = Sections(array, most_bytes=20_000)
    seen.read_ahead()
    assert 0 < len(decoded) < 6 and seen._used <= 20_000

    def stop() -> None:
        if len(decoded) == 3:
            raise InterruptedError

    decoded.clear()
    with pytest.raises(InterruptedError):
        Sections(array).read_ahead(check=stop)
    assert len(decoded) == 3


def test_what_cannot_be_read_ahead_is_left_out(
    array: zarr.Array[Any], tmp_path: Path, decoded: list[int]
) -> None:
    (tmp_path / "labels.zarr" / "c" / "3" / "0" / "0").write_bytes(b"torn")
    Sections(array).read_ahead()
    assert len(decoded) == 13


def test_what_anyone_writes_is_seen(array: zarr.Array[Any], tmp_path: Path, decoded: list[int]) -> None:
    seen = Sections(array)
    assert not seen[:, 5][1].any()
    elsewhere = zarr.open_array(tmp_path / "labels.zarr", mode="r+")
    elsewhere[1] = 7  # which had no chunk
    elsewhere[3, 5] = 8
    decoded.clear()
    found = seen[:, 5]
    assert (found[1] == 7).all() and (found[3] == 8).all()
    assert len(decoded) == 2
    elsewhere[1] = 0  # zarr deletes the chunk
    assert not seen[:, 5][1].any()


def test_what_is_kept_has_a_bound(array: zarr.Array[Any], decoded: list[int]) -> None:
    seen = Sections(array, most_bytes=20_000)  # of four planes or so
    for _ in range(2):
        np.testing.assert_array_equal(seen[:, 5], array[:, 5])
    assert len(decoded) == 28
    assert 0 < seen._used <= 20_000


@pytest.mark.parametrize(
    "key", [4, np.s_[:, 2:20], np.s_[::2, 5], np.s_[0:6, 3], [0, 2], np.s_[9:9, 5]], ids=str
)
def test_all_else_is_left_to_zarr(array: zarr.Array[Any], decoded: list[int], key: Any) -> None:
    np.testing.assert_array_equal(Sections(array)[key], array[key])
    assert not decoded


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"zarr_format": 2}, id="v2"),
        pytest.param({"zarr_format": 3}, id="v3"),
        pytest.param({"shards": (4, 6, 8)}, id="shards"),
        pytest.param({"fill_value": 9}, id="filled"),
    ],
)
def test_labels_of_other_programs_are_seen_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    """In chunks of several planes that do not divide the array, of which some are not there."""
    monkeypatch.setattr(sections, "_FEW_CHUNKS", 1)
    monkeypatch.setattr(sections, "_SHARE", 1.0)
    array = zarr.create_array(tmp_path, shape=(10, 7, 11), chunks=(2, 3, 4), dtype="i2", **arguments)
    array[1:5, 2:6] = np.arange(4 * 4 * 11).reshape(4, 4, 11) // 3
    seen = Sections(array)
    for key in np.ndindex(11):
        np.testing.assert_array_equal(seen[..., key[0]], array[..., key[0]])
    for key in (np.s_[:, 3], np.s_[9, 2, 1], np.s_[1:9, -2], np.s_[2:, 1:6, 5], np.s_[...]):
        found, expected = seen[key], array[key]
        np.testing.assert_array_equal(found, expected)
        assert np.asarray(found).dtype == np.asarray(expected).dtype


WHOLE = np.random.default_rng(0).integers(0, 3, (18, 3, 12, 9)).astype("u1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> zarr.Array[Any]:
    folder = tmp_path_factory.mktemp("labels")
    array = zarr.create_array(folder, shape=WHOLE.shape, chunks=(1, 1, 5, 9), dtype="u1")
    array[:] = WHOLE
    return array


@given(st.data())
def test_any_index_gives_what_numpy_gives(whole: zarr.Array[Any], data: st.DataObject) -> None:
    entries: list[Any] = []
    for length in WHOLE.shape:
        start, stop = sorted(data.draw(st.tuples(*[st.integers(-length, length)] * 2)))
        number = data.draw(st.integers(-length, length - 1))
        kinds = [number, slice(None), slice(start, stop), slice(start, None)]
        entries.append(data.draw(st.sampled_from(kinds)))
    key = tuple(entries[: data.draw(st.integers(1, 4))])
    np.testing.assert_array_equal(Sections(whole)[key], WHOLE[key])


def test_a_view_across_the_planes_shows_what_was_committed(tmp_path: Path) -> None:
    store = LabelsStore.create(tmp_path / "labels.zarr", SHAPE, "zyx")
    assert not store.labels[:, 10].any()
    for z in (0, 17, 39):
        store.labels[z, 8:12, 5:9] = z + 1
        store.end_stroke()
    assert np.unique(store.labels[:, 10]).tolist() == [0, 1, 18, 40]
    store.undo()
    assert np.unique(store.labels[:, 10]).tolist() == [0, 1, 18]
    store.close()
