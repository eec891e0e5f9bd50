"""Modularity and explicitness: does a dimension know one factor only, and can factors be read off linearly?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array
from evaluation.disentanglement.information import mutual_information
from evaluation.disentanglement.tables import Binning, Kind, Tables, halves, standardised, tables
from pyro_models.errors import MetricError

#: share of the data that measures the linear classifiers
TEST_SHARE = 0.3
#: ridge strength (in data) of the linear classifiers; only there to make them unique
RIDGE = 1.0


@dataclass(frozen=True)
class Modularity:
    """Mean ``modularity`` and ``explicitness``; per dimension [D] (NaN: knows nothing) and per factor [F]."""

    modularity: float
    explicitness: float
    per_code: np.ndarray
    per_factor: np.ndarray


def modularity(
    codes: Array,
    factors: Array,
    kinds: Sequence[Kind] | None = None,
    *,
    bins: int = 20,
    binning: Binning = "width",
    seed: int = 0,
) -> Modularity:
    r"""Modularity and explicitness (Ridgeway and Mozer 2018).

    With :math:`m_{jk} = I(c_j; v_k)` and :math:`\theta_j = \max_k m_{jk}`, a dimension's modularity is one minus how
    far its row is from having a single entry,

    .. math:: 1 - \frac{\sum_{k \ne k^*} m_{jk}^2}{\theta_j^2 (F-1)},

    averaged over the dimensions that know anything. The paper averages over all; but the entries of a dimension of pure
    noise are the bias of the estimate, so dimensions without one entry above it (G-test, level 1e-6) are left out.
    Range [0, 1], higher is better, 0 when no dimension knows anything.

    *Explicitness* of a factor: area under the ROC curve of a linear one-against-rest classifier for each value, from
    all codes, on held-out data, averaged over values. Range [0, 1], 0.5 is chance, higher is better. A value in the
    middle of an ordered factor is not linearly apart from both sides, so one axis per ordered factor stays below 1,
    and a one-hot code does not. The classifier is least squares on standardised codes, which is unique and fast.

    Args:
        codes: ``[N, D]``.
        factors: ``[N, F]``, two or more, NaN where unknown.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default.
        bins, binning: as for MIG; continuous factors are classes of equally filled bins.
        seed: which data measure explicitness.
    """
    data = tables(codes, factors, kinds)
    if data.count < 2:
        raise MetricError("modularity asks whether a dimension knows one factor only; give two factors or more.")
    if not data.varies.any():
        raise MetricError("every code dimension is constant; the codes say nothing about the data.")
    information = mutual_information(data, bins, binning)
    informed = information.depend.any(1)
    squared = information.nats[informed] ** 2
    best = squared.max(1, initial=0.0)
    per_code = np.full(data.dimensions, np.nan)
    per_code[informed] = 1 - (squared.sum(1) - best) / (best * (data.count - 1))
    mean = float(per_code[informed].mean()) if informed.any() else 0.0
    explicit = np.array([_explicitness(data, factor, bins, seed) for factor in range(data.count)])
    return Modularity(mean, float(explicit.mean()), per_code, explicit)


def _explicitness(data: Tables, factor: int, bins: int, seed: int) -> float:
    rows, classes = data.classes(factor, bins)
    train, test = halves(len(rows), TEST_SHARE, np.random.default_rng(seed))
    design = standardised(data.codes[rows])
    design = np.concatenate([design, np.ones((len(rows), 1))], 1)
    targets = classes[:, None] == np.arange(classes.max() + 1)
    gram = design[train].T @ design[train] + RIDGE * np.eye(design.shape[1])
    scores = design[test] @ np.linalg.solve(gram, design[train].T @ targets[train].astype(np.float64))
    areas = [area_under_roc(scores[:, level], targets[test, level]) for level in range(targets.shape[1])]
    return float(np.nanmean(areas))


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties counting half; NaN without both."""
    from scipy.stats import rankdata

    hits, misses = int(positive.sum()), int((~positive).sum())
    if hits == 0 or misses == 0:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))
