r"""How well do clusters agree with classes? Hungarian accuracy, purity, NMI, ARI, silhouette, usage.

All agreement scores read one table, the contingency table :math:`n_{ck}`: how many of the :math:`N` data are of class
:math:`c` and in cluster :math:`k`. They do not depend on how clusters or classes are numbered.

Rules for unequal numbers: *accuracy* is one-to-one, so with more clusters than classes the data of the unmatched
clusters count as errors, and with fewer clusters the data of the unmatched classes do; *purity* is many-to-one and
grows with the number of clusters (one cluster per datum is 1), which is why it never goes under the name accuracy.
Empty clusters change no agreement score. A single class and a single cluster agree perfectly (NMI = ARI = 1); a single
one of the two says nothing about the other (NMI = ARI = 0).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from evaluation.arrays import Array, as_labels, as_matrix, as_probabilities, positive, same_length
from pyro_models.errors import MetricError

#: silhouette compares every datum with every other: its cost is the square of this
SILHOUETTE_DATA = 5000


def contingency(labels: Array, assignments: Array) -> np.ndarray:
    """Counts ``[classes, clusters]`` of the values that occur, both in sorted order."""
    return _table(labels, assignments)[0]


def _table(labels: Array, assignments: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    given, found = as_labels(labels, "labels"), as_labels(assignments, "assignments")
    same_length(labels=given, assignments=found)
    classes, rows = np.unique(given, return_inverse=True)
    clusters, columns = np.unique(found, return_inverse=True)
    counts = np.bincount(rows * len(clusters) + columns, minlength=len(classes) * len(clusters))
    return counts.reshape(len(classes), len(clusters)), classes, clusters


def hungarian_accuracy(
    labels: Array, assignments: Array, clusters: int | None = None, classes: int | None = None
) -> float:
    r"""Share of data whose cluster is the one matched to their class.

    :math:`\frac1N \max_\pi \sum_c n_{c\,\pi(c)}` over one-to-one partial matchings :math:`\pi` of classes and clusters
    (Kuhn 1955; as clustering accuracy, Yang et al. 2010). Range (0, 1], higher is better. On a rectangular table the
    smaller side is matched completely; data of unmatched clusters or classes count as errors.

    Args:
        labels, assignments: ``[N]`` integers or names; assignments are ``responsibilities.argmax(1)``.
        clusters, classes: how many there may be; more that occur are refused. Unused ones do not change the value.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency(labels, assignments)
    for name, occur, allowed in (("classes", table.shape[0], classes), ("clusters", table.shape[1], clusters)):
        if allowed is not None and occur > allowed:
            raise MetricError(f"{occur} {name} occur, but {name}={allowed}; check that the arrays are not swapped.")
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def purity(labels: Array, assignments: Array) -> float:
    r"""Share of data that are of their cluster's commonest class: :math:`\frac1N \sum_k \max_c n_{ck}`.

    Range: share of the largest class to 1, higher is better, and it grows with the number of clusters
    (Manning, Raghavan and Schuetze 2008, 16.3).
    """
    table = contingency(labels, assignments)
    return float(table.max(0).sum() / table.sum())


def nmi(labels: Array, assignments: Array) -> float:
    r"""Mutual information of class and cluster over the mean of their entropies: :math:`2 I(C;K) / (H(C)+H(K))`.

    Range [0, 1], higher is better; not corrected for chance (Strehl and Ghosh 2002; arithmetic mean as in
    scikit-learn).
    """
    table = contingency(labels, assignments)
    if 1 in table.shape:
        return float(table.shape == (1, 1))
    joint = table / table.sum()
    entropies = _entropy(joint.sum(1)) + _entropy(joint.sum(0))
    information = entropies - _entropy(joint.ravel())
    return float(max(0.0, 2 * information / entropies))


def ari(labels: Array, assignments: Array) -> float:
    r"""Rand index over pairs of data, corrected for chance (Hubert and Arabie 1985).

    With :math:`S = \sum_{ck} \binom{n_{ck}}2`, :math:`A = \sum_c \binom{n_{c\cdot}}2`,
    :math:`B = \sum_k \binom{n_{\cdot k}}2` and :math:`E = AB / \binom N2`: :math:`(S - E) / (\tfrac12(A+B) - E)`. Range
    [-0.5, 1], 0 for random clusters, higher is better.
    """
    table = contingency(labels, assignments).astype(np.float64)
    together, by_class, by_cluster = (_pairs(counts) for counts in (table, table.sum(1), table.sum(0)))
    if by_class == by_cluster == together:
        return 1.0
    expected = by_class * by_cluster / _pairs(table.sum())
    return float((together - expected) / ((by_class + by_cluster) / 2 - expected))


