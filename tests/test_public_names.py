"""What ``import napari_sam`` offers; `test_packaging` shows that it costs nothing."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import napari_sam


def test_names_are_those_of_their_modules() -> None:
    assert set(napari_sam.__all__) == set(napari_sam._HOMES)
    for name, home in napari_sam._HOMES.items():
        assert getattr(napari_sam, name) is getattr(import_module(f"napari_sam.{home}"), name)


def test_all_of_them_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from napari_sam import *", names)
    assert set(napari_sam.__all__) <= set(names)


def test_each_of_them_stands_on_the_page_of_the_api() -> None:
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"auto(?:class|function):: napari_sam\.(\w+)$", page, re.MULTILINE))
    assert named == set(napari_sam.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'napari_sam' has no attribute 'sesion'"):
        napari_sam.sesion  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Labels'"):
        from napari_sam import Labels  # noqa: F401
