"""The widget ``Segment Anything: objects``: all objects as a table, to be found, edited and written out."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import QItemSelectionModel, QModelIndex, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QPushButton,
    QTableView,
    QVBoxLayout,
)

from napari_sam.annotation import Session
from napari_sam.objects.measuring import ObjectRow
from napari_sam.plane import Plane
from napari_sam.widgets.activity import Activity
from napari_sam.widgets.annotate import unwrapped
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.docked import DockedWidget
from napari_sam.widgets.forms import button
from napari_sam.widgets.made_layers import labels_layer
from napari_sam.widgets.objects_edits import Edit, EditMenu, ImportMenu, TableEdit, one_of
from napari_sam.widgets.objects_exports import ExportMenu
from napari_sam.widgets.objects_measured import ObjectsMeasurer
from napari_sam.widgets.objects_model import ObjectsModel
from napari_sam.widgets.objects_status import TableStatus
from napari_sam.widgets.objects_writing import EditsWriter
from napari_sam.widgets.running import running
from napari_sam.widgets.telling import words_of
from napari_sam.widgets.timers import single_shot

# Strokes and commits that follow each other closely are measured once.
_SETTLE_MS = 150
# From this width on the buttons stand in one row.
_WIDE = 760
# The widths of columns are those of this many rows.
_MEASURED_ROWS = 50
_ROW_HEIGHT = 24
_BAR_WIDTH = 150
_WRITING, _EXPORTING = "writing", "exporting"


class ObjectsWidget(DockedWidget):
    """Show the objects of the session that runs in the viewer, and edit those that are selected.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = unwrapped(napari_viewer)
        self._session: Session | None = None
        self._wide: bool | None = None
        self._connections, self._to_store = Connections(), Connections()
        self.model = ObjectsModel(self)
        self.filter = _line("Filter: label, name, category, source")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self.model.show_only)
        self.table = self._table()
        self.category = _line("Category")
        self.status = TableStatus()
        self.activity = Activity(_WRITING, _EXPORTING)
        self.activity.cancel_requested.connect(self._on_stop)
        self.delete = button("Delete", "Turn the selected objects into background.", self._on_delete)
        self.merge = button("Merge", "Make the selected objects one, of the lowest label.", self._on_merge)
        self.refine = button(
            "Refine",
            "Take the object up with its prompts; the next commit replaces it.",
            self._on_refine,
        )
        self.classify = button(
            "Set category", "Put the selected objects into the category.", self._on_classify
        )
        self.edits = EditMenu(self, self._edit)
        self.imports = ImportMenu(self, self._viewer, self._edit)
        self.exports = ExportMenu(self, self._viewer, lambda: [row.label for row in self.selected()])
        self.edit = _menu_button("Edit", "Split, reshape, name or number the selected objects.", self.edits)
        self.take_in = _menu_button(
            "Import", "Add the objects of another Labels layer; Refine takes each as a prompt.", self.imports
        )
        self.save = _menu_button("Export", "Write all objects for other programs.", self.exports)
        self._buttons = (
            self.refine,
            self.merge,
            self.delete,
            self.edit,
            self.take_in,
            self.save,
            self.classify,
        )
        self._grid = QGridLayout()
        self._grid.setSpacing(4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 4)
        layout.setSpacing(4)
        self._top = QGridLayout()
        self.activity.setFixedHeight(self.filter.sizeHint().height())  # there is no room for a row of its own
        self._top.addWidget(self.filter, 0, 0)
        self._top.addWidget(self.activity, 0, 1)
        self._top.setColumnStretch(0, 1)
        layout.addLayout(self._top)
        layout.addWidget(self.table)
        layout.addLayout(self._grid)
        self._arrange(wide=False)
        self._writer = self._new_writer()
        self._connections.add(self.exports.told, self.status.tell)
        self._connections.add(self.exports.progressed, self._show_exporting)
        self._settle = single_shot(_SETTLE_MS, parent=self)
        self._connections.add(self._settle.timeout, self.refresh)
        self._measurer = ObjectsMeasurer(self._on_measured, self._on_measuring_failed)
        self._connections.add(running.changed, self._on_running_changed)
        self._follow(running.get(self._viewer))

    @property
    def is_busy(self) -> bool:
        """Whether objects are being measured, or about to be."""
        return self._settle.isActive() or self._measurer.is_busy

    @property
    def is_writing(self) -> bool:
        """Whether an edit is being written."""
        return self._writer.is_busy

    def refresh(self) -> None:
        """Measure the objects in another thread, and show them then; what is selected stays selected."""
        if self._session is not None:
            self._measurer.measure(self._session.store)

    def selected(self) -> list[ObjectRow]:
        """Give the selected objects, by label."""
        selection = self.table.selectionModel()
        if selection is None or not selection.hasSelection():
            return []
        chosen = selection.selection()
        ranges = [chosen[number] for number in range(len(chosen))]
        rows = [row for x in ranges for row in self.model.rows[x.top() : x.bottom() + 1]]
        return sorted(rows, key=lambda row: row.label)

    def let_go(self) -> None:
        """Let go of the session and the viewer."""
        self.stop_watching()
        self._settle.stop()
        self._measurer.close()
        self._writer.close()
        for kind in (_WRITING, _EXPORTING):
            self.activity.show_share(kind, None)
        self._to_store.close()
        self._connections.close()
        self.exports.close_menu()
        self._session = None

    def resizeEvent(self, event: Any) -> None:
        """Put all buttons into one row where there is room: at the bottom of a window height is dear."""
        super().resizeEvent(event)
        self._arrange(wide=self.width() >= _WIDE)

    def _arrange(self, wide: bool) -> None:
        if wide == self._wide:
            return
        self._wide = wide
        *buttons, classify = self._buttons
        for number, widget in enumerate(buttons):
            self._grid.addWidget(widget, 0 if wide else number // 3, number if wide else number % 3)
        row, column = (0, len(buttons)) if wide else (2, 0)
        self._grid.addWidget(self.category, row, column, 1, 2)
        self._grid.addWidget(classify, row, column + 2)
        self._top.setColumnStretch(2, int(wide))
        self._top.setColumnMinimumWidth(1, _BAR_WIDTH if wide else 0)  # lest the status jump
        if wide:
            self._top.addWidget(self.status, 0, 2)
        else:
            self._grid.addWidget(self.status, row + 1, 0, 1, 3)

    def _on_running_changed(self, viewer: ViewerModel) -> None:
        if viewer is self._viewer:
            self._follow(running.get(viewer))

    def _follow(self, session: Session | None) -> None:
        self._measurer.let_go()
        if self._session is not None:
            self._writer.close()
            self._writer = self._new_writer()
        self._to_store.close()
        self._session = session
        if session is not None:
            self._to_store.add(session.store.changed, self._on_store_changed)
        self.exports.session = session
        for widget in self._buttons:
            widget.setEnabled(session is not None)
        self.model.show_rows([])
        self.status.setText("No annotation runs in this viewer." if session is None else "Measuring ...")
        self.status.expect_count()
        self.refresh()

    def _on_measured(self, rows: list[ObjectRow]) -> None:
        chosen = {row.label for row in self.selected()}
        self.model.show_rows(rows)
        self.exports.show_categories()
        if chosen and (selection := self.table.selectionModel()) is not None:
            selection.select(self.model.selection_of(chosen), selection.SelectionFlag.Select)
        self.status.show_count(len(rows))

    def _on_measuring_failed(self, error: Exception) -> None:
        self.status.tell(words_of(error))

    def _on_store_changed(self, _step: object) -> None:
        self.status.expect_count()
        self._settle.start()

    def _on_delete(self) -> None:
        self._edit(lambda _session, labels: TableEdit(lambda objects: objects.delete(labels)))

    def _on_merge(self) -> None:
        self._edit(lambda _session, labels: TableEdit(lambda objects: objects.merge(labels)))

    def _on_classify(self) -> None:
        name = self.category.text().strip()
        self._edit(lambda _session, labels: TableEdit(lambda objects: objects.classify(labels, name)))

    def _on_refine(self) -> None:
        self._edit(lambda session, labels: session.take_up(one_of(labels)))

    def _edit(self, plan: Edit) -> None:
        """Do it with the selected labels; what is wrong is said below the table."""
        if (session := self._session) is None:
            return
        try:
            edit = plan(session, [row.label for row in self.selected()])
        except (ValueError, OSError) as error:
            self.status.tell(str(error))
            return
        if session is not self._session:
            self.status.tell("The annotation has ended meanwhile; nothing was edited.")
        elif edit is not None:
            self._writer.write(session, edit)
        else:
            self._settle.start()  # what is done already may be no step, such as a category's colour

    def _new_writer(self) -> EditsWriter:
        """Make what writes the edits of a session, which is forgotten together with that."""
        self._show_writing(None)
        return EditsWriter(self.status.tell, self._show_writing)

    def _on_stop(self) -> None:
        if self.activity.shown == _WRITING:
            self._writer.cancel()
        else:
            self.exports.stop()

    def _show_writing(self, done: float | None) -> None:
        self.activity.show_share(_WRITING, done)

    def _show_exporting(self, done: float | None) -> None:
        self.activity.show_share(_EXPORTING, done)

    def _on_row_chosen(self, index: QModelIndex) -> None:
        """Fly to an object: show its middle plane, and its centre in the middle of the canvas."""
        if self._session is None:
            return
        row = self.model.rows[index.row()]
        displayed = self._session.plane.displayed
        planes = self._session.store.ledger.masks(row.label)
        if not planes:  # deleted a moment ago: the row is about to go
            return
        nearest = min(planes, key=lambda x: sum(abs(a - b) for a, b in zip(x, row.centre, strict=False)))
        try:
            self._session.show(Plane.at(displayed, (*nearest, *(round(x) for x in row.centre[-2:]))))
        except ValueError as error:
            self.status.tell(str(error))
            return
        if (labels := labels_layer(self._viewer, self._session.store)) is not None:
            # Since napari 0.9 the camera belongs to the viewer's scene.
            camera = getattr(self._viewer, "scene", self._viewer).camera
            camera.center = [labels.data_to_world(row.centre)[axis] for axis in displayed]

    def _table(self) -> QTableView:
        table = QTableView()
        table.setModel(self.model)
        table.setSortingEnabled(True)
        table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = table.verticalHeader()
        if header is not None:
            header.setVisible(False)
            header.setDefaultSectionSize(_ROW_HEIGHT)
        titles = table.horizontalHeader()
        if titles is not None:
            # Always empty: with the table's own, Qt asks every row each time it draws a title.
            titles.setSelectionModel(QItemSelectionModel(self.model, titles))
            titles.setResizeContentsPrecision(_MEASURED_ROWS)
            titles.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            titles.setStretchLastSection(True)
        table.doubleClicked.connect(self._on_row_chosen)
        return table


def _line(text: str) -> QLineEdit:
    """Make a field that says what belongs into it."""
    made = QLineEdit()
    made.setPlaceholderText(text)
    return made


def _menu_button(text: str, tip: str, menu: QMenu) -> QPushButton:
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setMenu(menu)
    return made
