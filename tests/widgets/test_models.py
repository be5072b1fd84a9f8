"""Choosing a model that is not on the computer: what the user reads, waits for, and can stop."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from napari_sam.weights.catalogue import CATALOGUE, ModelRow
from napari_sam.weights.folder import is_here, part_of
from weights.serving import Site, serving
from widgets.driving import User, wait_until


@pytest.fixture
def site() -> Iterator[Site]:
    with serving((files("napari_sam.weights") / "nano.safetensors").read_bytes()) as running:
        yield running


@pytest.fixture
def row(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModelRow:
    """The bundled weights, offered as MobileSAM's: a download that soon annotates."""
    monkeypatch.setenv("NAPARI_SAM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("napari_sam.weights.download._PAUSE_S", 0.01)
    offered = replace(
        CATALOGUE["vit_t"],
        architecture="nano",
        address=site.address,
        file="model.safetensors",
        sha256=hashlib.sha256(site.content).hexdigest(),
        xxh128=None,
        size=len(site.content),
    )
    monkeypatch.setitem(CATALOGUE, "vit_t", offered)
    return offered


@pytest.fixture
def someone(row: ModelRow, sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path) -> User:
    user = sit_down(stack)
    user.panel.settings.model.value = "vit_t"
    user.panel.settings.labels.value = tmp_path / "cells.zarr"
    return user


def test_the_user_reads_what_will_be_downloaded_from_where(someone: User) -> None:
    labels = [someone.panel.settings.model.native.itemText(i) for i in range(len(CATALOGUE))]
    assert labels[0] == "nano"
    assert labels[1].startswith("MobileSAM (download ")
    assert "SAM ViT-H (download 2.56 GB)" in labels
    assert "not on this computer: starting downloads" in someone.status
    assert "from 127.0.0.1 (licence: Apache-2.0)" in someone.status
    someone.panel.settings.model.value = "vit_b_lm"
    assert "cells and nuclei in light microscopy" in someone.status
    assert "No SHA-256 is published" in someone.status


def test_starting_downloads_with_progress_while_the_window_stays_alive(
    someone: User, site: Site, row: ModelRow
) -> None:
    site.slow, site.gate = 0.002, threading.Event()  # nothing ends before the window has shown it
    seen: set[str] = set()

    def has_moved() -> bool:
        if someone.panel.progress.isVisible():
            seen.add(someone.panel.progress.text())
        return len(seen) > 2

    someone.panel.start.click()
    wait_until(has_moved)
    assert all(text.startswith("downloading") for text in seen)
    assert not is_here(row)
    site.slow = 0.0
    site.gate.set()
    someone.settle()
    assert someone.session.predictor.identity.weights_hash == row.sha256
    assert someone.panel.settings.model.native.itemText(1) == "MobileSAM"
    assert someone.panel.settings.model.value == "vit_t"
    someone.click(0, 30, 40)
    assert someone.session.preview is not None


def test_a_stopped_download_goes_on_at_the_next_start(someone: User, site: Site, row: ModelRow) -> None:
    site.slow = 0.01
    someone.panel.start.click()
    wait_until(someone.panel.cancel.isVisible)
    someone.panel.cancel.click()
    someone.settle()
    assert someone.widget.session is None and not is_here(row)
    assert "Stopped" in someone.status
    assert someone.panel.start.isEnabled() and not someone.panel.progress.isVisible()
    came = part_of(row).stat().st_size
    assert came > 0

    site.slow = 0.0
    someone.panel.start.click()
    someone.settle()
    assert site.asked == [0, came]
    assert someone.widget.session is not None, someone.status


def test_without_a_network_the_user_reads_what_to_do(someone: User, site: Site, row: ModelRow) -> None:
    site.status = 404
    someone.panel.start.click()
    someone.settle()
    assert someone.widget.session is None
    assert f"download {site.address} on another computer" in someone.status
    assert someone.panel.start.isEnabled()


def test_what_was_left_out_and_taken_on_trust_is_shown(
    someone: User, site: Site, row: ModelRow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"model_state": load(site.content), "epoch": 3}, tmp_path / "fine-tune.pt")
    site.content = (tmp_path / "fine-tune.pt").read_bytes()
    monkeypatch.setitem(
        CATALOGUE, "vit_t", replace(row, sha256=None, size=len(site.content), file="fine-tune.pt")
    )
    told: list[str] = []
    monkeypatch.setattr("napari_sam.widgets.controller.show_warning", told.append)
    someone.panel.start.click()
    someone.settle()
    assert someone.widget.session is not None, someone.status
    assert "no SHA-256 is published" in told[0]
    assert told[1:] == ["fine-tune.pt holds more than a SAM; only that was loaded. Left out: epoch."]


def test_a_checkpoint_belongs_to_the_model_that_it_was_chosen_for(someone: User, tmp_path: Path) -> None:
    someone.panel.settings.checkpoint.value = tmp_path / "mine.pth"
    someone.panel.settings.model.value = "vit_b"
    assert someone.panel.settings.chosen_checkpoint is None


def test_the_catalogues_weights_are_not_needed_for_my_own(
    someone: User, site: Site, row: ModelRow, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(site.content)
    someone.panel.settings.checkpoint.value = mine
    someone.panel.start.click()
    someone.settle()
    assert someone.widget.session is not None, someone.status
    assert site.asked == [] and not is_here(row)
