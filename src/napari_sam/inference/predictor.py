"""The stateless predictor: a plane becomes an embedding, an embedding and a prompt become masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.contrast import stretched
from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.last import OfLast
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding, Prediction
from napari_sam.inference.tiling import Tiling
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.model.mask_decoder import CANDIDATES, SINGLE, PassingMasks
from napari_sam.model.proposal_head import SUBPIXELS
from napari_sam.model.sam import Sam
from napari_sam.weights.loading import ModelIdentity


class Predictor:
    """Run one model; calls do not depend on earlier ones, so one predictor serves any number of planes.

    Make it with `napari_sam.load_predictor`.
    """

    def __init__(self, sam: Sam, identity: ModelIdentity, device: torch.device) -> None:
        self.identity = identity
        self.device = device
        self._sam = sam.to(device)
        sam.mask_decoder.lay_out()
        with torch.inference_mode():
            self._image_pe = sam.image_pe()
        # What clicks on the same plane find made. It only saves time: each answer is as if it were not there.
        self._look_at = OfLast(lambda features: sam.look_at(features, self._image_pe))
        self._maps = OfLast(self._find_objects)

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
        image = _as_bytes(plane)
        geometry = Geometry.fit((image.shape[0], image.shape[1]), self.image_size)
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
        self._check(embedding)
        if prompt.is_empty:
            raise ValueError("The prompt is empty; give at least one point, a box or a mask.")
        geometry = embedding.geometry
        prompt = prompt.inside(geometry.original)
        if multimask is None:
            multimask = prompt.is_ambiguous
        candidates = CANDIDATES if multimask else [SINGLE]
        features = embedding.features.to(self.device)
        points, boxes, masks = self._tensors(prompt, geometry)
        if masks is None:
            masks = self._drawn(embedding, points, boxes)
        known = self._look_at(embedding, features) if masks is None else None
        decoded = self._sam.decode(features, points, boxes, masks, candidates, self._image_pe, known)
        logits, scores = (x[0] for x in decoded)
        return Prediction(scores.cpu().numpy(), logits.cpu().numpy(), geometry)

    def _drawn(
        self, embedding: Embedding, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None
    ) -> Tensor | None:
        """Draw prompts as masks, where the model does that and there is something to draw."""
        if not self._sam.config.draws_prompts:
            return None
        maps = self._maps(embedding, embedding.features.to(self.device))
        return self._sam.draw(maps, points, boxes)

    def _find_objects(self, features: Tensor) -> Tensor:
        assert self._sam.proposal_head is not None
        maps: Tensor = self._sam.proposal_head(features)
        return maps

    @property
    def finds_objects(self) -> bool:
        """Whether the model has a head that tells where objects are, see `object_maps`."""
        return self._sam.proposal_head is not None

    @torch.inference_mode()
    def passing(self, embedding: Embedding, points: NDArray[np.floating], least_score: float) -> PassingMasks:
        """Decode many points, each by itself, but only those of the three candidates that score higher.

        Parameters
        ----------
        embedding
            What `encode` gave for the plane.
        points
            (N, 2) positions ``(row, column)`` in pixels of the plane.
        least_score
            The score that a mask must exceed.

        Raises
        ------
        ValueError
            If the embedding is another model's.
        """
        self._check(embedding)
        sparse, dense = self._points(embedding, points)
        features = embedding.features.to(self.device)
        return self._sam.mask_decoder.passing(features, self._image_pe, sparse, dense, least_score)

    @torch.inference_mode()
    def best_passing(
        self,
        embedding: Embedding,
        points: NDArray[np.floating],
        least_score: float,
        corners: NDArray[np.integer],
        side: int,
    ) -> PassingMasks:
        """Decode many points, each in its own window of the embedding, and of each the best candidate only.

        Parameters
        ----------
        embedding, points, least_score
            As in `passing`.
        corners
            (N, 2) first token ``(row, column)`` of each point's window.
        side
            Tokens along the sides of the windows; the logits that come have four pixels for each.

        Raises
        ------
        ValueError
            If the embedding is another model's.
        """
        self._check(embedding)
        sparse, dense = self._points(embedding, points)
        features, pe = embedding.features.to(self.device), self._image_pe
        if self._sam.config.draws_prompts:
            dense = self._drawn_in_windows(embedding, points, corners, side)
        if side < pe.shape[-1]:
            features, pe = (_windows(x, corners, side) for x in (features, pe))
        return self._sam.mask_decoder.best_passing(features, pe, sparse, dense, least_score)

    def _drawn_in_windows(
        self, embedding: Embedding, points: NDArray[np.floating], corners: NDArray[np.integer], side: int
    ) -> Tensor:
        """Draw (N, 2) points, each as a mask of its own window, and encode these: (N, C, side, side)."""
        xy = embedding.geometry.points_to_input(points)[:, None].to(self.device)
        maps = self._maps(embedding, embedding.features.to(self.device))
        if side < self._sam.config.grid:
            maps = _windows(maps, SUBPIXELS * corners, SUBPIXELS * side)
            first = self._sam.config.encoder.patch * torch.from_numpy(corners[:, ::-1].copy())
            xy = xy - first[:, None].to(xy)
        labels = torch.ones(len(xy), 1, dtype=torch.int64, device=self.device)
        drawn = self._sam.draw(maps, (xy, labels))
        assert drawn is not None
        masks: Tensor = self._sam.prompt_encoder.embed_masks(drawn)
        return masks

    def _points(self, embedding: Embedding, points: NDArray[np.floating]) -> tuple[Tensor, Tensor]:
        """Encode (N, 2) points ``(row, column)``, each a prompt by itself."""
        xy = embedding.geometry.points_to_input(points)[:, None].to(self.device)
        labels = torch.ones(len(xy), 1, dtype=torch.int64, device=self.device)
        encoded: tuple[Tensor, Tensor] = self._sam.prompt_encoder((xy, labels))
        return encoded

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
        self._check(embedding)
        if self._sam.proposal_head is None:
            raise ValueError(f"{self.identity.architecture} has no head that finds objects; prompt it.")
        maps: NDArray[np.float32] = self._maps(embedding, embedding.features.to(self.device))[0].cpu().numpy()
        return maps

    @torch.inference_mode()
    def predict_batch(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Predict an object for each of several prompts that are alike, the best mask of each alone.

        Parameters
        ----------
        embedding
            What `encode` gave for the plane.
        prompts
            Each a box and nothing else, or each a single point.

        Raises
        ------
        ValueError
            As `predict`, or if the prompts are not alike.
        """
        if not prompts:
            return []
        boxes = prompts[0].box is not None
        if any(
            prompt.mask is not None
            or len(prompt.points) != (0 if boxes else 1)
            or (prompt.box is None) == boxes
            for prompt in prompts
        ):
            raise ValueError(
                "The prompts of a batch are not alike: give boxes alone, or single points alone."
            )
        self._check(embedding)
        geometry = embedding.geometry
        parts = [self._tensors(prompt.inside(geometry.original), geometry) for prompt in prompts]
        points = box = None
        if boxes:
            box = torch.cat([part for _, part, _ in parts if part is not None])
        else:
            pairs = [part for part, _, _ in parts if part is not None]
            points = (torch.cat([xy for xy, _ in pairs]), torch.cat([labels for _, labels in pairs]))
        features = embedding.features.to(self.device)
        candidates = [SINGLE] if boxes else CANDIDATES
        masks = self._drawn(embedding, points, box)
        known = self._look_at(embedding, features) if masks is None else None
        logits, scores = self._sam.decode(features, points, box, masks, candidates, self._image_pe, known)
        best = scores.argmax(1)
        every = torch.arange(len(prompts), device=best.device)
        logits, scores = logits[every, best], scores[every, best]
        low, rated = logits.cpu().numpy(), scores.cpu().numpy()
        return [Prediction(rated[n : n + 1], low[n : n + 1], geometry) for n in range(len(prompts))]

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
        return Embedding(tensor, Geometry.fit(plane_shape, self.image_size), self.identity)

    def _check(self, embedding: Embedding) -> None:
        """Raise a `ValueError` if the embedding is another model's."""
        if embedding.model != self.identity:
            raise ValueError(
                f"The embedding was made by {embedding.model.architecture} with other weights or precision "
                f"than this {self.identity.architecture}; encode the plane with the same predictor."
            )

    def _tensors(
        self, prompt: Prompt, geometry: Geometry
    ) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None]:
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


def _windows(maps: Tensor, corners: NDArray[np.integer], side: int) -> Tensor:
    """Cut a window of ``side`` at each of (N, 2) corners out of a (1, C, h, w) map: (N, C, side, side)."""
    tokens = maps[0].permute(1, 2, 0)  # the channels lie last in memory
    cut = [tokens[row : row + side, column : column + side] for row, column in corners.tolist()]
    return torch.stack(cut).permute(0, 3, 1, 2)


def _as_bytes(plane: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Check a plane and bring it to 0-255."""
    plane = np.asarray(plane)
    if plane.ndim not in (2, 3) or (plane.ndim == 3 and plane.shape[2] != 3):
        raise ValueError(f"A plane has shape (H, W) or (H, W, 3), not {plane.shape}; select one plane.")
    if plane.size == 0:
        raise ValueError(f"The plane of shape {plane.shape} has no pixels.")
    if plane.dtype.kind not in "buif":
        raise ValueError(f"The plane's dtype {plane.dtype} is not a real number; convert it first.")
    return stretched(plane)
