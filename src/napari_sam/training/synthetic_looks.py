"""What drawn objects look like: in fluorescence, phase contrast, stains, and under an electron microscope."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_sam.training.synthetic_shapes import SIDE, Labels, clouds

Picture = NDArray[np.float64]


def fluorescence(rng: np.random.Generator, labels: Labels) -> Picture:
    """Objects of unequal brightness on a dark ground, bulging or flat, with haze, bleed and shot noise."""
    depth = _depth(labels)
    bulge = 1 - np.exp(-depth / rng.uniform(1, 12))
    rim = np.exp(-depth / rng.uniform(1.5, 3)) * (labels > 0) * rng.choice([0, 0, 1.0])
    image = _levels(rng, labels, rng.uniform(0.1, 0.8)) * np.maximum(bulge, 0.3) + rim
    image = image * np.exp(rng.uniform(0, 0.5) * clouds(rng, rng.uniform(1.5, 8)))
    haze = gaussian_filter(image, rng.uniform(8, 25)) * rng.uniform(0, 0.6)
    ground = rng.uniform(0.02, 0.4) * (1 + 0.3 * clouds(rng, rng.uniform(30, 120)))
    image = image + haze + ground + _specks(rng) * (rng.random() < 0.4)
    return _seen(rng, image)


def section(rng: np.random.Generator, labels: Labels) -> Picture:
    """A confocal section: soft nuclei, full or with a bright rim and dark or bright bodies in them, some dim.

    What lies above and below shines through; it is no object. The noise is often as strong as the signal.
    """
    depth = _depth(labels)
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    size = float(np.sqrt(np.median(areas)))
    bulge = 1 - np.exp(-depth / (size * rng.uniform(0.03, 0.3)))
    rim = np.exp(-depth / (0.1 * size)) * (labels > 0) * rng.choice([0, 0, 0.7])
    spots = clouds(rng, size * rng.uniform(0.06, 0.15))
    bodies_in = rng.uniform(-0.6, 0.8) * (spots > rng.uniform(0.8, 2.0)) * (labels > 0)
    image = _levels(rng, labels, rng.uniform(0.2, 0.9)) * np.clip(bulge + rim + bodies_in, 0.05, None)
    turned = np.roll(image[::-1, :], int(rng.integers(SIDE)), axis=1)
    away = gaussian_filter(turned, size * rng.uniform(0.15, 0.6)) * rng.uniform(0, 0.7)
    blur = size * rng.uniform(0.01, 0.12)
    # Along the optical axis a section is blurred most.
    image = gaussian_filter(image, (blur, blur * rng.choice([1.0, 1.0, 3.0]))) + away + rng.uniform(0, 0.1)
    return _seen(rng, image * np.exp(rng.uniform(0, 0.3) * clouds(rng, 100)), fewest_photons=2)


def phase_contrast(rng: np.random.Generator, labels: Labels) -> Picture:
    """Objects darker or hardly darker than the ground, with a bright halo and a dark or bright rim."""
    depth = _depth(labels)
    outside = distance_transform_edt(labels == 0)
    halo = np.exp(-outside / rng.uniform(1.5, 6)) * (labels == 0)
    rim = np.exp(-depth / rng.uniform(1, 3)) * (labels > 0)
    body = -_levels(rng, labels, rng.uniform(0, 0.4)) * rng.uniform(0.05, 0.7)
    image = body + rng.uniform(0.1, 0.6) * halo + rng.uniform(-0.6, 0.4) * rim
    grain = clouds(rng, rng.uniform(1.5, 5)) * rng.uniform(0.03, 0.25)
    image = image + grain * (labels > 0) + rng.uniform(0, 0.08) * clouds(rng, rng.uniform(2, 6))
    image = image + rng.uniform(0, 0.2) * clouds(rng, 100) + _specks(rng) * (rng.random() < 0.3)
    return _seen(rng, image if rng.random() < 0.8 else -image)


def stained(rng: np.random.Generator, labels: Labels) -> Picture:
    """Nuclei in a stained section: absorbing dyes in colours, with a fibrous ground: (SIDE, SIDE, 3)."""
    depth = _depth(labels)
    edge = np.exp(-depth / 2) * (labels > 0)
    nuclei = _levels(rng, labels, 0.35) * rng.uniform(0.6, 1.4) * (0.8 + 0.4 * edge)
    nuclei = np.clip(nuclei + 0.25 * clouds(rng, rng.uniform(1.5, 4)) * (labels > 0), 0, None)
    fibre = clouds(rng, rng.uniform(3, 12)) + clouds(rng, rng.uniform(15, 50))
    ground = np.clip(rng.uniform(0.1, 0.5) * (1 + 0.5 * fibre), 0, None)
    # How much of red, green and blue the two dyes absorb: about haematoxylin and eosin (or DAB).
    dyes = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11] if rng.random() < 0.7 else [0.27, 0.57, 0.78]])
    dyes = np.clip(dyes + 0.12 * rng.normal(size=dyes.shape), 0.02, 1.2)
    light = np.exp(-(nuclei[..., None] * dyes[0] + ground[..., None] * dyes[1]))
    light = gaussian_filter(light, (sharp := rng.uniform(0.4, 1.5), sharp, 0))
    shot: Picture = light * rng.uniform(0.85, 1.0) + rng.uniform(0, 0.03) * rng.normal(size=light.shape)
    return shot


def membranes(rng: np.random.Generator, labels: Labels) -> Picture:
    """Cells told apart by their bright borders alone, here and there interrupted; maybe with nuclei."""
    outside = distance_transform_edt(labels == 0)
    to_border = np.where(labels > 0, _depth(labels), -outside)
    thick = rng.uniform(0.8, 3)
    line = np.exp(-((np.maximum(to_border, 0) / thick) ** 2))
    # The inside of a place without a cell is no border.
    line = np.where((labels == 0) & (outside > 4), np.exp(-((outside - 3) ** 2) / 8), line)
    strength = np.clip(1 + rng.uniform(0, 0.5) * clouds(rng, rng.uniform(6, 30)), 0.15, None)
    image = line * strength + _levels(rng, labels, rng.uniform(0.1, 0.6)) * rng.uniform(0, 0.4)
    if rng.random() < 0.3:
        depth = _depth(labels)
        image = image + rng.uniform(0.2, 0.8) * (depth > rng.uniform(0.4, 0.7) * _deepest(labels, depth))
    image = image + 0.1 * clouds(rng, rng.uniform(1.5, 4)) + rng.uniform(0, 0.2) * clouds(rng, 80)
    return _seen(rng, image)


def neurites(rng: np.random.Generator, labels: Labels) -> Picture:
    """Cut neurites under an electron microscope: dark borders, grainy insides, mitochondria and vesicles."""
    depth = _depth(labels)
    # How many pixels of this image one of the microscope has.
    grain = np.exp(rng.uniform(0, np.log(4)))
    border = np.exp(-((depth / (grain * rng.uniform(0.8, 2.2))) ** 2))
    image = 0.8 + 0.12 * _levels(rng, labels, 1.0) - rng.uniform(0.35, 0.8) * border
    image = image - _mitochondria(rng, labels, depth)
    vesicles = clouds(rng, 1.6 * grain) * (clouds(rng, 25 * np.sqrt(grain)) > 0.5)
    texture = rng.uniform(0.04, 0.12) * clouds(rng, grain * rng.uniform(0.8, 1.5))
    image = image - rng.uniform(0, 0.15) * vesicles * (labels > 0) + texture
    image = gaussian_filter(image, (0.3 * grain, grain * rng.choice([0.3, 0.3, 1.5])))
    return _seen(rng, image + rng.uniform(0, 0.06) * clouds(rng, 90), least_blur=0.5)


def axons(rng: np.random.Generator, labels: Labels) -> Picture:
    """Cut axons with myelin: a bright inside in a sheath that is dark, or bright where it is inverted.

    The objects are the insides.
    """
    outside, nearest = distance_transform_edt(labels == 0, return_indices=True)
    radius = np.sqrt(np.bincount(labels.ravel(), minlength=int(labels.max()) + 1) / np.pi)
    sheath = np.clip(rng.uniform(0.2, 0.5) * radius[labels[tuple(nearest)]], 2, 14)
    edge = rng.uniform(0.5, 1.5)
    myelin = (labels == 0) / (1 + np.exp((outside - sheath) / edge))
    inside = 0.75 + 0.08 * _levels(rng, labels, 1.0)
    between = rng.uniform(0.4, 0.85) + 0.12 * clouds(rng, rng.uniform(3, 12))
    image = np.where(labels > 0, inside, between) * (1 - myelin) + rng.uniform(0, 0.25) * myelin
    image = image - 0.6 * _mitochondria(rng, labels, _depth(labels))
    image = image + rng.uniform(0.02, 0.08) * clouds(rng, rng.uniform(1, 3))
    image = image + rng.uniform(0, 0.08) * clouds(rng, 90)
    return _seen(rng, image if rng.random() < 0.6 else -image, least_blur=0.4)


def _depth(labels: Labels) -> NDArray[np.float64]:
    """Give each pixel's distance to the border of its object, also where that touches another; 0 outside."""
    inner = labels > 0
    for axis in (0, 1):
        changed = np.diff(labels, axis=axis) != 0
        low, high = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        inner[low] &= ~changed
        inner[high] &= ~changed
    depth: NDArray[np.float64] = np.where(labels > 0, distance_transform_edt(inner) + 0.5, 0.0)
    return depth