def silhouette(
    features: Array, assignments: Array, metric: str = "euclidean", limit: int = SILHOUETTE_DATA, seed: int = 0
) -> float:
    r"""Mean of :math:`(b_i - a_i) / \max(a_i, b_i)` (Rousseeuw 1987); needs no labels.

    :math:`a_i` is the mean distance of datum i to the others of its cluster, :math:`b_i` the smallest mean distance to
    another cluster. Range [-1, 1], higher is better; a cluster of one datum contributes 0.

    Args:
        features: ``[N, D]``; the value depends on their scale.
        metric: distance, any of scikit-learn's ``pairwise_distances``.
        limit: at most so many data, drawn by ``seed``; time and memory grow with its square.
    """
    from sklearn.metrics import silhouette_score

    points, groups = as_matrix(features, "features"), as_labels(assignments, "assignments")
    same_length(features=points, assignments=groups)
    if len(points) > positive(limit, "limit", 2):
        chosen = np.sort(np.random.default_rng(seed).choice(len(points), limit, replace=False))
        points, groups = points[chosen], groups[chosen]
    occupied = len(np.unique(groups))
    if not 2 <= occupied < len(points):
        raise MetricError(
            f"{occupied} cluster(s) are occupied by {len(points)} data; silhouette compares clusters and needs from 2 "
            f"to N-1 of them."
        )
    return float(silhouette_score(points, groups, metric=metric))


def usage_perplexity(responsibilities: Array) -> float:
    r"""How many clusters are in use: :math:`\exp H(\bar r)`, :math:`\bar r_k = \frac1N \sum_i r_{ik}`.

    Range [1, K]: K when all are used equally, 1 when everything falls into one. Neither direction is better as such;
    compare with the perplexity of the labels.
    """
    return float(np.exp(_entropy(as_probabilities(responsibilities, "responsibilities").mean(0))))


def cluster_to_class(
    labels: Array, assignments: Array, rule: Literal["hungarian", "majority"] = "hungarian"
) -> dict[Any, Any]:
    """``{cluster: class}`` for every cluster that occurs.

    ``hungarian``: one-to-one as in :func:`hungarian_accuracy`; a cluster left without a class maps to None.
    ``majority``: many-to-one as in :func:`purity`; every cluster gets its commonest class, ties to the smaller label.
    """
    from scipy.optimize import linear_sum_assignment

    table, classes, clusters = _table(labels, assignments)
    if rule == "majority":
        return dict(zip(clusters.tolist(), classes[table.argmax(0)].tolist(), strict=True))
    if rule != "hungarian":
        raise MetricError(f"rule is '{rule}'; it is 'hungarian' (one-to-one) or 'majority' (many-to-one).")
    mapping: dict[Any, Any] = dict.fromkeys(clusters.tolist())
    rows, columns = linear_sum_assignment(table, maximize=True)
    mapping.update(zip(clusters[columns].tolist(), classes[rows].tolist(), strict=True))
    return mapping


def clustering_scores(labels: Array, responsibilities: Array, classes: int | None = None) -> dict[str, float]:
    """All label-based scores of soft assignments ``[N, K]``, each datum counted in its most responsible cluster.

    ``accuracy`` (Hungarian) is there only when the number of clusters is that of the classes: a one-to-one score of
    unequal numbers is a different quantity (call :func:`hungarian_accuracy` for it). Always there: ``purity``, ``nmi``,
    ``ari`` and ``usage_perplexity``.

    Args:
        classes: how many classes there are, when not all of them occur among ``labels``.
    """
    soft, given = as_probabilities(responsibilities, "responsibilities"), as_labels(labels, "labels")
    same_length(labels=given, responsibilities=soft)
    hard = soft.argmax(1)
    scores = {}
    occurring = len(np.unique(given))
    if soft.shape[1] == (occurring if classes is None else classes):
        scores["accuracy"] = hungarian_accuracy(given, hard, classes=classes)
    scores["purity"] = purity(given, hard)
    scores["nmi"] = nmi(given, hard)
    scores["ari"] = ari(given, hard)
    scores["usage_perplexity"] = usage_perplexity(soft)
    return scores


def _entropy(shares: np.ndarray) -> float:
    positive_shares = shares[shares > 0]
    return float(-(positive_shares * np.log(positive_shares)).sum())


def _pairs(counts: np.ndarray) -> float:
    return float((counts * (counts - 1) / 2).sum())
