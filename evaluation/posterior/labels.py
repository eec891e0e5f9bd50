"""Label switching: cluster 3 of one draw may be cluster 7 of the next. Aligned before anything is averaged.

A mixture's likelihood does not change when its components are renumbered, so that draws (seeds, runs) agree up to a
permutation each. The permutation that agrees best with a reference is an assignment problem (Stephens 2000 for the
loss, Kuhn 1955 for the algorithm).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from pyro_models.errors import MetricError

#: rounds of "align to the mean, average again"; agreement never falls, and two or three rounds are usual
ROUNDS = 20


class Alignment(NamedTuple):
    """Aligned draws of the shape given, and ``permutation`` [draw, K]: the new number of each draw's cluster k."""

    draws: np.ndarray
    permutation: np.ndarray


def align_labels(draws: ArrayLike, reference: ArrayLike | None = None, clusters: int | None = None) -> Alignment:
    """Renumbers the clusters of every draw so that it agrees best with a reference.

    Args:
        draws: labels ``[draw, N]`` (integers 0..K-1) or responsibilities ``[draw, N, K]``.
        reference: labels ``[N]`` or responsibilities ``[N, K]``; None takes the first draw and then the mean of the
            aligned draws, until no permutation changes.
        clusters: K, when labels do not show it (an empty last cluster).
    """
    values = np.asarray(draws)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise MetricError(f"draws have shape {values.shape}; give labels [draw, N] or responsibilities [draw, N, K].")
    hard = values.ndim == 2
    given = None if reference is None else np.asarray(reference)
    count = _clusters(values, given, clusters)
    soft = one_hot(values, count) if hard else values.astype(float)
    if not np.isfinite(soft).all():
        raise MetricError("responsibilities hold NaN or infinity.")
    if given is not None:
        target = one_hot(given, count) if given.ndim == 1 else given.astype(float)
        if target.shape != soft.shape[1:]:
            raise MetricError(f"the reference has shape {given.shape}, a draw {values.shape[1:]}; they have to agree.")
        permutation = _best(soft, target)
    else:
        permutation = _best(soft, soft[0])
        for _ in range(ROUNDS):
            again = _best(soft, permute_clusters(soft, permutation, axis=2).mean(0))
            if (again == permutation).all():
                break
            permutation = again
    if hard:
        return Alignment(np.take_along_axis(permutation, values.astype(int), axis=1), permutation)
    return Alignment(permute_clusters(values, permutation, axis=2), permutation)


def permute_clusters(values: ArrayLike, permutation: np.ndarray, axis: int = 1) -> np.ndarray:
    """Values that have a cluster axis (means ``[draw, K, D]``, weights ``[draw, K]``), in the aligned numbering."""
    array = np.moveaxis(np.asarray(values), axis, 1)
    if array.shape[:2] != permutation.shape:
        raise MetricError(
            f"axis {axis} gives {array.shape[:2]} draws and clusters, the permutation {permutation.shape}."
        )
    order = np.argsort(permutation, axis=1)
    return np.moveaxis(np.stack([row[chosen] for row, chosen in zip(array, order, strict=True)]), 1, axis)


def one_hot(labels: np.ndarray, clusters: int) -> np.ndarray:
    """``[...]`` integers to ``[..., K]`` zeros and ones."""
    return np.eye(clusters)[labels.astype(int)]


def _best(soft: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The permutation of each draw with the largest summed overlap."""
    overlap = np.einsum("snk,nj->skj", soft, target)
    return np.stack([linear_sum_assignment(draw, maximize=True)[1] for draw in overlap])


def _clusters(values: np.ndarray, reference: np.ndarray | None, clusters: int | None) -> int:
    if values.ndim == 3:
        if clusters not in (None, values.shape[2]):
            raise MetricError(f"clusters is {clusters}, but the responsibilities have {values.shape[2]}.")
        return values.shape[2]
    hard = [values] if reference is None or reference.ndim != 1 else [values, reference]
    if any((labels != labels.astype(int)).any() or (labels < 0).any() for labels in hard):
        raise MetricError(
            "labels have to be integers from 0; give responsibilities with a last axis of clusters otherwise."
        )
    needed = max(int(labels.max()) + 1 for labels in hard)
    if reference is not None and reference.ndim == 2:
        needed = max(needed, reference.shape[1])
    if clusters is not None and clusters < needed:
        raise MetricError(f"clusters is {clusters}, but labels go up to {needed - 1}.")
    return clusters or needed
