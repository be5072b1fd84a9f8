"""A folder of models and a server of the test's own, and a model that is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from napari_sam.weights.catalogue import CATALOGUE, ModelRow
from weights.serving import Site, serving

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("NAPARI_SAM_MODELS", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("napari_sam.weights.download._PAUSE_S", 0.01)
    return folder


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def offered(row: ModelRow, monkeypatch: pytest.MonkeyPatch) -> ModelRow:
    """The same model, in the catalogue, in the place of MobileSAM."""
    row = replace(row, key="vit_t")
    monkeypatch.setitem(CATALOGUE, "vit_t", row)
    return row


@pytest.fixture
def row(site: Site) -> ModelRow:
    """A model whose file the site has, with a published SHA-256."""
    return ModelRow(
        "small",
        "Small model",
        "vit_t",
        use="tests",
        licence="CC0-1.0",
        citation="none",
        source="made here",
        address=site.address,
        file="small.pth",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        xxh128=xxhash.xxh128(CONTENT).hexdigest(),
        size=len(CONTENT),
    )
