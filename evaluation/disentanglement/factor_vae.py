"""The FactorVAE score: does the dimension that varies least name the factor that was held fixed?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.arrays import Array, positive
from evaluation.disentanglement.beta_vae import FixedFactorScore
from evaluation.disentanglement.tables import Cells, Kind, standardised, tables
from pyro_models.errors import MetricError


def factor_vae(
    codes: Array,
    factors: Array,
    kinds: Sequence[Kind] | None = None,
    *,
    group: int = 64,
    train: int = 2000,
    test: int = 1000,
    bins: int = 20,
    seed: int = 0,
) -> FixedFactorScore:
    r"""Accuracy of the majority-vote classifier from least varying dimension to fixed factor (Kim and Mnih 2018).

    A vote: a factor k drawn at random, a group of L data that share one value of k, and the dimension j whose variance
    in the group, over its variance in all data, is smallest. Each j predicts the k it was most often seen with;
    accuracy on fresh votes (the paper reports the votes that made the table). Range [0, 1], chance 1/F, higher is
    better; no parameters to tune. Constant dimensions are left out, or they would win every vote.

    Args:
        codes: ``[N, D]``.
        factors: ``[N, F]``, two or more, NaN where unknown; best spread independently, as in a full grid.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default.
        group: L; larger groups make the votes surer.
        train, test: votes that make the table and votes that are judged; ``test`` sets the score's own noise.
        bins: values of a continuous factor count as shared within one of so many equally filled bins.
        seed: of all draws.
    """
    data = tables(codes, factors, kinds)
    if data.count < 2:
        raise MetricError("the score asks which factor was held fixed; give two factors or more.")
    if not data.varies.any():
        raise MetricError("every code dimension is constant; the codes say nothing about the data.")
    scaled = standardised(data.codes)[:, data.varies]
    random = np.random.default_rng(seed)
    total = positive(train, "train") + positive(test, "test")
    fixed = random.integers(data.count, size=total)
    steadiest = np.empty(total, int)
    for factor in range(data.count):
        mine = np.flatnonzero(fixed == factor)
        rows = Cells(data, factor, bins).groups(random, len(mine), positive(group, "group", 2))
        steadiest[mine] = scaled[rows].var(1).argmin(1)
    votes = np.zeros((scaled.shape[1], data.count), int)
    np.add.at(votes, (steadiest[:train], fixed[:train]), 1)
    predicted = votes.argmax(1)[steadiest[train:]]
    return FixedFactorScore(float((predicted == fixed[train:]).mean()), 1 / data.count)
