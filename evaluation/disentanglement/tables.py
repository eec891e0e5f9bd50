"""Codes and factors as every disentanglement score reads them: kinds, missing values, classes, cells of equal value.

``codes`` are ``[N, D]``, finite. ``factors`` are ``[N, F]``; NaN stands for a value that is not known, and such a datum
is left out of what concerns that factor, not of the rest. A factor is *discrete* (classes) or *continuous* (numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.arrays import Array, as_matrix, as_numpy, positive, same_length
from pyro_models.errors import MetricError

Kind = Literal["discrete", "continuous"]
Binning = Literal["width", "quantile"]

#: a factor with at most so many different values is taken for discrete unless told otherwise (dSprites' finest has 40)
DISCRETE_LEVELS = 64
#: ... provided that they repeat: so many data per value on average
DATA_PER_LEVEL = 2
#: fewer data leave nothing to estimate from
LEAST_DATA = 20
#: standard deviations below this share of the largest code are round-off of a constant
CONSTANT = 1e-9


@dataclass(frozen=True)
class Tables:
    """Codes ``[N, D]``, factors ``[N, F]`` (NaN: missing), the kind of each factor, and which codes vary ``[D]``."""

    codes: np.ndarray
    factors: np.ndarray
    kinds: tuple[Kind, ...]
    varies: np.ndarray

    @property
    def dimensions(self) -> int:
        return self.codes.shape[1]

    @property
    def count(self) -> int:
        """Number of factors."""
        return self.factors.shape[1]

    def present(self, factor: int) -> np.ndarray:
        """Rows where the factor is known."""
        return np.flatnonzero(~np.isnan(self.factors[:, factor]))

    def classes(self, factor: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows where the factor is known and its class there, 0, 1, ...; continuous factors in equally filled bins."""
        rows = self.present(factor)
        values = self.factors[rows, factor]
        if self.kinds[factor] == "continuous":
            return rows, quantile_bins(values, bins)
        return rows, np.unique(values, return_inverse=True)[1]


def tables(codes: Array, factors: Array, kinds: Sequence[Kind] | None = None) -> Tables:
    """Checks codes and factors and finds out the kinds that are not given.

    Args:
        codes: ``[N, D]``; NaN is refused. A dimension that is constant stays and carries no information.
        factors: ``[N, F]``, NaN where unknown; a factor of one value is refused.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; by default discrete when at most 64 different values
            occur, each twice on average.
    """
    checked = as_matrix(codes, "codes", LEAST_DATA)
    given = as_numpy(factors)
    if given.ndim == 1:
        given = given[:, None]
    if given.ndim != 2 or given.dtype.kind not in "fiub":
        raise MetricError(
            f"factors have shape {given.shape} and type {given.dtype}; give numbers [N, F], a column per factor "
            f"(number the classes of named ones)."
        )
    given = given.astype(np.float64)
    same_length(codes=checked, factors=given)
    if np.isinf(given).any():
        raise MetricError("factors hold infinity; use NaN for values that are not known.")
    if kinds is not None and (len(kinds) != given.shape[1] or set(kinds) - {"discrete", "continuous"}):
        raise MetricError(
            f"kinds are {list(kinds)} for {given.shape[1]} factors; give 'discrete' or 'continuous' for each."
        )
    found: list[Kind] = []
    for factor in range(given.shape[1]):
        known = given[~np.isnan(given[:, factor]), factor]
        levels = len(np.unique(known))
        if len(known) < LEAST_DATA or levels < 2:
            raise MetricError(
                f"factor {factor} is known for {len(known)} data and takes {levels} value(s) there; leave out factors "
                f"that do not vary or that fewer than {LEAST_DATA} data have."
            )
        repeats = levels <= DISCRETE_LEVELS and levels * DATA_PER_LEVEL <= len(known)
        found.append(kinds[factor] if kinds is not None else "discrete" if repeats else "continuous")
    return Tables(checked, given, tuple(found), varying(checked))


def varying(codes: np.ndarray) -> np.ndarray:
    """Which dimensions are not constant ``[D]``."""
    return codes.std(0) > CONSTANT * np.maximum(np.abs(codes).max(0), np.finfo(np.float64).tiny)


def standardised(codes: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 per dimension; constant dimensions become 0."""
    vary = varying(codes)
    return np.where(vary, (codes - codes.mean(0)) / np.where(vary, codes.std(0), 1.0), 0.0)


def quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Bins 0, 1, ... filled as equally as ties allow."""
    edges = np.quantile(values, np.linspace(0, 1, positive(bins, "bins", 2) + 1)[1:-1])
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def binned(values: np.ndarray, bins: int, binning: Binning = "width") -> np.ndarray:
    """A code dimension as classes: bins of equal width between its extremes, or equally filled ones."""
    if binning == "quantile":
        return quantile_bins(values, bins)
    if binning != "width":
        raise MetricError(f"binning is '{binning}'; it is 'width' or 'quantile'.")
    low, high = values.min(), values.max()
    if high <= low:
        return np.zeros(len(values), int)
    return np.minimum(((values - low) / (high - low) * positive(bins, "bins", 2)).astype(int), bins - 1)


class Cells:
    """Rows grouped by the class of one factor, to draw data that share its value.

    Cells of fewer than ``least`` rows are left out: two draws from a cell of one would be the same datum, and their
    equal codes would give the factor away.
    """

    def __init__(self, data: Tables, factor: int, bins: int, least: int = 2) -> None:
        rows, classes = data.classes(factor, bins)
        order = np.argsort(classes, kind="stable")
        counts = np.bincount(classes)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.rows = rows[order]
        keep = counts >= least
        if not keep.any():
            raise MetricError(
                f"no value of factor {factor} is shared by {least} data; give more data, or kinds='continuous' for it, "
                f"which shares values by bins."
            )
        self.counts, self.starts = counts[keep], starts[keep]

    def groups(self, random: np.random.Generator, count: int, size: int) -> np.ndarray:
        """``[count, size]`` rows; those of one group share one value, every value being equally likely."""
        cell = random.integers(len(self.counts), size=(count, 1))
        return self.rows[self.starts[cell] + random.integers(self.counts[cell], size=(count, size))]

    def pairs(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays ``[count]`` of different rows that share their value."""
        cell = random.integers(len(self.counts), size=count)
        sizes = self.counts[cell]
        first = random.integers(sizes)
        second = (first + 1 + random.integers(sizes - 1)) % sizes
        return self.rows[self.starts[cell] + first], self.rows[self.starts[cell] + second]


def halves(count: int, share: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and to test on, ``share`` of them for the test."""
    order = random.permutation(count)
    test = max(1, round(count * share))
    return order[test:], order[:test]
