r"""A multivariate normal told by the Cholesky factor of its precision: what linear-Gaussian posteriors come as.

:math:`N(\mu, (L L^\top)^{-1})`. Its log-density needs no triangular solve and a draw needs one, where the covariance's
factor would need an inversion first.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor


class PrecisionNormal(TorchDistribution):
    """``N(mean [..., K], (L L^T)^-1)`` with ``root`` L ``[..., K, K]``, lower triangular, positive diagonal."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch reads it from the class
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, mean: Tensor, root: Tensor) -> None:
        self.location, self.root = mean, root
        batch = torch.broadcast_shapes(mean.shape[:-1], root.shape[:-2])
        super().__init__(batch, mean.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PrecisionNormal:
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        return PrecisionNormal(self.location.expand(*batch_shape, -1), self.root)

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def covariance_matrix(self) -> Tensor:
        return torch.cholesky_inverse(self.root)

    @property
    def variance(self) -> Tensor:
        return self.covariance_matrix.diagonal(dim1=-2, dim2=-1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        noise = torch.randn(shape, device=self.location.device, dtype=self.location.dtype)
        moved = torch.linalg.solve_triangular(self.root.mT, noise[..., None], upper=True)[..., 0]
        return self.location + moved

    def log_prob(self, value: Tensor) -> Tensor:
        standard = (self.root.mT @ (value - self.location)[..., None])[..., 0]
        log_det = self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det - 0.5 * standard.square().sum(-1) - 0.5 * value.shape[-1] * math.log(2 * math.pi)

    def kl(self, other: PrecisionNormal) -> Tensor:
        """KL(self || other) = (|L_o^T L^-T|^2 + |L_o^T (m - m_o)|^2 - K) / 2 + log det L - log det L_o."""
        spread = torch.linalg.solve_triangular(self.root, other.root, upper=False).square().sum((-2, -1))
        shift = (other.root.mT @ (self.location - other.location)[..., None])[..., 0].square().sum(-1)
        own, others = (root.diagonal(dim1=-2, dim2=-1).log().sum(-1) for root in (self.root, other.root))
        return 0.5 * (spread + shift - self.location.shape[-1]) + own - others


class DiagonalNormal(TorchDistribution):
    """Independent normals as one event ``[..., K]``; unlike torch's it draws inside ``torch.vmap``."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch reads it from the class
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = mean, log_scale
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiagonalNormal:
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        return DiagonalNormal(self.location.expand(*batch_shape, -1), self.log_scale.expand(*batch_shape, -1))

    @property
    def mean(self) -> Tensor:
        return self.location

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        noise = torch.randn(shape, device=self.location.device, dtype=self.location.dtype)
        return self.location + self.log_scale.exp() * noise

    def log_prob(self, value: Tensor) -> Tensor:
        standard = (value - self.location) * (-self.log_scale).exp()
        return -(0.5 * standard.square() + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)
