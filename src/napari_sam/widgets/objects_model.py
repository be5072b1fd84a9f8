"""The rows of the objects table, as Qt asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt
from qtpy.QtGui import QColor

from napari_sam.objects.measuring import ObjectRow

SORTED_BY = int(Qt.ItemDataRole.UserRole)
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
    """Objects by columns, for reading."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: Sequence[ObjectRow] = ()

    def show_rows(self, rows: Sequence[ObjectRow]) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Count the objects."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Count the columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Give a cell's text, what it sorts by (nothing sorts below everything), or a category's colour."""
        column, row = COLUMNS[index.column()], self.rows[index.row()]
        value = column.value(row)
        if role == Qt.ItemDataRole.DecorationRole:
            return QColor(row.colour) if column.title == "Category" and row.colour else None
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(value)
        if role == SORTED_BY:
            return float("-inf") if value is None else value
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


def sorted_and_filtered(model: ObjectsModel) -> QSortFilterProxyModel:
    """Put sorting by value, and a filter over all columns' texts, before a model."""
    proxy = QSortFilterProxyModel(model)
    proxy.setSourceModel(model)
    proxy.setSortRole(SORTED_BY)
    proxy.setFilterKeyColumn(-1)
    proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    return proxy
