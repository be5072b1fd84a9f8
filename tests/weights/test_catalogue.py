"""The rows of the catalogue hold together; that they are true is said by their sources."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from napari_sam.weights.catalogue import CATALOGUE, ModelRow, model_row, readable_size

ROWS = [pytest.param(row, id=key) for key, row in CATALOGUE.items()]
DOWNLOADED = [pytest.param(row, id=key) for key, row in CATALOGUE.items() if key != "nano"]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_says_what_it_is_good_for_and_on_which_terms(row: ModelRow) -> None:
    for text in (row.title, row.use, row.licence, row.citation, row.source):
        assert text.strip() == text != ""


@pytest.mark.parametrize("row", DOWNLOADED)
def test_every_download_is_secure_and_can_be_checked(row: ModelRow) -> None:
    assert urlsplit(row.address).scheme == "https"
    assert row.sha256 or row.xxh128
    assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.xxh128 is None or re.fullmatch("[0-9a-f]{32}", row.xxh128)


@pytest.mark.parametrize("row", DOWNLOADED)
def test_a_checkpoint_is_little_larger_than_its_parameters(row: ModelRow) -> None:
    parameters = ModelRow(
        row.key, "", row.architecture, use="", licence="", citation="", source="", address="https://x"
    ).about_bytes
    assert parameters <= row.about_bytes < 1.01 * parameters


@pytest.mark.parametrize("what", ["key", "title", "file", "address", "sha256", "xxh128"])
def test_no_two_rows_share(what: str) -> None:
    values = [value for row in CATALOGUE.values() if (value := getattr(row, what))]
    assert len(values) == len(set(values))


def test_these_models_are_offered() -> None:
    sizes = {"lm": "tbl", "em_organelles": "tbl", "histopathology": "bl"}
    micro_sam = {f"vit_{letter}_{kind}" for kind, letters in sizes.items() for letter in letters}
    assert set(CATALOGUE) == {"nano", "vit_t", "vit_b", "vit_l", "vit_h", "medsam"} | micro_sam


def test_an_unknown_key_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'vit_x' is unknown; choose one of nano, vit_t"):
        model_row("vit_x")


@pytest.mark.parametrize(
    ("size", "text"),
    [(375_042_383, "375 MB"), (2_564_550_879, "2.56 GB"), (81_920, "81.9 KB"), (7, "7 bytes")],
)
def test_sizes_are_written_as_people_do(size: int, text: str) -> None:
    assert readable_size(size) == text


@pytest.mark.parametrize("row", ROWS)
def test_the_documentation_has_the_row(row: ModelRow) -> None:
    """Its table is the one place where a user reads licences before a download."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if f"| `{row.key}` |" in line]
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]
    title = row.title if row.is_bundled else f"[{row.title}]({row.address})"
    hash_is = "bundled" if row.is_bundled else "published" if row.sha256 else "first download"
    size = "" if row.is_bundled else readable_size(row.about_bytes)
    file = "" if row.is_bundled else f"`{row.file}`"
    assert cells == [title, f"`{row.key}`", row.use, row.licence, size, file, hash_is]
    assert row.is_bundled or any(f"`{row.key}`" in x and x.endswith(row.citation) for x in page.splitlines())
