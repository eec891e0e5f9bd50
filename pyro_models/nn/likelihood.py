"""From a decoder's output to a distribution over the datum and its expectation."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_models.errors import OptionError, unknown_name

#: a pixel cannot be explained more sharply than a byte can store it
SMALLEST_SCALE = 1 / 256


class Bernoulli(nn.Module):
    """Each value is the probability of a lit pixel. Grey pixels are scored as expected bits, as is usual for images."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def forward(self, output: Tensor) -> dist.Distribution:
        """``output``: logits ``[..., *shape]``."""
        return dist.Bernoulli(logits=output, validate_args=False).to_event(self.rank)

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()


class Gaussian(nn.Module):
    """Independent normal values around the decoder's output, one scale for all, learned or fixed."""

    def __init__(self, rank: int, scale: float | None = None) -> None:
        super().__init__()
        if scale is not None and not scale > 0:
            raise OptionError(f"the likelihood's scale is {scale}; it must be positive, or None to be learned.")
        self.rank = rank
        self.floor = SMALLEST_SCALE if scale is None else 0.0
        start = torch.tensor(math.log(0.3 if scale is None else scale))
        if scale is None:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp() + self.floor

    def forward(self, output: Tensor) -> dist.Distribution:
        """``output``: means ``[..., *shape]``."""
        return dist.Normal(output, self.scale).to_event(self.rank)

    def mean(self, output: Tensor) -> Tensor:
        return output


def make_likelihood(kind: str, rank: int, scale: float | None = None) -> Bernoulli | Gaussian:
    """The likelihood called ``bernoulli`` or ``gaussian`` for data with ``rank`` dimensions."""
    if kind == "bernoulli":
        if scale is not None:
            raise OptionError("a Bernoulli likelihood has no scale; leave it out or use likelihood='gaussian'.")
        return Bernoulli(rank)
    if kind == "gaussian":
        return Gaussian(rank, scale)
    raise unknown_name("likelihood", kind, ("bernoulli", "gaussian"))
