"""Procedural sprites: white shapes on black with five known factors, drawn in seconds, nothing to download.

The factors, each independent of the others:

    shape        0 arrow, 1 heart, 2 letter L: none looks the same after any rotation short of a full turn
    scale        0.6 to 1, half the side of the shape in quarters of the image
    orientation  0 to pi radians: half a turn, so that the factor has two ends and does not wrap around
    x, y         0 to 1: centre from left to right and from top to bottom, the shape always whole

In the manner of dSprites (Matthey et al. 2017), but with every factor identifiable from the image: the square and
ellipse there look the same at several orientations.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError

#: pixels per side
SIDE = 32
SHAPES = ("arrow", "heart", "letter L")
FACTORS = ("shape", "scale", "orientation", "x", "y")
#: values of each factor in the full grid, 3 x 4 x 8 x 8 x 8 = 6144 images
LEVELS = (3, 4, 8, 8, 8)
#: least and largest scale
SCALES = (0.6, 1.0)
#: half the side of a shape at scale 1, in pixels; its corners, at sqrt(2) times that, stay inside at any position
REACH = 7.0
#: sub-pixels per pixel and direction: grey edges that move smoothly with every factor
SUBPIXELS = 3
#: images drawn at a time
CHUNK = 256


def sprites(count: int | None = None, seed: int = 0, levels: tuple[int, ...] | None = LEVELS) -> Data:
    """``x [N, 1, 32, 32]`` in [0, 1] (stored as bytes), ``factors [N, 5]`` as above, ``label`` the shape.

    Args:
        count: draw so many images at random; None gives the full grid of ``levels``, every combination once, in order.
        seed: of the random factors; the grid does not depend on it.
        levels: values per factor, the first 3, the others 2 or more, evenly spaced; None draws scale, orientation and
            position from a continuum, which needs a ``count``.
    """
    if levels is not None and (len(levels) != len(FACTORS) or levels[0] != len(SHAPES) or min(levels) < 2):
        raise OptionError(
            f"levels are {levels}; give 5 numbers ({', '.join(FACTORS)}), the first 3, the others at least 2."
        )
    if count is None:
        if levels is None:
            raise OptionError("a continuum of factors has no full grid; give a count, or levels.")
        units = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in levels), indexing="ij"), -1).reshape(
            -1, len(levels)
        )
    elif count < 1:
        raise OptionError(f"count is {count}; give 1 or more, or None for the full grid.")
    else:
        random = np.random.default_rng(seed)
        if levels is None:
            units = random.random((count, len(FACTORS)))
            units[:, 0] = random.integers(len(SHAPES), size=count) / (len(SHAPES) - 1)
        else:
            units = np.stack([random.integers(n, size=count) / (n - 1) for n in levels], 1)
    factors = _factors(units)
    images = draw(factors)
    fields = {
        "x": torch.from_numpy(images)[:, None],
        "factors": torch.from_numpy(factors).float(),
        "label": torch.from_numpy(factors[:, 0]).long(),
    }
    return Data(fields, "sprites", SHAPES, "white shapes on black with known shape, scale, orientation and position")


def _factors(units: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] to values of the factors."""
    low = np.array([0.0, SCALES[0], 0.0, 0.0, 0.0])
    high = np.array([len(SHAPES) - 1.0, SCALES[1], math.pi, 1.0, 1.0])
    values = low + units * (high - low)
    values[:, 0] = values[:, 0].round()
    return values


def draw(factors: np.ndarray) -> np.ndarray:
    """Images ``[N, 32, 32]`` as bytes of any ``factors [N, 5]`` in their ranges."""
    images = np.empty((len(factors), SIDE, SIDE), np.uint8)
    for number, shape in enumerate((_arrow, _heart, _letter)):
        chosen = np.flatnonzero(factors[:, 0] == number)
        for start in range(0, len(chosen), CHUNK):
            rows = chosen[start : start + CHUNK]
            inside = shape(*_own_coordinates(factors[rows])).reshape(len(rows), SIDE, SUBPIXELS, SIDE, SUBPIXELS)
            covered = inside.sum((2, 4), dtype=np.uint8)
            images[rows] = np.round(covered * np.float32(255 / SUBPIXELS**2))
    return images


def _own_coordinates(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each sub-pixel's place ``[N, side, side]`` across and down in the shape's own frame, where it fills [-1, 1]."""
    fine = ((np.arange(SIDE * SUBPIXELS) + 0.5) / SUBPIXELS).astype(np.float32)
    margin = REACH * math.sqrt(2)
    scale, turn, x, y = factors[:, 1:].astype(np.float32).T[..., None, None]
    across = (fine[None, :] - margin - x * (SIDE - 2 * margin)) / (REACH * scale)
    down = (fine[:, None] - margin - y * (SIDE - 2 * margin)) / (REACH * scale)
    cos, sin = np.cos(turn), np.sin(turn)
    return cos * across + sin * down, cos * down - sin * across


def _arrow(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A triangle above a stem, pointing up; v grows downwards."""
    head = (v >= -1) & (v <= 0) & (np.abs(u) <= 0.9 * (v + 1))
    return head | ((np.abs(u) <= 0.35) & (v >= 0) & (v <= 1))


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The sextic (x^2 + y^2 - 1)^3 < x^2 y^3, shrunk into the unit square."""
    x, y = 1.2 * u, 0.1 - 1.15 * v
    x2, y2 = x * x, y * y
    disc = x2 + y2 - 1
    return disc * disc * disc < x2 * y2 * y


def _letter(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A long upright bar and a shorter foot to the right."""
    upright = (u >= -0.7) & (u <= -0.15) & (np.abs(v) <= 1)
    return upright | ((u >= -0.7) & (u <= 0.75) & (v >= 0.45) & (v <= 1))


sprites.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="sprites",
    what="white shapes on black with known factors: shape, scale, orientation, x, y",
    size="6144 images in the full grid, or any number at random; 1 x 32 x 32, bytes; 3 shapes",
    licence="made by this library; free of rights",
    source="drawn by a formula, in the manner of dSprites (Matthey et al. 2017)",
)
