"""The beta-VAE score: can a linear classifier tell which factor was held fixed?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array, positive
from evaluation.disentanglement.tables import Cells, Kind, standardised, tables
from pyro_models.errors import MetricError

#: iterations of the logistic regression: it is convex and small
ITERATIONS = 1000


@dataclass(frozen=True)
class FixedFactorScore:
    """Held-out accuracy ``value`` and what guessing reaches, ``chance`` = 1/F."""

    value: float
    chance: float

    def __float__(self) -> float:
        return self.value


def beta_vae(
    codes: Array,
    factors: Array,
    kinds: Sequence[Kind] | None = None,
    *,
    pairs: int = 64,
    train: int = 1000,
    test: int = 500,
    bins: int = 20,
    seed: int = 0,
) -> FixedFactorScore:
    r"""Accuracy of a linear classifier of the fixed factor (Higgins et al. 2017).

    A sample: a factor k drawn at random, :math:`L` pairs of data that share their value of k and differ at random
    otherwise, and the vector :math:`\frac1L \sum_l |c_l - c'_l|`; the dimension that holds k differs less. A logistic
    regression predicts k from the vector (scaled per dimension); accuracy on fresh samples. Range [0, 1], 1/F is
    chance, higher is better. Rotated codes can reach 1 as well: it is a test of information more than of axes.

    Args:
        codes: ``[N, D]``.
        factors: ``[N, F]``, two or more, NaN where unknown. Their values should be spread independently of each other,
            as in a full grid; dependent factors are told apart by what comes along with them.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default.
        pairs: L; more make samples less noisy and the score higher.
        train, test: number of samples the classifier is fitted to and judged by; ``test`` sets the score's own noise.
        bins: values of a continuous factor count as shared within one of so many equally filled bins.
        seed: of all draws.
    """
    from sklearn.linear_model import LogisticRegression

    data = tables(codes, factors, kinds)
    if data.count < 2:
        raise MetricError("the score asks which factor was held fixed; give two factors or more.")
    size, total = positive(pairs, "pairs"), positive(train, "train", data.count) + positive(test, "test")
    random = np.random.default_rng(seed)
    fixed = random.integers(data.count, size=total)
    samples = np.empty((total, data.dimensions))
    for factor in range(data.count):
        cells = Cells(data, factor, bins)
        mine = np.flatnonzero(fixed == factor)
        first, second = cells.pairs(random, len(mine) * size)
        differences = np.abs(data.codes[first] - data.codes[second]).reshape(len(mine), size, -1)
        samples[mine] = differences.mean(1)
    scaled = standardised(samples)
    if len(np.unique(fixed[:train])) < 2:
        raise MetricError(f"{train} training samples fixed one factor only; give more.")
    classifier = LogisticRegression(C=10.0, max_iter=ITERATIONS).fit(scaled[:train], fixed[:train])
    return FixedFactorScore(float(classifier.score(scaled[train:], fixed[train:])), 1 / data.count)
