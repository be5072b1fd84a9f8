"""What all commands have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from automatic_cases import real_image
from napari_sam import batch, replay
from napari_sam.annotation import Session
from napari_sam.cli import main
from napari_sam.storage import importing
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
