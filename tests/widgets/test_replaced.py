"""What the model of a running annotation sees may change behind it: the user is told, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from widgets.conftest import DISCS, SHAPE, disc
from widgets.driving import User, wait_until


def test_another_array_is_told_and_taken_over_by_the_next_start(
    user: User, stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user.image.data = stack  # the same one, as after an edit in place
    assert "start anew" not in user.status
    user.image.data = stack[::-1].copy()
    assert "pixels of 'cells' were replaced" in user.status and "start anew" in user.status
    user.start(tmp_path / "cells.zarr")
    user.go_to(0, 0)
    user.click(0, *DISCS[2][:2])
    preview = user.session.preview
    assert preview is not None and preview.mask[DISCS[2][:2]]
    assert not (preview.mask & ~disc(DISCS[2][:2], 20)).any()


@pytest.mark.parametrize("shape", [(2, *SHAPE), (5, 100, 300), SHAPE, (2, 3, *SHAPE)], ids=str)
def test_an_array_of_another_shape_ends_the_annotation(
    user: User, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    user.image.data = np.zeros(shape, np.uint8)
    user.settle()
    assert user.widget.session is None
    assert f"'cells' has another shape now, {shape}" in user.status
    user.start(tmp_path / "others.zarr")
    assert user.session.planes.shape == shape


def test_an_array_that_came_while_the_session_was_opened_is_told(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user = sit_down(stack)
    user.panel.settings.labels.value = tmp_path / "cells.zarr"
    user.panel.start.click()
    user.image.data = stack.copy()
    user.settle()
    assert "pixels of 'cells' were replaced" in user.status


def test_another_contrast_is_told_where_the_model_has_that_of_the_layer(
    user: User, stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user.panel.settings.contrast.value = "layer"
    user.start(tmp_path / "cells.zarr")
    user.image.contrast_limits = (10, 90)
    wait_until(lambda: "contrast as it was shown when you started; start anew" in user.status)
    user.start(tmp_path / "cells.zarr")
    assert user.session.planes.limits is not None and user.session.planes.limits.high == 90


def test_after_the_end_nothing_listens_to_the_image(user: User, stack: NDArray[np.uint8]) -> None:
    user.widget.let_go()
    before = user.status
    user.image.data = stack.copy()
    assert user.status == before
