"""``napari-sam automatic``: an image file in, labels out."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from automatic_cases import real_image
from napari_sam import batch, cli
from napari_sam.batch import label_file
from napari_sam.cli import main
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.proposals import Proposals
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.replaying.image import image_of
from napari_sam.starting import open_session
from napari_sam.storage.labels import LabelsStore
from seeded import seeded_image


@pytest.fixture
def coins(tmp_path: Path) -> Path:
    path = tmp_path / "coins.tif"
    tifffile.imwrite(path, real_image("coins"))
    return path


def test_labels_as_an_image(coins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "labels.TIF"
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


def test_the_record_says_what_the_model_saw(coins: Path, tmp_path: Path) -> None:
    """The contrast of an image like it, which a session keeps for its embeddings, is another one."""
    model, image = load_predictor("nano"), real_image("coins")
    with closing(open_session(image, model=model, labels=tmp_path / "before.zarr")) as session:
        session.encode_all()
    edited = image.copy()
    edited[:20, -60:] = 255
    tifffile.imwrite(coins, edited)
    assert label_file(coins, tmp_path / "new.zarr", model) >= 10
    with closing(LabelsStore.open(tmp_path / "new.zarr")) as store:
        recorded = {origin.making.preprocessing for origin in store.ledger.each_origin()}
    assert recorded == {Planes(edited).preprocessing} != {Planes(image).preprocessing}


def test_a_store_of_channels_knows_the_file_that_it_was_made_of(tmp_path: Path) -> None:
    coins = real_image("coins")
    path = tmp_path / "channels.tif"
    tifffile.imwrite(path, np.stack([coins, coins]), photometric="minisblack")
    label_file(path, tmp_path / "new.zarr", load_predictor("nano"), channel_axis=0)
    with closing(LabelsStore.open(tmp_path / "new.zarr")) as store:
        assert store.array.shape == (1, *coins.shape)
        seen = image_of(store, path)
    assert seen.channels is not None and seen.shape == (1, *coins.shape)


def test_thresholds_that_leave_nothing_are_told_and_leave_no_file(
    coins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = coins.with_name("new.tif")
    assert main(["automatic", str(coins), "--labels", str(out), "--pred-iou-thresh", "0.999"]) == 1
    assert "pred_iou_thresh = 0.999 took" in capsys.readouterr().err
    assert [path.name for path in coins.parent.iterdir()] == ["coins.tif"]


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        ("coins.tif", "coins.tif", "coins.tif exists; give another name"),
        ("coins.tif", "missing/x.tif", "have no folder missing; make it first"),
        ("coins.tif", "labels.png", "with .tif or .zarr"),
        ("cons.tif", "labels.tif", "no image cons.tif"),
    ],
    ids=["exists", "folder", "ending", "image"],
)
def test_what_is_in_the_way_is_told_before_the_model_is_loaded(
    coins: Path,
    image: str,
    labels: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(coins.parent)
    monkeypatch.setattr(cli, "_predictor", lambda _: pytest.fail("a model is loaded"))
    assert main(["automatic", image, "--labels", labels]) == 1
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


@pytest.mark.parametrize(
    ("labels", "count"), [([[1, 2], [2, 1]], 2), ([[0, 2], [0, 2]], 1)], ids=["full", "not"]
)
def test_objects_are_counted_also_where_they_leave_no_background(
    coins: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_predictor: Predictor,
    labels: list[list[int]],
    count: int,
) -> None:
    found = SimpleNamespace(select=lambda _: SimpleNamespace(message=None))
    monkeypatch.setattr(batch, "propose", lambda *_: found)
    monkeypatch.setattr(batch, "label_image", lambda *_: np.array(labels, np.uint32))
    assert label_file(coins, tmp_path / "labels.tif", tiny_predictor) == count


class TestWhatAFileHolds:
    """Colours are what the file calls so; anything else of three or four is no colour."""

    @pytest.fixture
    def seen(self, monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.uint8]]:
        """Keep what the model is shown, and stop there."""
        planes: list[NDArray[np.uint8]] = []

        def propose(_predictor: Predictor, plane: NDArray[np.uint8], *_: object) -> Proposals:
            planes.append(plane)
            raise ValueError("enough")

        monkeypatch.setattr(batch, "propose", propose)
        return planes

    @pytest.mark.parametrize("count", [2, 3, 4, 5])
    def test_channels_are_those_of_the_named_axis(
        self, count: int, seen: list[NDArray[np.uint8]], tmp_path: Path
    ) -> None:
        channels = seeded_image(count * 20, 30, seed=0)[..., 0].reshape(count, 20, 30)
        path = tmp_path / "channels.tif"
        tifffile.imwrite(path, channels, photometric="minisblack", metadata={"axes": "CYX"})
        main(["automatic", str(path), "--labels", str(tmp_path / "x.tif"), "--channel-axis", "0"])
        expected = Planes(channels, "cyx", channels="c").image(Plane((1, 2), (0, 0, 0)))
        assert_array_equal(seen[0], expected)

    @pytest.mark.parametrize(("dtype", "brightest"), [(np.uint8, 15), (np.uint8, 255), (np.uint16, 4000)])
    def test_a_plane_without_colours_is_seen_as_in_a_session(
        self, dtype: type[np.integer], brightest: int, seen: list[NDArray[np.uint8]], tmp_path: Path
    ) -> None:
        """Also a dim one of bytes: between its robust limits, whatever type it has."""
        image = (seeded_image(20, 30, seed=0)[..., 0] * (brightest / 255)).astype(dtype)
        tifffile.imwrite(tmp_path / "gray.tif", image)
        main(["automatic", str(tmp_path / "gray.tif"), "--labels", str(tmp_path / "x.tif")])
        assert_array_equal(seen[0], Planes(image, "yx").image(Plane((0, 1), (0, 0))))
        assert seen[0].max() == 255

    @pytest.mark.parametrize(("samples", "planar"), [(3, False), (4, False), (3, True)])
    def test_colours_are_seen_without_transparency(
        self, samples: int, planar: bool, seen: list[NDArray[np.uint8]], tmp_path: Path
    ) -> None:
        image = np.dstack([seeded_image(20, 30, seed=0), np.full((20, 30), 255, np.uint8)])[..., :samples]
        layout = (np.moveaxis(image, -1, 0), "separate") if planar else (image, "contig")
        tifffile.imwrite(tmp_path / "rgb.tif", layout[0], photometric="rgb", planarconfig=layout[1])
        main(["automatic", str(tmp_path / "rgb.tif"), "--labels", str(tmp_path / "x.tif")])
        assert_array_equal(seen[0], image[..., :3])

    @pytest.mark.parametrize("shape", [(3, 20, 30), (4, 20, 30), (20, 30, 3), (2, 3, 20, 30)], ids=str)
    def test_a_stack_is_not_taken_for_colours(
        self, shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack", planarconfig=None)
        assert main(["automatic", str(path), "--labels", str(tmp_path / "x.tif")]) == 1
        assert f"has shape {shape}, which is not one plane" in capsys.readouterr().err

    def test_a_file_of_another_kind_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "text.tif"
        path.write_text("no image")
        assert main(["automatic", str(path), "--labels", str(tmp_path / "x.tif")]) == 1
        assert "text.tif cannot be read (not a TIFF file" in capsys.readouterr().err
