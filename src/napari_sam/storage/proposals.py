"""Proposals that were made once: a file for each plane, so that a run that was ended goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.inference.automatic import Generation, prompts_of
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.proposals import Proposals
from napari_sam.runs import MaskRuns
from napari_sam.storage.aside import write_whole
from napari_sam.storage.errors import UNREADABLE, reason_of

# Part of every file's name: raise it when the same model proposes otherwise, or when the files change.
_VERSION = 2
_FOLDER = "proposals"
_ENDING = ".npz"
# What all files may take; the least recently used go first, until so much of it is free again.
_BUDGET_BYTES = 2**30
_SLACK = 0.1
# After so long a disk that could not be written is tried again.
_AGAIN_S = 60.0
_NUMBERS = ("scores", "stability", "areas", "boxes", "points", "crops")
_WORDS = ("shape", "prompts", "score_floor", "stability_floor", "crop_count", "message")
_log = logging.getLogger(__name__)


class ProposalFiles:
    """Keep the proposals of planes on disk; safe to use from several threads and processes.

    A file is named after all that its proposals depend on: the plane's pixels and contrast, the model with
    its precision, and how it was asked. So what was edited or asked otherwise is never taken for it. It
    appears under its name when it is whole; and one that is damaged is as good as none.

    Parameters
    ----------
    folder
        That of the embeddings, of which these files are beside; None keeps nothing.
    predictor
        The model.
    budget
        How many bytes all files may take.

    Attributes
    ----------
    problem
        Why nothing can be kept at the moment, such as that the disk is full; None as long as it can.
    """

    def __init__(self, folder: Path | None, predictor: Predictor, budget: int = _BUDGET_BYTES) -> None:
        self._folder = None if folder is None else folder / _FOLDER
        self._predictor = predictor
        self._budget = budget
        self._room = 0  # what may be written before the folder is looked through again
        self._lock = threading.Lock()
        self.problem: str | None = None
        self._again = 0.0

    def get(self, digest: bytes, generation: Generation) -> Proposals | None:
        """Give the proposals of the plane whose pixels have ``digest``, if they were made in this way."""
        if self._folder is None:
            return None
        path = self._path(self._folder, digest, generation)
        try:
            proposals = _decoded(path.read_bytes())
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            _log.info("The proposals in %s cannot be read (%s); they are made anew.", path, error)
            return None
        with suppress(OSError):  # the time of last use
            os.utime(path)
        return proposals

    def put(self, digest: bytes, generation: Generation, proposals: Proposals) -> None:
        """Keep proposals; where the disk refuses, `problem` says why for a minute, and nothing is kept."""
        if self._folder is None or (self.problem is not None and time.monotonic() < self._again):
            return
        path = self._path(self._folder, digest, generation)
        content = _encoded(proposals)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)  # the user may have removed it meanwhile
            self._make_room(self._folder, len(content))
            write_whole(path, content)
            self.problem = None
        except OSError as error:
            self._again = time.monotonic() + _AGAIN_S
            self.problem = f"Proposals are not kept: {self._folder} cannot be written ({reason_of(error)})."
            _log.warning(self.problem)

    def _path(self, folder: Path, digest: bytes, generation: Generation) -> Path:
        identity = self._predictor.identity
        asked = {x.name: getattr(generation, x.name) for x in fields(generation)}
        del asked["points_per_batch"]  # it changes no mask
        asked["prompts"] = prompts_of(self._predictor, generation)
        key = (_VERSION, identity.weights_hash, identity.precision, sorted(asked.items()), digest)
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        return folder / f"{identity.architecture}-{name}{_ENDING}"

    def _make_room(self, folder: Path, wanted: int) -> None:
        """Delete what was not used for longest once the budget is spent, and what a killed process left."""
        with self._lock:
            self._room -= wanted
            if self._room >= 0:
                return
            files = []
            for entry in os.scandir(folder):
                with suppress(OSError):  # another process may delete as well
                    files.append((entry.stat().st_mtime, entry.stat().st_size, Path(entry.path)))
            used = sum(size for _, size, _ in files)
            if used + wanted > self._budget:
                for _, size, path in sorted(files):
                    if used + wanted <= self._budget * (1 - _SLACK):
                        break
                    path.unlink(missing_ok=True)
                    used -= size
            self._room = max(0, self._budget - used - wanted) // 2


def _encoded(proposals: Proposals) -> bytes:
    """Give proposals as the bytes of an ``.npz`` file, which has a checksum for each of its parts."""
    words = json.dumps({name: getattr(proposals, name) for name in _WORDS})
    runs = [mask.runs for mask in proposals.masks]
    file = io.BytesIO()
    np.savez(
        file,
        **{name: getattr(proposals, name) for name in _NUMBERS},
        words=np.frombuffer(words.encode(), np.uint8),
        lengths=np.array([len(x) for x in runs], np.int64),
        runs=np.frombuffer(b"".join(runs), np.uint8),
    )
    return file.getvalue()


def _decoded(content: bytes) -> Proposals:
    """Give the proposals that `_encoded` encoded; raises one of `UNREADABLE` if these are none."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        numbers: dict[str, Any] = {name: file[name] for name in _NUMBERS}
        words = json.loads(file["words"].tobytes())
        runs, ends = file["runs"].tobytes(), np.cumsum(file["lengths"])
    starts = ends - np.diff(ends, prepend=0)
    if len({len(ends), *(len(x) for x in numbers.values())}) != 1 or (ends.size and ends[-1] != len(runs)):
        raise ValueError("its parts do not belong together")
    masks = tuple(
        MaskRuns(tuple(box), area, runs[start:end])
        for box, area, start, end in zip(
            numbers["boxes"].tolist(), numbers["areas"].tolist(), starts.tolist(), ends.tolist(), strict=True
        )
    )
    words["shape"] = tuple(words["shape"])
    return Proposals(masks=masks, **numbers, **words)
