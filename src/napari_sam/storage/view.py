"""What the ledger says: the objects that there are now, their pixels and origins, and the steps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from napari_sam.plane import Plane, Position
from napari_sam.region import Region, common, relative_to, shape_of
from napari_sam.runs import MaskRuns, decode_labels
from napari_sam.storage.changes import Change, Labels, OneByOne
from napari_sam.storage.origins import Origin, Source, origin_from_row, plane_from_row
from napari_sam.storage.records import Category, ObjectInfo, Step

# What holds now, copied under the same names, which SQLite then finds first; the copies lie in a file of its
# own, not in memory. A transaction that stays open instead would keep others from opening labels for writing
# that nobody writes yet: the journal of these is no write-ahead log.
_HOLD = """
BEGIN;
CREATE TEMP TABLE categories AS SELECT * FROM main.categories;
CREATE TEMP TABLE objects_now AS SELECT * FROM main.objects_now;
CREATE TEMP TABLE masks_now AS SELECT * FROM main.masks_now;
CREATE TEMP TABLE origins_now AS SELECT * FROM main.origins_now;
CREATE INDEX temp.objects_then ON objects_now (label);
CREATE INDEX temp.masks_then ON masks_now (position, label);
COMMIT;
"""


def _plain(number: Any) -> int:
    """Give a plain integer for one of numpy's, which SQLite would take for bytes that equal no number."""
    return int(number)


for _kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64):
    sqlite3.register_adapter(_kind, _plain)


