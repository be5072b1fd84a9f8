"""One point per object, from the maps of the model's own head.

Every pixel of the foreground votes for the middle of its object, as in Neven et al., "Instance Segmentation
by Jointly Optimizing Spatial Embeddings" (2019); the peaks of the votes are the prompts, from which SAM's
mask decoder makes the masks. So there are as many prompts as objects, where the SAM paper's grid has 1024.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import expit
from skimage.feature import peak_local_max

from napari_sam.inference.coordinates import Geometry
from napari_sam.model.proposal_head import OFFSET_UNIT

# Chosen on training images of all real sets.
# A pixel votes if it is foreground with at least this probability.
_FOREGROUND = 0.4
# Votes are blurred by this share of a usual object's radius, but by no less and no more, in pixels of the
# maps: those of a large object lie far apart, those of tiny neighbours close together.
_BLUR, _LEAST_BLUR, _MOST_BLUR = 0.4, 1.0, 2.0
# A peak has at least this many blurred votes per pixel: an object of few pixels has few.
_LEAST_VOTES = 0.35
# Around a peak no other one is looked for within this share of its object's radius.
_RADII_APART = 0.8
# The mean distance of the pixels of a disc to its middle, in units of its radius.
_MEAN_DISTANCE = 2 / 3


def learned_points(
    maps: NDArray[np.float32], geometry: Geometry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give (N, 2) positions ``(row, column)`` in the plane, the surest first, one on each object.

    With them the (N,) expected radii of these objects, in pixels of the model's input.

    Parameters
    ----------
    maps
        What `Predictor.object_maps` gave.
    geometry
        That of the embedding: the padding of the model's input holds no object.
    """
    stride = geometry.image_size / maps.shape[-1]
    scaled = np.array(geometry.scaled)
    height, width = np.ceil(scaled / stride).astype(int)
    maps = maps[:, :height, :width]
    votes, distances = _votes(maps, OFFSET_UNIT / stride)
    peaks = peak_local_max(votes, min_distance=1, threshold_abs=_LEAST_VOTES, exclude_border=False)
    radii = distances[tuple(peaks.T)] / votes[tuple(peaks.T)] / _MEAN_DISTANCE
    kept = _apart(peaks, radii)
    # The value of a map's pixel is that of the pixel of the input in its middle, see `proposal_targets`.
    inside = np.minimum(peaks[kept] * stride + stride / 2, scaled - 1)
    return geometry.points_from_input(inside), radii[kept] * stride


def _votes(maps: NDArray[np.float32], unit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count the votes for each pixel of the maps, and sum up the distances from which they come.

    ``unit`` is that of the offsets in pixels of the maps. Both counts are blurred.
    """
    height, width = maps.shape[1:]
    foreground = expit(maps[0].astype(np.float64))
    rows, columns = np.nonzero(foreground >= _FOREGROUND)
    weights = foreground[rows, columns]
    dx, dy = maps[2:4, rows, columns] * unit
    to_rows = np.clip(np.rint(rows + dy), 0, height - 1).astype(int)
    to_columns = np.clip(np.rint(columns + dx), 0, width - 1).astype(int)
    blur = _BLUR * float(np.median(np.hypot(dx, dy))) / _MEAN_DISTANCE if len(rows) else 0.0
    blur = min(max(blur, _LEAST_BLUR), _MOST_BLUR)
    counts = []
    for values in (weights, weights * np.hypot(dx, dy)):
        count = np.bincount(to_rows * width + to_columns, values, minlength=height * width)
        counts.append(gaussian_filter(count.reshape(height, width), blur, mode="constant"))
    return counts[0], counts[1]


def _apart(peaks: NDArray[np.intp], radii: NDArray[np.float64]) -> NDArray[np.intp]:
    """Name the peaks, given from the highest on, that lie not within the object of a higher one."""
    kept: list[int] = []
    for number, peak in enumerate(peaks):
        distances = np.hypot(*(peaks[kept] - peak).T)
        if (distances >= _RADII_APART * radii[kept]).all():
            kept.append(number)
    return np.array(kept, np.intp)
