"""What all commands have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from automatic_cases import real_image
from napari_sam import batch
from napari_sam.annotation import Session
from napari_sam.cli import main
from napari_sam.replaying import replay
from napari_sam.storage import importing
from napari_sam.storage.importing import import_labels
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry


class TestCtrlC:
    """One line says what stays, and the status is that of an interrupted program."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        np.save("labels.npy", np.ones((3, 4), np.uint16))
        tifffile.imwrite("coins.tif", real_image("coins"))
        LabelsStore.create("cells.zarr", (3, 4), Geometry("yx")).close()

    @pytest.mark.parametrize(
        ("arguments", "where", "line"),
        [
            ("demo --headless --out out", (Session, "predict"), "What was written by then is in out."),
            ("repair cells.zarr", (LabelsStore, "repair"), "the same command restores the rest."),
            (
                "import labels.npy new.zarr",
                (importing, "objects_in"),
                "No new labels were written, and labels.npy is as it was.",
            ),
            ("automatic coins.tif --labels new.tif", (batch, "propose"), "No labels were written."),
            ("automatic coins.tif --labels new.tif", (Path, "replace"), "No labels were written."),
            ("automatic coins.tif --labels new.zarr", (batch, "commit_masks"), "No labels were written."),
            (
                "replay cells.zarr labels.npy --model nano",
                (replay, "compared"),
                "No new labels were written, and the old ones are as they were.",
            ),
        ],
        ids=[
            "demo",
            "repair",
            "import",
            "automatic",
            "automatic, written",
            "automatic, to a store",
            "replay",
        ],
    )
    def test_is_answered_with_what_stays(
        self,
        arguments: str,
        where: tuple[object, str],
        line: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        before = {path.name for path in Path().iterdir()}
        monkeypatch.setattr(*where, interrupted)
        assert main(arguments.split()) == 130
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("Stopped. ") and said.endswith(line)
        assert {path.name for path in Path().iterdir()} - before <= {"out"}


class TestDamagedFiles:
    """One sentence names the file and says what to do."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        labels = np.random.default_rng(0).integers(0, 90, (64, 64)).astype(np.uint16)
        tifffile.imwrite("whole.tif", labels, compression="zlib")
        whole = Path("whole.tif").read_bytes()
        Path("cut.tif").write_bytes(whole[: len(whole) // 2])
        middle = len(whole) // 2
        Path("torn.tif").write_bytes(whole[:middle] + bytes(100) + whole[middle + 100 :])
        Path("empty.tif").write_bytes(b"II*\0" + bytes(20))
        Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
        np.save("cells.npy", stack := np.stack([labels] * 12))
        import_labels(stack, "cells.zarr", "zyx").close()

    @pytest.mark.parametrize("file", ["cut.tif", "torn.tif", "empty.tif"])
    @pytest.mark.parametrize(
        "command", ["import {} new.zarr", "automatic {} --labels new.tif"], ids=["import", "automatic"]
    )
    def test_labels_and_images(self, command: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.check(command.format(file), f"{file} cannot be read (", "another", capsys)
        assert not Path("new.zarr").exists() and not Path("new.tif").exists()

    def test_a_picture(self, capsys: pytest.CaptureFixture[str]) -> None:
        command = "automatic broken.png --labels new.tif"
        self.check(command, "broken.png cannot be read (", "choose another file", capsys)

    @pytest.mark.parametrize(
        "command",
        [
            *(
                f"export cells.zarr out --to {x}"
                for x in ("coco", "csv", "geojson", "shapes", "categories-tiff")
            ),
            "repair cells.zarr",
            "replay cells.zarr cells.npy --model nano --out out",
        ],
    )
    def test_a_ledger(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        ledger = Path("cells.zarr", "ledger.sqlite")
        content = bytearray(ledger.read_bytes())
        content[4096 * 8 :] = b"\xff" * (len(content) - 4096 * 8)  # what says which tables there are stays
        ledger.write_bytes(content)
        self.check(command, f"{ledger} is damaged (", "restore it from a copy", capsys)
        assert not Path("out").exists()

    @staticmethod
    def check(command: str, what: str, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(command.split()) == 1
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert told.startswith("napari-sam: ") and what in told and remedy in told
