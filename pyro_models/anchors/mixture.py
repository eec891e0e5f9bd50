"""The prior of codes: a mixture of Gaussians around anchors, or its hard limit: the nearest anchor takes all."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class AnchorMixture(dist.TorchDistribution):
    r""":math:`p(z) = \sum_k w_k N(z; a_k, \mathrm{diag}\, s_k^2)`, or with ``hard`` :math:`\max_k` in place of the sum.

    ``log_weights [K]``, ``anchors [..., K, D]``, ``scales`` broadcastable against ``anchors``. The weights need not sum
    to one (tied weights do not) and the hard mixture is no density: both are energies, whose samples are drawn from the
    normalised mixture.
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = False
    support = constraints.real_vector

    def __init__(self, log_weights: Tensor, anchors: Tensor, scales: Tensor, hard: bool = False) -> None:
        self.log_weights, self.anchors, self.scales, self.hard = log_weights, anchors, scales, hard
        super().__init__(anchors.shape[:-2], anchors.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: object = None) -> AnchorMixture:
        anchors = self.anchors.expand(*batch_shape, *self.anchors.shape[-2:])
        return AnchorMixture(self.log_weights, anchors, self.scales, self.hard)

    def joint(self, z: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch K"]:
        """log w_k + log N(z; a_k, s_k^2): the unnormalised log-responsibilities."""
        standard = (z.unsqueeze(-2) - self.anchors) / self.scales
        # Scales may be one number for all: their logarithms are summed at the full size.
        volume = self.scales.log().expand(self.anchors.shape).sum(-1) + _HALF_LOG_TAU * z.shape[-1]
        return self.log_weights - 0.5 * standard.square().sum(-1) - volume

    def log_prob(self, value: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        joint = self.joint(value)
        return joint.amax(-1) if self.hard else joint.logsumexp(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            index = torch.distributions.Categorical(logits=self.log_weights).sample(shape)
            return self.component(index).sample()

    def component(self, index: Int[Tensor, "*batch"]) -> TorchDistributionMixin:
        """The Gaussian around the anchor of this index."""
        scales = self.scales.expand(self.anchors.shape)
        if self.anchors.dim() == 2:
            return dist.Normal(self.anchors[index], scales[index]).to_event(1)
        from pyro.ops.indexing import Vindex

        return dist.Normal(Vindex(self.anchors)[..., index, :], Vindex(scales)[..., index, :]).to_event(1)
