"""``napari-sam models``: what the terminal says and does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from napari_sam.cli import main
from napari_sam.weights.catalogue import CATALOGUE, ModelRow
from napari_sam.weights.folder import is_here, path_of
from weights.conftest import CONTENT
from weights.serving import Site


def test_the_list_tells_what_there_is_and_what_is_here(
    offered: ModelRow, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(key: str) -> list[str]:
        assert main(["models"]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        return next(words for words in lines if words and words[0] == key)

    assert {key: line(key)[0] for key in CATALOGUE} == {key: key for key in CATALOGUE}
    assert line("nano")[1] == "bundled"
    assert line("vit_b")[1:4] == ["375", "MB", "-"]
    assert line("vit_t")[1:4] == ["256", "KB", "-"]
    assert main(["models", "download", "vit_t"]) == 0
    capsys.readouterr()
    assert line("vit_t")[3] == "here"


def test_a_model_is_downloaded_and_removed(offered: ModelRow, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "nano", "vit_t"]) == 0
    told = capsys.readouterr()
    assert "nano ships with the package" in told.out
    assert f"vit_t: {path_of(offered)}, SHA-256 {offered.sha256}" in told.out
    assert "Downloading Small model (256 KB, licence CC0-1.0)" in told.err
    assert path_of(offered).read_bytes() == CONTENT

    assert main(["models", "remove", "vit_t"]) == 0
    assert "vit_t: 256 KB removed" in capsys.readouterr().out
    assert not is_here(offered)
    assert main(["models", "remove", "vit_t"]) == 1
    assert "there is nothing to remove" in capsys.readouterr().err


def test_the_user_is_told_when_a_hash_is_taken_on_trust(
    offered: ModelRow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CATALOGUE, "vit_t", replace(offered, sha256=None))
    assert main(["models", "download", "vit_t"]) == 0
    assert "no SHA-256 is published" in capsys.readouterr().out


def test_an_unknown_model_stops_everything(offered: ModelRow, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "vit_t", "vit_x"]) == 1
    assert "'vit_x' is unknown" in capsys.readouterr().err
    assert not is_here(offered)


def test_a_failed_download_says_what_to_do(
    site: Site, offered: ModelRow, capsys: pytest.CaptureFixture[str]
) -> None:
    site.status = 404
    assert main(["models", "download", "vit_t"]) == 1
    assert "put it into the folder" in capsys.readouterr().err


def test_control_c_keeps_what_has_come(
    offered: ModelRow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_sam.weights.transfer._Meter.update", interrupted)
    assert main(["models", "download", "vit_t"]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_the_list_loads_no_torch() -> None:
    code = "import sys, napari_sam.cli; napari_sam.cli.main(['models']); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
