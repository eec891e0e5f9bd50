"""A one-hot variable that may also be given by its probabilities: the density is then the expected one."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import OneHotCategorical
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import Distribution, constraints


class ExpectedOneHot(Distribution, TorchDistributionMixin):
    r"""Categorical over K one-hot vectors, with :math:`\log p(r) = \sum_k r_k \log p_k` for any r on the simplex.

    For a one-hot r that is the usual density; for probabilities r it is :math:`E_{z \sim r} \log p(z)`. Samples are
    one-hot. It lets a model be scored with a class summed out by its guide, and be sampled from as it stands.
    """

    support = constraints.simplex
    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012  (torch's way of telling)
    has_rsample = False

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ExpectedOneHot:
        return ExpectedOneHot(self.logits.expand(*batch_shape, -1), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return OneHotCategorical(logits=self.logits).sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.logits).sum(-1)
