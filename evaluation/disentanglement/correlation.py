"""Do code dimensions depend on each other, and on which factor? Total correlation and correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array, as_matrix, positive, same_columns, same_length
from evaluation.disentanglement.tables import LEAST_DATA, Kind, tables, varying
from pyro_models.errors import MetricError

#: correlation matrices with a smaller eigenvalue are singular up to round-off: one dimension is a mixture of others
SINGULAR = 1e-12
#: numbers of the density table [draw, component, dimension] held at a time: 80 MB in float64
TABLE = 10_000_000


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlations ``[D_a, D_b]`` of the columns; 0 for constant ones. Ties get their mean rank."""
    from scipy.stats import rankdata

    return pearson(rankdata(a, axis=0), rankdata(b, axis=0))


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlations ``[D_a, D_b]`` of the columns; 0 for constant ones."""
    return _unit_columns(a).T @ _unit_columns(b)


def _unit_columns(values: np.ndarray) -> np.ndarray:
    vary = varying(values)
    centred = values - values.mean(0)
    return np.where(vary, centred / np.where(vary, np.linalg.norm(centred, axis=0), 1.0), 0.0)


def total_correlation(codes: Array) -> float:
    r"""Total correlation of a Gaussian with the codes' covariance, :math:`-\tfrac12 \log\det \mathrm{Corr}(c)` nats.

    Range [0, inf), 0 for uncorrelated dimensions, infinite when one is a linear mixture of others; lower is better as
    long as the codes keep their information. It sees linear dependence only. Constant dimensions are left out.

    Args:
        codes: ``[N, D]`` with N well above D; samples of q(z|x) rather than means for what a KL term controls.
    """
    found = as_matrix(codes, "codes", LEAST_DATA)
    used = found[:, varying(found)]
    if used.shape[1] < 2:
        return 0.0
    if len(used) <= used.shape[1]:
        raise MetricError(f"{len(used)} data of {used.shape[1]} dimensions have a singular covariance; give more data.")
    eigenvalues = np.linalg.eigvalsh(pearson(used, used))
    if eigenvalues.min() < SINGULAR:
        return float("inf")
    return float(max(0.0, -0.5 * np.log(eigenvalues).sum()))


def aggregate_total_correlation(means: Array, scales: Array, limit: int = 2000, seed: int = 0) -> float:
    r"""Total correlation of the aggregate posterior :math:`q(z) = \frac1N \sum_n N(z; \mu_n, \sigma_n^2)`, in nats.

    :math:`E_{q(z)}[\log q(z) - \sum_j \log q_j(z_j)]` with one draw per datum and all mixture components (the quantity
    that beta-TCVAE penalises; Chen et al. 2018). Range about [0, (D-1) log N], the upper end being reached by
    posteriors too narrow to overlap at this N, whatever the truth. Lower is better at equal information.

    Args:
        means, scales: ``[N, D]``, of Gaussian posteriors.
        limit: at most so many data, drawn by ``seed``; time grows with its square.
        seed: of the choice and the draws.
    """
    m, s = as_matrix(means, "means", 2), as_matrix(scales, "scales", 2)
    same_length(means=m, scales=s)
    same_columns(means=m, scales=s)
    if s.min() <= 0:
        raise MetricError(f"the smallest scale is {s.min():.3g}; give standard deviations, which are positive.")
    random = np.random.default_rng(seed)
    if len(m) > positive(limit, "limit", 2):
        chosen = random.choice(len(m), limit, replace=False)
        m, s = m[chosen], s[chosen]
    draws = m + s * random.standard_normal(m.shape)
    joint, separate = 0.0, 0.0
    rows = max(1, TABLE // m.size)
    for start in range(0, len(m), rows):
        z = draws[start : start + rows, None]
        densities = -0.5 * ((z - m) / s) ** 2 - np.log(s) - 0.5 * math.log(2 * math.pi)
        joint += float(_log_mean(densities.sum(2)).sum())
        separate += float(_log_mean(densities).sum())
    return (joint - separate) / len(m)


def _log_mean(logs: np.ndarray) -> np.ndarray:
    from scipy.special import logsumexp

    return logsumexp(logs, axis=1) - math.log(logs.shape[1])


@dataclass(frozen=True)
class Correlations:
    """Rank correlations: ``codes`` [D, D], ``factors`` [D, F] (codes with factors), ``between_factors`` [F, F].

    ``mean_off_diagonal`` is the mean absolute value between different code dimensions that vary: 0 to 1, lower is
    better. Read ``between_factors`` first: dependent factors spoil every other score.
    """

    codes: np.ndarray
    factors: np.ndarray
    between_factors: np.ndarray
    mean_off_diagonal: float


def correlations(codes: Array, factors: Array, kinds: Sequence[Kind] | None = None) -> Correlations:
    """Spearman's rank correlations of codes and factors, on the data where both are known.

    Args:
        codes: ``[N, D]``; a constant dimension correlates 0 with all.
        factors: ``[N, F]``, NaN where unknown. For unordered classes the sign and size mean little: see the information
            table of ``mig``.
        kinds: only checked here.
    """
    data = tables(codes, factors, kinds)
    with_codes, between = np.zeros((data.dimensions, data.count)), np.eye(data.count)
    for k in range(data.count):
        rows = data.present(k)
        with_codes[:, k] = spearman(data.codes[rows], data.factors[rows, k : k + 1])[:, 0]
        for other in range(k):
            both = np.intersect1d(rows, data.present(other))
            known = data.factors[both]
            value = spearman(known[:, [k]], known[:, [other]])[0, 0] if len(both) > 1 else np.nan
            between[k, other] = between[other, k] = value
    table = spearman(data.codes, data.codes)
    used = table[np.ix_(data.varies, data.varies)]
    size = len(used)
    off = float(np.abs(used[~np.eye(size, dtype=bool)]).mean()) if size > 1 else 0.0
    return Correlations(table, with_codes, between, off)
