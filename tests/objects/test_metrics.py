"""Metrics of objects: by hand, against brute force, and through ``evaluate``."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from evaluation import evaluate
from evaluation.answers import Answers
from evaluation.figures import draw
from evaluation.objects import box_iou, count_accuracy, match, object_class_accuracy, pixel_ari
from pyro_models.datasets import load
from pyro_models.errors import MetricError
from pyro_models.story import Located, Story


def boxes(count: int, seed: int) -> np.ndarray:
    corners = np.sort(np.random.default_rng(seed).integers(0, 12, (count, 2, 2)), axis=1)
    return np.concatenate([corners[:, 0], corners[:, 1] + 1], -1).astype(float)


def test_overlap_by_counting_pixels():
    a, b = boxes(6, 0), boxes(5, 1)
    found = box_iou(a, b)
    for i, j in itertools.product(range(6), range(5)):
        painted = np.zeros((2, 14, 14), bool)
        for sheet, (left, top, right, bottom) in zip(painted, (a[i].astype(int), b[j].astype(int)), strict=True):
            sheet[top:bottom, left:right] = True
        assert found[i, j] == pytest.approx((painted[0] & painted[1]).sum() / (painted[0] | painted[1]).sum())


def test_matching_is_the_best_of_all():
    a, b = boxes(4, 2)[None], boxes(4, 3)[None]
    everything = np.ones((1, 4), bool)
    overlap = box_iou(a, b)[0]
    best = max(sum(overlap[i, p[i]] for i in range(4)) for p in itertools.permutations(range(4)))
    assert match(a, everything, b, everything).iou.sum() == pytest.approx(best)


@given(st.permutations(range(4)), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_the_order_of_slots_does_not_matter(order, seed):
    a, b = boxes(4, seed)[None], boxes(4, seed + 100)[None]
    there = np.random.default_rng(seed).random((1, 4)) < 0.7
    first = match(a, there, b, there)
    second = match(a, there, b[:, order], there[:, order])
    assert first.f1(0.3) == pytest.approx(second.f1(0.3))


def test_f1_by_hand():
    """Two objects; one found exactly, one missed, one invented: precision 1/2, recall 1/2."""
    true = np.array([[[0, 0, 4, 4], [6, 6, 9, 9]]])
    found = np.array([[[0, 0, 4, 4], [0, 8, 3, 11], [0, 0, 0, 0]]])
    matches = match(true, [[True, True]], found, [[True, True, False]])
    assert matches.f1(0.5) == pytest.approx(0.5)
    nothing = np.zeros((1, 2), bool)
    assert match(true, nothing, found[:, :2], nothing).f1() == 1.0


def test_classes_are_mapped_once_for_all_images():
    true = np.tile(np.array([[0, 0, 4, 4], [6, 6, 9, 9]]), (3, 1, 1))
    everything = np.ones((3, 2), bool)
    matches = match(true, everything, true, everything)
    classes = np.array([[0, 1], [0, 1], [0, 1]])
    assert object_class_accuracy(matches, classes, 7 - classes) == 1.0
    # the same cluster for both classes: one mapping serves one of them only
    assert object_class_accuracy(matches, classes, np.zeros_like(classes)) == 0.5
    missed = match(true, everything, true, everything & [[True, False]])
    assert object_class_accuracy(missed, classes, classes) == 0.5


def test_pixels_against_sklearn():
    random = np.random.default_rng(0)
    true, found = random.integers(0, 3, (4, 6, 6)), random.integers(0, 4, (4, 6, 6))
    expected = np.mean([adjusted_rand_score(a[a > 0], b[a > 0]) for a, b in zip(true, found, strict=True)])
    assert pixel_ari(true, found) == pytest.approx(expected)
    assert pixel_ari(true, true * 5) == pytest.approx(1.0)
    alone = np.minimum(true[:1], 1)  # one object, of which part is given away: not counted
    assert pixel_ari(np.concatenate((true, alone)), np.concatenate((found, found[:1]))) == pytest.approx(expected)


def test_bad_input():
    with pytest.raises(MetricError, match="differ in length"):
        count_accuracy([1, 2], [1])
    with pytest.raises(MetricError, match="left, top, right, bottom"):
        box_iou(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(MetricError, match="right is left"):
        box_iou([[3, 0, 1, 2]], [[0, 0, 1, 1]])
    with pytest.raises(MetricError, match="not finite"):
        box_iou([[np.nan, 0, 1, 2]], [[0, 0, 1, 1]])
    with pytest.raises(MetricError, match="one for each box"):
        match(np.zeros((2, 3, 4)), np.ones((2, 2)), np.zeros((2, 3, 4)), np.ones((2, 3)))
    with pytest.raises(MetricError, match="no image has two objects"):
        pixel_ari(np.zeros((2, 3, 3)), np.zeros((2, 3, 3)))
    none = match(np.zeros((1, 1, 4)), [[False]], np.zeros((1, 1, 4)), [[False]])
    with pytest.raises(MetricError, match="no true object"):
        object_class_accuracy(none, [[0]], [[0]])


class Oracle(Story):
    """Knows the truth by looking it up."""

    def __init__(self, data):
        super().__init__()
        self.parameter = torch.nn.Parameter(torch.zeros(()))
        self.truth = {bytes(x.numpy().tobytes()): i for i, x in enumerate(data["x"])}
        self.data = data

    def rows(self, x):
        return torch.tensor([self.truth[bytes(one.numpy().tobytes())] for one in x])

    def count(self, x):
        return self.data["count"][self.rows(x)]

    def locate(self, x):
        rows = self.rows(x)
        present = torch.arange(2) < self.data["count"][rows][:, None]
        classes = 9 - self.data["classes"][rows]
        return Located(self.data["boxes"][rows], present, self.data["segments"][rows].long(), classes)

    def reconstruct(self, x):
        return x

    def cluster_means(self):
        return torch.rand(10, 1, 9, 9)


def test_an_oracle_is_perfect_and_its_picture_is_drawn():
    data = load("multi-digits", scenes=40, held_out=40).test
    story = Oracle(data)
    found = evaluate(story, data, metrics=["count", "objects"])
    perfect = ("count_accuracy", "f1_iou50", "matched_iou", "pixel_ari", "class_accuracy")
    assert {key: found["metrics"][key] for key in perfect} == pytest.approx(dict.fromkeys(perfect, 1.0))
    assert 0.2 < found["baselines"]["count_accuracy"]["always " + str(int(data["count"].mode().values))] < 0.6
    assert found["baselines"]["f1_iou50"]["one box, the whole image"] < 0.1
    drawn = {maker.name: made for maker, made in draw(Answers(story, data))}
    assert {"scenes", "object-prototypes"} <= set(drawn)
    used = (9 - data["classes"][data["classes"] >= 0]).unique()
    assert len(drawn["object-prototypes"].axes) == 10 >= len(used)
