"""Procedural vectors: Gaussian laws with exact conditionals, manifolds, and a stand-in for mixed cell features.

Training batches are drawn anew each time (:class:`FreshData`); validation and test parts are fixed samples of their
own. ``missing=0.3`` hides that share of all values for good (field ``mask``, zero in ``x``), which needs a fixed
training set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.conditional import exact
from pyro_models.datasets.data import Data
from pyro_models.datasets.fresh import Draw, FreshData
from pyro_models.datasets.splits import Parts
from pyro_models.errors import OptionError

#: rows of the training set (or of the sample shown of it), of validation and of test
COUNT, VALIDATION, TEST = 50_000, 2_000, 10_000
#: the original experiments replayed one batch of this size, made with this state
LEGACY_COUNT, LEGACY_STATE = 64, 8
#: centres of the blobs: what scikit-learn's generator makes of that state
BLOB_CENTRES = ((7.469, 9.371), (7.384, 0.617), (-5.345, -9.772))


def gaussian(
    law: str = "ar1",
    dimensions: int = 4,
    count: int = COUNT,
    fresh: bool = True,
    missing: float = 0.0,
    seed: int = 0,
) -> Parts:
    """N(0, covariance): ``law`` is ``independent``, ``correlated``, ``ar1`` or ``low-rank``."""
    if law not in exact.LAWS:
        raise OptionError(f"law is {law!r}; it is one of {', '.join(exact.LAWS)}.")
    return from_draw(exact.LAWS[law](dimensions).draw, law, count, fresh, missing, seed)


def projected(
    sources: int = 2, dimensions: int = 8, noise: float = 0.0, count: int = COUNT, missing: float = 0.0, seed: int = 0
) -> Parts:
    """Near-copies of a few standard normals: rank ``sources`` exactly without noise (then it has no density)."""
    return from_draw(exact.projected(sources, dimensions, noise=noise).draw, "projected", count, True, missing, seed)


def two_component(count: int = COUNT, seed: int = 0) -> Parts:
    """Two narrow Gaussians around +-(2, 2): conditionals with one or two modes, exactly known."""
    return from_draw(exact.two_components().draw, "two-component", count, True, 0.0, seed)


def from_draw(draw: Draw, name: str, count: int, fresh: bool, missing: float, seed: int) -> Parts:
    """Training, validation and test parts from a way to draw rows."""
    if not 0 <= missing < 1:
        raise OptionError(f"missing is {missing}; it is a share, 0 or more and below 1.")
    parts = []
    for role, size in enumerate((count, TEST, VALIDATION)):
        generator = torch.Generator().manual_seed(7919 * seed + role)
        fields = {"x": draw(size, generator)}
        if missing:
            fields["mask"] = torch.rand(fields["x"].shape, generator=generator) >= missing
            fields["x"] = fields["x"] * fields["mask"]
        is_fresh = role == 0 and fresh and not missing
        parts.append(FreshData(fields, name, draw=draw) if is_fresh else Data(fields, name))
    return Parts(*parts)


@dataclass(frozen=True)
class Manifold:
    """Points on a curve in the plane of two coordinates, and independent uniform coordinates beside it.

    ``curve(t)``: ``[n] in (0, 1) -> [n, 2]``; ``place``: which coordinates these are; ``uniform``: ``{coordinate:
    width}``.
    """

    name: str
    curve: Callable[[Tensor], Tensor]
    place: tuple[int, int] = (0, 1)
    uniform: tuple[tuple[int, float], ...] = ()

    @property
    def dimensions(self) -> int:
        return 2 + len(self.uniform)

    def draw(self, count: int, generator: torch.Generator | None = None, noise: float = 0.0) -> Tensor:
        x = torch.zeros(count, self.dimensions)
        x[:, list(self.place)] = self.curve(torch.rand(count, generator=generator, dtype=torch.float64)).float()
        for coordinate, width in self.uniform:
            x[:, coordinate] = width * torch.rand(count, generator=generator)
        return x + noise * torch.randn(x.shape, generator=generator) if noise else x


def _circles(t: Tensor) -> Tensor:
    radius = torch.where(t < 0.5, 1.0, 0.5)
    angle = 4 * math.pi * (t % 0.5)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def _moons(t: Tensor) -> Tensor:
    upper, angle = t < 0.5, 2 * math.pi * (t % 0.5)
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    return torch.stack([x, torch.where(upper, angle.sin(), 0.5 - angle.sin())], -1)


def _swiss(t: Tensor) -> Tensor:
    # The original's radial jitter of up to 0.1 / 6 is left out: it is a hundredth of the roll's radius.
    angle = 15 * t
    return torch.stack([angle * angle.sin(), angle * angle.cos()], -1) / 6


def _s_curve(t: Tensor) -> Tensor:
    angle = 3 * math.pi * (t - 0.5)
    return torch.stack([angle.sin(), angle.sign() * (angle.cos() - 1)], -1)


MANIFOLDS = {
    "circles": Manifold("circles", _circles),
    "moons": Manifold("moons", _moons),
    "swiss-roll": Manifold("swiss-roll", _swiss, uniform=((2, 15.0),)),
    "s-curve": Manifold("s-curve", _s_curve, (0, 2), ((1, 2.0),)),
}


def blobs_law() -> exact.Mixture:
    """Three round Gaussians of unit spread."""
    components = tuple(exact.Gaussian(np.array(centre), np.eye(2)) for centre in BLOB_CENTRES)
    return exact.Mixture(np.full(3, 1 / 3), components, "blobs")


def augmented(x: Tensor) -> Tensor:
    """A fourth column, the radius of the first two: with it, they determine each other up to a sign."""
    return torch.cat([x, x[:, :2].norm(dim=1, keepdim=True)], 1)


def manifold(
    name: str, count: int = COUNT, noise: float = 0.0, missing: float = 0.0, legacy: bool = False, seed: int = 0
) -> Parts:
    """A manifold or the blobs by name.

    Args:
        name: which one.
        count: rows of the training set when it is fixed.
        noise: standard deviation of added normal noise (a manifold without noise has no density).
        missing: share of values hidden for good.
        legacy: the original's sample: 64 points made once by scikit-learn's generator with state 8, train and test
        alike. seed: of the fixed samples.
    """
    base = name.removeprefix("augmented-")
    if legacy:
        return _legacy(name, base)
    draw: Any = blobs_law().draw if base == "blobs" else partial(MANIFOLDS[base].draw, noise=noise)
    if base != name:
        return from_draw(lambda n, g: augmented(draw(n, g)), name, count, True, missing, seed)
    return from_draw(draw, name, count, True, missing, seed)


def _legacy(name: str, base: str) -> Parts:
    from sklearn import datasets as sklearn

    makers: dict[str, Callable[[], Any]] = {
        "circles": lambda: sklearn.make_circles(LEGACY_COUNT, factor=0.5, random_state=LEGACY_STATE)[0],
        "moons": lambda: sklearn.make_moons(LEGACY_COUNT, random_state=LEGACY_STATE)[0],
        "blobs": lambda: sklearn.make_blobs(LEGACY_COUNT, random_state=LEGACY_STATE)[0],
        "s-curve": lambda: sklearn.make_s_curve(LEGACY_COUNT, random_state=LEGACY_STATE)[0],
    }
    if base not in makers:
        raise OptionError(f"'{name}' was drawn anew by the original too; legacy=True is for {', '.join(makers)}.")
    data = Data({"x": torch.from_numpy(np.asarray(makers[base]())).float()}, name)
    return Parts(data, data, data)


circles = partial(manifold, "circles")
moons = partial(manifold, "moons")
blobs = partial(manifold, "blobs")
s_curve = partial(manifold, "s-curve")
swiss_roll = partial(manifold, "swiss-roll")
augmented_swiss_roll = partial(manifold, "augmented-swiss-roll")
