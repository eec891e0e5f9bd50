r"""Mutual information of code dimensions and factors, from counts: what MIG and modularity are made of.

Plug-in estimate in nats, :math:`\hat I = \sum_{ab} \hat p_{ab} \log \hat p_{ab} / (\hat p_a \hat p_b)`: biased upwards
by about (bins - 1)(levels - 1) / 2N, so use N well above bins times levels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evaluation.disentanglement.tables import Binning, Tables, binned

#: level of the G-test: small, for sparse tables stray somewhat from the chi-squared law
LEVEL = 1e-6


class Information(NamedTuple):
    """Nats ``[D, F]`` between codes and factors, the factors' ``entropies`` [F], and which pairs ``depend`` [D, F]."""

    nats: np.ndarray
    entropies: np.ndarray
    depend: np.ndarray


def mutual_information(data: Tables, bins: int, binning: Binning) -> Information:
    r"""The table of information; ``depend`` says where it is above what independence would give.

    Under independence :math:`2 N \hat I` follows the chi-squared law with (bins - 1)(levels - 1) degrees of freedom
    (G-test).
    """
    from scipy.stats import chi2

    nats, entropies = np.zeros((data.dimensions, data.count)), np.zeros(data.count)
    depend = np.zeros(nats.shape, bool)
    codes = [binned(data.codes[:, code], bins, binning) for code in range(data.dimensions)]
    for factor in range(data.count):
        rows, classes = data.classes(factor, bins)
        levels = int(classes.max()) + 1
        entropies[factor] = entropy(np.bincount(classes))
        for code in np.flatnonzero(data.varies):
            chosen = codes[code][rows]
            counts = np.bincount(chosen)
            joint = np.bincount(chosen * levels + classes)
            found = max(0.0, entropy(counts) + entropies[factor] - entropy(joint))
            freedom = (np.count_nonzero(counts) - 1) * (levels - 1)
            nats[code, factor] = found
            depend[code, factor] = freedom > 0 and 2 * len(rows) * found > chi2.isf(LEVEL, freedom)
    return Information(nats, entropies, depend)


def entropy(counts: np.ndarray) -> float:
    """Of the distribution with these counts, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
