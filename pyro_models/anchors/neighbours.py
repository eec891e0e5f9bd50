r"""Groups found in the graph of nearest neighbours: which data hang together, before anything is learned.

Neighbours nearly always mean the same, and whole classes are connected through chains of them although their members
look unlike each other; a mixture fitted to codes cannot see that. The graph's weights are self-tuning,
:math:`w_{ij} = \exp(-d_{ij}^2 / (s_i s_j))` with :math:`s_i` the distance to the 7th neighbour. A partition c of the
data is as good as what the group of a datum tells about the group of its neighbour,

.. math:: I(c; c') = \sum_{ab} P_{ab} \log \frac{P_{ab}}{P_a P_b}, \qquad
          P_{ab} = \sum_{i \in a, j \in b} w_{ij} / \sum_{ij} w_{ij}.

Unlike a cut, this pays for groups of equal size and for nothing cut off at the rim, and it is the objective of the
agreement factor that the anchors are trained with (``factors.py``). Starts come from the leading eigenvectors of the
graph (spectral clustering, four times too many groups), are merged greedily by what each merger costs of I (the
information bottleneck) and refined datum by datum; the best of several starts is cut by the others and merged again
as long as that helps. No labels anywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_models.anchors.crossing import Found, improve
from pyro_models.errors import OptionError

#: principal components that distances are measured in
COMPONENTS = 50
#: rows of the distance table at a time
CHUNK = 250
#: neighbours of a datum in the graph, and the one whose distance is the datum's own scale
GRAPH, SCALE = 10, 7
#: starts have this many times the groups wanted
FINER = 4
#: eigenvectors of a start, in groups wanted; starts take turns
LEADING = (2.0, 2.5, 3.0, 3.5)
#: starts of a partition
RESTARTS = 16
#: data that k-means looks at
LOOKED_AT = 6000
#: sweeps of the refinement; it has always settled before
SWEEPS = 30
#: keeps logarithms finite where two groups never touch
SMALL = 1e-9


class Neighbours(NamedTuple):
    """For every datum its nearest others, nearest first, and their squared distances, both ``[N, k]``."""

    rows: Tensor
    distance: Tensor


@torch.no_grad()
def nearest(x: Float[Tensor, "N ..."], count: int = GRAPH) -> Neighbours:
    """The ``count`` nearest other data by Euclidean distance of the leading principal components."""
    flat = x.flatten(1)
    if not 1 <= count < len(flat):
        raise OptionError(f"{count} neighbours of each of {len(flat)} data: choose from 1 to {len(flat) - 1}.")
    flat = flat - flat.mean(0)
    if flat.shape[1] > COMPONENTS:
        # in double precision: of columns that are nearly copies of each other, the single one finds no axes
        axes = torch.linalg.eigh((flat.T @ flat).double()).eigenvectors[:, -COMPONENTS:]
        flat = flat @ axes.to(flat)
    squared = flat.square().sum(1)
    index, distance = [], []
    room = flat.new_empty(
        CHUNK, len(flat)
    )  # written again and again: fresh memory of this size costs more than the sums
    for start in range(0, len(flat), CHUNK):
        rows = slice(start, min(start + CHUNK, len(flat)))
        # Rank by |b|^2 - 2 a.b: the row's own |a|^2 orders nothing.
        table = torch.addmm(squared, flat[rows], flat.T, alpha=-2, out=room[: rows.stop - start])
        own = torch.arange(len(table), device=x.device)
        table[own, own + start] = torch.inf
        found = table.topk(count, dim=1, largest=False)
        index.append(found.indices)
        distance.append((found.values + squared[rows, None]).clamp_min(0))
    return Neighbours(torch.cat(index), torch.cat(distance))


def affinity(neighbours: Neighbours) -> Any:
    """The symmetric graph of self-tuning weights, a scipy sparse matrix ``[N, N]``."""
    import scipy.sparse

    index, squared = (part.cpu().numpy() for part in neighbours)
    count, k = index.shape
    scale = np.sqrt(squared[:, min(SCALE, k) - 1].astype(float)).clip(min=SMALL)
    weights = np.exp(-squared / (scale[:, None] * scale[index]))
    rows = np.repeat(np.arange(count), k)
    one_way = scipy.sparse.csr_matrix((weights.ravel(), (rows, index.ravel())), shape=(count, count))
    return (one_way + one_way.T) / 2


def information(joint: Float[np.ndarray, "K K"]) -> float:
    """I(c; c') in nats of a joint distribution (any positive scale)."""
    joint = joint / joint.sum()
    one, other = joint.sum(1), joint.sum(0)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / np.outer(one, other)[seen])).sum())


def joint_of(graph: Any, groups: Int[np.ndarray, " N"], count: int) -> Float[np.ndarray, "K K"]:
    """Weight of the graph between groups."""
    member = _membership(groups, count)
    return (member.T @ graph @ member).toarray()


