"""Frechet and kernel distances against scipy, torchmetrics, the law for Gaussians, and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from evaluation.frechet import frechet_distance, frechet_infinity, kernel_distance, real_floor
from pyro_models.errors import MetricError
from tests.metrics.case import MetricTestCase


def scipy_frechet(a, b):
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def features(random, count, dimensions, shift=0.0):
    return random.standard_normal((count, dimensions)) @ random.standard_normal((dimensions, dimensions)) + shift


class TestFrechet(MetricTestCase):
    bounds = (0.0, np.inf)
    paired = False
    finite = (0, 1)
    order = 1e-6

    def example(self, random):
        return features(random, 120, 6), features(random, 100, 6, 0.5)

    def score(self, *arrays):
        return frechet_distance(*arrays).value

    @pytest.mark.parametrize(("dimensions", "count"), [(2, 30), (16, 200), (64, 1000)])
    def test_scipy_agrees_to_nine_digits(self, dimensions, count):
        random = np.random.default_rng(dimensions)
        a, b = features(random, count, dimensions), features(random, count + 17, dimensions, 0.3)
        assert frechet_distance(a, b).value == pytest.approx(scipy_frechet(a, b), rel=1e-9)

    def test_torchmetrics_agrees(self):
        from pyro_models.vision import torchvision

        torchvision()
        from torchmetrics.image.fid import FrechetInceptionDistance

        random = np.random.default_rng(0)
        a, b = random.random((300, 1, 3, 3)), random.random((300, 1, 3, 3)) ** 2
        flat = torch.nn.Flatten()
        flat.num_features = 9
        theirs = FrechetInceptionDistance(flat, normalize=True, input_img_size=(1, 3, 3)).set_dtype(torch.float64)
        for images, real in ((a, True), (b, False)):
            theirs.update(torch.from_numpy(images), real=real)
        assert frechet_distance(a, b).value == pytest.approx(float(theirs.compute()), rel=1e-6)

    def test_one_dimension_by_hand(self):
        a, b = np.array([[0.0], [2.0]]), np.array([[3.0], [3.0], [9.0]])
        result = frechet_distance(a, b)
        assert result.mean_term == pytest.approx((1 - 5) ** 2)
        assert result.covariance_term == pytest.approx((np.sqrt(2) - np.sqrt(12)) ** 2)
        assert (result.count_a, result.count_b, result.dimensions) == (2, 3, 1)
        assert float(result) == result.value

    def test_constant_and_dependent_features_keep_precision(self):
        random = np.random.default_rng(0)
        a, b = features(random, 50, 3), features(random, 60, 3)
        wider = [np.concatenate([x, x[:, :1] + x[:, 1:2], np.ones((len(x), 2))], 1) for x in (a, b)]
        scale = np.linalg.svd(np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]]))
        turned = [x @ scale[0] * scale[1] for x in (a, b)]  # the same data in the basis of its three true dimensions
        assert frechet_distance(*wider).value == pytest.approx(frechet_distance(*turned).value, rel=1e-10)

    @settings(deadline=None, max_examples=25, derandomize=True)
    @given(st.integers(0, 10_000), st.integers(1, 5))
    def test_zero_to_itself_symmetric_and_blind_to_rotation(self, seed, dimensions):
        random = np.random.default_rng(seed)
        a, b = features(random, 20, dimensions), features(random, 25, dimensions, 1.0)
        assert frechet_distance(a, a).value <= 1e-10 * (a**2).sum()
        assert frechet_distance(a, b).value == pytest.approx(frechet_distance(b, a).value, rel=1e-9)
        turn = np.linalg.qr(random.standard_normal((dimensions, dimensions)))[0]
        moved = [x @ turn + 3.0 for x in (a, b)]
        assert frechet_distance(*moved).value == pytest.approx(frechet_distance(a, b).value, rel=1e-8)

    def test_fewer_samples_than_features_are_refused_with_the_fix(self):
        with pytest.raises(
            MetricError, match=r"features_b have 6 rows of 6 features.*at least 7 rows.*kernel_distance"
        ):
            frechet_distance(np.random.default_rng(0).random((50, 6)), np.eye(6))

    def test_features_of_two_networks_are_refused(self):
        with pytest.raises(MetricError, match="same feature network"):
            frechet_distance(np.eye(3), np.eye(4))


class TestInfinity:
    def test_removes_most_of_the_bias(self):
        random = np.random.default_rng(0)
        a, b = random.standard_normal((2, 4000, 20))
        plain, fitted = frechet_distance(a, b).value, frechet_infinity(a, b, seed=1)
        assert plain > 0.05  # the truth is 0
        assert abs(fitted.value) < 0.25 * plain
        assert fitted.sizes[0] == 1000
        assert fitted.sizes[-1] == 4000
        assert fitted.distances[0] > fitted.distances[-1] == pytest.approx(plain)
        assert 0 < fitted.standard_error < plain

    def test_keeps_a_true_difference(self):
        random = np.random.default_rng(0)
        a, b = random.standard_normal((2, 4000, 10))
        assert float(frechet_infinity(a, b + 0.5)) == pytest.approx(10 * 0.25, rel=0.06)

    @pytest.mark.parametrize(("count", "options"), [(12, {}), (100, {"smallest": 80}), (100, {"smallest": 8})])
    def test_too_few_rows_are_refused(self, count, options):
        x = np.random.default_rng(0).standard_normal((count, 8))
        with pytest.raises(MetricError, match=r"subsets from above 8 rows.*at least 18 rows"):
            frechet_infinity(x, x, **options)


class TestKernel(MetricTestCase):
    bounds = (-np.inf, np.inf)
    paired = False
    finite = (0, 1)
    order = 1e-6

    def example(self, random):
        return features(random, 120, 4), features(random, 100, 4, 0.5)

    def score(self, *arrays):
        return kernel_distance(*arrays, subsets=20, subset_size=100).value

    def test_the_order_only_chooses_the_subsets(self):
        a, b = self.arrays()
        order = np.random.default_rng(1).permutation(100)
        first, second = (kernel_distance(x, y, subset_size=50) for x, y in ((a, b), (a[order], b[order])))
        # Each is the mean of 100 subsets of half the data; six standard deviations of such a mean: below 1e-8.
        assert abs(first.value - second.value) < 6 * first.standard_deviation * (2 / 100) ** 0.5

    def test_torchmetrics_and_brute_force_agree_on_the_whole_set(self):
        from pyro_models.vision import torchvision

        torchvision()
        from torchmetrics.image.kid import poly_mmd

        random = np.random.default_rng(0)
        a, b = features(random, 30, 5), features(random, 30, 5, 0.2)
        ours = kernel_distance(a, b, subsets=1, subset_size=30)
        assert ours.value == pytest.approx(float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b))), rel=1e-9)

        def k(x, y):
            return (x @ y / 5 + 1) ** 3

        within = sum(k(s[i], s[j]) for s in (a, b) for i in range(30) for j in range(30) if i != j) / (30 * 29)
        across = sum(k(x, y) for x in a for y in b) / 900
        assert ours.value == pytest.approx(within - 2 * across, rel=1e-9)
        assert np.isnan(ours.standard_error)

    def test_unbiased_where_the_frechet_distance_is_not(self):
        random = np.random.default_rng(0)
        a, b = random.standard_normal((2, 2000, 30))
        found = kernel_distance(a, b, subsets=40, subset_size=50)
        assert abs(found.value) < 5 * found.standard_error  # 40 disjoint subsets: 2e-5 (Student's t: 1.2e-5 two-sided)
        assert found.standard_error == pytest.approx(found.standard_deviation / 40**0.5)
        assert kernel_distance(a, b + 0.5, subsets=40, subset_size=50).value > 20 * found.standard_error

    def test_overlapping_subsets_do_not_shrink_the_error(self):
        random = np.random.default_rng(0)
        found = kernel_distance(*random.standard_normal((2, 100, 3)), subsets=200, subset_size=25)
        assert found.standard_error == pytest.approx(found.standard_deviation / 2)  # 4 disjoint subsets

    def test_fewer_samples_than_features_are_fine(self):
        random = np.random.default_rng(0)
        assert np.isfinite(float(kernel_distance(*random.standard_normal((2, 10, 50)), subsets=3)))


class TestFloor:
    def test_real_against_real_is_below_real_against_other(self):
        random = np.random.default_rng(0)
        real = random.standard_normal((1000, 8))
        floor = real_floor(real)
        assert floor.count == 500
        assert 0 < floor.value < 0.1 * frechet_distance(real[:500], random.standard_normal((500, 8)) + 0.5).value
        assert floor.standard_deviation < floor.value
        assert real_floor(real) == floor
        assert real_floor(real, seed=1) != floor

    def test_any_distance(self):
        real = np.random.default_rng(0).standard_normal((200, 3))
        floor = real_floor(real, lambda a, b: float(np.abs(a.mean(0) - b.mean(0)).max()), repeats=1)
        assert 0 < floor.value < 1
        assert np.isnan(floor.standard_deviation)

    def test_too_few_are_refused(self):
        with pytest.raises(MetricError, match=r"halves of the features have 5 rows of 8"):
            real_floor(np.random.default_rng(0).random((10, 8)))
