"""Get a model's weights: one process at a time, resumed after a cut, checked before they are used."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from napari_sam.weights.catalogue import ModelRow, readable_size
from napari_sam.weights.folder import (
    Report,
    Weights,
    WrongFileError,
    adopt,
    check,
    ignore_report,
    is_here,
    models_folder,
    part_of,
    path_of,
    tag_of,
)
from napari_sam.weights.transfer import SILENCE_S, Complete, DownloadError, Restart, TooLong, receive

# Tries in a row that bring no byte; a line that is often cut may need any number of those that do.
_FRUITLESS_TRIES = 5
_PAUSE_S = 1.0
_LOOK_EVERY_S = 0.1
_SILENT = f"the server was silent for {SILENCE_S:.0f} seconds"


def fetch(row: ModelRow, report: Report = ignore_report) -> Weights:
    """Give a model's weights, downloaded first if they are not here.

    Any number of threads and processes may ask for the same model: one downloads, the others wait for it.

    Parameters
    ----------
    row
        Of the catalogue; not the bundled model.
    report
        Told the bytes that are there and those of the whole. It may raise to cancel: what has come stays, and
        the next call continues it.

    Raises
    ------
    DownloadError
        If the file cannot be had; the message names the address, and the folder to put the file into by hand.
    WrongFileError
        If a file that was already here is not the published one.
    """
    assert not row.is_bundled, "nothing to fetch"
    if is_here(row):
        return check(row)
    try:
        models_folder().mkdir(parents=True, exist_ok=True)
        with _alone(row, report):
            # Another process may have just finished.
            return check(row) if is_here(row) else _download(row, report)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{models_folder()} cannot be written ({error.strerror or error}). {_by_hand(row)}"
        ) from error


@contextmanager
def terminal_report(row: ModelRow) -> Iterator[Report]:
    """Show a download in the terminal: a line of words, and a bar where somebody watches."""
    bar: tqdm[Any] | None = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            what = f"{row.title} ({readable_size(row.about_bytes)}, licence {row.licence})"
            print(f"Downloading {what} from {row.address} to {path_of(row)}", file=sys.stderr, flush=True)
            bar = tqdm(total=total, unit="B", unit_scale=True, desc=row.key, disable=None, file=sys.stderr)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def _alone(row: ModelRow, report: Report) -> Iterator[None]:
    """Keep other threads and processes from the same download; show theirs while waiting for it."""
    path = path_of(row)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_LOOK_EVERY_S)
            break
        except Timeout:
            report(_size_of_part(row), row.about_bytes)
    try:
        yield
    finally:
        lock.release()


def _download(row: ModelRow, report: Report) -> Weights:
    """Receive the file, check it and move it to its place."""
    resumed = _size_of_part(row) > 0
    _receive_all(row, report)
    try:
        weights = adopt(row, part_of(row))
    except WrongFileError as error:
        size = _size_of_part(row)
        _forget_part(row)
        if resumed:  # what was left by an earlier try may be at fault
            return _download(row, report)
        raise DownloadError(
            f"{row.address} sent {size} bytes that are not the published file of {row.title}; they were "
            f"deleted. A proxy or a login page may have answered in its place. {_by_hand(row)}"
        ) from error
    _forget_part(row)
    return weights


def _receive_all(row: ModelRow, report: Report) -> None:
    """Receive until the server says that the file is complete; go on after a cut."""
    fruitless, furthest = 0, _size_of_part(row)
    while True:
        try:
            receive(row, report)
        except (Complete, TooLong):
            return  # the hash will tell
        except requests.RequestException as error:
            if not _may_pass(error):
                raise DownloadError(f"{row.address} cannot be had: {_why(error)}. {_by_hand(row)}") from error
            if isinstance(error, Restart):
                _forget_part(row)
            reached = _size_of_part(row)
            fruitless = 0 if reached > furthest else fruitless + 1
            furthest = max(reached, furthest)
            if fruitless >= _FRUITLESS_TRIES:
                kept = f" {readable_size(reached)} have come and are kept." if reached else ""
                raise DownloadError(
                    f"{row.title} could not be downloaded: {_why(error)}.{kept} {_by_hand(row)}"
                ) from error
            _pause(row, report)
        else:
            return


def _pause(row: ModelRow, report: Report) -> None:
    """Wait before the next try, in a way that can be cancelled."""
    end = time.monotonic() + _PAUSE_S
    while time.monotonic() < end:
        report(_size_of_part(row), row.about_bytes)
        time.sleep(_LOOK_EVERY_S)


def _may_pass(error: requests.RequestException) -> bool:
    """Whether another try may end better."""
    if isinstance(error, requests.HTTPError):
        status = 0 if error.response is None else error.response.status_code
        return status >= 500 or status == requests.codes.too_many_requests
    cut = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, cut) and not isinstance(error, requests.exceptions.SSLError)


def _why(error: requests.RequestException) -> str:
    """Say in a few words what went wrong."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    for kind, words in (
        (Restart, "the server does not continue an earlier download"),
        (requests.exceptions.ProxyError, "the proxy that HTTPS_PROXY names does not let it through"),
        (
            requests.exceptions.SSLError,
            "the server's certificate is not trusted (that of a proxy belongs into REQUESTS_CA_BUNDLE)",
        ),
        (requests.ConnectTimeout, "the server cannot be reached (behind a proxy, set HTTPS_PROXY)"),
        (requests.Timeout, _SILENT),
        (requests.exceptions.ChunkedEncodingError, "the connection was cut"),
        (requests.ConnectionError, "the server cannot be reached (behind a proxy, set HTTPS_PROXY)"),
    ):
        if isinstance(error, kind):
            # In the middle of a file, requests raises a silence as any other fault of the connection.
            return _SILENT if "Read timed out" in str(error) else words
    return str(error) or type(error).__name__


def _by_hand(row: ModelRow) -> str:
    """Say how to get the file without this program."""
    path = path_of(row)
    return (
        f"Try again later, or download {row.address} on another computer and put it into the folder "
        f"{path.parent} as {path.name}."
    )


def _forget_part(row: ModelRow) -> None:
    part_of(row).unlink(missing_ok=True)
    tag_of(row).unlink(missing_ok=True)


def _size_of_part(row: ModelRow) -> int:
    part = part_of(row)
    return part.stat().st_size if part.is_file() else 0
