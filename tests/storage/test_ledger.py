"""SQLite finds the rows of the ledger by what they are about, so the size of a step does not matter."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np

from napari_sam.plane import Plane
from napari_sam.runs import MaskRuns
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.records import Draft


def test_each_row_of_a_step_is_written_without_a_look_at_the_others_of_that_step() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with closing(Ledger.in_memory()) as made:
        made._db.backup(connection)
    executed: list[str] = []
    with closing(Ledger(connection, None)) as ledger:
        connection.set_trace_callback(executed.append)
        mask = MaskRuns.of(np.ones((2, 2), bool))
        assert mask is not None
        origin = Origin(1, Plane((0, 1), (0, 0)), mask, Making("import"))
        ledger.take_up([((), origin)])
        ledger.record(Draft("import", None, masks={(1, ()): mask}, origins=[origin]))
        connection.set_trace_callback(None)
        written = {x for x in executed if x.startswith(("DELETE", "UPDATE")) and " label = " in x}
        plans = {
            statement: "; ".join(x["detail"] for x in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))
            for statement in written
        }
    assert {statement.split(" WHERE ")[0].split(" SET ")[0] for statement in plans} >= {
        "DELETE FROM masks",
        "UPDATE masks",
        "DELETE FROM origins",
        "UPDATE origins",
        "DELETE FROM objects",
        "UPDATE objects",
    }
    assert [plan for plan in plans.values() if "_of_label" not in plan] == []
