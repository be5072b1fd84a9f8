"""The folder of downloaded models: what is there, and whether each file is what it should be."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs
import xxhash

from napari_sam.weights.catalogue import ModelRow

FOLDER_VARIABLE = "NAPARI_SAM_MODELS"
_BLOCK = 2**20
_log = logging.getLogger(__name__)

# Told the bytes that are there and those of the whole file; raising in it ends what is going on.
Report = Callable[[int, int], None]


def ignore_report(done: int, total: int) -> None:
    """Take a report and do nothing with it."""


class WrongFileError(ValueError):
    """A file that is not the one that the catalogue means; it is not used."""


@dataclass(frozen=True)
class Weights:
    """A file of weights whose hash is known.

    Attributes
    ----------
    notes
        What the user should be told of it.
    """

    path: Path
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Digests:
    sha256: str
    xxh128: str


@dataclass(frozen=True)
class _Record:
    """What was found when a file was hashed: an unchanged file need not be hashed again."""

    digests: _Digests
    size: int
    modified_ns: int


def models_folder() -> Path:
    """Give the folder that holds the models: the user's cache, or what ``NAPARI_SAM_MODELS`` names."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("napari-sam") / "models"


def path_of(row: ModelRow) -> Path:
    """Give the place of a model's file, whether it is there or not."""
    return models_folder() / row.file


def is_here(row: ModelRow) -> bool:
    """Whether the model can be loaded without a download."""
    return row.is_bundled or path_of(row).is_file()


def check(row: ModelRow) -> Weights:
    """Hash a model's file that is there, unless it did not change since that was done, and compare.

    Raises
    ------
    WrongFileError
        If the file differs from the published one, or from what was recorded at its first use.
    """
    path = path_of(row)
    status = path.stat()
    record = _read_record(path)
    if record is not None and (record.size, record.modified_ns) == (status.st_size, status.st_mtime_ns):
        _compare(row, path, record.digests, record)
        return Weights(path, record.digests.sha256)
    digests = _digests(path)
    _compare(row, path, digests, record)
    return Weights(path, digests.sha256, _write_record(row, path, digests, record))


def adopt(row: ModelRow, downloaded: Path) -> Weights:
    """Check a downloaded file, and only then move it, in one step, to where it is used.

    Raises
    ------
    WrongFileError
        If it is not what the catalogue says; it stays where it is.
    """
    path = path_of(row)
    digests = _digests(downloaded)
    _compare(row, downloaded, digests, None)
    downloaded.replace(path)
    return Weights(path, digests.sha256, _write_record(row, path, digests, None))


def remove(row: ModelRow) -> int:
    """Delete a model's file with all that belongs to it, and give the bytes that this frees.

    Raises
    ------
    ValueError
        If the model is bundled, or was not downloaded.
    """
    if row.is_bundled:
        raise ValueError(f"{row.key} ships with the package; there is nothing to remove.")
    path = path_of(row)
    present = [x for x in (path, part_of(row), tag_of(row), _record_path(path)) if x.is_file()]
    if not present:
        raise ValueError(f"{row.key} is not in {path.parent}; there is nothing to remove.")
    freed = sum(x.stat().st_size for x in present)
    for x in present:
        x.unlink()
    return freed


def part_of(row: ModelRow) -> Path:
    """Give the place of a download that is not complete."""
    return path_of(row).with_name(f"{row.file}.part")


def tag_of(row: ModelRow) -> Path:
    """Give the place of the server's name for the version of which `part_of` is a part."""
    return path_of(row).with_name(f"{row.file}.part.etag")


def _digests(path: Path) -> _Digests:
    """Compute both hashes in one pass."""
    sha256, xxh128 = hashlib.sha256(), xxhash.xxh128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            xxh128.update(block)
    return _Digests(sha256.hexdigest(), xxh128.hexdigest())


def _compare(row: ModelRow, path: Path, digests: _Digests, record: _Record | None) -> None:
    """Raise if a hash is not the published one, or where no SHA-256 is, not that of the first use."""
    published = [
        (known, found)
        for known, found in ((row.sha256, digests.sha256), (row.xxh128, digests.xxh128))
        if known is not None
    ]
    if any(known != found for known, found in published):
        raise WrongFileError(
            f"{path} ({path.stat().st_size} bytes, SHA-256 {digests.sha256}) is not the file that was "
            f"published as {row.title}, and is not used. Remove it (napari-sam models remove {row.key}) and "
            f"get it from {row.address}"
        )
    if row.sha256 is None and record is not None and record.digests != digests:
        raise WrongFileError(
            f"{path} has another SHA-256 ({digests.sha256}) than at its first use "
            f"({record.digests.sha256}), and is not used. If you know why, forget it "
            f"(`napari-sam models remove {row.key}`) and get it anew."
        )


def _write_record(row: ModelRow, path: Path, digests: _Digests, earlier: _Record | None) -> tuple[str, ...]:
    """Write down what a file's hashes are, and give what the user should know of them."""
    status = path.stat()
    content = asdict(_Record(digests, status.st_size, status.st_mtime_ns))
    target = _record_path(path)
    new = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(target)
    except OSError as error:
        # A folder that many share may be read-only; its files are then hashed at every use.
        _log.info("%s cannot be written (%s).", target, error)
        recorded = "could not be recorded, so a later change will not be noticed"
    else:
        recorded = "was recorded, and a file with another one will be refused"
    if row.sha256 is not None or earlier is not None:
        return ()
    return (f"{row.title}: no SHA-256 is published. That of this file, {digests.sha256}, {recorded}.",)


def _read_record(path: Path) -> _Record | None:
    try:
        content = json.loads(_record_path(path).read_text(encoding="utf-8"))
        digests = _Digests(str(content["digests"]["sha256"]), str(content["digests"]["xxh128"]))
        return _Record(digests, int(content["size"]), int(content["modified_ns"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or not whole: the file is hashed again


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
