"""Plain arrays in: what every metric function accepts, and one clear refusal for what it does not.

Metrics take numpy arrays, torch tensors (any device) or nested lists, and compute in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.errors import MetricError

Array = np.ndarray | Tensor | Sequence[Any]

#: soft assignments and class probabilities come from float32 softmaxes: rows sum to one up to their round-off
ROW_SUM_TOLERANCE = 1e-3


def as_numpy(values: Array) -> np.ndarray:
    """The values on the CPU, without gradient; shares memory where it can."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def as_matrix(values: Array, name: str, rows: int = 1) -> np.ndarray:
    """``[N, D]`` in float64, finite; further dimensions are flattened, one dimension becomes a column."""
    found = as_numpy(values)
    if found.dtype.kind not in "fiub":
        raise MetricError(f"{name} are of type {found.dtype}; give real numbers.")
    if found.ndim == 0 or found.size == 0:
        raise MetricError(f"{name} have shape {found.shape}; give [N, D] with a row per datum.")
    found = found.reshape(len(found), -1).astype(np.float64)
    if len(found) < rows:
        raise MetricError(f"{name} have {len(found)} row(s), but {rows} or more are needed; give more data.")
    bad = ~np.isfinite(found)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise MetricError(
            f"{name} hold {found[row, column]} in row {row}, column {column} ({int(bad.any(1).sum())} of {len(found)} "
            f"rows have such numbers); drop these rows or find out which datum diverged."
        )
    return found


def as_labels(values: Array, name: str) -> np.ndarray:
    """``[N]`` of labels: integers, strings or booleans; floats only where they are whole numbers."""
    found = as_numpy(values)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or found.size == 0:
        raise MetricError(
            f"{name} have shape {found.shape}; give [N], one label per datum (take argmax(1) of soft assignments)."
        )
    if found.dtype.kind == "f":
        if not (np.isfinite(found).all() and (found == np.round(found)).all()):
            raise MetricError(f"{name} hold numbers that are not whole (or NaN); give one integer label per datum.")
        found = found.astype(np.int64)
    return found


def as_probabilities(values: Array, name: str) -> np.ndarray:
    """``[N, K]`` in float64, not negative, every row summing to one."""
    if as_numpy(values).ndim != 2:
        raise MetricError(f"{name} have shape {as_numpy(values).shape}; give [N, K], one row per datum.")
    found = as_matrix(values, name)
    worst = float(np.abs(found.sum(1) - 1).max())
    if worst > ROW_SUM_TOLERANCE or found.min() < 0:
        raise MetricError(
            f"{name} are no probabilities: smallest value {found.min():.3g}, row sums off by up to {worst:.3g}; "
            f"apply a softmax to logits."
        )
    return found


def same_length(**arrays: np.ndarray) -> None:
    """Refuses arrays that do not describe the same data."""
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise MetricError(f"the arrays differ in length: {told}; give one row per datum, in the same order.")


def same_columns(**arrays: np.ndarray) -> None:
    """Refuses features that do not come from one network."""
    columns = {name: values.shape[1] for name, values in arrays.items()}
    if len(set(columns.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in columns.items())
        raise MetricError(f"the features differ in dimension: {told}; make both with the same feature network.")


def positive(value: int, name: str, least: int = 1) -> int:
    """Refuses counts that are too small to mean anything."""
    if value < least:
        raise MetricError(f"{name} is {value}; give {least} or more.")
    return int(value)


def as_images(images: Array) -> Tensor:
    """``[N, C, H, W]`` float32 in [0, 1]; bytes are divided by 255, numbers outside are refused."""
    values = torch.as_tensor(as_numpy(images))
    if values.ndim != 4 or len(values) == 0:
        raise MetricError(f"images have shape {tuple(values.shape)}; give [N, channel, height, width].")
    if values.dtype == torch.uint8:
        return values.float() / 255
    low, high = torch.aminmax(values.float())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise MetricError(f"images go from {float(low):.3g} to {float(high):.3g}; scale them to [0, 1] first.")
    return values.float()
