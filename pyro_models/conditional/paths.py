r"""The linear path of a conditional model: the best linear-Gaussian answer for every mask, which networks then correct.

A path says, in the embedding e of the data (see :mod:`columns`), with o the given places,

* the prior of the code given what is given, :math:`p(z | e_o) = N(\mu_o, \Lambda_o^{-1})`;
* the posterior under that linear model when more is known;
* the mean of the hidden values given code and conditions, and the log scale of their noise (``decode``).

All three are exact for linear-Gaussian data, and leave the networks only what is not linear.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyro_models.nn import mlp

#: start values: small loadings break the symmetry of the latents, the noise starts near the standardised data's spread
FIRST_LOADING = 0.3
FIRST_SCALE = 0.7
#: log standard deviations (standard units): nothing is predicted better than 1e-3 of its spread, or worse than 7
LOG_SCALES = (-7.0, 2.0)

Moments = tuple[Tensor, Tensor]


class NoPath(nn.Module):
    """z ~ N(0, I) whatever is given; means are zero: the networks do everything."""

    log_scale: Tensor

    def __init__(self, places: int, latent: int, scale: float | None) -> None:
        super().__init__()
        self.latent, self.places = latent, places
        _add_log_scale(self, places, scale)

    def prior(self, given: Tensor, mask: Tensor) -> Moments:
        batch = given.shape[:-1]
        eye = torch.eye(self.latent, device=given.device, dtype=given.dtype)
        return given.new_zeros(*batch, self.latent), eye.expand(*batch, -1, -1)

    def posterior(self, e: Tensor, given_mask: Tensor, known_mask: Tensor) -> Moments:
        return self.prior(e, known_mask)

    def decode(self, given: Tensor, mask: Tensor, z: Tensor) -> Moments:
        return z.new_zeros(*z.shape[:-1], self.places), self.log_scale.clamp(*LOG_SCALES)


class TiedPath(nn.Module):
    r"""One factor analysis for all masks: :math:`e | z \sim N(W z + b, \mathrm{diag}\, s^2)`, conditioned exactly.

    .. math:: \Lambda_o = I + \sum_{j \in o} w_j w_j^\top / s_j^2, \qquad
              \mu_o = \Lambda_o^{-1} \sum_{j \in o} w_j (e_j - b_j) / s_j^2

    With d - 1 latents or more it can have any covariance, and the 2^d conditionals share d K + 2 d parameters.
    """

    log_scale: Tensor

    def __init__(self, places: int, latent: int, scale: float | None) -> None:
        super().__init__()
        self.latent = latent
        self.loading = nn.Parameter(FIRST_LOADING * torch.randn(places, latent))
        self.offset = nn.Parameter(torch.zeros(places))
        _add_log_scale(self, places, scale)

    def prior(self, given: Tensor, mask: Tensor) -> Moments:
        return self._moments(given, mask)

    def posterior(self, e: Tensor, given_mask: Tensor, known_mask: Tensor) -> Moments:
        return self._moments(e, known_mask)

    def _moments(self, e: Tensor, mask: Tensor) -> Moments:
        scaled = self.loading * (-self.log_scale.clamp(*LOG_SCALES)).exp()[:, None]
        on = mask.to(e.dtype)
        outer = (scaled[:, :, None] * scaled[:, None, :]).flatten(1)
        eye = torch.eye(self.latent, device=e.device, dtype=e.dtype)
        root = torch.linalg.cholesky(eye + (on @ outer).unflatten(-1, (self.latent, self.latent)))
        residual = (e - self.offset) * on * (-self.log_scale.clamp(*LOG_SCALES)).exp()
        return torch.cholesky_solve((residual @ scaled)[..., None], root)[..., 0], root

    def decode(self, given: Tensor, mask: Tensor, z: Tensor) -> Moments:
        return z @ self.loading.mT + self.offset, self.log_scale.clamp(*LOG_SCALES)


class FreePath(nn.Module):
    r"""A linear-Gaussian answer of its own for every mask, from a network that reads the mask alone:

    .. math:: z \sim N(0, I), \qquad e_u | z, e_o \sim N(A_m e_o + B_m z + b_m, \mathrm{diag}\, s_m^2).

    For few columns; it can put rate into different directions under different masks, which a tied path with a fixed
    scale cannot.
    """

    log_scale: Tensor

    def __init__(self, places: int, latent: int, scale: float | None, hidden: tuple[int, ...] = (128, 128)) -> None:
        super().__init__()
        self.places, self.latent = places, latent
        self.learns_scale = scale is None
        _add_log_scale(self, places, 1.0 if scale is None else scale)
        self.sizes = [places * places, places * latent, places, places]
        self.network = mlp(places, hidden, sum(self.sizes))
        with torch.no_grad():
            last = self.network[-1]
            assert isinstance(last, nn.Linear)
            last.weight.mul_(0.3)
            last.bias.copy_(FIRST_LOADING * torch.randn(sum(self.sizes)))

    def _maps(self, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Masks as -1 and 1: centred inputs train faster.
        a, b, offset, log_scale = self.network(2.0 * mask.float() - 1).split(self.sizes, -1)
        scale = log_scale.clamp(*LOG_SCALES) if self.learns_scale else self.log_scale.expand_as(log_scale)
        return a.unflatten(-1, (self.places, -1)), b.unflatten(-1, (self.places, -1)), offset, scale

    def prior(self, given: Tensor, mask: Tensor) -> Moments:
        batch = given.shape[:-1]
        eye = torch.eye(self.latent, device=given.device, dtype=given.dtype)
        return given.new_zeros(*batch, self.latent), eye.expand(*batch, -1, -1)

    def posterior(self, e: Tensor, given_mask: Tensor, known_mask: Tensor) -> Moments:
        a, b, offset, log_scale = self._maps(given_mask)
        on, target = given_mask.to(e.dtype), (known_mask & ~given_mask).to(e.dtype)
        precision = (-2 * log_scale).exp() * target
        residual = (e - offset - (a @ (e * on)[..., None])[..., 0]) * precision
        eye = torch.eye(self.latent, device=e.device, dtype=e.dtype)
        root = torch.linalg.cholesky(eye + b.mT @ (precision[..., None] * b))
        return torch.cholesky_solve(b.mT @ residual[..., None], root)[..., 0], root

    def decode(self, given: Tensor, mask: Tensor, z: Tensor) -> Moments:
        a, b, offset, log_scale = self._maps(mask)
        return offset + (a @ given[..., None])[..., 0] + (b @ z[..., None])[..., 0], log_scale


def _add_log_scale(path: nn.Module, places: int, scale: float | None) -> None:
    start = torch.full((places,), math.log(FIRST_SCALE if scale is None else scale))
    if scale is None:
        path.log_scale = nn.Parameter(start)
    else:
        path.register_buffer("log_scale", start)


PATHS = {"tied": TiedPath, "free": FreePath, "none": NoPath}
