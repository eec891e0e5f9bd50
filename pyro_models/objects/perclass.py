"""A vector for every class, of which only that of the object's class counts."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class PerClassNormal(TorchDistribution):
    r"""K vectors of D independent normal values, laid side by side, with :math:`\log p(t) = \sum_k r_k \log p_k(t_k)`.

    For a one-hot r only the vector of that class has a density: the others may be anything, and nothing depends on
    them. For probabilities r it is the expected density, as with
    :class:`~pyro_models.objects.expected.ExpectedOneHot`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, r: Float[Tensor, "*batch K"], mean: Float[Tensor, "*#batch K D"], scale: Float[Tensor, "*#batch K D"]
    ) -> None:
        self.r, self.mean_, self.scale_ = r, mean, scale
        super().__init__(r.shape[:-1], torch.Size([mean.shape[-2] * mean.shape[-1]]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PerClassNormal:
        return PerClassNormal(self.r.expand(*batch_shape, -1), self.mean_, self.scale_)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape + self.mean_.shape[-2:]
        noise = torch.randn(shape, dtype=self.mean_.dtype, device=self.mean_.device)
        return (self.mean_ + self.scale_ * noise).flatten(-2)

    def log_prob(self, value: Float[Tensor, "*batch KD"]) -> Float[Tensor, "*batch"]:
        away = (value.unflatten(-1, self.mean_.shape[-2:]) - self.mean_) / self.scale_
        each = (0.5 * away.square() + self.scale_.log()).sum(-1) + 0.5 * away.shape[-1] * math.log(2 * math.pi)
        return -(self.r * each).sum(-1)
