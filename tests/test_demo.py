"""The demo that needs no display, and the command that starts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

import napari_sam
from napari_sam.cli import main
from napari_sam.demo import STEPS, demo_stack


@pytest.fixture
def without_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_headless_demo_writes_labels_and_a_picture_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--headless", "--out", str(tmp_path)]) == 0

    (folder,) = tmp_path.iterdir()
    labels = zarr.open_group(folder / "labels.zarr", mode="r")["0"]
    assert labels.shape == demo_stack().shape
    assert np.unique(labels[:]).tolist() == list(range(len(STEPS) + 1))
    for number, (index, prompt) in enumerate(STEPS, start=1):
        assert set(np.nonzero(labels[:] == number)[0]) == {index}
        for row, column in prompt.points:
            assert labels[index, int(row), int(column)] == number

    with Image.open(folder / "overlay.png") as picture:
        colours = np.asarray(picture).reshape(-1, 3)
    assert (colours.max(1) - colours.min(1) > 60).any(), "masks and prompts are drawn in colour"

    said = capsys.readouterr().out
    assert str(folder / "labels.zarr") in said
    assert str(folder / "overlay.png") in said
    assert said.count(" s  ") >= 2 * len(STEPS), "every step's time"


def test_a_second_run_keeps_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["demo", "--headless", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("without_display")
def test_without_a_display_the_demo_is_headless(tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert list(tmp_path.glob("*/overlay.png"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--headless", "--out", str(tmp_path / "file")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"napari-sam: {tmp_path / 'file'}")
    assert told.endswith("cannot be read or written (Not a directory); give another file or folder.\n")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"napari-sam-stack {napari_sam.__version__}"
