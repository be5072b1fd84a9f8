"""Convolutions that are stored in 8 bits come back within half a step, and damaged ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_sam.weights.checkpoint import CheckpointError, read_checkpoint
from napari_sam.weights.compact import LARGE, compacted, expanded
from weights.hostile import nested

State = dict[str, Tensor]
KEY = "image_encoder.stem.weight"


def convolution(magnitude: float = 1.0, outputs: int = 64, seed: int = 0) -> Tensor:
    """A large convolution with numbers up to ``magnitude``."""
    values = torch.rand((outputs, LARGE // outputs, 1, 1), generator=torch.Generator().manual_seed(seed))
    return magnitude * (2 * values - 1)


def nano_like() -> State:
    """A convolution that is stored in 8 bits, and what is not."""
    return {
        KEY: convolution(),
        "image_encoder.stem.bias": torch.tensor([0.5, -2.0]),
        "image_encoder.norm.running_var": torch.tensor([1.0, 123456.0]),
        "image_encoder.norm.num_batches_tracked": torch.tensor(7),
    }


def saved(state: State, path: Path) -> Path:
    (safetensors.torch.save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


class TestCompacted:
    @given(
        magnitudes=st.lists(st.floats(0, 1e30), min_size=1, max_size=4),
        seed=st.integers(0, 99),
        dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    )
    def test_every_weight_comes_back_within_half_a_step_of_its_channel(
        self, magnitudes: list[float], seed: int, dtype: torch.dtype
    ) -> None:
        """However small or large its channel is, and whatever the others are."""
        weight = torch.cat([convolution(size, outputs=1, seed=seed) for size in magnitudes]).to(dtype)
        stored = compacted({KEY: weight})
        found = expanded(stored)[KEY]
        for channel, original, step in zip(found, weight.float(), stored[f"{KEY}_scale"], strict=True):
            assert float((channel - original).abs().max()) <= 0.5001 * float(step)
            # The smallest steps are float32's smallest normal number, 1.2e-38.
            assert float(step) == pytest.approx(float(original.abs().max()) / 127, rel=1e-6, abs=1.2e-38)

    def test_a_channel_has_its_own_steps(self) -> None:
        weight = torch.zeros(2, 2, 128, 128)
        weight[0, 0, 0, :4] = torch.tensor([127.0, -127.0, 3.4, -3.6])
        weight[1, 0, 0, :2] = torch.tensor([0.25, -0.125])
        stored = compacted({KEY: weight})
        assert stored[KEY].dtype == torch.int8
        assert stored[KEY][0, 0, 0, :5].tolist() == [127, -127, 3, -4, 0]
        assert stored[KEY][1, 0, 0, :3].tolist() == [127, -64, 0]
        torch.testing.assert_close(stored[f"{KEY}_scale"], torch.tensor([1.0, 0.25 / 127]))

    def test_a_channel_of_zeros_stays_one(self) -> None:
        weight = convolution()
        weight[3] = 0
        found = expanded(compacted({KEY: weight}))[KEY]
        assert not found[3].any() and found.isfinite().all()

    def test_it_takes_hardly_more_than_a_byte_per_weight(self, tmp_path: Path) -> None:
        path = saved(compacted({KEY: convolution()}), tmp_path / "weights.safetensors")
        assert path.stat().st_size < 1.01 * LARGE

    @pytest.mark.parametrize(
        ("key", "value", "dtype"),
        [
            pytest.param(KEY, torch.ones(64, 1023, 1, 1), torch.float16, id="small convolution"),
            pytest.param("mask_decoder.mlp.weight", torch.ones(256, 256), torch.float16, id="matrix"),
            pytest.param("image_encoder.pos_embed", torch.ones(1, 64, 64, 16), torch.float16, id="positions"),
            pytest.param("x.running_var", torch.tensor([1.0, 1e5]), torch.float32, id="too large for half"),
            pytest.param("x.num_batches_tracked", torch.tensor(100_000), torch.int64, id="counter"),
        ],
    )
    def test_all_else_is_stored_in_half_precision_where_that_holds_it(
        self, key: str, value: Tensor, dtype: torch.dtype
    ) -> None:
        stored = compacted({key: value})
        assert [*stored] == [key] and stored[key].dtype == dtype
        assert torch.equal(stored[key].to(value.dtype), value)

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_a_number_that_is_not_finite_spoils_no_other(self, number: float) -> None:
        weight = convolution()
        weight[0, 0] = number
        stored = compacted({KEY: weight})
        assert [*stored] == [KEY]
        torch.testing.assert_close(stored[KEY], weight, rtol=0, atol=0, equal_nan=True)


class TestExpanded:
    def test_keys_keep_their_order(self) -> None:
        assert [*expanded(compacted(nano_like()))] == [*nano_like()]

    def test_a_state_without_8_bits_is_not_copied(self) -> None:
        state = {key: value.half() for key, value in nano_like().items()}
        found = expanded(state)
        assert [*found] == [*state]
        assert all(found[key] is value for key, value in state.items())

    def test_only_what_the_model_has_becomes_floats(self) -> None:
        """A small file may name the same numbers a thousand times, each of which would become floats."""
        state = compacted(nano_like())
        for name in ("image_encoder.unknown.weight", "image_encoder.larger.weight"):
            state |= {name: state[KEY], f"{name}_scale": state[f"{KEY}_scale"]}
        larger = torch.empty((64, 2048, 1, 1), device="meta")
        found = expanded(state, nano_like() | {"image_encoder.larger.weight": larger})
        assert found[KEY].dtype == torch.float32
        assert found["image_encoder.unknown.weight"] is found["image_encoder.larger.weight"] is state[KEY]
        assert not any(key.endswith("_scale") for key in found)


class TestFile:
    @pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
    @pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_is_read_as_floats(self, tmp_path: Path, name: str, mapped: bool, prefix: str) -> None:
        stored = {f"{prefix}{key}": value for key, value in compacted(nano_like()).items()}
        read = read_checkpoint(saved(stored, tmp_path / name), mapped)
        assert read.left_out == ()
        assert read.state.keys() == nano_like().keys()
        for key, value in nano_like().items():
            torch.testing.assert_close(read.state[key].to(value.dtype), value, rtol=0, atol=0.5001 / 127)

    def test_the_same_weights_are_the_same_bytes(self, tmp_path: Path) -> None:
        """A file's hash is the identity of its weights."""
        one, other = (saved(compacted(nano_like()), tmp_path / f"{x}.safetensors") for x in range(2))
        assert one.read_bytes() == other.read_bytes()

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            pytest.param(
                lambda state: state.pop(f"{KEY}_scale"),
                f"{KEY} is in 8 bits, but its scales {KEY}_scale are missing",
                id="no scales",
            ),
            pytest.param(
                lambda state: state.pop(KEY),
                f"{KEY}_scale are the scales of {KEY}, which is no plain convolution in 8 bits",
                id="no weight",
            ),
            pytest.param(
                lambda state: state.update({KEY: state[KEY].half()}),
                f"{KEY}_scale are the scales of {KEY}, which is no plain convolution in 8 bits",
                id="a weight of floats",
            ),
            pytest.param(
                lambda state: state.update({KEY: torch.zeros(1, dtype=torch.int8).expand(64, 9**5, 9**5, 1)}),
                f"{KEY}_scale are the scales of {KEY}, which is no plain convolution in 8 bits",
                id="a weight of 200 GB in one byte",
            ),
            pytest.param(
                lambda state: state.update({f"{KEY}_scale": torch.ones(63)}),
                rf"{KEY}_scale has the shape \(63,\) instead of \(64,\)",
                id="too few scales",
            ),
            pytest.param(
                lambda state: state.update({f"{KEY}_scale": torch.tensor(1.0)}),
                rf"{KEY}_scale has the shape \(\) instead of \(64,\)",
                id="one scale",
            ),
            pytest.param(
                lambda state: state.update({f"{KEY}_scale": torch.ones(64).int()}),
                f"{KEY}_scale holds no plain floats but torch.int32",
                id="scales of integers",
            ),
            pytest.param(
                lambda state: state.update({f"{KEY}_scale": torch.ones(64).to_sparse()}),
                f"{KEY}_scale holds no plain floats",
                id="sparse scales",
            ),
            pytest.param(
                lambda state: state.update({f"{KEY}_scale": nested(torch.float32)}),
                f"{KEY}_scale holds no plain floats",
                id="nested scales",
            ),
            *(
                pytest.param(
                    lambda state, number=number: state[f"{KEY}_scale"].__setitem__(5, number),
                    f"{KEY}_scale holds numbers that are not finite, or not above zero",
                    id=f"a scale of {number}",
                )
                for number in (float("nan"), float("inf"), 0.0, -1.0)
            ),
        ],
    )
    def test_damage_is_named(self, tmp_path: Path, change: Callable[[State], object], problem: str) -> None:
        state = compacted(nano_like())
        change(state)
        path = saved(state, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError, match=rf"weights\.pth is damaged: {problem}.*choose another"):
            read_checkpoint(path)
