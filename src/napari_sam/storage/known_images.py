"""Images that were encoded before are known again by their pixels, under whatever name, and after edits."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_sam.contrast import Contrast
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.aside import write_whole

_FOLDER = "images"
# An image is known by so many places at least, each of at most so many pixels on a side.
_PLACES = 6
_SIDE = 1024
# An image is the same if this share of its fingerprint is: some planes may have been edited.
_SAME = 0.5
# Limits that were kept are used again if those sampled now differ by no more than this share of their range.
# Most of the image is the same, pixel by pixel, or it would not have been known again; so the limits still
# suit it, and others would only cost the embeddings of all planes. Beyond a quarter of the range, which is
# what makes a pixel hot beside its neighbours, the edits have changed what the stack as a whole looks like.
_CLOSE = 0.25
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownImage:
    """What is kept of an image.

    Attributes
    ----------
    name
        Names it in a cache of what was computed from it; no other image has it.
    fingerprint
        See `fingerprint_of`.
    contrasts
        The limits that were sampled when it was first encoded, one for each channel without given ones.
    """

    name: str
    fingerprint: tuple[str, ...]
    contrasts: tuple[Contrast, ...] = ()

    @classmethod
    def new(cls, key: str, fingerprint: tuple[str, ...]) -> KnownImage:
        """Name an image that was not seen before."""
        return cls(f"{key}-{hashlib.sha256(repr(fingerprint).encode()).hexdigest()[:16]}", fingerprint)

    def recalled(self, sampled: tuple[Contrast, ...]) -> tuple[Contrast, ...]:
        """Give the limits that were kept if those that were ``sampled`` now are close to them, else these."""
        kept = self.contrasts
        if len(kept) == len(sampled) and all(map(_are_close, kept, sampled)):
            return kept
        return sampled


def fingerprint_of(planes: Planes) -> tuple[str, ...]:
    """Name the pixels at places spread over an image, each in a short hash, to know it again.

    An edit changes the hashes of few places. One that cannot be read has an empty one.
    """
    displayed = planes.last_displayed
    lengths = tuple(1 if axis in displayed else n for axis, n in enumerate(planes.shape))
    numbers = np.unique(np.linspace(0, np.prod(lengths) - 1, _PLACES).round().astype(int))
    parts = -(-_PLACES // len(numbers))
    found = []
    for number in numbers:
        plane = Plane.at(displayed, [int(x) for x in np.unravel_index(number, lengths)])
        for part in range(parts):
            rows, columns = (_window(n, part, parts) for n in plane.shape(planes.shape))
            try:
                raw = planes.read(plane, rows, columns)
            except Exception:  # noqa: BLE001 - the source of the image may raise anything
                found.append("")
            else:
                found.append(hashlib.sha256(np.ascontiguousarray(raw).data).hexdigest()[:16])
    return tuple(found)


def find_image(folder: Path, key: str, fingerprint: tuple[str, ...]) -> KnownImage | None:
    """Find, in a folder of embeddings, the image with this `Planes.key` that is most like ``fingerprint``.

    None if less than half of any is the same.
    """
    best, best_likeness = None, _SAME
    with suppress(OSError):
        for path in sorted((folder / _FOLDER).glob(f"{key}-*.json")):
            known = _read(path)
            if known is not None and (likeness := _likeness(known.fingerprint, fingerprint)) >= best_likeness:
                best, best_likeness = known, likeness
    return best


def keep_image(folder: Path, image: KnownImage) -> None:
    """Write down what is to be known of an image; it appears under its name when it is whole."""
    path = folder / _FOLDER / f"{image.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    contrasts = [(x.low, x.high) for x in image.contrasts]
    write_whole(path, json.dumps({"fingerprint": image.fingerprint, "contrasts": contrasts}).encode())


def _window(length: int, part: int, parts: int) -> slice:
    """Give the middle of one of the equal ``parts`` that an axis is cut into."""
    start, stop = part * length // parts, (part + 1) * length // parts
    margin = max(0, stop - start - _SIDE) // 2
    return slice(start + margin, stop - margin)


def _read(path: Path) -> KnownImage | None:
    """Read what `keep_image` wrote; what is damaged is as good as not there."""
    try:
        found = json.loads(path.read_bytes())
        contrasts = tuple(Contrast(float(low), float(high)) for low, high in found["contrasts"])
        return KnownImage(path.stem, tuple(map(str, found["fingerprint"])), contrasts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.info("%s cannot be read (%s); its image is taken for a new one.", path, error)
        return None


def _likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """Give the share of parts that are the same; many empty parts, equal in all images, count as one."""
    same = {a for a, b in zip(one, other, strict=False) if a == b}
    return len(same) / max(1, len(set(one)), len(set(other)))


def _are_close(kept: Contrast, sampled: Contrast) -> bool:
    tolerance = _CLOSE * (kept.high - kept.low)
    return abs(sampled.low - kept.low) <= tolerance and abs(sampled.high - kept.high) <= tolerance
