"""The losses, against sums by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_sam.training.losses import dice_loss, focal_loss, mask_iou, prompt_losses, proposal_loss

# Two pixels: logits 0 (p = 1/2) and ln 3 (p = 3/4); the first is background, the second is the object.
LOGITS = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)
TARGET = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
TRUTH = torch.zeros(1, 4, 4)
TRUTH[0, 1:3, 1:3] = 1


def sure(mask: Tensor) -> Tensor:
    """Logits that say ``mask`` without a doubt."""
    return 40 * mask - 20


def test_focal_loss_by_hand() -> None:
    one_pixel_of_object, margin = 1, 64
    expected = (0.5**2 * math.log(2) + 0.25**2 * math.log(4 / 3)) / (one_pixel_of_object + margin)
    assert focal_loss(LOGITS, TARGET).item() == pytest.approx(expected)


def test_dice_loss_by_hand() -> None:
    assert dice_loss(LOGITS, TARGET).item() == pytest.approx(1 - (2 * 0.75 + 1) / (1.25 + 1 + 1))


@pytest.mark.parametrize(
    ("logits", "target", "expected"),
    [
        pytest.param([1, 1, -1, -1], [1, 1, 0, 0], 1, id="equal"),
        pytest.param([1, 1, -1, -1], [0, 1, 1, 0], 1 / 3, id="overlapping"),
        pytest.param([1, 1, -1, -1], [0, 0, 1, 1], 0, id="apart"),
        pytest.param([1, 1, -1, -1], [0.6, 0.4, 0, 0], 1 / 2, id="a covered share of more than half counts"),
        pytest.param([-1, -1, -1, -1], [0, 0, 0, 0], 0, id="both empty"),
    ],
)
def test_iou_of_thresholded_masks(logits: list[float], target: list[float], expected: float) -> None:
    shape = (1, 1, 2, 2)
    iou = mask_iou(torch.tensor(logits).float().reshape(shape), torch.tensor(target).float().reshape(shape))
    assert iou.item() == pytest.approx(expected)


class TestPromptLosses:
    def test_perfect_masks_that_know_it_cost_nothing(self) -> None:
        loss, iou = prompt_losses(sure(TRUTH)[:, None].repeat(1, 4, 1, 1), torch.ones(1, 4), TRUTH)
        assert loss.item() == pytest.approx(0, abs=1e-5)
        assert iou.tolist() == [[1, 1, 1, 1]]

    def costs(self, wrong: list[int], scores: list[float] | None = None) -> float:
        """The loss where the masks numbered ``wrong`` are inverted."""
        logits = sure(TRUTH)[:, None].repeat(1, 4, 1, 1)
        logits[:, wrong] *= -1
        true_scores = [0.0 if number in wrong else 1.0 for number in range(4)]
        return prompt_losses(logits, torch.tensor([scores or true_scores]), TRUTH)[0].item()

    def test_the_best_candidate_counts_whichever_it_is(self) -> None:
        one_right = [self.costs([1, 2]), self.costs([2, 3]), self.costs([1, 3])]
        assert one_right == pytest.approx([one_right[0]] * 3)
        assert self.costs([1, 2, 3]) > 2 * one_right[0]

    def test_the_others_count_a_little(self) -> None:
        assert 0 < self.costs([1]) < self.costs([1, 2]) < self.costs([0])

    def test_the_single_mask_always_counts(self) -> None:
        assert self.costs([0, 1, 2]) == pytest.approx(self.costs([0]) + self.costs([1, 2]))

    def test_a_score_that_is_off_costs_its_square(self) -> None:
        a_tenth, two_tenths = (self.costs([], [1, 1, 1 - error, 1]) for error in (0.1, 0.2))
        assert two_tenths == pytest.approx(4 * a_tenth, rel=1e-3)

    def test_without_an_object_only_the_scores_cost(self) -> None:
        """A click on the ground: whatever is marked there, none of it is right."""
        logits, target = torch.randn(1, 4, 8, 8), torch.zeros(1, 8, 8)
        assert prompt_losses(logits, torch.zeros(1, 4), target)[0] == 0
        assert prompt_losses(logits, torch.full((1, 4), 0.5), target)[0] == pytest.approx(4 * 0.25)

    def test_prompts_do_not_mix(self) -> None:
        targets = torch.stack([TRUTH[0], 1 - TRUTH[0], torch.zeros(4, 4)])
        generator = torch.Generator().manual_seed(0)
        logits, scores = torch.randn(3, 4, 4, 4, generator=generator), torch.rand(3, 4, generator=generator)
        together, _ = prompt_losses(logits, scores, targets)
        alone = [prompt_losses(logits[[i]], scores[[i]], targets[[i]])[0] for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone))


def test_proposals_that_are_right_cost_nothing() -> None:
    """Offsets are asked for on objects alone."""
    target = torch.zeros(1, 4, 4, 4)
    target[0, :2, 1:3, 1:3] = 1
    target[0, 2:, 1:3, 1:3] = 0.5
    right = torch.cat([sure(target[:, :2]), target[:, 2:]], 1)
    right[0, 2:, 0, 0] = 7  # on the background
    assert proposal_loss(right, target) < 1e-6
    wrong = right.clone()
    wrong[0, 2, 1, 1] += 0.4
    assert proposal_loss(wrong, target).item() == pytest.approx((0.4 - 0.1 / 2) / 4, abs=1e-6)
