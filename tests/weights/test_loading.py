"""A checkpoint is loaded whole and safely, or refused with the reason."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.model.folding import fold_norms
from napari_sam.model.sam import CONFIGS
from napari_sam.weights import compact
from napari_sam.weights.catalogue import CATALOGUE
from napari_sam.weights.loading import CheckpointError, load_model
from seeded import NANO_SEED, predictor_of, seeded_image, seeded_model, seeded_weights
from weights.hostile import nested

State = dict[str, Tensor]
Save = Callable[[State, Path], object]
SAVERS: dict[str, Save] = {".pth": torch.save, ".safetensors": safetensors.torch.save_file}


@pytest.fixture(scope="module")
def nano_state() -> State:
    return seeded_weights(CONFIGS["nano"], NANO_SEED)


class TestLoad:
    @pytest.mark.parametrize("suffix", SAVERS)
    def test_both_formats_give_the_same_predictor(
        self, tmp_path: Path, nano_state: State, suffix: str
    ) -> None:
        expected = seeded_model(CONFIGS["nano"], NANO_SEED)
        fold_norms(expected)
        path = tmp_path / f"weights{suffix}"
        SAVERS[suffix](nano_state, path)
        loaded = load_predictor("nano", checkpoint=path, device="cpu")
        image = seeded_image(30, 40)
        ours, theirs = (predictor.encode(image) for predictor in (loaded, predictor_of(expected, "seeded")))
        torch.testing.assert_close(ours.features, theirs.features, rtol=0, atol=0)
        assert loaded.predict(ours, Prompt([(5, 5)])).masks.shape == (3, 30, 40)

    @pytest.mark.parametrize("suffix", SAVERS)
    def test_an_official_checkpoint_needs_no_change(self, tmp_path: Path, suffix: str) -> None:
        """Zeros under the official keys; `test_parity` shows the numbers."""
        shapes = json.loads((Path(__file__).parents[1] / "data" / "state_dict_shapes.json").read_text())
        path = tmp_path / f"sam_vit_b{suffix}"
        SAVERS[suffix]({key: torch.zeros(shape) for key, shape in shapes["vit_b"].items()}, path)
        sam, identity = load_model("vit_b", str(path))
        assert identity.architecture == "vit_b"
        assert not any(parameter.is_meta for parameter in sam.state_dict().values())

    def test_the_bundled_weights_are_finite(self) -> None:
        sam, _ = load_model("nano")
        assert all(value.isfinite().all() for value in sam.state_dict().values())

    def test_identity_is_the_hash_of_the_file(self, tmp_path: Path, nano_state: State) -> None:
        path = tmp_path / "weights.pth"
        torch.save(nano_state, path)
        identity = load_model("nano", path)[1]
        assert identity.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_half_precision_is_widened(self, tmp_path: Path, nano_state: State) -> None:
        path = tmp_path / "half.safetensors"
        half = {key: x.half() if x.is_floating_point() else x for key, x in nano_state.items()}
        safetensors.torch.save_file(half, path)
        sam, _ = load_model("nano", path)
        assert {x.dtype for x in sam.parameters()} == {torch.float32}

    def test_the_model_is_ready_to_predict(self, tmp_path: Path, nano_state: State) -> None:
        path = tmp_path / "weights.pth"
        torch.save(nano_state, path)
        sam, _ = load_model("nano", path)
        assert not sam.training
        assert not any(parameter.requires_grad for parameter in sam.parameters())


class RunsCode:
    """Touches a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


