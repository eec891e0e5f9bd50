r"""How well do learned flows move things? Errors of predicted sequences, spikes and speeds against the truth.

Everything takes arrays. Sequences are ``[N, T + 1, *frame]``, frame 0 being the one that is given; spikes (zeros and
ones, or probabilities) and speeds are ``[N, T, K]``. A learned flow has no name: it is matched with a true factor one
to one by the Hungarian method on the correlations of their spikes, and every score that depends on it says so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from evaluation.arrays import Array, as_labels, as_numpy
from pyro_models.errors import MetricError

#: a factor has a flow of its own when their spikes correlate more than this
MATCHED = 0.5
#: a flow counts as on where its posterior probability exceeds this
THRESHOLD = 0.5


def sequence_errors(predicted: Array, true: Array, steps: int | None = None) -> np.ndarray:
    """Sum over frames 1..``steps`` and all their pixels of |predicted - true|, ``[N]``: the equivariance error of each
    sequence. It grows with the number of steps, pixels and channels: state them."""
    one, other = _sequences(predicted, "predicted"), _sequences(true, "true")
    if one.shape != other.shape:
        raise MetricError(f"predicted frames have shape {one.shape}, true ones {other.shape}; give the same sequences.")
    last = one.shape[1] - 1 if steps is None else steps
    if not 1 <= last < one.shape[1]:
        raise MetricError(f"steps is {steps}; the sequences have from 1 to {one.shape[1] - 1}.")
    return np.abs(one[:, 1 : last + 1] - other[:, 1 : last + 1]).reshape(len(one), -1).sum(1, dtype=np.float64)


def means_by_factor(errors: Array, factor: Array) -> dict[int, float]:
    """The mean error over the sequences of each transformation that occurs: ``{factor: error}``."""
    values, factors = as_numpy(errors), as_labels(factor, "factors")
    if len(factors) != len(values):
        raise MetricError(f"{len(factors)} factors for {len(values)} sequences; give one per sequence.")
    return {int(k): float(values[factors == k].mean()) for k in np.unique(factors)}


def trivial_predictions(true: Array) -> dict[str, np.ndarray]:
    """What needs no model: the first frame again, a black one, and the true frame before (which knows the future but
    for one step: a strong one)."""
    frames = _sequences(true, "true")
    return {
        "copy first": np.broadcast_to(frames[:, :1], frames.shape),
        "black": np.zeros_like(frames),
        "copy previous": np.concatenate([frames[:, :1], frames[:, :-1]], 1),
    }


class Matching(NamedTuple):
    """``flow_of[k]``: the learned flow matched with true factor k. ``correlation [factor, flow]`` of their spikes.
    ``mutual``: share of factors that have a flow of their own: each the other's best, correlated above one half."""

    flow_of: np.ndarray
    correlation: np.ndarray
    mutual: float


def match_flows(spikes: Array, true: Array) -> Matching:
    """One-to-one matching of flows with factors by the correlation of their spikes over all sequences and steps."""
    found, truth = _steps(spikes, "spikes"), _steps(true, "true spikes")
    if len(found) != len(truth):
        raise MetricError(f"{len(found)} inferred and {len(truth)} true steps; give the same sequences.")
    if found.shape[1] < truth.shape[1]:
        raise MetricError(f"{found.shape[1]} flows cannot be matched with {truth.shape[1]} factors one to one.")
    correlation: np.ndarray = _centred(truth).T @ _centred(found)
    rows, columns = linear_sum_assignment(-correlation)
    best_flow, best_factor = correlation.argmax(1), correlation.argmax(0)
    own = (best_flow[rows] == columns) & (best_factor[columns] == rows) & (correlation[rows, columns] > MATCHED)
    return Matching(columns[np.argsort(rows)], correlation, float(own.mean()))


def spike_f1(spikes: Array, true: Array, matching: Matching | None = None) -> float:
    """F1 of "flow k is on at step t" over all sequences, steps and factors, flows matched with factors first."""
    matching = match_flows(spikes, true) if matching is None else matching
    found = _steps(spikes, "spikes")[:, matching.flow_of] > THRESHOLD
    truth = _steps(true, "true spikes") > THRESHOLD
    hits = (found & truth).sum()
    return float(2 * hits / max(found.sum() + truth.sum(), 1))


def always_on_f1(true: Array) -> float:
    """What claiming every flow at every step reaches: the baseline of :func:`spike_f1`."""
    share = (_steps(true, "true spikes") > THRESHOLD).mean()
    return float(2 * share / (1 + share))


def speed_correlation(speeds: Array, true_speeds: Array, spikes: Array, true: Array) -> float:
    """Pearson's correlation of inferred and true speeds over the steps at which the factor truly acts and its flow was
    found on, averaged over factors; 0 for a factor whose flow is never found."""
    matching = match_flows(spikes, true)
    found, truth = _steps(speeds, "speeds")[:, matching.flow_of], _steps(true_speeds, "true speeds")
    on = (_steps(spikes, "spikes")[:, matching.flow_of] > THRESHOLD) & (_steps(true, "true spikes") > THRESHOLD)
    values = []
    for k in range(truth.shape[1]):
        one, other = found[on[:, k], k], truth[on[:, k], k]
        constant = len(one) < 3 or one.std() == 0 or other.std() == 0
        values.append(0.0 if constant else float(np.corrcoef(one, other)[0, 1]))
    return float(np.mean(values))


def field_cosines(learned: Array, true: Array) -> np.ndarray:
    """|cos| between each true field and the learned one matched with it, fields given by their vectors at the same
    points ``[N, K, d]``: inner products over all points at once, matched one to one to maximise the sum."""
    one, other = as_numpy(learned).astype(np.float64), as_numpy(true).astype(np.float64)
    if one.ndim != 3 or other.ndim != 3 or one.shape[0] != other.shape[0] or one.shape[2] != other.shape[2]:
        raise MetricError(f"fields have shapes {one.shape} and {other.shape}; give [points, fields, dimensions].")
    flat = [f.transpose(1, 0, 2).reshape(f.shape[1], -1) for f in (one, other)]
    unit = [f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12) for f in flat]
    cosines = np.abs(unit[1] @ unit[0].T)
    rows, columns = linear_sum_assignment(-cosines)
    return cosines[rows, columns]


def relative_change(after: Array, before: Array) -> float:
    """Root mean square of ``after - before`` over that of ``before``: cycle and commutator errors of codes."""
    one, other = as_numpy(after).astype(np.float64), as_numpy(before).astype(np.float64)
    return float(np.linalg.norm(one - other) / max(float(np.linalg.norm(other)), 1e-12))


def _sequences(values: Array, name: str) -> np.ndarray:
    found = as_numpy(values)
    if found.ndim < 3 or found.shape[1] < 2:
        raise MetricError(f"{name} frames have shape {found.shape}; give [N, T + 1, *frame] with T at least 1.")
    return found


def _steps(values: Array, name: str) -> np.ndarray:
    found = as_numpy(values)
    if found.ndim != 3:
        raise MetricError(f"{name} have shape {found.shape}; give [N, T, K].")
    if not np.isfinite(found).all():
        raise MetricError(f"{name} hold NaN or infinity; look for the sequence that diverged.")
    return found.reshape(-1, found.shape[2]).astype(np.float64)


def _centred(values: np.ndarray) -> np.ndarray:
    """Columns of mean zero and norm one (zero for a column that never changes)."""
    moved = values - values.mean(0)
    return moved / np.maximum(np.linalg.norm(moved, axis=0), 1e-12)
