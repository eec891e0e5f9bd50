"""Small stories and data for the tests of prototypes."""

from __future__ import annotations

import torch

from inference import estimators
from pyro_models.datasets.data import Data
from pyro_models.prototypes.dvae_st import DVAEST

TINY = {"channels": (4, 4), "features": 16}


def shapes(count: int = 240, size: int = 8, seed: int = 0) -> Data:
    """Crosses, bars and rings that are moved by a pixel or not."""
    generator = torch.Generator().manual_seed(seed)
    x, label = torch.zeros(count, 1, size, size), torch.arange(count) % 3
    for image, kind in zip(x, label.tolist(), strict=True):
        row, column = (int(torch.randint(1, size - 5, (), generator=generator)) for _ in range(2))
        patch = torch.zeros(5, 5)
        if kind == 0:
            patch[2], patch[:, 2] = 1, 1
        elif kind == 1:
            patch[:, 1:3] = 1
        else:
            patch[:] = 1
            patch[1:4, 1:4] = 0
        image[0, row : row + 5, column : column + 5] = patch
    return Data({"x": x, "label": label}, "shapes")


def small(**options) -> DVAEST:
    return DVAEST((1, 8, 8), clusters=3, **{"spare": 0, **TINY, **options})


def adam(story) -> torch.optim.Optimizer:
    """An optimiser that has made a step."""
    optimiser = torch.optim.Adam(story.parameters())
    estimator = estimators.get("exact")()
    x = torch.rand(8, 1, 8, 8)
    estimator.prepare(story.model, story.guide, x)
    estimator.differentiable_loss(story.model, story.guide, x).backward()
    optimiser.step()
    return optimiser


def bound(story, x) -> torch.Tensor:
    estimator = estimators.get("exact")(max_plate_nesting=1)
    estimator.prepare(story.model, story.guide, x)
    return -estimator.differentiable_loss(story.model, story.guide, x)