def _deepest(labels: Labels, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each pixel the largest depth of its object; infinite on the ground."""
    deepest = np.zeros(int(labels.max()) + 1)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    deepest[0] = np.inf
    return deepest[labels]


def _levels(rng: np.random.Generator, labels: Labels, spread: float) -> Picture:
    """Give each object a level of its own, about 1; 0 on the ground."""
    levels = np.exp(np.clip(spread * rng.normal(size=int(labels.max()) + 1), -1.5, 1.0))
    levels[0] = 0
    return levels[labels]


def _mitochondria(rng: np.random.Generator, labels: Labels, depth: NDArray[np.float64]) -> Picture:
    """Give how much darker dark, striped patches well inside of the objects are."""
    patches = clouds(rng, rng.uniform(5, 18)) > rng.uniform(1.0, 1.8)
    inside = patches & (depth > 4) & (labels > 0)
    y, x = np.mgrid[:SIDE, :SIDE]
    turn = rng.uniform(0, np.pi)
    stripes = np.sin((y * np.sin(turn) + x * np.cos(turn)) * rng.uniform(0.9, 1.6) + 2 * clouds(rng, 8))
    darker: Picture = gaussian_filter(inside * (0.3 + 0.1 * stripes), 0.8) * rng.uniform(0.5, 1.2)
    return darker


def _specks(rng: np.random.Generator) -> Picture:
    """Give debris: small bright or dark spots that are no objects."""
    spots = np.zeros((SIDE, SIDE))
    count = int(rng.integers(3, 40))
    spots[rng.integers(0, SIDE, count), rng.integers(0, SIDE, count)] = rng.normal(size=count)
    sigma = rng.uniform(0.8, 2.5)
    blurred: Picture = gaussian_filter(spots, sigma) * 2 * np.pi * sigma**2
    return blurred


def _seen(
    rng: np.random.Generator, image: Picture, least_blur: float = 0.3, fewest_photons: float = 15
) -> Picture:
    """Blur as a lens does, light unevenly, and add the noise of a camera."""
    image = gaussian_filter(image, rng.uniform(least_blur, 2.0))
    image = (image - image.min()) / max(float(np.ptp(image)), 1e-9)
    image = image * (1 + rng.uniform(0, 0.15) * clouds(rng, 120))
    photons = np.exp(rng.uniform(np.log(fewest_photons), np.log(2000)))
    shot = rng.poisson(np.clip(image, 0, None) * photons) / photons
    noisy: Picture = shot + rng.uniform(0, 0.05) * rng.normal(size=image.shape)
    return noisy
