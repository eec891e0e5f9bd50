"""From an encoder's output to an approximate posterior over a real vector."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

#: log standard deviations stay inside this range: wide enough for any latent, narrow enough for float32 densities
LOG_SCALE_RANGE = (-9.0, 5.0)


class DiagonalGaussian(nn.Module):
    r""":math:`N(\mu, \mathrm{diag}\,\sigma^2)` from ``[..., 2 D]``."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.outputs = 2 * latent

    def forward(self, output: Tensor) -> dist.Distribution:
        mean, log_scale = output.chunk(2, dim=-1)
        return dist.Normal(mean, log_scale.clamp(*LOG_SCALE_RANGE).exp()).to_event(1)


class FullGaussian(nn.Module):
    r""":math:`N(\mu, L L^\top)` from ``[..., D + D + D (D - 1) / 2]``: mean, log diagonal and lower triangle of L."""

    below: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.outputs = 2 * latent + latent * (latent - 1) // 2
        row, column = torch.tril_indices(latent, latent, offset=-1)
        self.register_buffer("below", row * latent + column, persistent=False)

    def forward(self, output: Tensor) -> dist.Distribution:
        mean, log_diagonal, below = output.split([self.latent, self.latent, len(self.below)], dim=-1)
        root = torch.diag_embed(log_diagonal.clamp(*LOG_SCALE_RANGE).exp()).flatten(-2)
        root = root.index_copy(-1, self.below, below).unflatten(-1, (self.latent, self.latent))
        return dist.MultivariateNormal(mean, scale_tril=root)


def make_posterior(kind: str, latent: int) -> DiagonalGaussian | FullGaussian:
    """``diagonal`` or ``full`` covariance."""
    return FullGaussian(latent) if kind == "full" else DiagonalGaussian(latent)
