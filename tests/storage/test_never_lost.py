"""Whatever happens to the disk, the folder or the process: what was committed stays, and the user is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

from napari_sam.cli import main
from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.storage import ledger as ledger_module
from napari_sam.storage import schema
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.records import Draft, ObjectInfo
from napari_sam.storage.repair import repair_regions

SHAPE = (3, 600, 20)  # two chunks a plane
PLANE = Plane((1, 2), (1, 0, 0))
FIRST = np.zeros(SHAPE[1:], bool)
FIRST[500:530, 3:9] = True
SECOND = np.zeros(SHAPE[1:], bool)
SECOND[505:520, 5:15] = True
ALL = tuple(slice(0, n) for n in SHAPE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cells.zarr"


@pytest.fixture
def store(path: Path) -> LabelsStore:
    """A store with one object."""
    store = LabelsStore.create(path, SHAPE, "zyx")
    store.commit(PLANE, FIRST)
    return store


def chunk(path: Path, z: int = 1, y: int = 0) -> Path:
    return path / "0" / "c" / str(z) / str(y) / "0"


class TestAnotherProcess:
    def test_may_read_but_not_write(self, path: Path, store: LabelsStore) -> None:
        code = """
            import sys, numpy as np
            from napari_sam.plane import Plane
            from napari_sam.storage.labels import LabelsStore
            store = LabelsStore.open(sys.argv[1])
            print(int(np.count_nonzero(store.array[:])), [x.label for x in store.ledger.objects()])
            for act in (lambda: store.commit(Plane((1, 2), (0, 0, 0)), np.ones((600, 20), bool)),
                        lambda: store.labels.__setitem__((0, 0, 0), 5), store.undo):
                try:
                    act()
                except ValueError as error:
                    print(error)
        """
        command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert told[0] == f"{FIRST.sum()} [1]"
        assert len(told) == 4
        assert all("can only be read: they are open in another window or program" in x for x in told[1:])
        assert np.count_nonzero(store.array[:]) == FIRST.sum()
        store.commit(PLANE, SECOND)

    def test_may_write_once_the_first_has_closed(self, path: Path, store: LabelsStore) -> None:
        second = LabelsStore.open(path)
        assert "open in another window" in second.read_only
        store.close()
        with pytest.raises(LabelsError, match="can only be read: this session has ended"):
            store.commit(PLANE, SECOND)
        third = LabelsStore.open(path)
        assert third.commit(PLANE, SECOND).label == 2

    def test_that_forgot_to_close_is_let_go_with_its_last_reference(self, path: Path) -> None:
        LabelsStore.create(path, SHAPE, "zyx")
        assert not LabelsStore.open(path).read_only


class TestFailedWrites:
    @staticmethod
    def a_folder_in_the_way(path: Path) -> Iterator[None]:
        chunk(path, 2, 1).mkdir(parents=True)
        (chunk(path, 2, 1) / "x").touch()
        yield
        shutil.rmtree(chunk(path, 2, 1), ignore_errors=True)

    @staticmethod
    def a_full_disk(path: Path) -> Iterator[None]:
        """The system refuses to let any file grow, in the middle of whatever is written."""
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @staticmethod
    def a_removed_folder(path: Path) -> Iterator[None]:
        elsewhere = path.with_name("moved")
        path.rename(elsewhere)
        yield
        assert not path.exists(), "nothing is made where the folder was"
        elsewhere.rename(path)

    @pytest.mark.parametrize(
        ("trouble", "message"),
        [
            pytest.param(a_folder_in_the_way, r"cannot be written .*Free some space", id="one chunk of two"),
            pytest.param(a_full_disk, r"cannot be written .*Free some space", id="disk full"),
            pytest.param(a_removed_folder, "are gone: the folder was removed.*Put it back", id="removed"),
        ],
    )
    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(lambda store: store.commit(Plane((1, 2), (2, 0, 0)), FIRST), id="commit"),
            pytest.param(lambda store: store.labels.__setitem__((2, slice(500, 530)), 7), id="brush"),
            pytest.param(lambda store: store.redo(), id="redo"),
        ],
    )
    def test_say_why_and_change_nothing(
        self,
        path: Path,
        store: LabelsStore,
        trouble: Callable[[Path], Iterator[None]],
        message: str,
        act: Callable[[LabelsStore], object],
    ) -> None:
        store.commit(Plane((1, 2), (2, 0, 0)), FIRST)
        store.undo()
        before, steps = store.array[:], store.ledger.steps()
        with contextmanager(trouble)(path), pytest.raises(LabelsError, match=message):
            act(store)
        assert_array_equal(store.array[:], before)
        assert store.ledger.steps() == steps
        assert_array_equal(store.ledger.block(ALL, before.dtype), before)
        act(store)
        after = store.array[:]
        assert np.count_nonzero(after[2])
        assert_array_equal(store.ledger.block(ALL, after.dtype), after)
        store.undo()
        assert_array_equal(store.array[:], before)

    def test_in_the_middle_of_a_stroke_keep_its_beginning(self, path: Path, store: LabelsStore) -> None:
        labels = store.labels
        labels[2, 100, 3] = 9
        with contextmanager(self.a_folder_in_the_way)(path), pytest.raises(LabelsError, match="cannot be"):
            labels[2, 500:530, 3] = 9
        assert_array_equal(np.argwhere(store.array[2]), [[100, 3]])
        assert_array_equal(store.ledger.block(ALL, store.array.dtype), store.array[:])
        store.undo()
        assert not store.array[2].any()

    def test_in_a_folder_that_cannot_be_written_are_told_before(self) -> None:
        """Run as somebody else where the tests run as root, who may write everywhere."""
        if not hasattr(os, "geteuid"):
            pytest.skip("no users to be")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cells.zarr"
            store = LabelsStore.create(path, SHAPE, "zyx")
            store.commit(PLANE, FIRST)
            store.close()
            for place in (Path(folder), *path.rglob("*"), path):
                place.chmod(0o555 if place.is_dir() else 0o444)
            code = """
                import os, sys, numpy as np
                from napari_sam.plane import Plane
                from napari_sam.storage.labels import LabelsStore
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                store = LabelsStore.open(sys.argv[1])
                print(int(np.count_nonzero(store.array[:])), [x.label for x in store.ledger.objects()])
                try:
                    store.commit(Plane((1, 2), (0, 0, 0)), np.ones((600, 20), bool))
                except ValueError as error:
                    print(error)
            """
            told = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code), str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
            for place in (Path(folder), path, *path.rglob("*")):
                place.chmod(0o755)
        lines = told.stdout.splitlines()
        assert lines[:1] == [f"{FIRST.sum()} [1]"], told.stderr
        assert "can only be read: the folder cannot be written (Permission denied)" in lines[1]


class TestRepair:
    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda file: file.write_bytes(b"no chunk"), id="other bytes"),
            pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-5]), id="cut off"),
            pytest.param(lambda file: file.write_bytes(b""), id="empty"),
            pytest.param(lambda file: file.unlink(), id="gone"),
            pytest.param(
                lambda file: file.write_bytes(file.read_bytes()[:-9] + b"\0\1\2\3\4\5\6\7\10"), id="flipped"
            ),
        ],
    )
    def test_restores_a_chunk_bit_for_bit(
        self,
        path: Path,
        store: LabelsStore,
        damage: Callable[[Path], object],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        store.commit(PLANE, SECOND)
        expected = store.array[:]
        store.close()
        damage(chunk(path))
        assert main(["repair", str(path)]) == 0
        assert "1 of 2 chunks restored" in capsys.readouterr().out
        assert_array_equal(zarr.open_group(path, mode="r")["0"][:], expected)
        assert main(["repair", str(path)]) == 0
        assert "0 of 2 chunks restored" in capsys.readouterr().out

    def test_is_asked_for_where_a_commit_meets_damage(self, path: Path, store: LabelsStore) -> None:
        chunk(path).write_bytes(b"no chunk")
        with pytest.raises(LabelsError, match=r'is damaged .*: napari-sam repair "'):
            store.commit(PLANE, SECOND)
        assert [info.label for info in store.ledger.objects()] == [1]

    @pytest.mark.parametrize(
        "read",
        [
            pytest.param(lambda store: store.read(PLANE), id="a plane"),
            pytest.param(lambda store: store.labels[1], id="the labels"),
            pytest.param(lambda store: store.labels[:, 3], id="a section"),
            pytest.param(lambda store: np.asarray(store.labels), id="all"),
            pytest.param(lambda store: store.labels.__setitem__((1, 3, 3), 1), id="the brush"),
            pytest.param(lambda store: Objects(store).category_plane((1,)), id="categories"),
        ],
    )
    def test_is_asked_for_where_damage_is_read(
        self, path: Path, store: LabelsStore, read: Callable[[LabelsStore], object]
    ) -> None:
        chunk(path).write_bytes(b"no chunk")
        with pytest.raises(LabelsError, match=r'is damaged .*: napari-sam repair "'):
            read(store)

    @pytest.mark.parametrize("move", ["undo", "redo"])
    def test_is_asked_for_where_a_step_through_history_meets_damage(
        self, path: Path, store: LabelsStore, move: str
    ) -> None:
        """Of the two chunks that the step changed the second is damaged: the first stays as it was too."""
        tall = np.zeros(SHAPE[1:], bool)
        tall[400:600, 12:15] = True
        store.commit(PLANE, tall)
        if move == "redo":
            store.undo()
        expected, steps = store.array[:], store.ledger.steps()
        whole = chunk(path, y=1).read_bytes()
        chunk(path, y=1).write_bytes(b"no chunk")
        with pytest.raises(LabelsError, match=r'is damaged .*: napari-sam repair "'):
            getattr(store, move)()
        assert (store.ledger.steps(), store.ledger.pending) == (steps, None)
        chunk(path, y=1).write_bytes(whole)
        assert_array_equal(store.array[:], expected)
        assert getattr(store, move)().label == 2

    def test_keeps_what_the_ledger_does_not_know(self, path: Path, store: LabelsStore) -> None:
        store.array[1, 0, :3] = 77
        found = repair_regions(store.array, store.ledger)
        assert (found.checked, found.restored, found.foreign) == (2, (), 3)
        assert store.array[1, 0, :3].tolist() == [77, 77, 77]

    def test_of_a_store_that_is_open_elsewhere_is_refused(
        self, path: Path, store: LabelsStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["repair", str(path)]) == 1
        assert "open in another window or program" in capsys.readouterr().err

    def test_a_chunk_that_is_torn_under_a_pending_step_is_restored_on_opening(
        self, path: Path, store: LabelsStore
    ) -> None:
        store.commit(PLANE, SECOND)
        expected = store.array[:]
        store.close()
        with sqlite3.connect(path / LEDGER) as db:
            db.execute("UPDATE state SET pending = 2")
        db.close()
        chunk(path).write_bytes(b"torn")
        assert_array_equal(LabelsStore.open(path).array[:], expected)


class TestMissingChunks:
    """zarr reads what has no file as background, and a folder may have been copied in part."""

    def test_are_told(self, path: Path, store: LabelsStore) -> None:
        store.commit(PLANE, SECOND)
        assert store.find_losses() == ""
        chunk(path).unlink()
        assert store.find_losses().startswith(
            f"1 chunk of the labels at {path}, with objects in, cannot be found"
        )
        store.close()
        assert main(["repair", str(path)]) == 0
        assert LabelsStore.open(path).find_losses() == ""

    def test_are_none_where_no_object_is(self, tmp_path: Path) -> None:
        """The box of a mask may cover chunks that it has no pixel in."""
        store = LabelsStore.create(tmp_path / "x.zarr", (1, 1600, 1600), "zyx")
        mask = np.zeros((1600, 1600), bool)
        mask[:3] = mask[:, :3] = True
        store.commit(Plane((1, 2), (0, 0, 0)), mask)
        assert store.find_losses() == ""


class TestLedger:
    def test_is_not_to_blame_for_what_no_row_takes(self, store: LabelsStore) -> None:
        with pytest.raises(sqlite3.IntegrityError):
            store.write(Draft("rename", 1, objects=[ObjectInfo(1, name=None)]))  # type: ignore[arg-type]
        assert store.ledger.objects() == [ObjectInfo(1)]

    def test_that_cannot_be_read_in_the_middle_of_a_step_is_told(
        self, store: LabelsStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(store.ledger, "object", fail)
        with pytest.raises(LabelsError, match=r"disk I/O error"):
            store.commit(PLANE, SECOND, label=1)
        with pytest.raises(LabelsError, match=r"disk I/O error"):
            Objects(store).delete([1])

    def test_of_a_later_version_is_refused_and_stays(self, path: Path, store: LabelsStore) -> None:
        store.close()
        with sqlite3.connect(path / LEDGER) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        before = (path / LEDGER).read_bytes()
        with pytest.raises(ValueError, match=r"has version 99, this program knows \d+: update napari-sam"):
            LabelsStore.open(path)
        assert (path / LEDGER).read_bytes() == before

    def test_of_an_earlier_version_is_brought_up_to_date(
        self, path: Path, store: LabelsStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.close()
        later = "ALTER TABLE objects ADD COLUMN remark TEXT NOT NULL DEFAULT 'none'"
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
        db = Ledger.open(path / LEDGER)._db
        assert schema.version_of(db) == len(schema.MIGRATIONS)
        assert [row["remark"] for row in db.execute("SELECT * FROM objects_now, objects USING (label)")]
        db.close()

    def test_that_fails_to_migrate_stays_at_its_version(
        self, path: Path, store: LabelsStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.close()
        broken = "CREATE TABLE half (x); CREATE TABLE half (x)"
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(LabelsError, match="is damaged"):
            LabelsStore.open(path)
        monkeypatch.undo()
        again = LabelsStore.open(path)
        assert [info.label for info in again.ledger.objects()] == [1]

    @pytest.mark.parametrize("content", [b"", b"mine", b"SQLite format 3\0" + b"\1" * 2000])
    def test_that_is_none_is_told_and_stays(self, path: Path, store: LabelsStore, content: bytes) -> None:
        store.close()
        (path / LEDGER).write_bytes(content)
        with pytest.raises(LabelsError, match=r"ledger\.sqlite is damaged .*move it away to go on"):
            LabelsStore.open(path)
        assert (path / LEDGER).read_bytes() == content
        (path / LEDGER).unlink()
        assert_array_equal(LabelsStore.open(path).read(PLANE), FIRST)

    def test_that_is_empty_is_told_to_who_only_reads(self, path: Path, store: LabelsStore) -> None:
        store.close()
        (path / LEDGER).write_bytes(b"")
        with pytest.raises(LabelsError, match=r"ledger\.sqlite is damaged \(it is empty\)"):
            LabelsStore.open(path, read_only=True)

    def test_that_cannot_be_read_with_its_log_is_not_to_be_moved_away(
        self, tmp_path: Path, path: Path, store: LabelsStore
    ) -> None:
        """As on a disk that nobody can write to: SQLite finds no place for the index of the log."""
        copied = shutil.copytree(path, tmp_path / "copy.zarr")
        index = copied / f"{LEDGER}-shm"
        index.unlink()
        index.symlink_to(tmp_path / "missing" / "index")
        told = r"was not closed and cannot be read where it is .*; copy the folder .*copy\.zarr to a disk"
        with pytest.raises(LabelsError, match=told):
            LabelsStore.open(copied, read_only=True)
        index.unlink()
        again = LabelsStore.open(copied)
        assert [info.label for info in again.ledger.objects()] == [1]

    def test_of_labels_without_one_takes_up_what_is_there(self, path: Path, store: LabelsStore) -> None:
        """As an earlier version of this program, or another program, left them."""
        store.commit(PLANE, SECOND)
        expected = store.array[:]
        store.close()
        (path / LEDGER).unlink()
        again = LabelsStore.open(path)
        assert_array_equal(again.ledger.block(ALL, expected.dtype), expected)
        assert [(x.label, x.plane, x.making.source) for x in again.ledger.origins()] == [
            (1, PLANE, "import"),
            (2, PLANE, "import"),
        ]
        assert again.undo() is None
        assert again.next_label == 3

    def test_at_rest_is_one_file(self, path: Path, store: LabelsStore) -> None:
        assert {x.name for x in path.glob("ledger.sqlite*")} == {
            LEDGER,
            f"{LEDGER}-wal",
            f"{LEDGER}-shm",
        }
        store.close()
        assert [x.name for x in path.glob("ledger.sqlite*")] == [LEDGER]
        assert ledger_module.Ledger.open(path / LEDGER, read_only=True).highest == 1
