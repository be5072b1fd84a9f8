"""One HTTP request for a model's file, or for what is missing of it; pooch and requests do the talking."""

from __future__ import annotations

import shutil
import time
from typing import BinaryIO
from urllib.parse import urlsplit

import pooch
import requests

from napari_sam.weights.catalogue import ModelRow, readable_size
from napari_sam.weights.folder import FOLDER_VARIABLE, Report, models_folder, part_of, tag_of

# Small, so that a slow line is seen to move, and can be cancelled.
_CHUNK = 2**14
_REPORT_EVERY_S = 0.1
# How long a cancel may have to wait for, where the server says nothing.
CONNECT_S, SILENCE_S = 10.0, 10.0
# A file whose size nobody published may be this much larger than its parameters.
_MARGIN = 1.5


class DownloadError(OSError):
    """Weights that could not be downloaded; the message says how to get them otherwise."""


class Restart(requests.ConnectionError):
    """The server will not continue the part that is there."""


class Complete(requests.RequestException):
    """The part that is there is the whole file already."""


class TooLong(requests.RequestException):
    """More came than the file can have."""


def receive(row: ModelRow, report: Report) -> None:
    """Ask for what is missing of a model's file, and append what comes to its part.

    Raises
    ------
    requests.RequestException
        If the line is cut or the server refuses; what has come stays in the part.
    Restart, Complete, TooLong
        See there.
    DownloadError
        If the disk has no room for the file.
    """
    assert row.address is not None
    part, tag = part_of(row), tag_of(row)
    etag = tag.read_text(encoding="ascii", errors="replace") if tag.is_file() else ""
    if not etag and row.sha256 is None and row.xxh128 is None:
        part.unlink(missing_ok=True)  # nothing would tell that the two halves are of the same file
    with part.open("ab") as file:
        answer = _Answer(row, file)
        headers = {"Accept-Encoding": "identity"}
        if answer.offset:
            headers["Range"] = f"bytes={answer.offset}-"
            if etag:
                headers["If-Range"] = etag
        downloader = pooch.HTTPDownloader(
            progressbar=_Meter(answer, report),
            chunk_size=_CHUNK,
            timeout=(CONNECT_S, SILENCE_S),
            headers=headers,
            hooks={"response": answer.begin},
        )
        try:
            downloader(row.address, file, None)
        finally:
            answer.close()


class _Answer:
    """What the server answers: where in the file it goes on, and how long the whole will be."""

    def __init__(self, row: ModelRow, file: BinaryIO) -> None:
        self.file = file
        self.offset = file.tell()
        self.total = row.about_bytes
        self.longest = row.size or int(_MARGIN * row.about_bytes)
        self._row = row
        self._response: requests.Response | None = None

    def begin(self, response: requests.Response, *_args: object, **_kwargs: object) -> None:
        """Prepare the file for what follows the headers; requests calls this for every answer."""
        self._response = response
        asked, answered = (urlsplit(x).scheme for x in (self._row.address or "", response.url))
        if asked == "https" and answered != "https":
            raise requests.exceptions.InvalidURL(
                f"it leads to {response.url}, which anyone on the way can change"
            )
        if response.is_redirect:
            return
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            raise Complete if content_range == f"bytes */{self.offset}" else Restart
        if response.status_code == requests.codes.partial_content:
            if not content_range.startswith(f"bytes {self.offset}-"):
                raise Restart
        elif response.status_code == requests.codes.ok:
            self.offset = 0
            self.file.truncate(0)
            etag = response.headers.get("ETag", "")
            # A weak tag names no exact bytes.
            tag_of(self._row).write_text(
                "" if etag.startswith("W/") else etag, encoding="ascii", errors="replace"
            )
        else:
            return  # pooch raises
        if (length := response.headers.get("Content-Length", "")).isdecimal():
            self.total = self.offset + int(length)
            if self.total <= self.longest:
                self._make_room(int(length))

    def close(self) -> None:
        """Let go of the connection, also of one in the middle of the file."""
        if self._response is not None:
            self._response.close()

    def _make_room(self, needed: int) -> None:
        free = shutil.disk_usage(models_folder()).free
        if needed > free:
            raise DownloadError(
                f"{models_folder()} has {readable_size(free)} left, but {self._row.title} needs "
                f"{readable_size(needed)} more; make room, or name another folder by {FOLDER_VARIABLE}."
            )


class _Meter:
    """The progress bar that pooch asks for: it passes on what the file holds, not too often."""

    def __init__(self, answer: _Answer, report: Report) -> None:
        self.total = 0  # set by pooch, of this answer alone
        self._answer = answer
        self._report = report
        self._next = 0.0

    def update(self, _size: int) -> None:
        """Report, unless that was done a moment ago."""
        done = self._answer.file.tell()
        if done > self._answer.longest:
            raise TooLong
        if (now := time.monotonic()) >= self._next:
            self._next = now + _REPORT_EVERY_S
            self._report(done, self._answer.total)

    def reset(self) -> None:
        """Let the next update report: pooch fills its bar at the end."""
        self._next = 0.0

    def close(self) -> None:
        """Close nothing: nothing is open."""
