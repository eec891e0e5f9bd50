r"""Priors over anchors: held together by a Gaussian, kept apart by a repulsion to choose.

.. math:: \log p(A) = -\frac{1}{2 t^2} \sum_k |a_k|^2 + R(A) + \text{const}

with d the distance of two anchors and :math:`\rho` the ``spacing`` wanted:

=============  =====================================================================================================
``log-gas``    :math:`2 \sum_{i<j} \log d_{ij}`: the published nebula energy with unit masses, made proper by the
               Gaussian (in two dimensions the law of the eigenvalues of a random matrix). Acts at every distance.
``hinge``      :math:`-\sum_{i<j} \max(0, \log(\rho^2 / d_{ij}^2))`: no force beyond :math:`\rho`
``dpp``        :math:`\log \det(\exp(-d^2 / 2 \rho^2) + \epsilon I)`: a determinantal process; bounded, not pairwise
``soft-core``  :math:`\sum_{i<j} \log(1 - \exp(-d_{ij}^2 / 2 \rho^2))`: bounded, repels within :math:`\rho`
``none``       0: the Gaussian alone
=============  =====================================================================================================

t is chosen so that the mean squared distance of two anchors is about :math:`\rho^2`: for the log-gas from its scaling
identity (at the mode the mean of :math:`|a|^2` is :math:`t^2 (K - 1)`), for the others from the Gaussian alone.

The published form, masses of the batch and no confinement, is :func:`published_energy`: unbounded below, for study.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions import constraints
from torch import Tensor

from pyro_models.errors import OptionError, TrainingError, unknown_name

REPULSIONS = ("log-gas", "hinge", "dpp", "soft-core", "none", "published")
#: below this squared distance two anchors count as this far apart: a start with equal anchors has a finite density
NEAREST = 1e-6
#: added to the diagonal of the determinant's matrix: float32 needs it when anchors are close
JITTER = 1e-4
#: steps and relative size of a step of the sampler, which is for dreams from the prior, not for inference
SAMPLER_STEPS, SAMPLER_STEP = 200, 0.05
#: distance of anchors, in units of what it was or should have been, at which the published energy counts as run away
RUN_AWAY = 3.0


class AnchorPrior(dist.TorchDistribution):
    """p(A) over ``[K, D]`` up to a constant; sampled by Langevin steps with rejection."""

    arg_constraints = {}  # noqa: RUF012
    support = constraints.independent(constraints.real, 2)
    has_rsample = False

    def __init__(self, repulsion: str, clusters: int, latent: int, spacing: float, like: Tensor) -> None:
        if repulsion not in REPULSIONS:
            raise unknown_name("repulsion", repulsion, REPULSIONS)
        if not spacing > 0:
            raise OptionError(f"spacing is {spacing}; the distance wanted between anchors must be positive.")
        self.repulsion, self.spacing, self.like = repulsion, spacing, like
        pairs = clusters - 1 if repulsion == "log-gas" and clusters > 1 else latent
        self.confinement = spacing / math.sqrt(2 * pairs)
        super().__init__(torch.Size(), torch.Size((clusters, latent)), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*batch K D"]) -> Float[Tensor, "*batch"]:
        confined = -value.square().sum((-2, -1)) / (2 * self.confinement**2)
        return confined + repel(self.repulsion, value, self.spacing)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape) + self.event_shape
        here = self.confinement * torch.randn(shape, dtype=self.like.dtype, device=self.like.device)
        size = SAMPLER_STEP * self.confinement**2
        score, slope = self._score(here)
        for _ in range(SAMPLER_STEPS):
            there = here + size * slope + math.sqrt(2 * size) * torch.randn_like(here)
            new_score, new_slope = self._score(there)
            back = -(here - there - size * new_slope).square().sum((-2, -1)) / (4 * size)
            forth = -(there - here - size * slope).square().sum((-2, -1)) / (4 * size)
            accept = torch.rand_like(score).log() < new_score - score + back - forth
            where = accept[..., None, None]
            here, slope = torch.where(where, there, here), torch.where(where, new_slope, slope)
            score = torch.where(accept, new_score, score)
        return here

    def _score(self, value: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            value = value.detach().requires_grad_()
            score = self.log_prob(value)
            (slope,) = torch.autograd.grad(score.sum(), value)
        return score.detach(), slope


def squared_distances(anchors: Float[Tensor, "*batch K D"]) -> Float[Tensor, "*batch pairs"]:
    """Of every two anchors, i < j."""
    first, second = torch.triu_indices(anchors.shape[-2], anchors.shape[-2], offset=1, device=anchors.device)
    return (anchors[..., first, :] - anchors[..., second, :]).square().sum(-1)


def repel(repulsion: str, anchors: Float[Tensor, "*batch K D"], spacing: float) -> Float[Tensor, "*batch"]:
    """R(A) of the table above."""
    if repulsion in ("none", "published") or anchors.shape[-2] < 2:
        return anchors.new_zeros(anchors.shape[:-2])
    if repulsion == "dpp":
        table = (anchors.unsqueeze(-2) - anchors.unsqueeze(-3)).square().sum(-1)
        eye = torch.eye(anchors.shape[-2], dtype=anchors.dtype, device=anchors.device)
        return torch.linalg.slogdet((-table / (2 * spacing**2)).exp() + JITTER * eye).logabsdet
    squared = squared_distances(anchors).clamp_min(NEAREST)
    if repulsion == "log-gas":
        return squared.log().sum(-1)
    if repulsion == "hinge":
        return -(2 * math.log(spacing) - squared.log()).relu().sum(-1)
    return torch.log(-torch.expm1(-squared / (2 * spacing**2))).sum(-1)


def published_energy(z: Float[Tensor, "B D"], anchors: Float[Tensor, "K D"]) -> Float[Tensor, ""]:
    r"""The published nebula loss :math:`\sum_{i<j} M_i M_j (-\log d_{ij}^2)` with the masses
    :math:`M_i = 1 + \sum_{z: i = \arg\min} |z - a_i|^2` of the batch.

    Unbounded below: as soon as two anchors are further than 1 apart their term is negative, and both larger masses and
    larger distances make it more so.
    """
    table = (z.unsqueeze(-2) - anchors).square().sum(-1)
    own, winner = table.min(-1)
    masses = 1 + torch.zeros(len(anchors), dtype=z.dtype, device=z.device).index_add(0, winner, own)
    first, second = torch.triu_indices(len(anchors), len(anchors), offset=1, device=anchors.device)
    return -(masses[first] * masses[second] * squared_distances(anchors).clamp_min(NEAREST).log()).sum()


def median_distance(anchors: Float[Tensor, "K D"]) -> Float[Tensor, ""]:
    """Of every two anchors."""
    return squared_distances(anchors.detach()).median().sqrt()


def refuse_runaway(anchors: Float[Tensor, "K D"], before: float) -> None:
    """Stops a training that the published energy has driven apart, with the reason. ``before``: their distance."""
    median = float(median_distance(anchors)) if len(anchors) > 1 else 0.0
    if not median < RUN_AWAY * before:
        raise TrainingError(
            f"the anchors are {median:.3g} apart (median), more than {RUN_AWAY:g} times the {before:.3g} that they "
            f"started or should be at: the published repulsion is unbounded below; use repulsion='log-gas', its proper "
            f"form."
        )
