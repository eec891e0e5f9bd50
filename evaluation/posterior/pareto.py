r"""Is the guide good enough? The shape k of the tail of the importance weights answers, per datum (PSIS).

The largest weights :math:`w_s = p(x, z_s) / q(z_s|x)` are fitted by a generalised Pareto distribution of shape k.
Weights have finite moments of order less than 1 / k: below k = 0.5 their variance is finite and importance sampling
corrects the guide quickly, above about 0.7 the guide misses so much of the posterior that no practical number of draws
does (Vehtari, Simpson, Gelman, Yao and Gabry 2024; Yao et al. 2018 for variational posteriors). An exact guide has
constant weights, and k = -inf.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.errors import MetricError

#: fewer draws leave a tail of under five weights, on which the shape cannot be fitted
FEWEST_PARTICLES = 25
#: below it importance sampling with these weights is reliable at practical sample sizes (Vehtari et al. 2024)
GOOD_K = 0.7
#: log weights closer than this are one number in float32; such a tail has no shape
CONSTANT_TAIL = 1e-5
#: the weakly informative prior of Zhang and Stephens' fit: this many pretended observations at k = 0.5 (as in PSIS)
PRIOR_COUNT, PRIOR_K = 10, 0.5
#: grid of the fit: 30 points plus the root of the tail's length (Zhang and Stephens 2009)
GRID_POINTS = 30


def pareto_k(log_weights: Float[Tensor, "particle batch"]) -> Float[Tensor, " batch"]:
    """k-hat per datum from log importance weights ``[particle, batch]`` (``likelihood.log_weights`` makes them)."""
    weights = torch.as_tensor(log_weights).detach().double().cpu().numpy()
    if weights.ndim != 2:
        raise MetricError(f"log weights have shape {weights.shape}; give [particle, batch].")
    if len(weights) < FEWEST_PARTICLES:
        raise MetricError(
            f"k-hat needs a tail to fit: {len(weights)} particles are too few, take {FEWEST_PARTICLES} or more."
        )
    if np.isnan(weights).any() or np.isposinf(weights).any():
        raise MetricError("log weights hold NaN or +infinity; find the datum whose density is not finite first.")
    return torch.tensor([_tail_shape(column) for column in weights.T])


def reliable_below(particles: int) -> float:
    """The k up to which ``particles`` draws give a dependable estimate: min(1 - 1 / log10(S), 0.7)."""
    return min(1 - 1 / math.log10(particles), GOOD_K)


class ParetoReport(NamedTuple):
    """Counts of data by diagnosis, the median k, and a sentence to print."""

    good: int
    too_few_draws: int
    bad: int
    median: float
    text: str


def pareto_report(k: Float[Tensor, " batch"], particles: int) -> ParetoReport:
    """What k-hat says about a guide: data it fits, data that need more draws, data whose posterior it misses."""
    k = torch.as_tensor(k).double()
    if k.numel() == 0:
        raise MetricError("there is no k-hat to report on; give one value per datum.")
    limit = reliable_below(particles)
    good, bad = int((k <= limit).sum()), int((k > GOOD_K).sum())
    few, total = k.numel() - good - bad, k.numel()
    text = f"{good} of {total} data have k <= {limit:.2f}: the guide, corrected by its weights, is dependable there."
    if few:
        text += f" {few} have k up to {GOOD_K}: take more than {particles} draws for them."
    if bad:
        text += (
            f" {bad} have k > {GOOD_K}: the guide misses part of their posterior; IWAE bounds and reweighted "
            f"expectations for them are not to be trusted. A richer guide helps, more draws do not."
        )
    return ParetoReport(good, few, bad, float(k.median()), text)


def _tail_shape(log_weights: np.ndarray) -> float:
    """k-hat of one datum."""
    count = len(log_weights)
    length = math.ceil(min(0.2 * count, 3 * math.sqrt(count)))
    ordered = np.sort(log_weights - log_weights.max())
    if ordered[-1] - ordered[-length - 1] < CONSTANT_TAIL:
        return -math.inf
    # Weights that underflow are as good as zero: the tail is compared with the smallest number there is.
    cutoff = max(ordered[-length - 1], math.log(np.finfo(float).tiny))
    tail = np.exp(ordered[ordered > cutoff]) - math.exp(cutoff)
    if len(tail) < 5:  # one or two draws carry all the weight
        return math.inf
    return _fit_generalised_pareto(tail)


def _fit_generalised_pareto(exceedances: np.ndarray) -> float:
    """Shape of a generalised Pareto distribution for sorted positive values, by Zhang and Stephens' posterior mean.

    In theta = -k / sigma the likelihood's profile is explicit: theta is averaged under it over a data-driven grid.
    """
    n = len(exceedances)
    points = GRID_POINTS + int(math.sqrt(n))
    quartile = exceedances[int(n / 4 + 0.5) - 1]
    theta = 1 / exceedances[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    shape = np.log1p(-theta[:, None] * exceedances).mean(1)
    profile = n * (np.log(-theta / shape) - shape - 1)
    weights = np.exp(profile - profile.max())
    best = (weights * theta).sum() / weights.sum()
    k = np.log1p(-best * exceedances).mean()
    return float((n * k + PRIOR_COUNT * PRIOR_K) / (n + PRIOR_COUNT))
