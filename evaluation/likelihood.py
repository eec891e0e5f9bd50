r"""How likely are the data? Importance weights, bounds on log p(x), rate and distortion, bits per dimension.

With draws :math:`z_1..z_K \sim q(z|x_i)` and :math:`\log w_k = \log p(x_i, z_k) - \log q(z_k|x_i)`,

.. math:: \text{ELBO}_i = E[\log w_1] \le \text{IWAE-}K_i = E\Big[\log \tfrac1K \sum_k w_k\Big] \le \log p(x_i),

the second growing with K to the third (Burda, Grosse and Salakhutdinov 2016). Discrete guide sites are sampled,
discrete model sites that the guide lacks are summed out, ``poutine.scale`` (beta, warm-up) is ignored: these are
numbers about the model, not about its training loss. Everything here takes plain Pyro callables and gives one number
per datum, in nats.

    weights = log_weights(story.model, story.guide, (x,), particles=100)      # [100, batch]
    elbo(story.model, story.guide, (x,), particles=100)                       # [batch]
    iwae(story.model, story.guide, (x,), particles=100)                       # [batch]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from evaluation.annealing import AnnealedEstimate, annealed_importance
from evaluation.particles import Particles
from evaluation.traces import PyroCallable
from pyro_models.errors import MetricError, OptionError

__all__ = [
    "ActiveUnits",
    "AnnealedEstimate",
    "RateDistortion",
    "active_units",
    "annealed_importance",
    "bits_per_dim",
    "elbo",
    "iwae",
    "log_mean_weight",
    "log_weights",
    "rate_distortion",
]

#: a latent dimension whose posterior mean varies more than this over the data carries information (Burda et al. 2016)
ACTIVE_VARIANCE = 0.01


@torch.no_grad()
def log_weights(
    model: PyroCallable,
    guide: PyroCallable,
    batch_args: Tensor | Sequence[Any],
    particles: int,
    chunk: int | None = None,
    max_plate_nesting: int | None = None,
) -> Float[Tensor, "particle batch"]:
    """Log importance weights log p(x_i, z) - log q(z | x_i) of ``particles`` draws for every datum.

    Args:
        model, guide: Pyro callables of the same arguments, every site inside one plate over the data.
        batch_args: those arguments: one tensor or a sequence.
        particles: draws per datum.
        chunk: draws per vectorised pass; None takes as many as keep a pass below a gigabyte.
        max_plate_nesting: plates nested in the pair; None finds out.
    """
    pair = Particles(model, guide, batch_args, max_plate_nesting)
    return torch.cat([pair.log_joint(run) - pair.log_guide(run) for run in pair.passes(particles, chunk)])


def log_mean_weight(log_weights: Float[Tensor, "particle batch"]) -> Float[Tensor, " batch"]:
    """The IWAE bound log (1/K) sum_k w_k per datum, from weights already drawn."""
    if log_weights.dim() != 2 or len(log_weights) == 0:
        raise MetricError(f"log weights have shape {tuple(log_weights.shape)}; give [particle, batch].")
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def elbo(
    model: PyroCallable,
    guide: PyroCallable,
    batch_args: Tensor | Sequence[Any],
    particles: int = 1,
    chunk: int | None = None,
    max_plate_nesting: int | None = None,
) -> Float[Tensor, " batch"]:
    """The evidence lower bound per datum, averaged over ``particles`` draws (a Monte Carlo estimate of it)."""
    return log_weights(model, guide, batch_args, particles, chunk, max_plate_nesting).mean(0)


def iwae(
    model: PyroCallable,
    guide: PyroCallable,
    batch_args: Tensor | Sequence[Any],
    particles: int,
    chunk: int | None = None,
    max_plate_nesting: int | None = None,
) -> Float[Tensor, " batch"]:
    """The importance-weighted bound per datum with K = ``particles``; tighter with every particle."""
    return log_mean_weight(log_weights(model, guide, batch_args, particles, chunk, max_plate_nesting))


class RateDistortion(NamedTuple):
    """Nats per datum: ``rate`` KL(q(z|x) || p(z)), ``distortion`` -E_q log p(x|z); minus their sum is the ELBO."""

    rate: Tensor
    distortion: Tensor


@torch.no_grad()
def rate_distortion(
    model: PyroCallable,
    guide: PyroCallable,
    batch_args: Tensor | Sequence[Any],
    particles: int = 10,
    chunk: int | None = None,
    max_plate_nesting: int | None = None,
) -> RateDistortion:
    r"""What the code costs and what it leaves unexplained, per datum (Alemi et al. 2018), averaged over draws.

    :math:`R_i = E_q[\log q(z|x_i) - \log p(z)]` and :math:`D_i = -E_q[\log p(x_i|z)]`, by Monte Carlo, so that any
    guide will do. A discrete site that the guide lacks is summed out of both p(z) and p(x, z).
    """
    pair = Particles(model, guide, batch_args, max_plate_nesting)
    rates, distortions = [], []
    for run in pair.passes(particles, chunk):
        prior = pair.log_prior(run)
        rates.append(pair.log_guide(run) - prior)
        distortions.append(prior - pair.log_joint(run))
    return RateDistortion(torch.cat(rates).mean(0), torch.cat(distortions).mean(0))


def bits_per_dim(log_likelihood: Tensor, dimensions: int, levels: int | None = None) -> Tensor:
    """Nats per datum to bits per dimension, the smaller the better.

    Args:
        log_likelihood: log p(x) or a bound on it, in nats per datum, any shape.
        dimensions: numbers per datum (784 for 28-pixel grey images).
        levels: 256 for a *density* on data that were bytes and were divided by 255 or 256: a byte is then a bin of
            width 1/256, which adds log2(256) = 8 bits. None for probabilities of discrete data (Bernoulli pixels).
    """
    if dimensions < 1:
        raise OptionError(f"dimensions is {dimensions}; it is the count of numbers in one datum, at least 1.")
    if levels is not None and levels < 2:
        raise OptionError(f"levels is {levels}; give the count of grey values (256 for bytes) or None.")
    return -log_likelihood / (dimensions * math.log(2)) + (math.log2(levels) if levels else 0.0)


class ActiveUnits(NamedTuple):
    """``number`` of latent dimensions in use, ``variance`` [D] of the posterior means, and which are ``active`` [D]."""

    number: int
    variance: Tensor
    active: Tensor


def active_units(
    posterior_means: Float[Tensor, "data latent"] | Int[Tensor, "data latent"], threshold: float = ACTIVE_VARIANCE
) -> ActiveUnits:
    """Latent dimensions whose posterior mean varies: Var_x E[z_d | x] > ``threshold`` (Burda et al. 2016).

    ``posterior_means`` is what a story's ``features`` gives for a whole split, ``[data, latent]``.
    """
    means = torch.as_tensor(posterior_means)
    if means.dim() != 2 or len(means) < 2:
        raise MetricError(f"posterior means have shape {tuple(means.shape)}; give [data, latent] with 2 data or more.")
    if not bool(torch.isfinite(means.double()).all()):
        raise MetricError("posterior means hold NaN or infinity; look for the datum whose encoding diverged.")
    variance = means.double().var(0)
    active = variance > threshold
    return ActiveUnits(int(active.sum()), variance, active)
