"""What the objects table says: a view that decides nothing."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel


class TableStatus(QLabel):
    """The number of objects; or a message, until something else has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self._is_kept = False

    def tell(self, text: str) -> None:
        """Say something, which measurements that are under way do not replace."""
        self._is_kept = True
        self.setText(text)

    def expect_count(self) -> None:
        """Let the next count replace what is said."""
        self._is_kept = False

    def show_count(self, count: int) -> None:
        """Say how many objects there are."""
        if not self._is_kept:
            self.setText(f"{count} object{'s' * (count != 1)}.")
