r"""How far apart are shapes? Chamfer distance of point clouds, overlap of voxel grids, descriptors of clouds.

Distances between clouds are in the units of the points; all are means over the points, so they do not grow with how
many there are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluation.arrays import Array
from pyro_models.errors import MetricError

#: clouds whose distances are computed at a time
CHUNK = 100
#: bins of a histogram of distances, and pairs of points behind it
BINS, PAIRS = 32, 2000


def chamfer(one: Array, other: Array) -> Tensor:
    r"""Chamfer distance of every pair of clouds, ``[N, P, d]`` and ``[N, Q, d]`` to ``[N]``.

    :math:`\frac1P \sum_i \min_j |x_i - y_j|^2 + \frac1Q \sum_j \min_i |x_i - y_j|^2` (Fan, Su and Guibas 2017, with
    means in place of sums). Range [0, inf), lower is better, 0 for the same set of points.
    """
    a, b = _floats(one), _floats(other)
    if a.ndim != 3 or b.ndim != 3 or len(a) != len(b) or a.shape[2] != b.shape[2]:
        raise MetricError(f"clouds come in pairs [N, P, d] and [N, Q, d], got {tuple(a.shape)} and {tuple(b.shape)}.")
    found = []
    for start in range(0, len(a), CHUNK):
        squared = torch.cdist(a[start : start + CHUNK], b[start : start + CHUNK]).square()
        found.append(squared.amin(2).mean(1) + squared.amin(1).mean(1))
    return torch.cat(found)


def overlap(one: Array, other: Array, threshold: float = 0.5) -> Tensor:
    r"""Intersection over union of the voxels above ``threshold``, ``[N, ...]`` twice to ``[N]``.

    Range [0, 1], higher is better. Two empty grids agree: 1.
    """
    a, b = (_floats(grids).flatten(1) > threshold for grids in (one, other))
    if a.shape != b.shape:
        raise MetricError(f"grids of {tuple(a.shape)} and {tuple(b.shape)} voxels cannot be compared.")
    union = (a | b).sum(1)
    return torch.where(union > 0, (a & b).sum(1) / union.clamp(min=1), torch.ones(len(a), dtype=torch.float64))


def shape_distribution(clouds: Array, scaled: bool = False, seed: int = 0) -> np.ndarray:
    """Histogram of distances between pairs of points of each cloud, ``[N, P, d]`` to ``[N, 32]`` (D2 of Osada,
    Funkhouser, Chazelle and Dobkin 2002).

    ``scaled``: in units of the root of their mean square, so that size does not count; otherwise bins reach the largest
    distance in all clouds.
    """
    x = _floats(clouds)
    chosen = torch.randint(x.shape[1], (2, PAIRS), generator=torch.Generator().manual_seed(seed))
    distance = (x[:, chosen[0]] - x[:, chosen[1]]).norm(dim=-1)
    if scaled:
        distance = distance / distance.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)
    place = (distance / distance.max().clamp(min=1e-12) * BINS).long().clamp(max=BINS - 1)
    counts = torch.zeros(len(x), BINS, dtype=torch.float64)
    counts.scatter_add_(1, place, torch.ones(place.shape, dtype=torch.float64))
    return (counts / PAIRS).numpy()


def _floats(values: Array) -> Tensor:
    return torch.as_tensor(np.asarray(values)).double()
