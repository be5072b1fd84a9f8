"""The ledger's tables, one script for each version of them."""

from __future__ import annotations

import sqlite3

_VERSION_1 = """
-- One row. Steps up to `cursor` are done, later ones undone. `pending` is the step whose pixels were being
-- written; `highest` the highest label that was ever given.
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1), cursor INTEGER NOT NULL, highest INTEGER NOT NULL,
    pending INTEGER
);
INSERT INTO state VALUES (1, 0, 0, NULL);

CREATE TABLE steps (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, label INTEGER, time TEXT NOT NULL
);
-- The pixels of a step, block by block.
CREATE TABLE changes (
    step INTEGER NOT NULL, number INTEGER NOT NULL, region TEXT NOT NULL, before BLOB NOT NULL,
    after BLOB NOT NULL, PRIMARY KEY (step, number)
);

-- A row of these holds from the step `since` on, until the step `until`; step 0 was before all.
CREATE TABLE objects (
    label INTEGER NOT NULL, name TEXT NOT NULL, category TEXT NOT NULL, colour TEXT NOT NULL,
    since INTEGER NOT NULL, until INTEGER
);
CREATE TABLE masks (
    label INTEGER NOT NULL, position TEXT NOT NULL, row0 INTEGER NOT NULL, column0 INTEGER NOT NULL,
    row1 INTEGER NOT NULL, column1 INTEGER NOT NULL, area INTEGER NOT NULL, runs BLOB NOT NULL,
    since INTEGER NOT NULL, until INTEGER
);
CREATE TABLE origins (
    label INTEGER NOT NULL, displayed TEXT NOT NULL, position TEXT NOT NULL, source TEXT NOT NULL,
    time TEXT NOT NULL, prompt TEXT NOT NULL, prompt_mask BLOB, candidate INTEGER, model TEXT NOT NULL,
    weights_hash TEXT NOT NULL, preprocessing TEXT NOT NULL, score REAL, area INTEGER NOT NULL,
    row0 INTEGER NOT NULL, column0 INTEGER NOT NULL, row1 INTEGER NOT NULL, column1 INTEGER NOT NULL,
    runs BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER
);
CREATE TABLE categories (
    name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, colour TEXT NOT NULL
);

CREATE INDEX objects_of_label ON objects (label);
CREATE INDEX masks_of_label ON masks (label, position);
CREATE INDEX masks_of_position ON masks (position);
CREATE INDEX origins_of_label ON origins (label);
CREATE INDEX objects_since ON objects (since);
CREATE INDEX masks_since ON masks (since);
CREATE INDEX origins_since ON origins (since);
CREATE INDEX objects_until ON objects (until);
CREATE INDEX masks_until ON masks (until);
CREATE INDEX origins_until ON origins (until);

CREATE VIEW objects_now AS SELECT objects.* FROM objects, state
    WHERE since <= cursor AND (until IS NULL OR until > cursor);
CREATE VIEW masks_now AS SELECT masks.* FROM masks, state
    WHERE since <= cursor AND (until IS NULL OR until > cursor);
CREATE VIEW origins_now AS SELECT origins.* FROM origins, state
    WHERE since <= cursor AND (until IS NULL OR until > cursor);
"""

# An object may lie on thousands of planes.
_VERSION_2 = """
DROP INDEX origins_of_label;
CREATE INDEX origins_of_label ON origins (label, position);
"""

# The script at index n makes version n + 1 out of version n. Append; never change one that was released.
MIGRATIONS = (_VERSION_1, _VERSION_2)


class NewerLedger(ValueError):
    """A ledger that a later version of this package made."""


def version_of(connection: sqlite3.Connection) -> int:
    """Read which version the tables have; 0 where there are none yet."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to the latest version: each script is one transaction with its number.

    Raises
    ------
    NewerLedger
        If the tables are of a version that is not known here.
    """
    check_version(connection)
    for number, script in enumerate(MIGRATIONS[version_of(connection) :], version_of(connection) + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def check_version(connection: sqlite3.Connection) -> None:
    """Raise `NewerLedger` for tables that only a later version of this package knows."""
    if (version := version_of(connection)) > len(MIGRATIONS):
        raise NewerLedger(
            f"The ledger has version {version}, this program knows {len(MIGRATIONS)}: "
            "update napari-sam-stack."
        )
