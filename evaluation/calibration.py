r"""Are soft assignments honest? Expected calibration error and the reliability diagram.

A prediction of confidence 0.8 should be right 8 times out of 10. Predictions are put into bins by their confidence
:math:`\max_c p_{ic}`; in bin :math:`b` the mean confidence is compared with the share that is right.

Responsibilities name clusters, not classes: :func:`class_probabilities` adds them up by class first, under a mapping
from ``evaluation.clustering.cluster_to_class`` (best found on other data than those scored).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evaluation.arrays import Array, as_labels, as_probabilities, positive, same_length
from pyro_models.errors import MetricError


def class_probabilities(responsibilities: Array, mapping: Mapping[int, int | None], classes: int) -> np.ndarray:
    r""":math:`p_{ic} = \sum_{k \to c} r_{ik}`, ``[N, classes]``.

    Args:
        responsibilities: ``[N, K]``.
        mapping: the class of each cluster, by number; a cluster that is missing is refused where it has mass.
        classes: number of classes; labels are 0 .. classes-1.
    """
    soft = as_probabilities(responsibilities, "responsibilities")
    table = np.zeros((soft.shape[1], positive(classes, "classes")))
    for cluster in range(soft.shape[1]):
        label = mapping.get(cluster)
        if label is None:
            if soft[:, cluster].max() > 0:
                raise MetricError(
                    f"cluster {cluster} has no class in the mapping; use cluster_to_class(..., rule='majority'), and "
                    f"for clusters that no datum was assigned to name a class by hand."
                )
        elif not 0 <= label < classes:
            raise MetricError(f"cluster {cluster} maps to class {label}, but there are classes 0 to {classes - 1}.")
        else:
            table[cluster, label] = 1.0
    return soft @ table


def reliability_table(probabilities: Array, labels: Array, bins: int = 15) -> pd.DataFrame:
    """One row per confidence bin ``(lower, upper]``: ``count``, mean ``confidence``, ``accuracy`` and their ``gap``.

    Args:
        probabilities: ``[N, C]``, rows summing to one.
        labels: ``[N]`` integers 0 .. C-1.
        bins: bins of equal width on (0, 1]; more bins show more and each is noisier. Empty bins have NaN.
    """
    confidence, right = _confidence(probabilities, labels)
    edges = np.linspace(0, 1, positive(bins, "bins") + 1)
    member = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(member, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(member, confidence, bins) / count
        accuracy = np.bincount(member, right, bins) / count
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "count": count,
            "confidence": mean,
            "accuracy": accuracy,
            "gap": accuracy - mean,
        }
    )


def expected_calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    r""":math:`\sum_b \frac{n_b}{N} |\mathrm{acc}_b - \mathrm{conf}_b|` (Naeini et al. 2015; Guo et al. 2017).

    Range [0, 1], lower is better; finite samples make it positive even for honest probabilities. Arguments as for
    :func:`reliability_table`.
    """
    table = reliability_table(probabilities, labels, bins)
    return float((table["count"] * table["gap"].abs().fillna(0.0)).sum() / table["count"].sum())


def reliability_figure(probabilities: Array, labels: Array, bins: int = 15, axis: Any = None) -> Any:
    """Accuracy against confidence, with the diagonal of honest probabilities and the share of data per bin.

    Draws into ``axis`` when one is given; returns the matplotlib figure.
    """
    from matplotlib.figure import Figure

    table = reliability_table(probabilities, labels, bins)
    if axis is None:
        axis = Figure(figsize=(4, 4), layout="constrained", dpi=120).subplots()
    width, middle = 1 / bins, (table["lower"] + table["upper"]) / 2
    axis.bar(middle, table["count"] / table["count"].sum(), width, color="#DDDDDD", label="share of data")
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="honest")
    filled = table[table["count"] > 0]
    axis.plot(filled["confidence"], filled["accuracy"], "o-", color="#0072B2", markersize=4, label="measured")
    error = float((table["count"] * table["gap"].abs().fillna(0.0)).sum() / table["count"].sum())
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that is right")
    axis.set_title(f"expected calibration error {error:.3f}, {int(table['count'].sum())} data", fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    return axis.figure


def _confidence(predicted: Array, labels: Array) -> tuple[np.ndarray, np.ndarray]:
    soft, given = as_probabilities(predicted, "probabilities"), as_labels(labels, "labels")
    same_length(probabilities=soft, labels=given)
    if given.dtype.kind not in "iub" or given.min() < 0 or given.max() >= soft.shape[1]:
        raise MetricError(
            f"labels go from {given.min()} to {given.max()}, but there are {soft.shape[1]} columns of probabilities; "
            f"label c must be column c."
        )
    return soft.max(1), (soft.argmax(1) == given).astype(np.float64)
