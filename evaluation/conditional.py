r"""How good are conditional distributions? Gaps to the exact answer, coverage, PIT, CRPS, rates per latent, feature
order.

Array functions take draws ``[draw, row, column]``, the truth ``[row, column]`` and a boolean mask of hidden values;
those with a story ask it by its ``model`` and ``guide`` or its ``prior``, ``posterior``, ``decode`` and ``impute``.
The mean over masks hides the worst mask, so the gaps come one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from evaluation.likelihood import log_weights
from pyro_models.conditional.exact import Gaussian, Law, all_masks
from pyro_models.errors import MetricError

#: rows times masks in an evaluation over all masks: standard errors of a few thousandths of a nat in seconds
ALL_MASK_ROWS = 1 << 19
#: and so many rows per mask at most
MASK_ROWS = 8000
#: rows per forward pass
CHUNK = 16_384
#: a latent that carries less than this (nats) is not in use
ACTIVE_RATE = 0.01


@dataclass(frozen=True)
class MaskGaps:
    """Nats lost per mask (a row of ``masks``), with standard errors; rows in which all is given lose nothing."""

    masks: np.ndarray
    gaps: np.ndarray
    errors: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.gaps.mean())

    @property
    def worst(self) -> float:
        return float(self.gaps.max())

    def by_count(self) -> dict[int, float]:
        """Mean gap by number of given values."""
        counts = self.masks.sum(1)
        return {int(k): float(self.gaps[counts == k].mean()) for k in np.unique(counts)}


@torch.no_grad()
def mask_gaps(
    story: Any, law: Law, masks: np.ndarray | None = None, rows: int | None = None, particles: int = 1, seed: int = 0
) -> MaskGaps:
    """Exact log p(x_u | x_o) minus the story's bound, per mask, on fresh data of the law, the same rows for both.

    Args:
        masks: ``[M, d]``; None takes all subsets.
        rows: per mask; None takes up to 8000.
        particles: 1 for the ELBO from one sample of the guide, more for the importance-weighted bound.
        seed: of the data and of sampling.
    """
    masks = all_masks(law.dimensions) if masks is None else masks
    rows = min(MASK_ROWS, max(500, ALL_MASK_ROWS // len(masks))) if rows is None else rows
    x = law.draw(rows, torch.Generator().manual_seed(900_000 + seed))
    known, gaps, errors = torch.ones_like(x, dtype=torch.bool), [], []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for mask in masks:
            given = torch.from_numpy(mask).expand_as(x).contiguous()
            lost = law.log_density(x, mask) - conditional_bound(story, x, known, given, particles).double().numpy()
            gaps.append(lost.mean())
            errors.append(lost.std(ddof=1) / np.sqrt(rows))
    return MaskGaps(masks, np.array(gaps), np.array(errors))


@torch.no_grad()
def conditional_bound(story: Any, x: Tensor, known: Tensor, given: Tensor, particles: int = 1) -> Float[Tensor, " row"]:
    """A lower bound on log p(x_u | x_o) per row (for joint stories the difference of two bounds)."""
    if hasattr(story, "conditional_bound"):
        return story.conditional_bound(x, known, given, particles)
    parts = []
    for start in range(0, len(x), max(1, CHUNK // particles)):
        rows = slice(start, start + max(1, CHUNK // particles))
        weights = log_weights(story.model, story.guide, (x[rows], known[rows], given[rows]), particles, chunk=particles)
        parts.append(weights.logsumexp(0) - np.log(particles))
    return torch.cat(parts)


def _checked(draws: Tensor, truth: Tensor, hidden: Tensor) -> None:
    if draws.dim() != 3 or draws.shape[1:] != truth.shape or hidden.shape != truth.shape or len(draws) < 2:
        raise MetricError(
            f"draws {tuple(draws.shape)}, truth {tuple(truth.shape)} and hidden {tuple(hidden.shape)} do not belong "
            "together; give [draw, row, column] with two draws or more, [row, column], [row, column]."
        )


def region_ranks(
    draws: Float[Tensor, "draw row column"], truth: Float[Tensor, "row column"], hidden: Bool[Tensor, "row column"]
) -> Float[Tensor, " row"]:
    """Where the truth lies among the draws from the centre outwards, in (0, 1]: uniform if they have its distribution.

    Distances are Mahalanobis', with the mean and covariance of draws and truth together, so that the truth is treated
    as one more draw and the rank is exactly uniform for perfect draws, however few.
    """
    _checked(draws, truth, hidden)
    together = torch.cat([draws, truth[None]]).double() * hidden
    residual = together - together.mean(0)
    covariance = torch.einsum("srd,sre->rde", residual, residual) / (len(together) - 1)
    covariance = covariance + torch.diag_embed((~hidden).double())
    standard = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), residual.permute(1, 2, 0), upper=False)
    distance = standard.square().sum(1)
    return (distance <= distance[:, -1:]).double().mean(1)


def coverage(ranks: Tensor, levels: Sequence[float] = (0.5, 0.8, 0.95)) -> dict[float, float]:
    """Share of truths inside the central region of each level (from :func:`region_ranks`)."""
    return {level: float((ranks <= level + 1e-9).double().mean()) for level in levels}


def pit(
    draws: Float[Tensor, "draw row column"],
    truth: Float[Tensor, "row column"],
    hidden: Bool[Tensor, "row column"],
    seed: int = 0,
) -> Float[Tensor, " value"]:
    """Probability integral transform of every hidden value, ties broken at random: uniform if calibrated."""
    _checked(draws, truth, hidden)
    below, equal = (draws < truth).double().mean(0), (draws == truth).double().mean(0)
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    count = len(draws)
    return ((below * count + noise * (equal * count + 1)) / (count + 1))[hidden]


def uniformity(values: Tensor) -> float:
    """Kolmogorov-Smirnov distance from the uniform distribution."""
    ordered = values.double().sort().values
    steps = torch.arange(len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return float(torch.maximum((ordered - steps[:-1]).abs(), (steps[1:] - ordered).abs()).max())


def crps(
    draws: Float[Tensor, "draw row column"], truth: Float[Tensor, "row column"], hidden: Bool[Tensor, "row column"]
) -> float:
    r"""Continuous ranked probability score :math:`E|X - x| - \tfrac12 E|X - X'|`, mean over hidden values, lower is
    better.

    The unbiased estimate from the draws; the exact forecast N(m, s^2) of Gaussian data has s / sqrt(pi).
    """
    _checked(draws, truth, hidden)
    ordered, count = draws.double().sort(0).values, len(draws)
    # E|X - X'| of a sample from its order statistics.
    weight = (2 * torch.arange(1, count + 1, dtype=torch.float64) - count - 1)[:, None, None]
    spread = 2 * (weight * ordered).sum(0) / (count * (count - 1))
    return float(((draws.double() - truth).abs().mean(0) - 0.5 * spread)[hidden].mean())


def nrmse(
    imputed: Float[Tensor, "row column"], truth: Float[Tensor, "row column"], hidden: Bool[Tensor, "row column"]
) -> float:
    """Root mean squared error of the hidden values of each column over its standard deviation, mean over columns."""
    if imputed.shape != truth.shape or hidden.shape != truth.shape:
        raise MetricError(f"imputed {tuple(imputed.shape)} and truth {tuple(truth.shape)} differ in shape.")
    error = ((imputed - truth).double().square() * hidden).sum(0) / hidden.sum(0)
    found = error.sqrt() / truth.double().std(0)
    return float(found[hidden.any(0)].mean())


@torch.no_grad()
def imputed(story: Any, batches: Iterable[Sequence[Tensor]], draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """``(x, hidden, draws)`` flattened to ``[row, column]``, real columns only, on the CPU."""
    parts = []
    for x, known, given in batches:
        drawn = story.impute(x, given, draws)
        hidden = ~given if known is None or known.dtype != torch.bool else known & ~given
        parts.append([value.flatten(-x.dim() + 1).cpu() for value in (x, hidden, drawn)])
    x, hidden = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    drawn = torch.cat([part[2] for part in parts], 1)
    if hasattr(story, "columns"):
        real = story.columns.real.cpu()
        x, hidden, drawn = x[:, real], hidden[:, real], drawn[..., real]
    if not bool(hidden.any()):
        raise MetricError("nothing is hidden in these data; choose a mask law that hides something.")
    return x, hidden, drawn


@torch.no_grad()
def latent_rates(story: Any, x: Tensor, given: Tensor) -> Float[Tensor, " latent"]:
    """Nats through every latent, the largest first, averaged over the rows (all with the same mask).

    The prior leaves the rotation of the code free (whitened by p(z | x_o) it is round), so rates are read along the
    principal axes of the whitened posterior covariance; their sum is the KL term.
    """
    known = torch.ones_like(x, dtype=torch.bool)
    given = given.expand_as(x)
    prior, posterior = story.prior(x, given), story.posterior(x, given, known)
    # With precision L L^T, L^T z is white; covariance and mean of q in those coordinates:
    root = prior.root.double()
    mean = (root.mT @ (posterior.mean - prior.mean).double()[..., None])[..., 0]
    covariance = root.mT @ posterior.covariance_matrix.double() @ root
    axes = torch.linalg.eigh(covariance.mean(0)).eigenvectors
    mean, covariance = mean @ axes, axes.mT @ covariance @ axes
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    log_det = torch.linalg.slogdet(covariance).logabsdet
    # Correlation left between the axes belongs to no single one: it is shared out evenly among those in use.
    rates = 0.5 * (variance + mean.square() - 1 - variance.log()).mean(0)
    left = float(0.5 * (variance.log().sum(-1) - log_det).mean())
    used = rates > ACTIVE_RATE
    if bool(used.any()):
        rates = torch.where(used, rates + left / used.sum(), rates)
    return rates.sort(descending=True).values


@dataclass(frozen=True)
class Point:
    """A point of the information plane: nats through the code, squared error of one decoded draw, and their loss."""

    rate: float
    distortion: float
    beta: float

    @property
    def loss(self) -> float:
        return self.distortion + self.beta * self.rate


@torch.no_grad()
def information_point(story: Any, x: Tensor, given: Tensor, beta: float, draws: int = 1) -> Point:
    """Rate and distortion for one mask; the distortion is that of single draws of the code (an average over draws of
    decoded means would lie below the theoretical minimum)."""
    known, given = torch.ones_like(x, dtype=torch.bool), given.expand_as(x)
    rate = distortion = 0.0
    for _ in range(draws):
        z, c, log_ratio = story.draw_code(x, given, known)
        rate += float(log_ratio.mean()) / draws
        error = (story.decode(z, x, given, known, c).mean - x).square() * ~given
        distortion += float(error.sum(-1).mean()) / draws
    return Point(rate, distortion, beta)


def greedy_order(story: Any, x: Tensor, beta: float) -> list[tuple[int, float]]:
    """Reveals columns one by one, each time the one that leaves the least loss: ``[(column, loss left)]``."""
    given = torch.zeros(x.shape[1], dtype=torch.bool)
    order: list[tuple[int, float]] = []
    while not bool(given.all()):
        losses = {}
        for column in (~given).nonzero()[:, 0].tolist():
            trial = given.clone()
            trial[column] = True
            with torch.random.fork_rng():
                torch.manual_seed(0)
                losses[column] = information_point(story, x, trial, beta).loss
        best = min(losses, key=lambda column: losses[column])
        given[best] = True
        order.append((best, losses[best]))
    return order


def gaussian_crps(law: Gaussian, given: np.ndarray) -> float:
    """The score of the exact forecast, mean over hidden columns: s / sqrt(pi)."""
    return float(np.sqrt(np.diag(law.conditional(given)[1])).mean() / np.sqrt(np.pi))