class LedgerView:
    """Read a ledger through an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._db.row_factory = sqlite3.Row
        self._held: int | None = None

    def hold(self) -> None:
        """Give what holds at this moment from here on, whatever others write; only the steps go on."""
        self._held = self._version()
        self._db.executescript(_HOLD)

    @property
    def is_outdated(self) -> bool:
        """Whether the pixels on the disk may differ from what is held: others have written, or do so now."""
        return self._held is not None and (self._held != self._version() or self.pending is not None)

    # State

    @property
    def cursor(self) -> int:
        """Number of the last step that is done; 0 before the first."""
        return int(self._state("cursor"))

    @property
    def highest(self) -> int:
        """The highest label that was ever given."""
        return int(self._state("highest"))

    def known_labels(self) -> set[int]:
        """Give the labels of all objects that there are, and of those that undo would bring back."""
        rows = self._db.execute("SELECT DISTINCT label FROM masks, state WHERE since <= cursor")
        return {int(row[0]) for row in rows}

    @property
    def pending(self) -> int | None:
        """Number of the step whose pixels may not all be written, or undone, yet."""
        number = self._state("pending")
        return None if number is None else int(number)

    def last_done(self) -> Step | None:
        """The step that undo takes back."""
        return None if self.cursor == 0 else self._step(self.cursor)

    def first_undone(self) -> Step | None:
        """The step that redo does again."""
        row = self._db.execute(
            "SELECT steps.* FROM steps, state WHERE number > cursor ORDER BY number LIMIT 1"
        ).fetchone()
        return None if row is None else _step(row)

    def steps(self) -> list[Step]:
        """All steps that are done, the first one first."""
        rows = self._db.execute("SELECT steps.* FROM steps, state WHERE number <= cursor ORDER BY number")
        return [_step(row) for row in rows]

    def changes(self, number: int, dtype: np.dtype[Any]) -> Sequence[Change]:
        """Give the pixels of a step, in the order in which they were written; each is read when asked for."""
        return StoredChanges(self._db, number, dtype)

    def regions(self, number: int) -> list[Region]:
        """Give the blocks that a step changed."""
        rows = self._db.execute("SELECT region FROM changes WHERE step = ? ORDER BY number", (number,))
        return [_region(row[0]) for row in rows]

    def count_of(self, number: int) -> int:
        """Give the number of objects that a step changed, whether it is done or undone."""
        rows = self._db.execute(
            "SELECT count(*) FROM (SELECT label FROM masks WHERE since = :step OR until = :step"
            " UNION SELECT label FROM objects WHERE since = :step OR until = :step)",
            {"step": number},
        )
        return int(rows.fetchone()[0])

    # What holds now

    def objects(self) -> list[ObjectInfo]:
        """All objects, by label."""
        rows = self._db.execute("SELECT * FROM objects_now ORDER BY label")
        return [_object(row) for row in rows]

    def object_count(self) -> int:
        """How many objects there are."""
        return int(self._db.execute("SELECT count(*) FROM objects_now").fetchone()[0])

    def object(self, label: int) -> ObjectInfo | None:
        """What is said of one object; None if there is none of this label."""
        row = self._db.execute("SELECT * FROM objects_now WHERE label = ?", (label,)).fetchone()
        return None if row is None else _object(row)

    def categories_of(self, labels: Sequence[int]) -> dict[int, str]:
        """Tell the categories of those of some labels that objects have, by label."""
        rows = self._db.execute(
            "SELECT label, category FROM objects_now WHERE label IN (SELECT value FROM json_each(?))",
            (json.dumps(labels),),
        )
        return {row[0]: row[1] for row in rows}

    def mask(self, label: int, position: Position) -> MaskRuns | None:
        """The pixels of an object on one of the array's own planes."""
        row = self._db.execute(
            "SELECT * FROM masks_now WHERE label = ? AND position = ?", (label, json.dumps(position))
        ).fetchone()
        return None if row is None else _mask(row)

    def masks(self, label: int) -> dict[Position, MaskRuns]:
        """All pixels of an object, by the array's own planes."""
        rows = self._db.execute("SELECT * FROM masks_now WHERE label = ?", (label,))
        masks = {tuple(json.loads(row["position"])): _mask(row) for row in rows}
        return dict(sorted(masks.items()))

    def all_masks(self) -> dict[int, dict[Position, MaskRuns]]:
        """The pixels of all objects, by label and by the array's own planes."""
        masks: dict[int, dict[Position, MaskRuns]] = {}
        positions: dict[str, Position] = {}  # many lie on the same plane
        for row in self._db.execute("SELECT * FROM masks_now"):
            if (where := row["position"]) not in positions:
                positions[where] = tuple(json.loads(where))
            masks.setdefault(row["label"], {})[positions[where]] = _mask(row)
        return masks

    def masks_at(self, position: Position) -> dict[int, MaskRuns]:
        """The masks of all objects on one of the array's own planes, by label."""
        rows = self._db.execute(
            "SELECT * FROM masks_now WHERE position = ? ORDER BY label", (json.dumps(position),)
        )
        return {row["label"]: _mask(row) for row in rows}

    def positions(self) -> list[Position]:
        """The array's own planes that have objects."""
        rows = self._db.execute("SELECT DISTINCT position FROM masks_now")
        return sorted(tuple(json.loads(row[0])) for row in rows)

    def boxes(self, height: int, width: int) -> Iterator[Region]:
        """Give the boxes of all masks, widened to tiles of so many rows and columns, each once."""
        rows = self._db.execute(
            "SELECT DISTINCT position, row0 / :height, column0 / :width, (row1 - 1) / :height,"
            " (column1 - 1) / :width FROM masks_now",
            {"height": height, "width": width},
        )
        for position, row0, column0, row1, column1 in rows:
            leading = (slice(x, x + 1) for x in json.loads(position))
            box = (slice(row0 * height, (row1 + 1) * height), slice(column0 * width, (column1 + 1) * width))
            yield (*leading, *box)

    def extents(self) -> dict[int, tuple[int, int]]:
        """How many of the array's own planes, and how many pixels, each object has."""
        rows = self._db.execute("SELECT label, count(*), sum(area) FROM masks_now GROUP BY label")
        return {row[0]: (row[1], row[2]) for row in rows}

    def origins(self, label: int | None = None) -> list[Origin]:
        """How the planes of an object, or of all, were made."""
        return list(self.each_origin(label))

    def each_origin(self, label: int | None = None) -> Iterator[Origin]:
        """Give `origins` one by one: a mask prompt is as large as its plane, and all may have one."""
        where, values = ("", ()) if label is None else (" WHERE label = ?", (label,))
        rows = self._db.execute(f"SELECT * FROM origins_now{where} ORDER BY label, since", values)  # noqa: S608
        return map(origin_from_row, rows)

    def origin(self, label: int, plane: Plane) -> Origin | None:
        """How one plane of an object was made; None if it was not made on that plane."""
        row = self._db.execute(
            "SELECT * FROM origins_now WHERE label = ? AND displayed = ? AND position = ?",
            (label, json.dumps(plane.displayed), json.dumps(plane.position)),
        ).fetchone()
        return None if row is None else origin_from_row(row)

    def sources(self) -> Iterator[tuple[int, Source, float | None]]:
        """Give of all `origins` the label, source and score alone: prompts take long to be decoded."""
        rows = self._db.execute("SELECT label, source, score FROM origins_now ORDER BY label, since")
        return map(tuple, rows)

    def made_by(self, source: Source, label: int) -> dict[Plane, MaskRuns]:
        """The masks that a source gave an object, by plane; their prompts would take long to be decoded."""
        rows = self._db.execute(
            "SELECT displayed, position, row0, column0, row1, column1, area, runs FROM origins_now"
            " WHERE label = ? AND source = ?",
            (label, source),
        )
        return {plane_from_row(row): _mask(row) for row in rows}

    def made_otherwise(
        self, source: Source, label: int, planes: Sequence[Plane], step: int | None
    ) -> set[Plane]:
        """Tell on which of some planes, which all lie alike, an object was made otherwise than by a source.

        What ended with ``step`` counts as well: it is taken up again where the step goes on with the object.
        """
        at = {json.dumps(plane.position): plane for plane in planes}
        rows = self._db.execute(
            "SELECT position FROM origins, state WHERE label = ? AND displayed = ? AND source != ?"
            " AND position IN (SELECT value FROM json_each(?))"
            " AND (since <= cursor AND (until IS NULL OR until > cursor) OR until = ?)",
            (label, json.dumps(planes[0].displayed), source, json.dumps(list(at)), step),
        )
        return {at[row[0]] for row in rows}

    def origins_of(self, step: Step) -> list[Origin]:
        """What a step recorded of how objects were made, whether it is done or undone."""
        rows = self._db.execute("SELECT * FROM origins WHERE since = ? ORDER BY label", (step.number,))
        return [origin_from_row(row) for row in rows]

    def categories(self) -> list[Category]:
        """All categories, by number."""
        rows = self._db.execute("SELECT * FROM categories ORDER BY number")
        return [Category(row["name"], row["number"], row["colour"]) for row in rows]

    def block(self, region: Region, dtype: np.dtype[Any]) -> Labels:
        """Give a block of the labels as the ledger knows it, without looking at the array."""
        block = np.zeros(shape_of(region), dtype)
        rows, columns = region[-2:]
        for offset in np.ndindex(block.shape[:-2]):
            position = tuple(int(x.start + i) for x, i in zip(region[:-2], offset, strict=True))
            for label, runs in self.masks_at(position).items():
                if (window := common(runs.index, (rows, columns))) is not None:
                    block[offset][relative_to((rows, columns), window)][runs.within(window)] = label
        return block

    def _version(self) -> int:
        """Give a number that changes when another connection has written into the ledger."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _state(self, column: str) -> Any:
        return self._db.execute("SELECT * FROM state").fetchone()[column]

    def _step(self, number: int) -> Step:
        return _step(self._db.execute("SELECT * FROM steps WHERE number = ?", (number,)).fetchone())


class StoredChanges(OneByOne[Change]):
    """The changes of a step, as they are on the disk."""

    def __init__(self, connection: sqlite3.Connection, step: int, dtype: np.dtype[Any]) -> None:
        self._db = connection
        self._dtype = dtype
        rows = connection.execute("SELECT number FROM changes WHERE step = ? ORDER BY number", (step,))
        self._keys = [(step, int(row[0])) for row in rows]

    def __len__(self) -> int:
        return len(self._keys)

    def item(self, index: int) -> Change:
        """Give one of them, read."""
        row = self._db.execute(
            "SELECT * FROM changes WHERE step = ? AND number = ?", self._keys[index]
        ).fetchone()
        return _change(row, self._dtype)


def _step(row: sqlite3.Row) -> Step:
    return Step(row["number"], row["kind"], row["label"], row["time"])


def _object(row: sqlite3.Row) -> ObjectInfo:
    return ObjectInfo(row["label"], row["name"], row["category"], row["colour"])


def _mask(row: sqlite3.Row) -> MaskRuns:
    return MaskRuns((row["row0"], row["column0"], row["row1"], row["column1"]), row["area"], row["runs"])


def _change(row: sqlite3.Row, dtype: np.dtype[Any]) -> Change:
    region = _region(row["region"])
    shape = shape_of(region)
    return Change(
        region, decode_labels(row["before"], shape, dtype), decode_labels(row["after"], shape, dtype)
    )


def _region(text: str) -> Region:
    return tuple(slice(int(start), int(stop)) for start, stop in json.loads(text))
