"""Mutual information gap: is each factor in one code dimension only?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array
from evaluation.disentanglement.information import mutual_information
from evaluation.disentanglement.tables import Binning, Kind, tables
from pyro_models.errors import MetricError


@dataclass(frozen=True)
class MIG:
    """Mean gap ``value``, gaps ``per_factor`` [F]; ``information`` [D, F] and ``entropies`` [F] they were read from."""

    value: float
    per_factor: np.ndarray
    information: np.ndarray
    entropies: np.ndarray

    def __float__(self) -> float:
        return self.value


def mig(
    codes: Array, factors: Array, kinds: Sequence[Kind] | None = None, *, bins: int = 20, binning: Binning = "width"
) -> MIG:
    r"""Gap between the most and the second most informative code dimension (Chen et al. 2018).

    .. math:: \mathrm{MIG} = \frac1F \sum_k \frac{I(c_{j_1}; v_k) - I(c_{j_2}; v_k)}{H(v_k)}

    with :math:`j_1, j_2` the two dimensions that know most about factor k. Range [0, 1], higher is better. It rewards
    *compactness* (a factor in one dimension) and says nothing about a dimension that holds two factors. The paper uses
    samples of the posterior and their density; here the codes are given points, binned, as is common since.

    Args:
        codes: ``[N, D]``, two dimensions or more; a constant one has no information.
        factors: ``[N, F]``, NaN where unknown.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default.
        bins: classes per code dimension (and per continuous factor): more see finer dependence and raise the bias of
            the estimate, which is about the same for both dimensions of the gap.
        binning: ``"width"`` is the published choice and is spoilt by outliers; ``"quantile"`` is not.
    """
    data = tables(codes, factors, kinds)
    if data.dimensions < 2:
        raise MetricError("MIG compares the two best code dimensions, and there is one; give codes of two or more.")
    information = mutual_information(data, bins, binning)
    ordered = np.sort(information.nats, axis=0)
    gaps = (ordered[-1] - ordered[-2]) / information.entropies
    return MIG(float(gaps.mean()), gaps, information.nats, information.entropies)
