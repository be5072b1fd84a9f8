"""``napari-sam automatic``: an image file in, labels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from automatic_cases import real_image
from napari_sam.cli import main
from napari_sam.storage.labels import LabelsStore


@pytest.fixture
def coins(tmp_path: Path) -> Path:
    path = tmp_path / "coins.tif"
    tifffile.imwrite(path, real_image("coins"))
    return path


def test_labels_as_an_image(coins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "labels.tif"
    assert main(["automatic", str(coins), "--labels", str(out)]) == 0
    labels = tifffile.imread(out)
    count = len(np.unique(labels)) - 1
    assert labels.shape == real_image("coins").shape and count >= 10
    assert f"{count} objects" in capsys.readouterr().out


def test_labels_as_a_store(coins: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.zarr"
    assert main(["automatic", str(coins), "--labels", str(out), "--rule", "score"]) == 0
    store = LabelsStore.open(out)
    try:
        assert len(store.ledger.objects()) == len(np.unique(np.asarray(store.array))) - 1 >= 10
    finally:
        store.close()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--labels", "labels.png"], "with .tif or .zarr"),
        (["--labels", "coins.tif"], "exists"),
        (["--labels", "new.tif", "--pred-iou-thresh", "0.999"], "pred_iou_thresh = 0.999 took"),
    ],
    ids=["ending", "exists", "nothing left"],
)
def test_mistakes_are_told_and_leave_no_file(
    coins: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(coins.parent)
    assert main(["automatic", str(coins), *more]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in coins.parent.iterdir()] == ["coins.tif"]


def test_channels_are_seen_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coins = real_image("coins")
    half = np.arange(coins.shape[1]) < coins.shape[1] // 2
    path, out = tmp_path / "channels.tif", tmp_path / "labels.tif"
    tifffile.imwrite(path, np.stack([coins * half, coins * ~half]), photometric="minisblack")
    assert main(["automatic", str(path), "--labels", str(out), "--channel-axis", "0"]) == 0
    labels = tifffile.imread(out)
    assert labels.shape == coins.shape
    assert len(np.unique(labels[:, half])) > 5 and len(np.unique(labels[:, ~half])) > 5
    assert main(["automatic", str(path), "--labels", str(tmp_path / "x.tif"), "--channel-axis", "7"]) == 1
    assert "no plane with an axis 7 of channels" in capsys.readouterr().err
