r"""Fidelity and variety apart: precision and recall, density and coverage, Inception score.

The first four look at nearest neighbours among features ``[N, D]``. A datum's ball reaches to its k-th nearest
neighbour in its own set; the union of the balls of the real data stands for their support, that of the generated data
for theirs. The values depend on N and k: compare at equal N and k, with real-against-real values beside.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array, as_matrix, as_probabilities, positive, same_columns
from pyro_models.errors import MetricError

#: rows of the distance table held at a time; 1000 x 10 000 float64 are 80 MB
ROWS = 1000
#: squared distances are made as |a|^2 + |b|^2 - 2ab; closer than this share of |a|^2 + |b|^2 they are equal (round-off)
TIE = 1e-12


def precision_recall(real: Array, generated: Array, neighbours: int = 3) -> dict[str, float]:
    r"""Improved precision and recall (Kynkaanniemi et al. 2019).

    ``precision``: share of generated data inside the ball of any real datum (fidelity); ``recall``: share of real data
    inside the ball of any generated one (variety). Range [0, 1], higher is better. One outlier with a large ball can
    lift either; :func:`density_coverage` is sturdier.

    Args:
        real, generated: ``[N, D]`` and ``[M, D]``.
        neighbours: k of the balls; larger balls raise both values.
    """
    x, y = _pair(real, generated, neighbours)
    return {
        "precision": float((_balls_around(x, y, neighbours)[0] > 0).mean()),
        "recall": float((_balls_around(y, x, neighbours)[0] > 0).mean()),
    }


def density_coverage(real: Array, generated: Array, neighbours: int = 5) -> dict[str, float]:
    r"""Density and coverage (Naeem et al. 2020), both from the balls of the real data.

    ``density`` :math:`\frac1{kM} \sum_j \#\{i : y_j \in B_k(x_i)\}`, range [0, N/k], 1 expected for equal
    distributions, higher is closer to where real data are dense. ``coverage``: share of real data whose ball holds a
    generated datum, range [0, 1], higher is better, :math:`1 - 2^{-k}` expected for equal distributions and counts.

    Args:
        real, generated: ``[N, D]`` and ``[M, D]``.
        neighbours: k of the balls; larger balls raise coverage and steady density.
    """
    x, y = _pair(real, generated, neighbours)
    surrounding, filled = _balls_around(x, y, neighbours)
    return {"density": float(surrounding.mean() / neighbours), "coverage": float(filled.mean())}


@dataclass(frozen=True)
class InceptionScore:
    """Mean and ``standard_deviation`` over the parts."""

    value: float
    standard_deviation: float

    def __float__(self) -> float:
        return self.value


def inception_score(probabilities: Array, splits: int = 1, seed: int = 0) -> InceptionScore:
    r""":math:`\exp E_x KL(p(c|x) \,\|\, p(c))` of a classifier's probabilities on generated images.

    Salimans et al. (2016). Range [1, C], higher is better: sure predictions and all classes equally often. It says
    nothing about likeness to real data, and makes sense only where the classifier's classes are those of the data.

    Args:
        probabilities: ``[N, C]``, rows summing to one.
        splits: parts scored apart and averaged; more parts give an idea of the spread and a lower value (each is
            smaller).
        seed: of the shuffle before splitting.
    """
    p = as_probabilities(probabilities, "probabilities")
    if positive(splits, "splits") > len(p):
        raise MetricError(f"{len(p)} data cannot be split into {splits} parts; choose fewer splits.")
    values = []
    for part in np.array_split(np.random.default_rng(seed).permutation(len(p)), splits):
        marginal = p[part].mean(0)
        entropy = _entropy(marginal[None])[0] - _entropy(p[part]).mean()
        values.append(float(np.exp(entropy)))
    return InceptionScore(statistics.fmean(values), statistics.stdev(values) if splits > 1 else float("nan"))


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(1)


def _pair(real: Array, generated: Array, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_matrix(real, "real features"), as_matrix(generated, "generated features")
    same_columns(real=x, generated=y)
    least = positive(neighbours, "neighbours") + 1
    for name, features in (("real", x), ("generated", y)):
        if len(features) < least:
            raise MetricError(
                f"there are {len(features)} {name} data, but {neighbours} neighbours need {least} or more; give more "
                f"data or fewer neighbours."
            )
    centre = x.mean(0)  # keeps |a|^2 small beside the distances, and with it the round-off
    return x - centre, y - centre


def _balls_around(centres: np.ndarray, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """How many balls of ``centres`` each point lies in ``[M]``, and which balls hold a point ``[N]``."""
    count, filled = np.zeros(len(points)), np.zeros(len(centres), bool)
    for rows in _blocks(len(centres)):
        to_own, _ = _squared_distances(centres[rows], centres)
        # Position k, not k - 1: the nearest neighbour of a datum in its own set is itself.
        radius = np.partition(to_own, k, axis=1)[:, k : k + 1]
        to_points, scale = _squared_distances(centres[rows], points)
        inside = to_points <= radius + TIE * scale
        count += inside.sum(0)
        filled[rows] = inside.any(1)
    return count, filled


def _squared_distances(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = (a**2).sum(1)[:, None] + (b**2).sum(1)[None]
    return np.maximum(scale - 2 * a @ b.T, 0.0), scale


def _blocks(length: int) -> Iterator[slice]:
    for start in range(0, length, ROWS):
        yield slice(start, start + ROWS)
