"""The rows of the objects table, as Qt asks for them, sorted and filtered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionRange,
    QModelIndex,
    QObject,
    Qt,
)
from qtpy.QtGui import QColor

from napari_sam.objects.measuring import ObjectRow

_ROOT = QModelIndex()
_FOUR_DIGITS = 1e4


@dataclass(frozen=True)
class Column:
    """A column: its title, the value that it sorts by, how that is shown, and if a filter reads it."""

    title: str
    value: Callable[[ObjectRow], Any]
    text: Callable[[Any], str] = str
    is_searched: bool = False


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if abs(value) < _FOUR_DIGITS else f"{value:.0f}"


COLUMNS = (
    Column("Label", lambda row: row.label, is_searched=True),
    Column("Name", lambda row: row.name, is_searched=True),
    Column("Category", lambda row: row.category, is_searched=True),
    Column("Planes", lambda row: row.planes),
    Column("Area", lambda row: row.area, _number),
    Column("Volume", lambda row: row.volume, _number),
    Column("Score", lambda row: row.score, lambda x: "" if x is None else f"{max(x, 0):.2f}"),
    Column("Source", lambda row: row.source, is_searched=True),
)
_SEARCHED = tuple(column for column in COLUMNS if column.is_searched)
_UNITS = {"Area": "²", "Volume": "³"}


class ObjectsModel(QAbstractTableModel):
    """Objects by columns, for reading: those that a text is in, sorted.

    Qt's own model for that asks Python for two values a comparison, and once more for each cell that is
    selected: seconds, of thousands of objects.

    Attributes
    ----------
    rows
        The objects that are shown, from top to bottom.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: Sequence[ObjectRow] = ()
        self._all: Sequence[ObjectRow] = ()
        self._text = ""
        self._column, self._order = 0, Qt.SortOrder.AscendingOrder

    def show_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Replace all objects; they are sorted, and left out, as those before."""
        self.beginResetModel()
        self._all = rows
        self.rows = self._shown()
        self.endResetModel()
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)

    def show_only(self, text: str) -> None:
        """Show the objects in whose label or words ``text`` is, whatever the case; all for an empty one."""
        self._text = text.casefold()
        self._lay_out()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by the values of a column."""
        self._column, self._order = column, order
        self._lay_out()

    def selection_of(self, labels: Collection[int]) -> QItemSelection:
        """Give the rows of some objects, in as few ranges as there are: Qt takes its time for each."""
        numbers = [number for number, row in enumerate(self.rows) if row.label in labels]
        chosen = QItemSelection()
        # Numbers that follow each other are as far from their places in the list.
        for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            run = [number for _, number in group]
            chosen.append(QItemSelectionRange(self.index(run[0], 0), self.index(run[-1], len(COLUMNS) - 1)))
        return chosen

    def _lay_out(self) -> None:
        """Choose and sort the rows anew; what is selected, and still shown, stays selected."""
        self.layoutAboutToBeChanged.emit()
        marked = self.persistentIndexList()
        labels = [self.rows[index.row()].label for index in marked]
        self.rows = self._shown()
        places = {row.label: number for number, row in enumerate(self.rows)}
        moved = [
            self.index(places[label], index.column()) if label in places else QModelIndex()
            for label, index in zip(labels, marked, strict=True)
        ]
        self.changePersistentIndexList(marked, moved)
        self.layoutChanged.emit()

    def _shown(self) -> list[ObjectRow]:
        """Give the rows that the text is in, by the chosen column; nothing comes below everything."""
        value = COLUMNS[self._column].value

        def key(row: ObjectRow) -> Any:
            return float("-inf") if (found := value(row)) is None else found

        is_reverse = self._order == Qt.SortOrder.DescendingOrder
        return sorted(filter(self._has_text, self._all), key=key, reverse=is_reverse)

    def _has_text(self, row: ObjectRow) -> bool:
        return not self._text or any(
            self._text in column.text(column.value(row)).casefold() for column in _SEARCHED
        )

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Count the objects that are shown."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Count the columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Give a cell's text, or a category's colour."""
        column, row = COLUMNS[index.column()], self.rows[index.row()]
        value = column.value(row)
        if role == Qt.ItemDataRole.DecorationRole:
            return QColor(row.colour) if column.title == "Category" and row.colour else None
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(value)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Give a column's title, with the unit of what it measures."""
        if orientation != Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            return None
        title = COLUMNS[section].title
        unit = self._all[0].unit.replace("micrometer", "µm") if self._all else ""
        return f"{title} ({unit}{_UNITS[title]})" if title in _UNITS and unit else title
