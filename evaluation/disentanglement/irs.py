"""IRS: does a code keep still when only nuisance factors change?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array
from evaluation.disentanglement.tables import Kind, tables
from pyro_models.errors import MetricError


@dataclass(frozen=True)
class IRS:
    """Weighted mean ``value``, best ``per_code`` [D] (NaN where constant), and the table ``robustness`` [D, F]."""

    value: float
    per_code: np.ndarray
    robustness: np.ndarray

    def __float__(self) -> float:
        return self.value


def irs(
    codes: Array, factors: Array, kinds: Sequence[Kind] | None = None, *, bins: int = 20, quantile: float = 0.99
) -> IRS:
    r"""Interventional robustness score (Suter et al. 2019).

    For data that share the value v of factor k, how far does code j stray from their mean while everything else
    changes? With :math:`d_j(A)` the ``quantile`` of :math:`|c_j - \bar c_j(A)|` within a set A,

    .. math:: R_{jk} = 1 - \sum_v p(v)\, \frac{d_j(\{v_k = v\})}{d_j(\text{all data})}, \qquad
              \mathrm{IRS} = \frac{\sum_j d_j \max_k R_{jk}}{\sum_j d_j}.

    Range [0, 1] (cut at 0), higher is better: 1 when every code is settled by one factor, about 0 for codes independent
    of the factors. Constant dimensions are left out. A value that few data share looks steadier than it is (a set of
    one never strays), so give several data per value.

    Args:
        codes: ``[N, D]``.
        factors: ``[N, F]``, NaN where unknown.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default.
        bins: equally filled bins of a continuous factor, each counted as one value; few bins leave variation inside
            them.
        quantile: 1 takes the worst case, as in the definition, and is ruled by outliers; 0.99 is the usual choice.
    """
    data = tables(codes, factors, kinds)
    if not 0 < quantile <= 1:
        raise MetricError(f"quantile is {quantile}; it lies in (0, 1], usually 0.99.")
    if not data.varies.any():
        raise MetricError("every code dimension is constant; the codes say nothing about the data.")
    used = data.codes[:, data.varies]
    robustness = np.zeros((data.dimensions, data.count))
    for factor in range(data.count):
        rows, classes = data.classes(factor, bins)
        overall = _straying(used[rows], quantile)
        order = np.argsort(classes, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(classes))[:-1])
        within = sum(len(group) * _straying(used[rows[group]], quantile) for group in groups) / len(rows)
        ratio = np.divide(within, overall, out=np.ones_like(overall), where=overall > 0)
        robustness[data.varies, factor] = np.clip(1 - ratio, 0.0, 1.0)
    per_code = np.where(data.varies, robustness.max(1), np.nan)
    weights = _straying(used, quantile)
    if weights.sum() == 0:  # codes that leave one value in fewer data than the quantile lets go
        weights = np.ones_like(weights)
    return IRS(float(np.average(per_code[data.varies], weights=weights)), per_code, robustness)


def _straying(codes: np.ndarray, quantile: float) -> np.ndarray:
    return np.quantile(np.abs(codes - codes.mean(0)), quantile, axis=0)
