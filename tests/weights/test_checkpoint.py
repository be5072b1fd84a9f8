"""A fine-tune that carries more than a SAM gives its SAM, says what was left out, and runs nothing."""

from __future__ import annotations

import logging
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_sam.inference.loading import load_predictor
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.weights.catalogue import CATALOGUE, ModelRow
from napari_sam.weights.checkpoint import CheckpointError, read_checkpoint
from napari_sam.weights.folder import is_here
from napari_sam.weights.loading import load_model
from seeded import seeded_image, seeded_weights
from weights.serving import Site

State = dict[str, Tensor]
DECODER = {f"decoder.blocks.{i}.weight": torch.ones(2) for i in range(3)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-5}]}


def small_state() -> State:
    """Three weights under the official keys: enough to be told from others."""
    return {
        "image_encoder.pos_embed": torch.zeros(1),
        "prompt_encoder.no_mask_embed.weight": torch.ones(1),
        "mask_decoder.iou_token.weight": torch.full((1,), 2.0),
    }


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


class RunsCode:
    """Touches a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        pytest.param(small_state(), (), id="plain"),
        pytest.param(OrderedDict(prefixed("module.", small_state())), (), id="of several graphics cards"),
        pytest.param({"model": small_state()}, (), id="wrapped"),
        pytest.param(
            {
                "model_state": prefixed("sam.", small_state()),
                "decoder_state": DECODER,
                "optimizer_state": OPTIMIZER,
                "scheduler_state": {"num_bad_epochs": 0},
                "epoch": 7,
                "best_metric": 0.1,
            },
            ("decoder_state (3 tensors)", "optimizer_state", "scheduler_state", "epoch", "best_metric"),
            id="of micro-sam's training",
        ),
        pytest.param(
            {"model_state": small_state(), "decoder_state": DECODER},
            ("decoder_state (3 tensors)",),
            id="of micro-sam's model zoo",
        ),
        pytest.param(small_state() | DECODER, ("decoder (3 tensors)",), id="a decoder beside it"),
        pytest.param(
            prefixed("sam.", small_state()) | prefixed("sam.", DECODER) | {"pixel_mean": torch.ones(3)},
            ("decoder (3 tensors)", "pixel_mean"),
            id="a decoder under the prefix",
        ),
        pytest.param(
            {"model": small_state(), "ema": {"mask_decoder.iou_token.weight": torch.ones(1)}},
            ("ema",),
            id="a smaller SAM beside it",
        ),
    ],
)
def test_the_sam_is_taken_and_the_rest_named(
    tmp_path: Path, content: object, left_out: tuple[str, ...]
) -> None:
    path = tmp_path / "fine-tune.pt"
    torch.save(content, path)
    read = read_checkpoint(path)
    assert read.left_out == left_out
    assert read.state == small_state()


@given(
    prefix=st.lists(st.sampled_from(["sam", "module", "model", "net"]), max_size=3),
    wrapper=st.sampled_from(["", "state_dict", "model_state"]),
    others=st.dictionaries(st.text(max_size=9), st.integers() | st.floats(), max_size=3),
)
def test_whatever_wraps_it_the_sam_comes_out(
    tmp_path_factory: pytest.TempPathFactory, prefix: list[str], wrapper: str, others: dict[str, float]
) -> None:
    weights = prefixed("".join(f"{word}." for word in prefix), small_state())
    path = tmp_path_factory.mktemp("wrapped") / "weights.pt"
    torch.save(others | {wrapper: weights} if wrapper else others | weights, path)
    read = read_checkpoint(path)
    assert read.state == small_state()
    assert len(read.left_out) <= len(others)
    assert bool(read.left_out) == bool(set(others) - ({wrapper} if wrapper else set()))


@pytest.mark.parametrize("name", ["weights.safetensors", "WEIGHTS.SAFETENSORS"])
def test_safetensors_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    safetensors.torch.save_file(prefixed("sam.", small_state()) | DECODER, path)
    read = read_checkpoint(path)
    assert read.state == small_state()
    assert read.left_out == ("decoder (3 tensors)",)


@pytest.fixture(scope="module")
def state() -> State:
    return seeded_weights(CONFIGS["vit_t"])


class TestLoaded:
    def test_the_user_sees_what_was_left_out(
        self, tmp_path: Path, state: State, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "best.pt"
        torch.save({"model_state": prefixed("sam.", state), "decoder_state": DECODER, "epoch": 3}, path)
        with caplog.at_level(logging.WARNING):
            sam, identity = load_model("vit_t_lm", checkpoint=path)
        note = (
            "best.pt holds more than a SAM; only that was loaded. Left out: decoder_state (3 tensors), epoch."
        )
        assert identity.notes == (note,)
        assert caplog.messages == [note]
        assert identity.architecture == "vit_t"
        loaded = sam.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in state.items())

    @pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
    def test_a_file_may_be_written_anew_once_it_is_read(
        self, tmp_path: Path, state: State, mapped: bool
    ) -> None:
        path = tmp_path / "weights.pt"
        torch.save(state, path)
        read = read_checkpoint(path, mapped)
        new = tmp_path / "new.pt"
        torch.save({key: value + 1 for key, value in state.items()}, new)
        if mapped:
            new.replace(path)
        else:
            path.write_bytes(new.read_bytes())
        assert all(torch.equal(read.state[key], value) for key, value in state.items())

    def test_files_of_old_torch_load_as_well(self, tmp_path: Path, state: State) -> None:
        path = tmp_path / "old.pth"
        torch.save(state, path, _use_new_zipfile_serialization=False)
        assert read_checkpoint(path, mapped=True).state.keys() == state.keys()

    def test_an_unknown_weight_inside_the_sam_is_refused(self, tmp_path: Path, state: State) -> None:
        """Low-rank adapters, for one, change what the other weights do."""
        path = tmp_path / "lora.pt"
        torch.save(state | {"image_encoder.layers.1.blocks.0.attn.qkv.lora_a.weight": torch.ones(2)}, path)
        with pytest.raises(CheckpointError, match=r"1 unknown keys \(image_encoder.*lora_a"):
            load_model("vit_t", path)

    def test_a_model_of_the_catalogue_is_downloaded_and_loaded(
        self, tmp_path: Path, state: State, site: Site, offered: ModelRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.save(state, tmp_path / "weights.pt")
        site.content = (tmp_path / "weights.pt").read_bytes()
        monkeypatch.setitem(
            CATALOGUE, "vit_t", replace(offered, sha256=None, xxh128=None, size=len(site.content))
        )
        first = load_predictor("vit_t", device="cpu")
        assert "no SHA-256 is published" in first.identity.notes[0]
        site.status = 404
        second = load_predictor("vit_t", device="cpu")
        assert second.identity == first.identity and second.identity.notes == ()
        image = seeded_image(20, 30)
        assert torch.equal(first.encode(image).features, second.encode(image).features)


class TestHostile:
    @pytest.mark.parametrize(
        "wrap",
        [
            pytest.param(lambda evil: {"model_state": small_state(), "init": evil}, id="beside the weights"),
            pytest.param(lambda evil: small_state() | {"mask_decoder.evil": evil}, id="among the weights"),
            pytest.param(lambda evil: evil, id="alone"),
        ],
    )
    def test_code_in_a_fine_tune_is_not_run(self, tmp_path: Path, wrap: Callable[[RunsCode], object]) -> None:
        path, witness = tmp_path / "best.pt", tmp_path / "witness"
        torch.save(wrap(RunsCode(witness)), path)
        with pytest.raises(CheckpointError, match="could run code") as caught:
            load_model("vit_b", path)
        assert not witness.exists()
        assert "export_custom_sam_model" in str(caught.value)

    def test_code_in_a_download_is_not_run(
        self, tmp_path: Path, site: Site, offered: ModelRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even where no hash is published."""
        evil, witness = tmp_path / "evil.pth", tmp_path / "witness"
        torch.save({"weight": RunsCode(witness)}, evil)
        site.content = evil.read_bytes()
        monkeypatch.setitem(CATALOGUE, "vit_t", replace(offered, sha256=None, xxh128=None, size=None))
        with pytest.raises(CheckpointError, match="could run code"):
            load_model("vit_t")
        assert is_here(CATALOGUE["vit_t"]) and not witness.exists()

    def test_a_small_file_cannot_fill_the_memory(self, tmp_path: Path) -> None:
        """PyTorch never compresses; a megabyte of compressed zeros is a gigabyte of them."""
        plain, bomb = tmp_path / "plain.pt", tmp_path / "bomb.pt"
        torch.save(small_state(), plain)
        with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as deflated:
            for name in stored.namelist():
                deflated.writestr(name, stored.read(name))
        with pytest.raises(CheckpointError, match="damaged or of another format"):
            read_checkpoint(bomb)

    def test_numbers_that_are_not_finite_are_named(self, tmp_path: Path, state: State) -> None:
        path = tmp_path / "diverged.pt"
        key = "mask_decoder.iou_token.weight"
        torch.save(state | {key: torch.full_like(state[key], torch.nan)}, path)
        with pytest.raises(CheckpointError, match=f"numbers in {key} that are not finite"):
            load_model("vit_t", path)

    def test_what_is_no_tensor_under_an_official_key(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pt"
        torch.save(small_state() | {"mask_decoder.x": "text"}, path)
        with pytest.raises(CheckpointError, match=r"but str as mask_decoder\.x"):
            read_checkpoint(path)


def test_weights_of_the_folder_are_not_copied(
    tmp_path: Path, offered: ModelRow, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their memory is the file's, page by page: so a large model loads in no time and memory."""
    with torch.device("meta"):
        state = Sam(CONFIGS["vit_t"]).state_dict()
    models_folder.mkdir()
    path = models_folder / offered.file
    torch.save({key: torch.zeros(x.shape, dtype=x.dtype) for key, x in state.items()}, path)
    monkeypatch.setitem(CATALOGUE, "vit_t", replace(offered, sha256=None, xxh128=None, size=None))
    sam, _ = load_model("vit_t")
    if not Path("/proc/self/maps").exists():
        pytest.skip("only Linux tells what a process maps")
    ranges = [
        tuple(int(x, 16) for x in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    pointers = [value.data_ptr() for value in sam.state_dict().values()]
    assert all(any(start <= pointer < end for start, end in ranges) for pointer in pointers)
