"""DCI: disentanglement, completeness and informativeness, from what a predictor of the factors uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array, as_matrix, positive
from evaluation.disentanglement.tables import Kind, halves, tables
from pyro_models.errors import MetricError

#: share of the data that informativeness is measured on
TEST_SHARE = 0.2


@dataclass(frozen=True)
class DCI:
    """The three scores, the ``importance`` table [D, F] behind two, the ``informative`` share per factor [F]."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray
    informative: np.ndarray


def dci(
    codes: Array,
    factors: Array,
    kinds: Sequence[Kind] | None = None,
    *,
    trees: int = 10,
    depth: int = 12,
    limit: int = 10_000,
    seed: int = 0,
) -> DCI:
    r"""Disentanglement, completeness, informativeness (Eastwood and Williams 2018).

    A random forest per factor predicts it from all codes; :math:`R_{jk}` is the share of its impurity decrease due to
    code j. Then see :func:`disentanglement_completeness`. *Informativeness* of a factor is
    :math:`1 - \text{error} / \text{error of the best constant guess}` on held-out data, cut at 0: for a continuous
    factor with squared error this is :math:`R^2`, for a discrete one with the error rate it is accuracy above the
    commonest class. All three: range [0, 1], higher is better.

    Every tree sees all dimensions at every split and all training data (no feature subsampling, a seeded bootstrap), so
    the same input gives the same numbers; feature subsampling would hand importance to dimensions that know nothing.

    Args:
        codes: ``[N, D]``; constant dimensions have no importance.
        factors: ``[N, F]``, NaN where unknown.
        kinds: ``"discrete"`` (classified) or ``"continuous"`` (regressed) per factor; found out by default.
        trees, depth: of the forest; more and deeper ones raise informativeness and give noise dimensions some
            importance.
        limit: at most so many data per factor; time grows with it.
        seed: of the forest, the split and the choice under ``limit``.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    data = tables(codes, factors, kinds)
    if not data.varies.any():
        raise MetricError("every code dimension is constant; the codes say nothing about the data.")
    options = {
        "n_estimators": positive(trees, "trees"),
        "max_depth": positive(depth, "depth"),
        "max_features": None,
        "random_state": seed,
        "min_samples_leaf": 2,
    }
    importance, informative = np.zeros((data.dimensions, data.count)), np.zeros(data.count)
    for factor, kind in enumerate(data.kinds):
        random = np.random.default_rng(seed)
        rows = data.present(factor)
        rows = rows[np.sort(random.permutation(len(rows))[:limit])]
        train, test = (rows[part] for part in halves(len(rows), TEST_SHARE, random))
        known = data.factors[:, factor]
        if kind == "discrete":
            targets = np.unique(known, return_inverse=True)[1]
            forest = RandomForestClassifier(**options).fit(data.codes[train], targets[train])
            error = float((forest.predict(data.codes[test]) != targets[test]).mean())
            guess = float((targets[test] != np.bincount(targets[train]).argmax()).mean())
        else:
            forest = RandomForestRegressor(**options).fit(data.codes[train], known[train])
            error = float(((forest.predict(data.codes[test]) - known[test]) ** 2).mean())
            guess = float(((known[test] - known[train].mean()) ** 2).mean())
        importance[:, factor] = forest.feature_importances_
        informative[factor] = max(0.0, 1 - error / guess) if guess > 0 else 0.0
    disentangled, complete = disentanglement_completeness(importance)
    return DCI(disentangled, complete, float(informative.mean()), importance, informative)


def disentanglement_completeness(importance: Array) -> tuple[float, float]:
    r"""The two scores of any table of importances :math:`R \ge 0` ``[D, F]``: bring your own predictor.

    Disentanglement: with :math:`P_{jk} = R_{jk} / \sum_{k'} R_{jk'}` a code scores :math:`1 - H_F(P_{j\cdot})` (entropy
    to base F, 1 when it serves one factor), averaged with weights :math:`\sum_k R_{jk}`. Completeness: with
    :math:`\tilde P_{jk} = R_{jk} / \sum_{j'} R_{j'k}` a factor scores :math:`1 - H_D(\tilde P_{\cdot k})` (1 when one
    code serves it), averaged with weights :math:`\sum_j R_{jk}`. With a single factor (or code) the score is 1: there
    is nothing to mix up.
    """
    table = as_matrix(importance, "importance")
    if table.min() < 0 or table.sum() == 0:
        raise MetricError("importances must not be negative and not all zero; take absolute values of coefficients.")
    return _concentration(table), _concentration(table.T)


def _concentration(table: np.ndarray) -> float:
    """Mean over rows, weighted by their sums, of one minus their normalised entropy."""
    if table.shape[1] == 1:
        return 1.0
    weights = table.sum(1)
    used = table[weights > 0] / weights[weights > 0, None]
    entropies = -(used * np.log(np.where(used > 0, used, 1))).sum(1) / np.log(table.shape[1])
    return float(np.clip(((1 - entropies) * weights[weights > 0]).sum() / weights.sum(), 0.0, 1.0))
