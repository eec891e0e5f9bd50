r"""Objects in images: how many, where, of which class, which pixels.

Arrays of all functions: boxes ``[N, M, 4]`` (left, top, right, bottom; any unit), presence ``[N, M]`` of booleans (the
order and number of slots need not agree between truth and prediction), classes ``[N, M]`` of integers, segments
``[N, H, W]`` of integers with 0 for background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.arrays import Array, as_labels, as_numpy, same_length
from evaluation.clustering import ari
from pyro_models.errors import MetricError


def count_accuracy(count: Array, found: Array) -> float:
    """Share of images in which the number of objects is right. Range [0, 1], higher is better."""
    true, predicted = as_labels(count, "count"), as_labels(found, "found")
    same_length(count=true, found=predicted)
    return float((true == predicted).mean())


def box_iou(a: Array, b: Array) -> np.ndarray:
    """Common area over united area of every box of ``a [..., A, 4]`` with every box of ``b [..., B, 4]``."""
    first, second = as_boxes(a, "a")[..., :, None, :], as_boxes(b, "b")[..., None, :, :]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    united = areas[0] + areas[1] - common
    return np.divide(common, united, out=np.zeros_like(common), where=united > 0)


@dataclass(frozen=True)
class Matches:
    """Pairs of true and found objects, one-to-one within each image: image, slot in the truth, slot found, overlap."""

    image: np.ndarray
    true: np.ndarray
    found: np.ndarray
    iou: np.ndarray
    #: how many true and found objects there are, matched or not
    objects: int
    proposals: int

    def f1(self, threshold: float = 0.5) -> float:
        """Harmonic mean of precision and recall of the pairs that overlap enough; 1 when there is nothing to find."""
        total = self.objects + self.proposals
        return 1.0 if total == 0 else 2 * int((self.iou >= threshold).sum()) / total


def match(boxes: Array, present: Array, found_boxes: Array, found: Array) -> Matches:
    """Hungarian matching by overlap (IoU) in each image; pairs that do not overlap are no matches."""
    from scipy.optimize import linear_sum_assignment

    true_boxes, predicted = as_boxes(boxes, "boxes"), as_boxes(found_boxes, "found_boxes")
    there, claimed = as_presence(present, true_boxes, "present"), as_presence(found, predicted, "found")
    same_length(boxes=true_boxes, found_boxes=predicted)
    overlaps = box_iou(true_boxes, predicted) * there[:, :, None] * claimed[:, None, :]
    pairs = []
    for image, overlap in enumerate(overlaps):
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[row, column] > 0:
                pairs.append((image, row, column, overlap[row, column]))
    columns = np.array(pairs, float).reshape(-1, 4).T
    image, row, column = columns[:3].astype(int)
    return Matches(image, row, column, columns[3], int(there.sum()), int(claimed.sum()))


def object_class_accuracy(matches: Matches, classes: Array, found_classes: Array, threshold: float = 0.5) -> float:
    """Share of all true objects that are found (IoU at least ``threshold``) with the right class.

    The found classes are clusters: one global one-to-one mapping of clusters to classes, Hungarian on the matched
    pairs, is applied first. Objects that were not found count as errors.
    """
    from scipy.optimize import linear_sum_assignment

    true, clusters = as_numpy(classes), as_numpy(found_classes)
    close = matches.iou >= threshold
    a = true[matches.image[close], matches.true[close]]
    b = clusters[matches.image[close], matches.found[close]]
    if matches.objects == 0:
        raise MetricError("there is no true object; class accuracy needs images with objects.")
    if len(a) == 0:
        return 0.0
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / matches.objects)


def pixel_ari(segments: Array, found: Array) -> float:
    """Mean over images of the adjusted Rand index of the true objects' pixels (background left out).

    Only images with two objects or more count: of a single object every clustering but one has index zero, so that one
    pixel given away would look like chance. Range [-0.5, 1], higher is better; 0 is chance.
    """
    true, predicted = as_numpy(segments), as_numpy(found)
    if true.shape != predicted.shape or true.ndim != 3:
        raise MetricError(f"segments {true.shape} and found {predicted.shape} must both be [N, height, width].")
    pairs = ((a[a > 0], b[a > 0]) for a, b in zip(true, predicted, strict=True))
    scores = [ari(a, b) for a, b in pairs if len(np.unique(a)) > 1]
    if not scores:
        raise MetricError("no image has two objects; pixel ARI asks which pixels belong together.")
    return float(np.mean(scores))


def as_boxes(boxes: Array, name: str) -> np.ndarray:
    """``[..., M, 4]`` in float64, finite, right of left and below top."""
    found = as_numpy(boxes).astype(np.float64)
    if found.ndim < 2 or found.shape[-1] != 4:
        raise MetricError(f"{name} have shape {found.shape}; give [N, M, 4]: left, top, right, bottom.")
    if not np.isfinite(found).all():
        raise MetricError(f"{name} hold numbers that are not finite; use zeros for slots without an object.")
    if (found[..., 2:] < found[..., :2]).any():
        raise MetricError(f"{name} hold a box whose right is left of its left (or bottom above top).")
    return found


def as_presence(present: Array, boxes: np.ndarray, name: str) -> np.ndarray:
    """``[N, M]`` booleans, one per box."""
    found = as_numpy(present)
    if found.shape != boxes.shape[:-1]:
        raise MetricError(f"{name} has shape {found.shape}; give {boxes.shape[:-1]}, one for each box.")
    return found.astype(bool)
