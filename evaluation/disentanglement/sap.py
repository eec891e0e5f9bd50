"""SAP: how far the best single code dimension is ahead of the second in predicting a factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array
from evaluation.disentanglement.tables import Kind, halves, tables
from pyro_models.errors import MetricError

#: share of the data that measures the thresholds
TEST_SHARE = 0.2


@dataclass(frozen=True)
class SAP:
    """Mean gap ``value``, gap ``per_factor`` [F], and the ``scores`` [D, F] of single dimensions."""

    value: float
    per_factor: np.ndarray
    scores: np.ndarray

    def __float__(self) -> float:
        return self.value


def sap(
    codes: Array,
    factors: Array,
    kinds: Sequence[Kind] | None = None,
    *,
    thresholds: int | None = None,
    seed: int = 0,
) -> SAP:
    r"""Separated attribute predictability (Kumar, Sattigeri and Balakrishnan 2018).

    Score :math:`S_{jk}` of dimension j for factor k: squared correlation if k is continuous; if discrete, held-out
    accuracy, averaged over classes, of thresholds on j alone, rescaled so that chance is 0 and perfect is 1. The value
    is the mean over factors of the best minus the second best score. Range [0, 1], higher is better.

    Args:
        codes: ``[N, D]``, two dimensions or more; a constant one scores 0.
        factors: ``[N, F]``, NaN where unknown.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default. An ordered factor scored as
            continuous must be linear in the code; as discrete any cutting of the axis will do.
        thresholds: most intervals that a dimension may be cut into; by default twice the number of classes, since a
            class may lie on both sides of another.
        seed: which data measure the thresholds.
    """
    data = tables(codes, factors, kinds)
    if data.dimensions < 2:
        raise MetricError("SAP compares the two best code dimensions, and there is one; give codes of two or more.")
    scores = np.zeros((data.dimensions, data.count))
    for factor, kind in enumerate(data.kinds):
        rows = data.present(factor)
        for code in np.flatnonzero(data.varies):
            values = data.codes[rows, code]
            if kind == "continuous":
                scores[code, factor] = _squared_correlation(values, data.factors[rows, factor])
            else:
                classes = np.unique(data.factors[rows, factor], return_inverse=True)[1]
                scores[code, factor] = _threshold_accuracy(values, classes, thresholds, seed)
    ordered = np.sort(scores, axis=0)
    gaps = ordered[-1] - ordered[-2]
    return SAP(float(gaps.mean()), gaps, scores)


def _squared_correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float((a**2).sum() * (b**2).sum())
    return float((a * b).sum() ** 2 / scale) if scale > 0 else 0.0


def _threshold_accuracy(values: np.ndarray, classes: np.ndarray, thresholds: int | None, seed: int) -> float:
    from sklearn.tree import DecisionTreeClassifier

    levels = int(classes.max()) + 1
    train, test = halves(len(values), TEST_SHARE, np.random.default_rng(seed))
    tree = DecisionTreeClassifier(max_leaf_nodes=thresholds or 2 * levels, class_weight="balanced", random_state=seed)
    predicted = tree.fit(values[train, None], classes[train]).predict(values[test, None])
    right = np.bincount(classes[test], predicted == classes[test], levels)
    counts = np.bincount(classes[test], minlength=levels)
    balanced = float((right[counts > 0] / counts[counts > 0]).mean())
    return max(0.0, (balanced - 1 / levels) / (1 - 1 / levels))
