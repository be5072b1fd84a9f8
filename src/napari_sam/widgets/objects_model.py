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
    QSortFilterProxyModel,
    Qt,
)
from qtpy.QtGui import QColor

from napari_sam.objects.measuring import ObjectRow

_ROOT = QModelIndex()


@dataclass(frozen=True)
class Column:
    """A column: its title, the value that it sorts by, and how that is shown."""

    title: str
    value: Callable[[ObjectRow], Any]
    text: Callable[[Any], str] = str


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


COLUMNS = (
    Column("Label", lambda row: row.label),
    Column("Name", lambda row: row.name),
    Column("Category", lambda row: row.category),
    Column("Planes", lambda row: row.planes),
    Column("Area", lambda row: row.area, _number),
    Column("Volume", lambda row: row.volume, _number),
    Column("Score", lambda row: row.score, lambda x: "" if x is None else f"{x:.2f}"),
    Column("Source", lambda row: row.source),
)
_UNITS = {"Area": "²", "Volume": "³"}


class ObjectsModel(QAbstractTableModel):
    """Objects by columns, for reading.

    Attributes
    ----------
    rows
        The objects in the order in which they are shown.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: Sequence[ObjectRow] = ()
        self._column, self._order = 0, Qt.SortOrder.AscendingOrder

    def show_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Replace all rows, which are sorted as those before."""
        self.beginResetModel()
        self.rows = self._sorted(rows)
        self.endResetModel()
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by the values of a column; what is selected stays selected.

        Qt's own sorting asks Python for two values a comparison: a second, for thousands of objects.
        """
        self._column, self._order = column, order
        self.layoutAboutToBeChanged.emit()
        marked = self.persistentIndexList()
        labels = [self.rows[index.row()].label for index in marked]
        self.rows = self._sorted(self.rows)
        places = {row.label: number for number, row in enumerate(self.rows)}
        moved = [
            self.index(places[label], index.column()) for label, index in zip(labels, marked, strict=True)
        ]
        self.changePersistentIndexList(marked, moved)
        self.layoutChanged.emit()

    def _sorted(self, rows: Sequence[ObjectRow]) -> list[ObjectRow]:
        """Sort by the chosen column; nothing comes below everything."""
        value = COLUMNS[self._column].value

        def key(row: ObjectRow) -> Any:
            return float("-inf") if (found := value(row)) is None else found

        return sorted(rows, key=key, reverse=self._order == Qt.SortOrder.DescendingOrder)

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Count the objects."""
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
        unit = self.rows[0].unit.replace("micrometer", "µm") if self.rows else ""
        return f"{title} ({unit}{_UNITS[title]})" if title in _UNITS and unit else title


class FilteredObjects(QSortFilterProxyModel):
    """Those objects of a model that a text is in, in any column; the model sorts them itself."""

    def __init__(self, model: ObjectsModel) -> None:
        super().__init__(model)
        self._model = model
        self._text = ""
        self.setSourceModel(model)

    def show_only(self, text: str) -> None:
        """Show the objects that ``text`` is in, whatever the case of its letters; all for an empty one."""
        self._text = text.casefold()
        self.invalidateFilter()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Let the model sort."""
        self._model.sort(column, order)

    def filterAcceptsRow(self, row: int, _parent: QModelIndex) -> bool:
        """Whether the text is in a row: one call from Qt for each, and not one for each cell."""
        return self._accepts(self._model.rows[row])

    def shown(self) -> list[ObjectRow]:
        """Give the objects that are shown, from top to bottom."""
        return [row for row in self._model.rows if self._accepts(row)]

    def selection_of(self, labels: Collection[int]) -> QItemSelection:
        """Give the rows of some objects, in as few ranges as there are: Qt takes its time for each."""
        numbers = [number for number, row in enumerate(self.shown()) if row.label in labels]
        chosen = QItemSelection()
        # Numbers that follow each other are as far from their places in the list.
        for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            run = [number for _, number in group]
            chosen.append(QItemSelectionRange(self.index(run[0], 0), self.index(run[-1], len(COLUMNS) - 1)))
        return chosen

    def _accepts(self, row: ObjectRow) -> bool:
        return not self._text or any(
            self._text in column.text(column.value(row)).casefold() for column in COLUMNS
        )
