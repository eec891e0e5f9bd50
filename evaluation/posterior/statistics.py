"""Numbers that stand for a whole image in a predictive check: each takes values ``[..., D]`` and gives ``[...]``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Statistic = Callable[[Tensor], Tensor]

#: a pixel in [0, 1] counts as lit above the middle of its range
LIT = 0.5


def mean_intensity(values: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch"]:
    """Average over the datum."""
    return values.mean(-1, dtype=torch.float64)


def contrast(values: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch"]:
    """Standard deviation over the datum: a model that dreams blurred images gives too little of it."""
    return (values if values.is_floating_point() else values.float()).std(-1, correction=0)


def lit_pixels(values: Float[Tensor, "*batch pixel"]) -> Int[Tensor, "*batch"]:
    """How many values exceed 0.5."""
    return (values > LIT).sum(-1)


DEFAULT_STATISTICS: dict[str, Statistic] = {"mean": mean_intensity, "contrast": contrast, "lit": lit_pixels}
