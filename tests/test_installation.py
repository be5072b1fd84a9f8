"""The other plugin of the same import name is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_sam.installation import conflict


@pytest.fixture
def other_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay down what tells Python that a distribution is installed."""
    folder = tmp_path / "napari_sam-0.4.13.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: napari-sam\nVersion: 0.4.13\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_alone_there_is_no_conflict() -> None:
    assert conflict() is None


@pytest.mark.usefixtures("other_plugin")
def test_the_other_plugin_is_named_with_the_remedy() -> None:
    message = conflict()
    assert message is not None
    assert "napari-sam 0.4.13 is installed beside napari-sam-stack" in message
    assert message.endswith("pip uninstall napari-sam napari-sam-stack && pip install napari-sam-stack")
