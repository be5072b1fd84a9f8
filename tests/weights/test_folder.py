"""A file in the folder of models is used only while it is the one that it should be."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from napari_sam.weights.catalogue import CATALOGUE, ModelRow
from napari_sam.weights.download import fetch
from napari_sam.weights.folder import (
    Weights,
    WrongFileError,
    check,
    is_here,
    models_folder,
    part_of,
    path_of,
    remove,
)
from weights.conftest import CONTENT


@pytest.fixture
def unpublished(row: ModelRow) -> ModelRow:
    """The same model, had nobody published its SHA-256."""
    return replace(row, sha256=None)


def put(row: ModelRow, content: bytes = CONTENT) -> Path:
    """Put a file into the folder by hand."""
    path = path_of(row)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_folder_is_in_the_cache_unless_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_SAM_MODELS", "~/shared")
    assert models_folder() == Path.home() / "shared"
    monkeypatch.delenv("NAPARI_SAM_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert models_folder().parts[-2:] == ("napari-sam", "models")


class TestPublishedHash:
    def test_the_right_file_gives_no_notes(self, row: ModelRow) -> None:
        path = put(row)
        assert check(row) == Weights(path, hashlib.sha256(CONTENT).hexdigest())

    @pytest.mark.parametrize("published", ["sha256", "xxh128"])
    def test_another_file_is_refused(self, row: ModelRow, published: str) -> None:
        hidden = {"sha256": "xxh128", "xxh128": "sha256"}[published]
        path = put(row, b"something else")
        with pytest.raises(
            WrongFileError, match=r"14 bytes.* is not the file that was published as Small model"
        ):
            check(replace(row, **{hidden: None}))
        assert path.exists()  # it may be dear to somebody

    def test_a_file_that_changed_after_its_check_is_refused(self, row: ModelRow) -> None:
        put(row)
        check(row)
        put(row, CONTENT[::-1])
        with pytest.raises(WrongFileError):
            check(row)

    def test_a_file_of_an_earlier_catalogue_is_refused(self, row: ModelRow) -> None:
        put(row)
        check(row)
        with pytest.raises(WrongFileError):
            check(replace(row, sha256="0" * 64))

    @pytest.mark.parametrize("record", ["", "{}", "[]", '{"digests": 1}', "\0"])
    def test_a_damaged_record_is_no_record(self, row: ModelRow, record: str) -> None:
        path = put(row, b"something else")
        path.with_name("small.pth.json").write_text(record)
        with pytest.raises(WrongFileError):
            check(row)


class TestFirstUse:
    def test_the_hash_is_recorded_and_the_user_told_once(self, unpublished: ModelRow) -> None:
        first = fetch(unpublished)
        (note,) = first.notes
        assert "no SHA-256 is published" in note and first.sha256 in note
        assert check(unpublished).notes == ()

    def test_another_file_in_its_place_is_refused(self, unpublished: ModelRow) -> None:
        unpublished = replace(unpublished, xxh128=None)
        first = fetch(unpublished)
        put(unpublished, b"something else")
        with pytest.raises(WrongFileError, match=f"another SHA-256 .* than at its first use .{first.sha256}"):
            check(unpublished)

    def test_the_same_file_with_another_date_is_not(self, unpublished: ModelRow) -> None:
        os.utime(fetch(unpublished).path, (0, 0))
        assert check(unpublished).notes == ()

    def test_to_remove_it_is_to_forget_it(self, unpublished: ModelRow) -> None:
        unpublished = replace(unpublished, xxh128=None)
        fetch(unpublished)
        remove(unpublished)
        put(unpublished, b"something else")
        assert len(check(unpublished).notes) == 1


class TestRemove:
    def test_nothing_of_the_model_stays(self, row: ModelRow) -> None:
        fetch(row)
        part_of(row).write_bytes(b"begun anew")
        assert remove(row) > len(CONTENT)
        assert not is_here(row)
        assert [path for path in models_folder().iterdir() if path.suffix != ".lock"] == []

    def test_what_is_not_there_cannot_be_removed(self, row: ModelRow) -> None:
        with pytest.raises(ValueError, match=r"small is not in .*models; there is nothing to remove"):
            remove(row)

    def test_the_bundled_model_cannot_be_removed(self) -> None:
        with pytest.raises(ValueError, match="nano ships with the package"):
            remove(CATALOGUE["nano"])