def partition(graph: Any, groups: int, restarts: int = RESTARTS, seed: int = 0) -> tuple[Tensor, float]:
    """The groups ``[N]`` and their information: the best of ``restarts`` starts, improved by what the others know."""
    if restarts < 1:
        raise OptionError(f"restarts is {restarts}; it must be at least 1.")
    vectors = _leading_vectors(graph, max(2, round(groups * max(LEADING))), seed)
    found = []
    for start in range(restarts):
        leading = round(groups * LEADING[start % len(LEADING)])
        made = _finer_start(vectors[:, -leading:], FINER * groups, seed + start)
        found.append(settled(made, graph, groups))
    value, best = improve(found, lambda pieces: settled(pieces, graph, groups), groups)
    return torch.as_tensor(best), value


def settled(pieces: Int[np.ndarray, " N"], graph: Any, groups: int) -> Found:
    """Pieces merged into groups and refined, with their information."""
    made = refine(merge(pieces, graph, groups), graph, groups)
    return information(joint_of(graph, made, groups)), made


def merge(made: Int[np.ndarray, " N"], graph: Any, groups: int) -> Int[np.ndarray, " N"]:
    """Merges the two groups that cost the least information until ``groups`` are left."""
    count = int(made.max()) + 1
    joint = joint_of(graph, made, count)
    joint /= joint.sum()
    name = np.arange(count)
    left = list(range(count))
    while len(left) > groups:
        gain = merger_gains(joint[np.ix_(left, left)])
        one, other = np.unravel_index(gain.argmax(), gain.shape)
        kept, gone = left[min(one, other)], left[max(one, other)]
        joint[kept] += joint[gone]
        joint[:, kept] += joint[:, gone]
        left.remove(gone)
        name[name == gone] = kept
    return np.array([left.index(int(kept)) for kept in name])[made]


def merger_gains(joint: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """What merging two groups adds to the information (never more than nothing), minus infinity on the diagonal.

    Of a symmetric joint distribution: the information is a sum of x log x over cells, less twice that over shares, and
    a merger changes two rows and columns of them.
    """
    share, own = joint.sum(1), np.diag(joint)
    both = _x_log_x(joint[:, None] + joint[None])  # [one, other, third]: cells of the merged row
    place = np.arange(len(joint))
    cells = both.sum(2) - both[:, place, place] - both[place, :, place]
    rows = _x_log_x(joint).sum(1)
    apart = rows[:, None] + rows - _x_log_x(own)[:, None] - _x_log_x(own) - 2 * _x_log_x(joint)
    corner = _x_log_x(own[:, None] + own + 2 * joint)
    old = _x_log_x(own)[:, None] + _x_log_x(own) + 2 * _x_log_x(joint)
    shares = _x_log_x(share[:, None] + share) - _x_log_x(share)[:, None] - _x_log_x(share)
    gain = 2 * (cells - apart) + corner - old - 2 * shares
    np.fill_diagonal(gain, -np.inf)
    return gain


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.maximum(x, np.finfo(float).tiny))


def refine(groups: Int[np.ndarray, " N"], graph: Any, count: int) -> Int[np.ndarray, " N"]:
    """Moves every datum to the group whose gain of information is largest, to first order, until few move."""
    for _ in range(SWEEPS):
        member = _membership(groups, count)
        near = np.asarray((graph @ member).todense())
        joint = np.asarray(member.T @ near)
        joint /= joint.sum()
        share = joint.sum(1)
        moved = (near @ np.log((joint + SMALL) / (np.outer(share, share) + SMALL))).argmax(1)
        settled = (moved != groups).mean() < 1e-4
        groups = moved
        if settled:
            break
    return groups


def _membership(groups: np.ndarray, count: int) -> Any:
    import scipy.sparse

    size = len(groups)
    return scipy.sparse.csr_matrix((np.ones(size), (np.arange(size), groups)), shape=(size, count))


def _leading_vectors(graph: Any, count: int, seed: int) -> np.ndarray:
    """Eigenvectors of the normalised graph, the leading one last."""
    import scipy.sparse
    from scipy.sparse.linalg import eigsh

    root = 1 / np.sqrt(np.asarray(graph.sum(1)).ravel() + SMALL)
    normalised = scipy.sparse.diags(root) @ graph @ scipy.sparse.diags(root)
    count = min(count, graph.shape[0] - 2)
    first = np.random.default_rng(seed).normal(size=graph.shape[0])
    size = min(graph.shape[0] - 1, 2 * count + 20)
    return eigsh(normalised, k=count, which="LA", tol=1e-3, ncv=size, v0=first)[1]


def _finer_start(vectors: np.ndarray, groups: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    points = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + SMALL)
    some = np.random.default_rng(seed).permutation(len(points))[:LOOKED_AT]
    found = KMeans(min(groups, len(some)), n_init=1, random_state=seed).fit(points[some])
    made = found.predict(points)
    return np.unique(made, return_inverse=True)[1]
