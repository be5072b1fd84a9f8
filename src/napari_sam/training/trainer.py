"""One training run: the model, its running average, the optimiser, and the step that changes them.

The recipe is SAM's own (Kirillov et al., "Segment Anything", 2023, appendix A) on small crops: a sampled
point or a jittered box, the best of three masks, focal and dice loss, a score head, then rounds in which a
corrective click and the previous logits are the prompt.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_sam.inference.predictor import Predictor
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.training.crops import Batch
from napari_sam.training.losses import drawing_loss, on_objects, prompt_losses, proposal_loss
from napari_sam.training.recipe import Recipe
from napari_sam.training.rounds import Rounds
from napari_sam.weights.checkpoint import read_checkpoint
from napari_sam.weights.compact import compacted
from napari_sam.weights.loading import ModelIdentity, check_state

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_HIGHEST_FREQUENCY = 6.0


class StepLosses(nn.Module):
    """The losses of a batch. One module and one call hold the whole step, as several processes need it."""

    def __init__(self, sam: Sam, learns: str) -> None:
        super().__init__()
        self.sam = sam
        self._learns = learns

    def forward(
        self, batch: Batch, rounds: int, generator: torch.Generator, decoded: int, proposals: float
    ) -> dict[str, Tensor]:
        """Give the total ``loss``, its parts, and the mean ``iou`` of the first round and its close-ups."""
        device = batch.images.device
        closely = self._learns != "all"
        losses, close_ups, scores, ious = [], [], [], []
        # Attention of a few tokens trains faster as plain products than as the fused call.
        with sdpa_kernel(SDPBackend.MATH):
            prompted = Rounds(self.sam, batch, generator, decoded, closely)
            for each in prompted.run(rounds):
                loss, iou = prompt_losses(each.logits, each.scores, each.target)
                losses.append(loss.mean())
                close_ups.append(each.close_ups.mask_loss())
                scores.append(each.close_ups.score_loss())
                ious += [
                    _mean_of(iou[:, 1:].max(1).values, on_objects(each.target)),
                    _mean_of(each.close_ups.iou, each.close_ups.areas > 0),
                ]
        with torch.autocast(device.type, enabled=False):
            proposal = proposal_loss(prompted.maps, batch.maps)
            drawing = drawing_loss(prompted.drawn, prompted.target)
            scored = torch.stack(scores).mean()
            closer = torch.stack(close_ups).mean() + scored
            total = torch.stack(losses).mean() + proposals * (proposal + drawing) + closer
        return {
            "loss": {"all": total, "close-ups": closer, "scores": scored}[self._learns],
            "iou": ious[0],
            "proposals": proposal,
            "drawing": drawing,
            "closer": closer,
            "closer_iou": ious[1],
            "scored": scored,
        }


class Trainer:
    """One training run in each of its processes, which hold the same weights at every step.

    Parameters
    ----------
    recipe
        The numbers of the training.
    fabric
        The devices, launched.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.fabric = fabric
        self.step = 0
        self.sam = Sam(CONFIGS["nano"])
        spread_frequencies(self.sam)
        if recipe.freeze_stages:
            for part in ("stem", "stages"):
                self.sam.image_encoder.get_submodule(part).requires_grad_(False)
        assert self.sam.close_up is not None
        if recipe.learns != "all":
            self.sam.requires_grad_(False)
            learns = self.sam.close_up if recipe.learns == "close-ups" else self.sam.close_up.score
            learns.requires_grad_(True)
        self.sam.to(fabric.device)
        if fabric.device.type == "cuda":
            self.sam.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.sam).eval().requires_grad_(False)
        # A fused step cannot give the gradients back as they are before clipping, where the loss is scaled.
        scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
        self.optimizer = torch.optim.AdamW(
            _decayed(self.sam, recipe.weight_decay), betas=(0.9, 0.99), fused=not scaled
        )
        # What Fabric wraps for several processes and half precision; the states are those of what is inside.
        self._losses, self._stepping = fabric.setup(StepLosses(self.sam, recipe.learns), self.optimizer)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Do one step and return its losses and the mean IoU of its first round, on the device."""
        recipe, step = self.recipe, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        self._losses.train()
        self._freeze_norms()
        # Rounds and clicks depend on the step and the process alone, so a resumed run repeats them.
        generator = torch.Generator().manual_seed(recipe.clicks_seed(step, self.fabric.global_rank))
        here = batch.to(self.fabric.device)
        decoded = max(1, round(recipe.decoded * len(batch.images)))
        measured: dict[str, Tensor] = self._losses(
            here, recipe.rounds_of(step), generator, decoded, recipe.proposals
        )
        self._stepping.zero_grad(set_to_none=True)
        self.fabric.backward(measured["loss"])
        # A scaled loss may overflow; then the scaler leaves the step out.
        self.fabric.clip_gradients(
            self._losses, self._stepping, max_norm=recipe.clip, error_if_nonfinite=False
        )
        self._stepping.step()
        self._share_statistics()
        self._update_average()
        self.step += 1
        return {name: value.detach() for name, value in measured.items()}

    def begin_with(self, weights: Path) -> None:
        """Begin with the weights of a ``safetensors`` file: what `export` writes, or plain floats.

        A part of the model that the file does not have at all begins at random.

        Raises
        ------
        CheckpointError
            If the file is missing, unreadable, or of another architecture.
        """
        own = self.sam.state_dict()
        known = read_checkpoint(weights, model=own).state
        parts = {key.split(".")[0] for key in known}
        state = {key: value for key, value in own.items() if key.split(".")[0] not in parts} | known
        check_state(self.sam, state, weights)
        for mine in (self.sam, self.average):
            mine.load_state_dict(state)

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs, replacing the file in one move."""
        state = {
            "step": self.step,
            "recipe": asdict(self.recipe),
            "sam": self.sam.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> Recipe:
        """Go on from a checkpoint that `save` wrote, and return the recipe that it was made with.

        Raises
        ------
        ValueError
            If the checkpoint holds another architecture.
        """
        state: dict[str, Any] = torch.load(path, map_location=self.fabric.device, weights_only=True)
        try:
            self.sam.load_state_dict(state["sam"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as problem:
            # A list of all names would hide the rest.
            reason = " ".join(str(problem).split())[:300]
            raise ValueError(
                f"{path} does not fit the architecture of today's nano ({reason}); train in another folder, "
                f"or go on with the version of the program that wrote it."
            ) from problem
        self.step = state["step"]
        # Absent in the files of earlier versions, which had no scaler.
        if state.get("scaler"):
            self.fabric.strategy.precision.load_state_dict(state["scaler"])
        known = asdict(self.recipe)
        return Recipe(**{name: value for name, value in state["recipe"].items() if name in known})

    def predictor(self) -> Predictor:
        """Give a predictor of the averaged weights as they are now."""
        return Predictor(self.average, ModelIdentity("nano", f"step {self.step}"), self.fabric.device)

    def _freeze_norms(self) -> None:
        """Keep the statistics of the encoder's batch norms from the recipe's step on.

        Those of the close-ups go on where their masks learn: their views are many, and of one size.
        """
        learns = self.recipe.learns
        if self.step >= self.recipe.freeze_norms_at or learns != "all":
            for module in (self.sam if learns == "scores" else self.sam.image_encoder).modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Give the batch norms of all processes the mean of their statistics, where these still change."""
        norms = [x for x in self.sam.modules() if isinstance(x, nn.BatchNorm2d) and x.training]
        if self.fabric.world_size == 1 or not norms:
            return
        statistics = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
        together = self.fabric.all_reduce(torch.cat([x for x in statistics if x is not None]))
        assert isinstance(together, Tensor)
        first = 0
        for buffer in statistics:
            if buffer is not None:
                buffer.copy_(together[first : first + len(buffer)])
                first += len(buffer)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Follow the weights (and the batch norms' statistics) slowly, faster in the beginning."""
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        kept, new = ([*sam.state_dict().values()] for sam in (self.average, self.sam))
        floating = [number for number, value in enumerate(kept) if value.is_floating_point()]
        # All in one call, which a graphics card takes at once.
        torch._foreach_lerp_([kept[n] for n in floating], [new[n] for n in floating], 1 - decay)
        for number in set(range(len(kept))) - set(floating):
            kept[number].copy_(new[number])


@torch.no_grad()
def spread_frequencies(sam: Sam) -> None:
    """Give the random positional encoding frequencies up to six times SAM's, evenly spread.

    SAM's own wavelengths are about half the image; to tell a nucleus from its neighbour by them takes far
    longer to learn than by shorter ones.
    """
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix *= torch.logspace(0, 1, matrix.shape[1], base=_HIGHEST_FREQUENCY)


def export(sam: Sam, path: Path, origin: str) -> None:
    """Write the weights as ``safetensors``, `compacted`, with their ``origin``, in one move."""
    # Rounded on the processor, so that every device writes the same bytes.
    state = compacted({key: value.cpu() for key, value in sam.state_dict().items()})
    partial = path.with_suffix(".partial")
    save_file({key: value.contiguous() for key, value in state.items()}, partial, {"origin": origin})
    partial.replace(path)


def _mean_of(values: Tensor, weights: Tensor) -> Tensor:
    """Give the weighted mean."""
    return (values * weights).sum() / weights.sum().clamp(min=1)


def _decayed(sam: nn.Module, decay: float) -> list[dict[str, object]]:
    """Apply weight decay to matrices and convolutions only."""
    parameters = [parameter for parameter in sam.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2 and p.shape[0] > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2 or p.shape[0] == 1], "weight_decay": 0.0},
    ]
