"""A large encoder pauses often, and what it computes does not depend on it."""

from __future__ import annotations

import pytest
import torch

from napari_sam.model import layers
from napari_sam.model.layers import in_pieces
from seeded import SMALL_VIT, seeded_image, seeded_predictor


@pytest.mark.parametrize(
    ("products", "tokens"),
    [
        pytest.param(3 * 768**2, 2048, id="queries, keys and values of ViT-B"),
        pytest.param(8 * 768**2, 1024, id="feed-forward of ViT-B"),
        pytest.param(8 * 1280**2, 512, id="feed-forward of ViT-H"),
        pytest.param(8 * 64**2, 2048, id="a narrow layer"),
    ],
)
def test_the_wider_a_layer_the_fewer_tokens_go_through_it_at_once(products: int, tokens: int) -> None:
    pieces = in_pieces(torch.zeros(4096, 1), products)
    assert [len(piece) for piece in pieces] == [tokens] * (4096 // tokens)


def test_pieces_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, image = seeded_predictor(SMALL_VIT), seeded_image(201, 163)
    reports: list[float] = []
    whole = predictor.encode(image, reports.append)
    few = len(reports)
    monkeypatch.setattr(layers, "_PIECE", 1)
    monkeypatch.setattr(layers, "_LEAST_TOKENS", 100)
    cut = predictor.encode(image, reports.append)
    # 256 tokens in three pieces: of each block's feed-forward, and of two blocks' global attention.
    assert len(reports) - few == few + 2 * 4 + 2 * 2
    assert reports[few:] == sorted(reports[few:]) and reports[-1] == 1
    torch.testing.assert_close(cut.features, whole.features, atol=1e-5, rtol=1e-5)
