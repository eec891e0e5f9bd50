"""What codes show by themselves: total correlation, agreement of runs (UDR), predicted moves (VP)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.disentanglement import (
    aggregate_total_correlation,
    correlations,
    total_correlation,
    udr,
    vp,
)
from pyro_models.errors import MetricError
from tests.metrics.case import MetricTestCase, grid


class TestTotalCorrelation(MetricTestCase):
    bounds = (0.0, np.inf)

    def example(self, random):
        return (random.standard_normal((200, 3)) @ random.standard_normal((3, 3)),)

    def score(self, *arrays):
        return total_correlation(*arrays)

    def test_unequal_lengths_are_refused(self):
        pass  # there is a single array

    def test_is_that_of_the_gaussian(self):
        codes = self.arrays()[0]
        expected = 0.5 * (np.log(codes.var(0, ddof=1)).sum() - np.linalg.slogdet(np.cov(codes.T))[1])
        assert total_correlation(codes) == pytest.approx(expected)

    def test_zero_infinite_and_constant(self):
        grid_codes = grid(3, 3, repeats=5)
        assert total_correlation(grid_codes) == pytest.approx(0.0, abs=1e-12)
        assert total_correlation(np.c_[grid_codes, grid_codes.sum(1)]) == np.inf
        assert total_correlation(np.c_[grid_codes, np.ones(45)]) == pytest.approx(0.0, abs=1e-12)

    def test_fewer_data_than_dimensions(self):
        with pytest.raises(MetricError, match="singular covariance; give more data"):
            total_correlation(np.random.default_rng(0).random((20, 30)))


class TestAggregate:
    def test_posteriors_far_apart_and_all_alike(self):
        means = np.arange(50.0)[:, None] * np.ones(3) * 1e3
        found = aggregate_total_correlation(means, np.ones((50, 3)))
        assert found == pytest.approx(2 * np.log(50))  # (D - 1) log N
        assert aggregate_total_correlation(np.zeros((50, 3)), np.ones((50, 3))) == pytest.approx(0.0, abs=1e-12)

    def test_that_of_a_correlated_gaussian(self):
        # q(z) = N(0, C + s^2): means drawn from N(0, C), noise s.
        covariance = np.array([[1.0, 0.8], [0.8, 1.0]])
        means = np.random.default_rng(7).multivariate_normal(np.zeros(2), covariance, 2000)
        total = covariance + 0.25 * np.eye(2)
        truth = 0.5 * (np.log(np.diag(total)).sum() - np.linalg.slogdet(total)[1])
        found = aggregate_total_correlation(means, np.full((2000, 2), 0.5))
        assert found == pytest.approx(truth, abs=0.07)  # the sd of the integrand is about 0.7: 4.5 standard errors

    def test_scales_must_be_positive(self):
        with pytest.raises(MetricError, match="smallest scale is 0"):
            aggregate_total_correlation(np.zeros((5, 2)), np.zeros((5, 2)))


def test_correlations_are_spearmans():
    random = np.random.default_rng(0)
    factors = random.integers(4, size=(200, 2)).astype(float)
    codes = np.c_[factors[:, 0] ** 3 + random.random(200), random.random(200), np.ones(200)]
    factors[:20, 1] = np.nan
    found = correlations(codes, factors)
    assert found.codes[0, 1] == pytest.approx(stats.spearmanr(codes[:, 0], codes[:, 1])[0])
    assert found.factors[0, 0] == pytest.approx(stats.spearmanr(codes[:, 0], factors[:, 0])[0])
    assert found.factors[0, 1] == pytest.approx(stats.spearmanr(codes[20:, 0], factors[20:, 1])[0])
    assert found.between_factors[0, 1] == pytest.approx(stats.spearmanr(factors[20:, 0], factors[20:, 1])[0])
    assert (found.factors[2] == 0).all()
    assert found.mean_off_diagonal == pytest.approx(abs(found.codes[0, 1]))


class TestUDR:
    def test_runs_that_agree_up_to_order_sign_and_monotone_change(self):
        random = np.random.default_rng(0)
        factors = random.standard_normal((5000, 3))
        runs = [factors, -(factors[:, [2, 0, 1]] ** 3), np.tanh(factors[:, [1, 2, 0]])]
        whitened = udr([stats.rankdata(run, axis=0) for run in runs])
        assert whitened.value > 0.9
        assert whitened.per_run.shape == (3,)
        assert udr([random.standard_normal((5000, 4)) for _ in range(3)]).value < 0.2

    @settings(deadline=None, max_examples=10, derandomize=True)
    @given(st.integers(0, 10_000))
    def test_by_the_formula(self, seed):
        random = np.random.default_rng(seed)
        a, b = random.random((60, 3)), random.random((60, 2))
        table = np.abs([[stats.spearmanr(a[:, i], b[:, j])[0] for j in range(2)] for i in range(3)])
        expected = sum(table[:, j].max() ** 2 / table[:, j].sum() for j in range(2))
        expected += sum(table[i].max() ** 2 / table[i].sum() for i in range(3))
        assert udr([a, b]).value == pytest.approx(expected / 5)

    def test_uninformative_dimensions_take_no_part(self):
        random = np.random.default_rng(0)
        factors = random.standard_normal((500, 2))
        noisy = np.c_[factors, random.standard_normal((500, 3))]
        masks = [[True, True], [True, True, False, False, False]]
        assert udr([factors, noisy], masks).value == pytest.approx(udr([factors, factors]).value)

    def test_bad_input_is_refused(self):
        codes = np.random.default_rng(0).random((30, 2))
        with pytest.raises(MetricError, match="give the codes of two or more"):
            udr([codes])
        with pytest.raises(MetricError, match=r"differ in length: run 0 30, run 1 25"):
            udr([codes, codes[:25]])
        with pytest.raises(MetricError, match="give one mask per run"):
            udr([codes, codes], [[True, True]])
        with pytest.raises(MetricError, match="an entry for each of 2 dimensions"):
            udr([codes, codes], [[True, True], [True]])
        with pytest.raises(MetricError, match="run 1 has no informative dimension"):
            udr([codes, np.ones((30, 2))])


class TestVP(MetricTestCase):
    finite = (0, 1)
    order = 0.1

    def example(self, random):
        kinds = random.integers(3, size=300)
        before = random.standard_normal((300, 6))
        return before, before + np.eye(6)[kinds] + 0.5 * random.standard_normal((300, 6)), kinds

    def score(self, *arrays):
        return vp(*arrays).value

    def test_moves_that_can_be_told_and_moves_that_cannot(self):
        random = np.random.default_rng(0)
        before, kinds = random.standard_normal((600, 4, 4)), np.arange(600) % 3
        same_everywhere = before + np.eye(16)[kinds].reshape(-1, 4, 4)
        assert vp(before, same_everywhere, kinds).value == 1.0
        found = vp(before, before + random.standard_normal(before.shape), kinds)
        assert found.value == pytest.approx(found.chance, abs=0.08)  # three splits of 540 test pairs
        assert found.chance == pytest.approx(1 / 3)
        assert found.per_transformation.shape == (3,)
        assert found.trained_on == 60

    def test_the_unit_of_the_images_does_not_matter(self):
        before, after, kinds = self.arrays()
        assert vp(before * 255, after * 255, kinds).value == pytest.approx(vp(before, after, kinds).value, abs=1e-9)

    def test_another_classifier(self):
        from sklearn.neighbors import KNeighborsClassifier

        before, after, kinds = self.arrays()
        assert vp(before, after, kinds, classifier=KNeighborsClassifier(3)).value > 0.6

    def test_bad_input_is_refused(self):
        before, after, kinds = self.arrays()
        with pytest.raises(MetricError, match="give two kinds or more"):
            vp(before, after, np.zeros(300, int))
        with pytest.raises(MetricError, match="choose a share inside"):
            vp(before, after, kinds, train_share=1.0)
