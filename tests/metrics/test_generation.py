"""Precision, recall, density, coverage, Inception score: brute force, expected values, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import generation
from evaluation.generation import density_coverage, inception_score, precision_recall
from pyro_models.errors import MetricError
from tests.metrics.case import MetricTestCase


def brute_force(real, generated, k):
    """The published definitions, one pair of data at a time."""

    def radius(points, position):
        return np.sort(np.linalg.norm(points - points[position], axis=1))[k]

    def covers(points, others):
        return np.array([[np.linalg.norm(o - p) <= radius(points, i) for o in others] for i, p in enumerate(points)])

    inside_real, inside_generated = covers(real, generated), covers(generated, real)
    return {
        "precision": inside_real.any(0).mean(),
        "recall": inside_generated.any(0).mean(),
        "density": inside_real.sum() / (k * len(generated)),
        "coverage": inside_real.any(1).mean(),
    }


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(8, 25), st.integers(8, 25))
def test_by_brute_force(seed, k, count, made):
    random = np.random.default_rng(seed)
    real, generated = random.standard_normal((count, 2)), 0.8 * random.standard_normal((made, 2)) + 0.3
    expected = brute_force(real, generated, k)
    found = precision_recall(real, generated, k) | density_coverage(real, generated, k)
    assert found == pytest.approx(expected)


def test_blocks_change_nothing(monkeypatch):
    random = np.random.default_rng(0)
    real, generated = random.standard_normal((2, 50, 3))
    whole = precision_recall(real, generated) | density_coverage(real, generated)
    monkeypatch.setattr(generation, "ROWS", 7)
    assert precision_recall(real, generated) | density_coverage(real, generated) == whole


def test_equal_distributions_reach_the_expected_values():
    random = np.random.default_rng(0)
    real, generated = random.standard_normal((2, 2000, 8))
    found = density_coverage(real, generated, 5)
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert found["density"] == pytest.approx(1.0, abs=0.06)


def test_fidelity_and_variety_are_told_apart():
    random = np.random.default_rng(0)
    real = np.concatenate([random.standard_normal((300, 4)) + shift for shift in (0, 20)])
    narrow = random.standard_normal((600, 4))  # one of two modes, perfectly
    wide = np.concatenate([real + 0.01 * random.standard_normal(real.shape), random.standard_normal((600, 4)) * 200])
    scores = precision_recall(real, narrow) | density_coverage(real, narrow)
    assert scores["precision"] > 0.9
    assert scores["recall"] == pytest.approx(0.5, abs=0.06)
    assert scores["coverage"] == pytest.approx(0.5, abs=0.05)
    scores = precision_recall(real, wide)
    assert scores["precision"] == pytest.approx(0.5, abs=0.05)
    assert scores["recall"] > 0.95


def test_an_outlier_lifts_precision_and_not_density():
    random = np.random.default_rng(0)
    real = random.standard_normal((500, 2))
    made = random.standard_normal((500, 2)) + 15
    outlier = np.concatenate([real, [[15.0, 15.0]]])
    assert precision_recall(real, made)["precision"] == 0.0
    assert precision_recall(outlier, made)["precision"] > 0.9
    assert density_coverage(outlier, made)["density"] < 0.25


def test_a_copy_of_the_data_is_inside():
    real = np.random.default_rng(0).standard_normal((100, 3)) * 1e-3 + 1e3  # far from zero: round-off must not matter
    assert precision_recall(real, real) == {"precision": 1.0, "recall": 1.0}
    assert density_coverage(real, real)["coverage"] == 1.0


class TestPrecision(MetricTestCase):
    paired = False
    finite = (0, 1)

    def example(self, random):
        return random.standard_normal((80, 4)), random.standard_normal((60, 4)) + 0.5

    def score(self, *arrays):
        return precision_recall(*arrays)["precision"]

    def test_too_few_for_the_neighbours(self):
        with pytest.raises(MetricError, match=r"3 generated data, but 3 neighbours need 4 or more"):
            precision_recall(np.random.default_rng(0).random((9, 2)), np.eye(3)[:, :2])

    def test_two_networks(self):
        with pytest.raises(MetricError, match="same feature network"):
            precision_recall(np.eye(9), np.eye(9)[:, :4])


class TestInceptionScore(MetricTestCase):
    bounds = (1.0, 4.0)

    def example(self, random):
        return (random.dirichlet([0.3] * 4, size=200),)

    def score(self, *arrays):
        return inception_score(*arrays).value

    def test_unequal_lengths_are_refused(self):
        pass  # there is a single array

    def test_ends_and_a_case_by_hand(self):
        assert inception_score(np.eye(5)[np.arange(100) % 5]).value == pytest.approx(5)
        assert inception_score(np.full((10, 5), 0.2)).value == pytest.approx(1)
        assert inception_score(np.eye(5)[np.zeros(10, int)]).value == pytest.approx(1)
        p = np.array([[0.9, 0.1], [0.3, 0.7]])
        divergence = np.mean([(row * np.log(row / p.mean(0))).sum() for row in p])
        assert inception_score(p).value == pytest.approx(np.exp(divergence))

    def test_torchmetrics_agrees(self):
        from pyro_models.vision import torchvision

        torchvision()
        import torch
        from torchmetrics.image.inception import InceptionScore

        p = self.arrays()[0]

        class Logits(torch.nn.Module):
            def forward(self, images):
                return torch.from_numpy(p).log().clamp(min=-80)

        theirs = InceptionScore(Logits(), splits=1)
        theirs.update(torch.zeros(200, 3, 4, 4, dtype=torch.uint8))
        assert inception_score(p).value == pytest.approx(float(theirs.compute()[0]), rel=1e-5)

    def test_parts(self):
        p = self.arrays()[0]
        found = inception_score(p, splits=4)
        assert found.value < inception_score(p).value
        assert found.standard_deviation > 0
        with pytest.raises(MetricError, match="choose fewer splits"):
            inception_score(p, splits=300)

    def test_logits_are_refused(self):
        with pytest.raises(MetricError, match=r"are no probabilities.*softmax"):
            inception_score(np.random.default_rng(0).standard_normal((9, 3)))
