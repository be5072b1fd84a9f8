"""Small files that are never seen half written."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or replace it; it appears under its name when it is whole.

    Several threads and processes may write the same one: each fills a file of its own first, and the last
    stays.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays then.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        with suppress(OSError):  # what kept it from being written may keep it from being removed
            partial.unlink(missing_ok=True)
        raise
