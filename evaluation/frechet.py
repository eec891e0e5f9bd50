r"""Do two sets of features come from one distribution? Frechet distance (FID), its value at infinite samples, KID.

Features are ``[N, D]`` arrays from any network (``evaluation.features``). With the features of Inception v3 the Frechet
distance is known as FID and the kernel distance as KID; with other features the numbers are as valid and on another
scale: name the network, the count and the real-vs-real floor (:func:`real_floor`) beside every value.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluation.arrays import Array, as_matrix, positive, same_columns
from pyro_models.errors import MetricError

#: subset sizes of the extrapolation: enough to fit a line, few enough to be quick
EXTRAPOLATION_POINTS = 8
#: the largest subset is at least so many times the smallest, or the line has nothing to hold on to
EXTRAPOLATION_SPREAD = 2


@dataclass(frozen=True)
class FrechetResult:
    """``value`` = ``mean_term`` + ``covariance_term``, of ``count_a`` and ``count_b`` rows of ``dimensions``."""

    value: float
    mean_term: float
    covariance_term: float
    count_a: int
    count_b: int
    dimensions: int

    def __float__(self) -> float:
        return self.value


def frechet_distance(features_a: Array, features_b: Array) -> FrechetResult:
    r"""Squared Frechet (2-Wasserstein) distance of two Gaussians with the features' means and covariances.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}\,\Sigma_a + \mathrm{tr}\,\Sigma_b
              - 2\,\mathrm{tr}\,(\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}

    (Heusel et al. 2017). Range [0, inf), lower is better, 0 for equal means and covariances. Biased upwards at finite
    N: compare values at equal N only, or extrapolate (:func:`frechet_infinity`).

    No covariance is formed and no matrix root is taken. With the centred features factored as :math:`Q_a R_a` the last
    trace is the sum of the singular values of :math:`R_a R_b^\top / \sqrt{(N_a-1)(N_b-1)}`, which keeps the full
    precision of float64 also for features that are constant or linearly dependent.

    Args:
        features_a, features_b: ``[N_a, D]`` and ``[N_b, D]``, both with more rows than columns: with fewer the
            covariance is singular and the value says more about N than about the data.
    """
    a, b = as_matrix(features_a, "features_a", 2), as_matrix(features_b, "features_b", 2)
    same_columns(features_a=a, features_b=b)
    for name, features in (("features_a", a), ("features_b", b)):
        _refuse_few(name, len(features), features.shape[1])
    mean_a, root_a = _mean_and_root(a)
    mean_b, root_b = _mean_and_root(b)
    mean_term = float((mean_a - mean_b).square().sum())
    overlap = float(torch.linalg.svdvals(root_a @ root_b.T).sum())
    # The difference of nearly equal numbers may fall below zero by round-off.
    covariance_term = max(0.0, float(root_a.square().sum() + root_b.square().sum()) - 2 * overlap)
    return FrechetResult(mean_term + covariance_term, mean_term, covariance_term, len(a), len(b), a.shape[1])


def _refuse_few(name: str, count: int, dimensions: int) -> None:
    if count <= dimensions:
        raise MetricError(
            f"{name} have {count} rows of {dimensions} features: the covariance of so few is singular and the Frechet "
            f"distance would be meaningless. Give at least {dimensions + 1} rows, use a network with fewer features "
            f"(or a projection fixed beforehand), or use kernel_distance, which is unbiased at any count."
        )


def _mean_and_root(features: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and R with covariance = R^T R."""
    x = torch.from_numpy(features)
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / (len(x) - 1) ** 0.5, mode="r").R


@dataclass(frozen=True)
class FrechetInfinity:
    """The ``value`` at infinite N, its ``standard_error`` from the fit, and the ``sizes`` and ``distances`` fitted."""

    value: float
    standard_error: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]

    def __float__(self) -> float:
        return self.value


