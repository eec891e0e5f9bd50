"""Pixels around their mean with one variance: the normal density as one squared distance."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor


def squared_distance(x: Tensor, mean: Tensor, rank: int) -> Tensor:
    r""":math:`|x - \mu|^2` over the last ``rank`` dimensions, the others broadcast.

    Means that all data share, ``[..., K, 1, *shape]`` against ``[B, *shape]``, are compared by one matrix product
    instead of K x B differences.
    """
    x, mean = x.flatten(-rank), mean.flatten(-rank)
    if mean.dim() >= 3 and mean.shape[-2] == 1 and x.dim() == 2 and len(x) > 1:
        mean = mean.squeeze(-2)
        cross = mean @ x.T
        return (mean.square().sum(-1, keepdim=True) + x.square().sum(-1) - 2 * cross).clamp(min=0)
    return torch.linalg.vector_norm(x - mean, dim=-1).square()


class PixelNoise(TorchDistribution):
    r""":math:`N(\mu, v I)` over an event of ``rank`` dimensions: ``Normal(mean, v ** 0.5).to_event(rank)``, cheaper."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, mean: Tensor, variance: float, rank: int, batch_shape: Any = None) -> None:
        self.mean_, self.variance_, self.rank = mean, variance, rank
        shape = mean.shape[: mean.dim() - rank] if batch_shape is None else torch.Size(batch_shape)
        super().__init__(shape, mean.shape[mean.dim() - rank :], validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, self.rank)

    @property
    def mean(self) -> Tensor:
        return self.mean_.expand(self.batch_shape + self.event_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PixelNoise:
        return PixelNoise(self.mean_, self.variance_, self.rank, batch_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        noise = torch.randn(shape, dtype=self.mean_.dtype, device=self.mean_.device)
        return self.mean + self.variance_**0.5 * noise

    def log_prob(self, value: Tensor) -> Tensor:
        distance = squared_distance(value, self.mean_, self.rank)
        constant = 0.5 * math.prod(self.event_shape) * math.log(2 * math.pi * self.variance_)
        found = -distance / (2 * self.variance_) - constant
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))
