"""What the objects table says, and how far its slow work is: views that decide nothing."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel

from napari_sam.widgets.activity import Activity


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


class TableActivity(Activity):
    """One bar and one button for several kinds of work; they are about the first of those that run."""

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        self._kinds = kinds
        self._shares: dict[str, float] = {}

    @property
    def shown(self) -> str | None:
        """The kind of work that the bar shows, and the button ends; None if there is none."""
        return next((kind for kind in self._kinds if kind in self._shares), None)

    def show_share(self, kind: str, done: float | None) -> None:
        """Show how far one kind of work is; None when it does not run any more."""
        if done is None:
            self._shares.pop(kind, None)
        else:
            self._shares[kind] = done
        what = self.shown
        self.show_progress(None if what is None else self._shares[what], what or "")