def frechet_infinity(
    features_a: Array, features_b: Array, points: int = EXTRAPOLATION_POINTS, smallest: int | None = None, seed: int = 0
) -> FrechetInfinity:
    r"""The Frechet distance extrapolated to infinitely many samples (Chong and Forsyth 2020).

    The bias falls as :math:`1/N`, so a line :math:`d_N = d_\infty + c/N` is fitted to the distances of random subsets.
    Both sets are thinned out alike, so the bias of both is removed (the paper thins out the generated set and keeps a
    large reference whole). Range: the line may end slightly below 0; lower is better.

    Args:
        features_a, features_b: ``[N_a, D]`` and ``[N_b, D]``.
        points: subset sizes, evenly spaced in 1/N up to the whole set; more give a steadier fit and cost one distance
            each.
        smallest: rows of the smaller set in the smallest subset, above D; by default the larger of N/4 and 2D, at most
            N/2 (subsets not far above D bend the line: the 1/N law holds well above it).
        seed: which rows go into the subsets.
    """
    a, b = as_matrix(features_a, "features_a", 2), as_matrix(features_b, "features_b", 2)
    same_columns(features_a=a, features_b=b)
    count, dimensions = min(len(a), len(b)), a.shape[1]
    usual = min(max(count // 4, 2 * dimensions), count // EXTRAPOLATION_SPREAD)
    least = usual if smallest is None else smallest
    if positive(points, "points", 3) and not (dimensions < least and least * EXTRAPOLATION_SPREAD <= count):
        raise MetricError(
            f"the line needs subsets from above {dimensions} rows (the number of features) to at least "
            f"{EXTRAPOLATION_SPREAD} times as many; got {count} rows and a smallest subset of {least}. Give at least "
            f"{EXTRAPOLATION_SPREAD * (dimensions + 1)} rows, or use kernel_distance, which needs no extrapolation."
        )
    random = np.random.default_rng(seed)
    sizes = np.unique(np.round(1 / np.linspace(1 / least, 1 / count, points)).astype(int))
    distances = []
    for size in sizes:
        parts = [x[random.permutation(len(x))[: max(dimensions + 1, round(len(x) * size / count))]] for x in (a, b)]
        distances.append(frechet_distance(*parts).value)
    design = np.stack([np.ones(len(sizes)), 1 / sizes], 1)
    target = np.array(distances)
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    noise = float(((target - design @ solution) ** 2).sum() / max(1, len(sizes) - 2))
    error = float(np.sqrt(noise * np.linalg.inv(design.T @ design)[0, 0]))
    return FrechetInfinity(float(solution[0]), error, tuple(sizes.tolist()), tuple(distances))


@dataclass(frozen=True)
class KernelResult:
    """Mean over ``subsets`` of ``subset_size`` rows, their ``standard_deviation``, the mean's ``standard_error``."""

    value: float
    standard_error: float
    standard_deviation: float
    subsets: int
    subset_size: int

    def __float__(self) -> float:
        return self.value


def kernel_distance(
    features_a: Array,
    features_b: Array,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    degree: int = 3,
    gamma: float | None = None,
    coefficient: float = 1.0,
) -> KernelResult:
    r"""Unbiased squared maximum mean discrepancy under a polynomial kernel (KID; Binkowski et al. 2018).

    With :math:`k(x, y) = (\gamma x^\top y + c)^d`, per subset of m rows of each set

    .. math:: \frac{1}{m(m-1)} \sum_{i \ne j} [k(a_i, a_j) + k(b_i, b_j)] - \frac{2}{m^2} \sum_{ij} k(a_i, b_j).

    Range: expectation in [0, inf), single values may be below 0; lower is better; needs no more samples than features.

    Args:
        features_a, features_b: ``[N_a, D]`` and ``[N_b, D]``.
        subsets, subset_size: how many random subsets of how many rows; a larger size lowers the spread and costs its
            square; it is cut to the smaller set.
        seed: which rows go into the subsets.
        degree, gamma, coefficient: of the kernel; gamma is 1/D by default.

    The standard error divides by the number of *disjoint* subsets that the data hold, since overlapping ones repeat
    each other; 100 subsets of 1000 out of 5000 rows count as 5. With one disjoint subset it is nan.
    """
    a, b = as_matrix(features_a, "features_a", 2), as_matrix(features_b, "features_b", 2)
    same_columns(features_a=a, features_b=b)
    count = min(len(a), len(b))
    size = min(positive(subset_size, "subset_size", 2), count)
    positive(subsets, "subsets")
    scale = 1 / a.shape[1] if gamma is None else gamma
    random = np.random.default_rng(seed)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (scale * (x @ y.T) + coefficient) ** degree

    values = []
    for _ in range(subsets):
        x = a[random.choice(len(a), size, replace=False)]
        y = b[random.choice(len(b), size, replace=False)]
        within = sum(float(table.sum() - np.trace(table)) for table in (kernel(x, x), kernel(y, y)))
        values.append(within / (size * (size - 1)) - 2 * float(kernel(x, y).mean()))
    spread = statistics.stdev(values) if subsets > 1 else float("nan")
    disjoint = min(subsets, count // size)
    error = spread / disjoint**0.5 if disjoint > 1 else float("nan")
    return KernelResult(statistics.fmean(values), error, spread, subsets, size)


@dataclass(frozen=True)
class Floor:
    """What a perfect generator reaches: mean and spread of the distance of real from real, halves of ``count`` rows."""

    value: float
    standard_deviation: float
    count: int

    def __float__(self) -> float:
        return self.value


def real_floor(
    features: Array, distance: Callable[..., Any] = frechet_distance, repeats: int = 5, seed: int = 0
) -> Floor:
    """The distance between random halves of one set: not zero at finite N, and what to read every distance against.

    The floor is that of N/2 rows, so compare it with a distance computed from N/2 rows of each set.

    Args:
        features: ``[N, D]`` of real data.
        distance: any function of two arrays whose result converts to float.
        repeats: random splits averaged over.
        seed: of the splits.
    """
    x = as_matrix(features, "features", 4)
    half = len(x) // 2
    if distance is frechet_distance:
        _refuse_few("halves of the features", half, x.shape[1])
    random = np.random.default_rng(seed)
    values = []
    for _ in range(positive(repeats, "repeats")):
        order = random.permutation(len(x))
        values.append(float(distance(x[order[:half]], x[order[half : 2 * half]])))
    return Floor(statistics.fmean(values), statistics.stdev(values) if repeats > 1 else float("nan"), half)
