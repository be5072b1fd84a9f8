"""The ledger: which objects there are, how each was made, and every step that led there.

It is one SQLite file. A step is one transaction; undo moves a cursor and deletes nothing, so it has no limit
and outlives the process. The rows of objects, masks and origins hold from one step until another, and which
of them hold now follows from the cursor.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari_sam.plane import Plane, Position
from napari_sam.progress import Progress, ignore_progress, reporting
from napari_sam.runs import MaskRuns, encode_labels
from napari_sam.storage.changes import Change
from napari_sam.storage.origins import Origin, origin_to_row
from napari_sam.storage.records import Category, Draft, ObjectInfo, Step
from napari_sam.storage.schema import check_version, migrate, version_of
from napari_sam.storage.view import LedgerView


class Ledger(LedgerView):
    """Read and write one ledger. It knows no array: the labels store applies the changes.

    Use `open`, or `in_memory` where nothing can be written.

    Attributes
    ----------
    path
        The file; None in memory.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        super().__init__(connection)
        self.path = path

    @classmethod
    def open(cls, path: Path, read_only: bool = False) -> Ledger:
        """Open the ledger at ``path``; older tables are brought up to date.

        The journal is a write-ahead log, forced to the disk at every commit: a killed process loses nothing,
        a reader never waits, and one forced write per step keeps the window responsive. While the store is
        closed the log is folded in, so that the folder at rest holds a single plain file.

        Raises
        ------
        NewerLedger
            If a later version of this package made it.
        sqlite3.Error
            If it cannot be read, or is no ledger.
        """
        if read_only:
            return cls._open_for_reading(path)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _check_tables(db)
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            migrate(db)
        except BaseException:
            db.close()
            raise
        return cls(db, path)

    @classmethod
    def _open_for_reading(cls, path: Path) -> Ledger:
        address = path.absolute().as_uri()
        for mode in ("?mode=ro", "?immutable=1"):  # the second for media that nobody can write to
            db = sqlite3.connect(address + mode, uri=True, isolation_level=None, check_same_thread=False)
            try:
                _check_tables(db)
                db.execute("PRAGMA trusted_schema = OFF")
                db.execute("SELECT cursor FROM state").fetchone()
            except sqlite3.OperationalError:
                db.close()
                if mode != "?mode=ro" or path.with_name(path.name + "-wal").exists():
                    raise
                continue
            except BaseException:
                db.close()
                raise
            return cls(db, path)
        raise AssertionError("one of the two modes was returned or raised")

    @classmethod
    def create(cls, path: Path) -> Ledger:
        """Make one that is filled at once and then closed, without a log beside it."""
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        migrate(db)
        return cls(db, path)

    @classmethod
    def in_memory(cls) -> Ledger:
        """Make one that is forgotten with the process."""
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        migrate(db)
        return cls(db, None)

    def close(self) -> None:
        """Let go of the file, folded into one where it could be."""
        with suppress(sqlite3.Error):
            if self._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    # Steps

    def settle(self) -> None:
        """Note that the pixels of the pending step are written.

        The note is not forced to the disk: where it is lost, the step is finished once more, and the same.
        """
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self._db.execute("UPDATE state SET pending = NULL")
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def record(self, draft: Draft, into: int | None = None, progress: Progress = ignore_progress) -> Step:
        """Write a step in one transaction, as pending; what was undone before cannot be redone then.

        Parameters
        ----------
        draft
            What changes.
        into
            The last step, if this only continues it.
        progress
            Told the share that is done; what it raises ends the call, and nothing is recorded then.
        """
        time = _now()
        with self._transaction():
            self._drop_undone()
            if into is None:
                row = self._db.execute(
                    "INSERT INTO steps (kind, label, time) VALUES (?, ?, ?)", (draft.kind, draft.label, time)
                )
                number = int(row.lastrowid or 0)
            else:
                number = into
            self._add_changes(number, draft.changes, progress)
            for (label, position), mask in reporting(draft.masks.items(), progress, 0.3, 0.6):
                self._put_mask(number, label, position, mask)
            self._put_objects(number, {label for label, _ in draft.masks}, draft.objects)
            for origin in reporting(draft.origins, progress, 0.6, 1):
                self._put_origin(number, origin, time)
            for label, plane in draft.unmade:
                self._end_origin(number, label, plane)
            highest = max((label for label, _ in draft.masks), default=0)
            self._db.execute(
                "UPDATE state SET cursor = ?, pending = ?, highest = max(highest, ?)",
                (number, number, highest),
            )
        return self._step(number)

    def forget(self, step: Step) -> None:
        """Take back the last step, whose pixels could not be written; its labels stay used."""
        with self._transaction():
            before = self._db.execute("SELECT max(number) FROM steps WHERE number < ?", (step.number,))
            self._db.execute("UPDATE state SET cursor = ?, pending = NULL", (before.fetchone()[0] or 0,))
            self._drop_undone()

    def undo(self, step: Step) -> None:
        """Move the cursor before the last step that is done; its pixels are pending."""
        with self._transaction():
            before = self._db.execute("SELECT max(number) FROM steps WHERE number < ?", (step.number,))
            self._set_cursor(before.fetchone()[0] or 0, step.number)

    def redo(self, step: Step) -> None:
        """Move the cursor behind the first step that is undone; its pixels are pending."""
        with self._transaction():
            self._set_cursor(step.number, step.number)

    def put_category(self, category: Category) -> None:
        """Add a category, or give it another number and colour."""
        self._db.execute(
            "INSERT OR REPLACE INTO categories (name, number, colour) VALUES (?, ?, ?)",
            (category.name, category.number, category.colour),
        )

    # Before all steps

    def take_up(self, masks: Iterable[tuple[Position, Origin]]) -> None:
        """Enter objects that were there before the ledger, in one transaction; it is no step to be undone."""
        labels = set()
        with self._transaction():
            for position, origin in masks:
                self._put_mask(0, origin.label, position, origin.mask)
                self._put_origin(0, origin, _now())
                labels.add(origin.label)
            self._put_objects(0, labels, ())
            self._db.execute("UPDATE state SET highest = max(highest, ?)", (max(labels, default=0),))

    def _set_cursor(self, cursor: int, pending: int) -> None:
        self._db.execute("UPDATE state SET cursor = ?, pending = ?", (cursor, pending))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk may have rolled it back already
                self._db.execute("ROLLBACK")
            with suppress(sqlite3.Error):  # what it took of a disk that is full is free again
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise

    def _drop_undone(self) -> None:
        """Forget the steps after the cursor, as if they had never been."""
        for table in ("objects", "masks", "origins"):
            self._db.execute(f"DELETE FROM {table} WHERE since > (SELECT cursor FROM state)")  # noqa: S608
            self._db.execute(
                f"UPDATE {table} SET until = NULL WHERE until > (SELECT cursor FROM state)"  # noqa: S608
            )
        self._db.execute("DELETE FROM changes WHERE step > (SELECT cursor FROM state)")
        self._db.execute("DELETE FROM steps WHERE number > (SELECT cursor FROM state)")

    def _add_changes(self, step: int, changes: Sequence[Change], progress: Progress) -> None:
        first = self._db.execute("SELECT count(*) FROM changes WHERE step = ?", (step,)).fetchone()[0]
        for number, change in enumerate(reporting(changes, progress, 0, 0.3), first):
            region = json.dumps([(x.start, x.stop) for x in change.region])
            blobs = encode_labels(change.before), encode_labels(change.after)
            self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?)", (step, number, region, *blobs))

    def _end(self, table: str, step: int, where: str, values: tuple[Any, ...]) -> None:
        """Let the rows that hold now end with a step; those that it made itself are replaced."""
        # The plus keeps SQLite from the index of `since`: it would go through all rows of the step for each
        # one that the step adds, and the time of a large step would grow with its square.
        self._db.execute(f"DELETE FROM {table} WHERE +since = ? AND {where}", (step, *values))  # noqa: S608
        self._db.execute(
            f"UPDATE {table} SET until = ? WHERE until IS NULL AND {where}",  # noqa: S608
            (step, *values),
        )

    def _put_mask(self, step: int, label: int, position: Position, mask: MaskRuns | None) -> None:
        where = json.dumps(position)
        self._end("masks", step, "label = ? AND position = ?", (label, where))
        if mask is not None:
            self._db.execute(
                "INSERT INTO masks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (label, where, *mask.box, mask.area, mask.runs, step),
            )

    def _put_origin(self, step: int, origin: Origin, time: str) -> None:
        row = {**origin_to_row(origin, time), "since": step}
        self._end_origin(step, origin.label, origin.plane)
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        self._db.execute(f"INSERT INTO origins ({columns}) VALUES ({marks})", tuple(row.values()))  # noqa: S608

    def _end_origin(self, step: int, label: int, plane: Plane) -> None:
        key = (label, json.dumps(plane.displayed), json.dumps(plane.position))
        self._end("origins", step, "label = ? AND displayed = ? AND position = ?", key)

    def _put_objects(self, step: int, touched: set[int], told: Sequence[ObjectInfo]) -> None:
        """Begin objects with their first pixels, end those that lost their last, enter what is told."""
        infos = {info.label: info for info in told}
        for label in touched | infos.keys():
            has_pixels = self._exists("masks", label)
            if not has_pixels:
                self._end("objects", step, "label = ?", (label,))
                self._end("origins", step, "label = ?", (label,))
                continue
            if not self._exists("objects", label):
                self._reopen(step, label)
            if label in infos or not self._exists("objects", label):
                info = infos.get(label, ObjectInfo(label))
                self._end("objects", step, "label = ?", (label,))
                self._db.execute(
                    "INSERT INTO objects VALUES (?, ?, ?, ?, ?, NULL)",
                    (label, info.name, info.category, info.colour, step),
                )

    def _reopen(self, step: int, label: int) -> None:
        """Let an object go on that the same step has ended: a stroke that erases it and draws it again."""
        for table in ("objects", "origins"):  # the plus as above
            self._db.execute(
                f"UPDATE {table} SET until = NULL WHERE +until = ? AND label = ?",  # noqa: S608
                (step, label),
            )

    def _exists(self, table: str, label: int) -> bool:
        """Whether a row of the label holds now; while a step is recorded, nothing is undone."""
        query = f"SELECT 1 FROM {table} WHERE label = ? AND until IS NULL LIMIT 1"  # noqa: S608
        return self._db.execute(query, (label,)).fetchone() is not None


def _check_tables(connection: sqlite3.Connection) -> None:
    """Raise `NewerLedger`; or an error of SQLite's, which takes an emptied file for a new one."""
    check_version(connection)
    if version_of(connection) == 0:
        raise sqlite3.DatabaseError("it is empty")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