def save_legacy(state: object, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def truncated(save: Save) -> Save:
    def write(state: State, path: Path) -> None:
        save(state, path)
        path.write_bytes(path.read_bytes()[:-1000])

    return write


def bytes_only(content: bytes) -> Save:
    return lambda _, path: path.write_bytes(content)


class TestRefuse:
    @pytest.mark.parametrize(
        ("name", "write"),
        [
            pytest.param("a.pth", bytes_only(b""), id="empty"),
            pytest.param("a.pth", bytes_only(b"hello world"), id="text"),
            pytest.param("a.pth", bytes_only(np.random.default_rng(0).bytes(999)), id="random bytes"),
            pytest.param("a.pth", truncated(torch.save), id="truncated"),
            pytest.param("a.pth", truncated(save_legacy), id="truncated, of old torch"),
            pytest.param("a.pth", safetensors.torch.save_file, id="safetensors named pth"),
            pytest.param("a.safetensors", bytes_only(b"abc"), id="tiny safetensors"),
            pytest.param("a.safetensors", truncated(safetensors.torch.save_file), id="truncated safetensors"),
            pytest.param("a.safetensors", torch.save, id="pth named safetensors"),
        ],
    )
    def test_what_cannot_be_read(self, tmp_path: Path, nano_state: State, name: str, write: Save) -> None:
        path = tmp_path / name
        write(nano_state, path)
        with pytest.raises(CheckpointError, match="is damaged or of another format") as caught:
            load_model("nano", path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        "write",
        [
            pytest.param(torch.save, id="saved by torch"),
            pytest.param(save_legacy, id="saved by old torch"),
            pytest.param(lambda state, path: path.write_bytes(pickle.dumps(state, protocol=2)), id="pickled"),
        ],
    )
    def test_code_is_never_run(self, tmp_path: Path, write: Save) -> None:
        path, witness = tmp_path / "evil.pth", tmp_path / "witness"
        write({"weight": RunsCode(witness)}, path)
        with pytest.raises(CheckpointError, match=r"holds the Python object \S+, not only weights") as caught:
            load_model("nano", path)
        assert not witness.exists()
        assert "weights_only" not in str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"no checkpoint at .*absent\.pth; choose an existing"):
            load_model("vit_b", tmp_path / "absent.pth")

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            pytest.param({"model": {}, "epoch": 3}, "but the keys model, epoch", id="nested"),
            pytest.param([torch.ones(1)], "but list", id="a list"),
            pytest.param(torch.ones(1), "but Tensor", id="one tensor"),
        ],
    )
    def test_what_is_no_state_dict(self, tmp_path: Path, content: object, found: str) -> None:
        path = tmp_path / "checkpoint.pth"
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=f"no plain dictionary of weights {found}"):
            load_model("nano", path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(
                lambda state: state.pop("mask_decoder.iou_token.weight"),
                r"1 keys missing \(mask_decoder\.iou_token\.weight\)",
                id="missing",
            ),
            pytest.param(
                lambda state: state.update({f"mask_decoder.hq_{x}": torch.ones(1) for x in ("token", "mlp")}),
                r"2 unknown keys \(mask_decoder\.hq_token, mask_decoder\.hq_mlp\)",
                id="unknown",
            ),
            pytest.param(
                lambda state: state.update({"mask_decoder.iou_token.weight": torch.ones(1, 256)}),
                r"1 other shapes \(mask_decoder\.iou_token\.weight \(1, 256\) instead of \(1, 96\)\)",
                id="misshapen",
            ),
            pytest.param(dict.clear, r"530 keys missing \(.*, \.\.\.\)", id="no keys at all"),
        ],
    )
    def test_keys_and_shapes_are_named(
        self, tmp_path: Path, nano_state: State, change: Callable[[State], object], message: str
    ) -> None:
        state = dict(nano_state)
        change(state)
        path = tmp_path / "weights.pth"
        torch.save(state, path)
        with pytest.raises(CheckpointError, match=f"is not a checkpoint of nano: {message}"):
            load_model("nano", path)

    def test_another_architecture(self, tmp_path: Path, nano_state: State) -> None:
        path = tmp_path / "nano.pth"
        torch.save(nano_state, path)
        with pytest.raises(CheckpointError) as caught:
            load_model("vit_b", path)
        for part in (
            "keys missing (image_encoder.pos_embed",
            "unknown keys (image_encoder.stem",
            "other shapes",
        ):
            assert part in str(caught.value)
        assert len(str(caught.value)) < 1500

    def test_an_unknown_model(self) -> None:
        with pytest.raises(ValueError, match=r"'vit_x' is unknown; choose one of .*vit_b"):
            load_predictor("vit_x")

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            pytest.param(lambda x: x.to(torch.int8), "torch.int8", id="integers"),
            pytest.param(lambda x: x.to_sparse(), "torch.float32", id="sparse"),
            pytest.param(lambda x: nested(x.dtype), "torch.float32", id="nested"),
        ],
    )
    def test_what_are_no_plain_floats(
        self, tmp_path: Path, nano_state: State, change: Callable[[Tensor], Tensor], found: str
    ) -> None:
        path = tmp_path / "weights.pth"
        key = "mask_decoder.iou_token.weight"
        torch.save(nano_state | {key: change(nano_state[key])}, path)
        with pytest.raises(CheckpointError, match=rf"1 other types \({re.escape(key)} {found}\)"):
            load_model("nano", path)


def test_a_small_file_with_the_same_numbers_a_hundred_times_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model does not have is named before floats are made of it: here 800 MiB of 2."""
    steps, scale = torch.zeros(1, 1, 2048, 1024, dtype=torch.int8), torch.ones(1)
    state = {f"image_encoder.layer{number}.weight": steps for number in range(100)}
    path = tmp_path / "weights.pth"
    torch.save(state | {f"{key}_scale": scale for key in state}, path)
    assert path.stat().st_size < 2.1 * 2**20
    monkeypatch.setattr(compact, "_per_channel", lambda _: pytest.fail("floats are made of it"))
    with pytest.raises(CheckpointError, match=r"100 unknown keys \(image_encoder\.layer0\.weight"):
        load_model("nano", path)


def test_every_architecture_is_a_key_of_the_catalogue() -> None:
    """So a checkpoint of any architecture can be loaded by its path."""
    assert set(CONFIGS) <= set(CATALOGUE)
    assert {row.architecture for row in CATALOGUE.values()} == set(CONFIGS)
