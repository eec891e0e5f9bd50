"""How the dimensions of a code hang together over data: correlations between those in use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: a dimension is in use if its posterior mean varies more than this over data (Burda et al.)
ACTIVE_VARIANCE = 0.01


class Correlations(NamedTuple):
    """``matrix [A, A]`` between the ``active`` dimensions (in order of the code), and the mean absolute value off its
    diagonal (0 when fewer than two are active)."""

    matrix: np.ndarray
    active: int
    mean_absolute: float


def latent_correlations(codes: np.ndarray) -> Correlations:
    """Of codes ``[N, D]``: posterior means of many data."""
    used = codes[:, codes.var(0) > ACTIVE_VARIANCE].astype(float)
    count = used.shape[1]
    if count < 2:
        return Correlations(np.ones((count, count)), count, 0.0)
    matrix = np.corrcoef(used, rowvar=False)
    apart = ~np.eye(count, dtype=bool)
    return Correlations(matrix, count, float(np.abs(matrix[apart]).mean()))
