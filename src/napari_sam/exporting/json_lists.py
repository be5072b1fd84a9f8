"""Lists in JSON files that are written entry by entry, however long they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def separated(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give the entries of a JSON list, each on a line."""
    comma = ""
    for entry in entries:
        yield comma + json.dumps(entry)
        comma = ",\n"
    yield "\n"
