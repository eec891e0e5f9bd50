"""UDR: do several runs find the same dimensions? The one score here that needs no factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluation.arrays import Array, as_matrix, as_numpy, same_length
from evaluation.disentanglement.correlation import spearman
from evaluation.disentanglement.tables import LEAST_DATA, varying
from pyro_models.errors import MetricError


@dataclass(frozen=True)
class UDR:
    """Mean ``value``, score ``per_run`` [R] (choose the largest), and between ``pairs`` [R, R] (diagonal NaN)."""

    value: float
    per_run: np.ndarray
    pairs: np.ndarray

    def __float__(self) -> float:
        return self.value


def udr(runs: Sequence[Array], informative: Sequence[Array] | None = None) -> UDR:
    r"""Unsupervised disentanglement ranking (Duan et al. 2020), with Spearman correlations.

    Between runs a and b, :math:`R_{ij}` is the absolute rank correlation of dimension i of a with j of b over the same
    data. Only informative dimensions take part, :math:`d_a` and :math:`d_b` of them:

    .. math:: \mathrm{UDR}_{ab} = \frac{1}{d_a + d_b} \Big[\sum_j \frac{(\max_i R_{ij})^2}{\sum_i R_{ij}}
              + \sum_i \frac{(\max_j R_{ij})^2}{\sum_j R_{ij}}\Big]

    and a run's score is the median over the others. Range [0, 1], higher is better: 1 when every dimension has exactly
    one counterpart, up to sign and monotone change. It measures agreement: runs that fail alike agree too.

    Args:
        runs: two or more ``[N, D_r]``, codes of the *same* data in the same order; same settings, other seeds.
        informative: per run, ``[D_r]`` booleans, usually KL of the dimension's posterior from the prior above 0.01; by
            default every dimension that is not constant, which is right for codes without noise only.
    """
    if len(runs) < 2:
        raise MetricError(f"UDR compares runs, and {len(runs)} was given; give the codes of two or more.")
    codes = [as_matrix(run, f"codes of run {number}", LEAST_DATA) for number, run in enumerate(runs)]
    same_length(**{f"run {number}": run for number, run in enumerate(codes)})
    if informative is not None and len(informative) != len(runs):
        raise MetricError(f"informative has {len(informative)} entries for {len(runs)} runs; give one mask per run.")
    used = []
    for number, run in enumerate(codes):
        mask = varying(run)
        if informative is not None:
            given = as_numpy(informative[number]).astype(bool)
            if given.shape != mask.shape:
                raise MetricError(
                    f"the mask of run {number} has shape {given.shape}; it needs an entry for each of {len(mask)} "
                    f"dimensions."
                )
            mask &= given
        if not mask.any():
            raise MetricError(f"run {number} has no informative dimension (it collapsed); leave it out.")
        used.append(run[:, mask])
    pairs = np.full((len(runs), len(runs)), np.nan)
    for a, b in combinations(range(len(runs)), 2):
        pairs[a, b] = pairs[b, a] = _agreement(np.abs(spearman(used[a], used[b])))
    per_run = np.nanmedian(pairs, axis=1)
    return UDR(float(per_run.mean()), per_run, pairs)


def _agreement(table: np.ndarray) -> float:
    total = 0.0
    for side in (table, table.T):
        sums = side.sum(0)
        total += float((side.max(0)[sums > 0] ** 2 / sums[sums > 0]).sum())
    return total / sum(table.shape)
