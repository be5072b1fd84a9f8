"""The stateless predictor: a plane becomes an embedding, an embedding and a prompt become masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.contrast import stretched
from napari_sam.inference.close_ups import CloseUps
from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.noise import without_grain
from napari_sam.inference.point_decoder import PointDecoder
from napari_sam.inference.prepared import LastPrepared, Points, Prepared
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding, Prediction
from napari_sam.inference.tiling import Tiling
from napari_sam.model.mask_decoder import CANDIDATES, SINGLE
from napari_sam.model.sam import Sam
from napari_sam.progress import Progress, ignore_progress
from napari_sam.weights.loading import ModelIdentity

if TYPE_CHECKING:
    from napari_sam.inference.automatic import Generation, Source
    from napari_sam.inference.proposals import Proposals


class Predictor:
    """Run one model; calls do not depend on earlier ones, so one predictor serves any number of planes.

    Make it with `napari_sam.load_predictor`.
    """

    def __init__(self, sam: Sam, identity: ModelIdentity, device: torch.device) -> None:
        self.identity = identity
        self.device = device
        self._sam = sam.to(device)
        sam.mask_decoder.output_upscaling.lay_out()
        self._prepared = LastPrepared(sam)

    @property
    def image_size(self) -> int:
        """Side of the model's square input in pixels."""
        return self._sam.config.image_size

    def tiling(self, shape: tuple[int, int]) -> Tiling:
        """Say in which tiles this model looks at a plane of (H, W)."""
        return Tiling(shape, self.image_size, self._sam.config.small)

    @property
    def embedding_shape(self) -> tuple[int, int, int]:
        """Shape (C, grid, grid) of an embedding's features."""
        config = self._sam.config
        return (config.embedding_width, config.grid, config.grid)

    @torch.inference_mode()
    def encode(self, plane: NDArray[np.generic], progress: Progress = ignore_progress) -> Embedding:
        """Embed one plane.

        Parameters
        ----------
        plane
            (H, W) or (H, W, 3), any real dtype. Unsigned bytes are taken as they are; other intensities
            are stretched to 0-255 between the plane's own robust percentiles (see `stretched`).

        Raises
        ------
        ValueError
            For an array of another shape, without pixels, or of a dtype that is not real.
        """
        image = stretched(plane)
        geometry = self._geometry((image.shape[0], image.shape[1]))
        if not self._sam.config.takes_grain:
            image = without_grain(image, self.image_size / max(geometry.original))
        features = self._sam.encode(geometry.scale_image(image).to(self.device), progress)
        features = features.contiguous(memory_format=torch.channels_last)  # as the mask decoder reads it
        return Embedding(features, geometry, self.identity)

    @torch.inference_mode()
    def predict(self, embedding: Embedding, prompt: Prompt, multimask: bool | None = None) -> Prediction:
        """Predict the masks that ``prompt`` means.

        Parameters
        ----------
        embedding
            What `encode` gave for the plane.
        prompt
            At least one point, a box or a mask.
        multimask
            True gives three candidates (of different extent), False one mask. None gives three for a
            single point and one for anything more.

        Raises
        ------
        ValueError
            If the prompt is empty or outside the plane, or the embedding is another model's.
        """
        prepared = self._prepare(embedding)
        if prompt.is_empty:
            raise ValueError("The prompt is empty; give at least one point, a box or a mask.")
        geometry = embedding.geometry
        prompt = prompt.inside(geometry.original)
        if multimask is None:
            multimask = prompt.is_ambiguous
        points, boxes, masks = self._tensors(prompt, geometry)
        logits, scores, close_ups = self._decode(
            prepared, points, boxes, masks, CANDIDATES if multimask else [SINGLE]
        )
        low = logits[0]
        if close_ups is not None:
            low = close_ups.low_resolution(low.shape[-1], self.image_size)
        return Prediction(scores[0].cpu().numpy(), low.cpu().numpy(), geometry, close_ups)

    def _decode(
        self,
        prepared: Prepared,
        points: Points | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        candidates: Sequence[int],
    ) -> tuple[Tensor, Tensor, CloseUps | None]:
        """Give (B, M, h, w) logits and (B, M) scores, and the B * M masks redrawn if the model does that."""
        if masks is None:
            masks = prepared.draw(points, boxes)
        known = prepared.tokens if masks is None else None
        logits, scores = self._sam.decode(
            prepared.features, points, boxes, masks, candidates, prepared.image_pe, known
        )
        if self._sam.close_up is None:
            return logits, scores, None
        several = len(candidates)
        if points is not None:
            points = (points[0].repeat_interleave(several, 0), points[1].repeat_interleave(several, 0))
        boxes = None if boxes is None else boxes.repeat_interleave(several, 0)
        close_ups, said = prepared.closer(logits.flatten(0, 1), points, boxes)
        return logits, said.unflatten(0, (-1, several)), close_ups

    def point_decoder(self, embedding: Embedding) -> PointDecoder:
        """Give what decodes many points of one embedding, each a prompt by itself.

        Raises
        ------
        ValueError
            If the embedding is another model's.
        """
        return PointDecoder(self._prepare(embedding))

    def _prepare(self, embedding: Embedding) -> Prepared:
        """Prepare an embedding, after a check that it is this model's."""
        if embedding.model != self.identity:
            raise ValueError(
                f"The embedding was made by {embedding.model.architecture} with other weights or precision "
                f"than this {self.identity.architecture}; encode the plane with the same predictor."
            )
        return self._prepared(embedding)

    @property
    def finds_objects(self) -> bool:
        """Whether the model has a head that tells where objects are, see `object_maps`."""
        return self._sam.proposal_head is not None

    @torch.inference_mode()
    def object_maps(self, embedding: Embedding) -> NDArray[np.float32]:
        """Let the model's own head tell where objects are: (5, h, w) maps of its square input.

        Logits of the foreground and of the closeness to an object's middle, the offset ``(x, y)`` to that
        middle and the reach of the votes; see `ProposalHead`.

        Raises
        ------
        ValueError
            If the model has no such head, or the embedding is another model's.
        """
        prepared = self._prepare(embedding)
        if self._sam.proposal_head is None:
            raise ValueError(f"{self.identity.architecture} has no head that finds objects; prompt it.")
        maps: NDArray[np.float32] = prepared.maps[0].cpu().numpy()
        return maps

    @torch.inference_mode()
    def predict_batch(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Predict an object for each of several prompts that are alike, the best mask of each alone.

        Parameters
        ----------
        embedding
            What `encode` gave for the plane.
        prompts
            Each a box and nothing else, or each a single point, all on their objects or all beside them.

        Raises
        ------
        ValueError
            As `predict`, or if the prompts are not alike.
        """
        if not prompts:
            return []
        check_none_empty(prompts)
        boxes = prompts[0].box is not None
        if any(
            prompt.mask is not None
            or len(prompt.points) != (0 if boxes else 1)
            or (prompt.box is None) == boxes
            or prompt.labels != prompts[0].labels
            for prompt in prompts
        ):
            raise ValueError(
                "The prompts of a batch are not alike: give boxes alone, or single points of one label alone."
            )
        prepared = self._prepare(embedding)
        geometry = embedding.geometry
        parts = [self._tensors(prompt.inside(geometry.original), geometry) for prompt in prompts]
        points = box = None
        if boxes:
            box = torch.cat([part for _, part, _ in parts if part is not None])
        else:
            pairs = [part for part, _, _ in parts if part is not None]
            points = (torch.cat([xy for xy, _ in pairs]), torch.cat([labels for _, labels in pairs]))
        candidates = [SINGLE] if boxes else CANDIDATES
        logits, scores, close_ups = self._decode(prepared, points, box, None, candidates)
        found = []
        for number, chosen in enumerate(scores.argmax(1).tolist()):
            low, close_up = logits[number, [chosen]], None
            if close_ups is not None:
                close_up = close_ups.one(number * len(candidates) + chosen)
                low = close_up.low_resolution(low.shape[-1], self.image_size)
            score = scores[number, [chosen]].cpu().numpy()
            found.append(Prediction(score, low.cpu().numpy(), geometry, close_up))
        return found

    def propose(
        self, plane: Source, generation: Generation | None = None, progress: Progress = ignore_progress
    ) -> Proposals:
        """Propose masks for all objects of a plane or of its embedding; see `napari_sam.propose`."""
        from napari_sam.inference.automatic import propose  # noqa: PLC0415 - it is made of predictions

        return propose(self, plane, generation, progress)

    def embedding_from(self, features: NDArray[np.floating], plane_shape: tuple[int, int]) -> Embedding:
        """Rebuild the embedding of a plane of ``plane_shape`` from its stored (C, grid, grid) features.

        Raises
        ------
        ValueError
            If the features have another shape than this model's.
        """
        if features.shape != self.embedding_shape:
            raise ValueError(
                f"The features have shape {features.shape}, those of {self.identity.architecture} "
                f"{self.embedding_shape}; encode the plane again."
            )
        tensor = torch.from_numpy(features.astype(np.float32))[None].to(self.device)
        tensor = tensor.contiguous(memory_format=torch.channels_last)  # as the mask decoder reads it
        return Embedding(tensor, self._geometry(plane_shape), self.identity)

    def _geometry(self, shape: tuple[int, int]) -> Geometry:
        return Geometry.fit(shape, self.image_size, self._sam.config.centred)

    def _tensors(
        self, prompt: Prompt, geometry: Geometry
    ) -> tuple[Points | None, Tensor | None, Tensor | None]:
        """Give the prompt as the model takes it, a batch of one: points with labels, boxes, masks."""
        points = boxes = masks = None
        if prompt.points:
            xy = geometry.points_to_input(prompt.points)[None]
            points = (xy.to(self.device), torch.tensor([prompt.labels], device=self.device))
        if prompt.box is not None:
            boxes = geometry.box_to_input(prompt.box)[None].to(self.device)
        if prompt.mask is not None:
            masks = self._mask_logits(prompt.mask, geometry)[None, None].to(self.device)
        return points, boxes, masks

    def _mask_logits(self, mask: NDArray[np.bool_ | np.floating], geometry: Geometry) -> Tensor:
        side = 4 * self._sam.config.grid
        if mask.dtype == bool:
            return geometry.mask_to_input(mask.astype(bool), side)
        if mask.shape != (side, side):
            raise ValueError(
                f"The mask prompt has floating values and shape {mask.shape}; logits of this model have "
                f"shape {(side, side)}. Give those of a Prediction, or a boolean mask of the plane."
            )
        return torch.from_numpy(np.array(mask, np.float32))  # a copy: the user's may be read-only


def check_none_empty(prompts: Sequence[Prompt]) -> None:
    """Raise a `ValueError` that names the first empty prompt, counted from 0, if there is one."""
    for number, prompt in enumerate(prompts):
        if prompt.is_empty:
            raise ValueError(
                f"The prompt {number} of {len(prompts)} (counted from 0) is empty; give each at least one "
                "point, a box or a mask."
            )
