"""Disentanglement scores: inherited cases, their published formulas by hand, and independent implementations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mutual_info_score, roc_auc_score

from evaluation.disentanglement import (
    beta_vae,
    dci,
    disentanglement_completeness,
    factor_vae,
    irs,
    mig,
    modularity,
    sap,
)
from evaluation.disentanglement.modularity import area_under_roc
from pyro_models.errors import MetricError
from tests.metrics.case import CodesTestCase, grid, grid_factors, perfect_codes


class TestMIG(CodesTestCase):
    def score(self, *arrays):
        return mig(*arrays).value

    def test_information_is_that_of_scikit_learn(self):
        random = np.random.default_rng(0)
        codes, factors = random.standard_normal((500, 3)), random.integers(4, size=(500, 2)).astype(float)
        codes[:, 0] += factors[:, 1]
        found = mig(codes, factors, bins=10)
        for j, k in itertools.product(range(3), range(2)):
            column = codes[:, j]
            bins = np.digitize(column, np.linspace(column.min(), column.max(), 11)[1:-1])
            assert found.information[j, k] == pytest.approx(mutual_info_score(bins, factors[:, k]), abs=1e-9)
        entropies = [stats.entropy(np.bincount(factors[:, k].astype(int))) for k in range(2)]
        gaps = [np.diff(np.sort(found.information[:, k])[-2:])[0] / entropies[k] for k in range(2)]
        assert found.value == pytest.approx(np.mean(gaps))

    def test_by_hand(self):
        # Two binary factors on a grid; one code is the first factor, the other says whether both are 1 (AND).
        factors = grid(2, 2, repeats=10)
        codes = np.stack([factors[:, 0], factors.prod(1)], 1)
        shared = stats.entropy([0.25, 0.75]) - 0.5 * np.log(2)  # H(AND) - H(AND | factor)
        assert mig(codes, factors).per_factor == pytest.approx([(np.log(2) - shared) / np.log(2), shared / np.log(2)])

    def test_one_dimension_is_refused(self):
        with pytest.raises(MetricError, match="give codes of two or more"):
            mig(np.arange(40.0), grid(2, 2, repeats=10))


class TestSAP(CodesTestCase):
    order = 0.05  # another test part
    axes = 0.02  # thresholds lie between training values, on either side

    def score(self, *arrays):
        return sap(*arrays).value

    def test_continuous_scores_are_squared_correlations(self):
        random = np.random.default_rng(0)
        factors = random.random((300, 2))
        codes = np.concatenate([factors @ random.random((2, 2)), random.random((300, 1))], 1)
        found = sap(codes, factors)
        theirs = np.corrcoef(codes.T, factors.T)[:3, 3:] ** 2
        np.testing.assert_allclose(found.scores, theirs, rtol=1e-9)
        assert found.value == pytest.approx(np.mean(np.diff(np.sort(theirs, axis=0)[-2:], axis=0)))

    def test_balanced_accuracy_of_a_threshold(self):
        # Nine in ten data are of class 0; a dimension that says so for all has no score.
        factors = np.repeat([[0.0, 1.0], [1.0, 0.0]], [180, 20], axis=0)
        codes = np.stack([np.repeat([0.0, 1.0], [180, 20]), np.tile([0.0, 1.0], 100)], 1)
        found = sap(codes, factors, seed=1)
        assert found.scores[0].tolist() == [1.0, 1.0]
        assert (found.scores[1] < 0.4).all()  # 40 test data, 4 of the rare class


class TestDCIDisentanglement(CodesTestCase):
    order = 0.03
    axes = 0.03
    mixed = 0.1

    def score(self, *arrays):
        return dci(*arrays).disentanglement


class TestDCICompleteness(TestDCIDisentanglement):
    def score(self, *arrays):
        return dci(*arrays).completeness


class TestDCIInformativeness(CodesTestCase):
    order = 0.03
    axes = 0.03
    mixed = 1.0  # a rotation keeps the information
    perfect = 0.95

    def score(self, *arrays):
        return dci(*arrays).informativeness


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 5))
def test_disentanglement_and_completeness_by_their_formulas(seed, dimensions, count):
    table = np.random.default_rng(seed).random((dimensions, count)) ** 3
    rows = [1 - stats.entropy(row, base=count) for row in table]
    columns = [1 - stats.entropy(column, base=dimensions) for column in table.T]
    found = disentanglement_completeness(table)
    assert found[0] == pytest.approx(np.average(rows, weights=table.sum(1)))
    assert found[1] == pytest.approx(np.average(columns, weights=table.sum(0)))


def test_disentanglement_and_completeness_at_their_ends():
    assert disentanglement_completeness(np.eye(4)[[2, 0, 3, 1]]) == (1.0, 1.0)
    assert disentanglement_completeness(np.ones((3, 5))) == pytest.approx((0.0, 0.0), abs=1e-12)
    # Every factor in two dimensions of its own: disentangled, not complete.
    assert disentanglement_completeness(np.repeat(np.eye(3), 2, axis=0)) == pytest.approx(
        (1.0, 1 - np.log(2) / np.log(6))
    )
    with pytest.raises(MetricError, match="must not be negative"):
        disentanglement_completeness([[1.0, -1.0]])


def test_informativeness_is_what_a_tree_can_know():
    # The code tells the factor for half of the data and nothing for the rest: of 5 values half + 1/5 of half are right.
    random = np.random.default_rng(0)
    factors = grid_factors(random, 8000)[:, :2]
    told = random.random(8000) < 0.5
    codes = np.stack([np.where(told, factors[:, 0], -1.0), factors[:, 1]], 1)
    informative = dci(codes, factors).informative
    accuracy, guess = 0.5 + 0.5 / 5, 1 / 5
    assert informative[1] == pytest.approx(1.0)
    assert informative[0] == pytest.approx((accuracy - guess) / (1 - guess), abs=0.06)  # 1600 test data: 4 sd


class TestModularity(CodesTestCase):
    mixed = 0.35  # equal entries of the table are equal up to the noise of 2000 data, and the largest is compared

    def score(self, *arrays):
        return modularity(*arrays).modularity

    def test_by_hand(self):
        # Codes: factor 0; both factors to equal parts; nothing.
        factors = grid(4, 4, repeats=60)
        noise = np.repeat([0.0, 1.0], 480)
        codes = np.stack([factors[:, 0], factors[:, 0] * 4 + factors[:, 1], noise], 1)
        found = modularity(codes, factors)
        assert found.per_code[:2] == pytest.approx([1.0, 0.0])
        assert found.modularity == pytest.approx(0.5)


class TestExplicitness(CodesTestCase):
    order = 0.05
    axes = 1e-6
    perfect = 0.7  # the middle values of an ordered factor are not linearly apart from both sides
    mixed = 1.0
    noise = 0.6

    def score(self, *arrays):
        return modularity(*arrays).explicitness

    def test_one_hot_codes_are_fully_explicit(self):
        factors = grid(3, 4, repeats=20)
        codes = np.concatenate([np.eye(3)[factors[:, 0].astype(int)], np.eye(4)[factors[:, 1].astype(int)]], 1)
        assert modularity(codes, factors).explicitness == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_area_under_roc_is_that_of_scikit_learn(pairs):
    scores, right = map(np.array, zip(*pairs, strict=True))
    if right.all() or not right.any():
        assert np.isnan(area_under_roc(scores, right))
    else:
        assert area_under_roc(scores, right) == pytest.approx(roc_auc_score(right, scores))


class TestIRS(CodesTestCase):
    perfect = 0.9
    mixed = 0.3

    def score(self, *arrays):
        return irs(*arrays).value

    def test_by_loops(self):
        random = np.random.default_rng(2)
        factors = random.integers(3, size=(300, 2)).astype(float)
        codes = np.stack([factors[:, 0] + 0.1 * random.random(300), factors.sum(1) + 0.1 * random.random(300)], 1)
        robustness, weights = np.zeros((2, 2)), np.zeros(2)
        for j in range(2):
            weights[j] = np.abs(codes[:, j] - codes[:, j].mean()).max()
            for k in range(2):
                for value in range(3):
                    inside = codes[factors[:, k] == value, j]
                    robustness[j, k] += len(inside) / 300 * np.abs(inside - inside.mean()).max()
                robustness[j, k] = max(0, 1 - robustness[j, k] / weights[j])
        found = irs(codes, factors, quantile=1.0)
        np.testing.assert_allclose(found.robustness, robustness)
        assert found.value == pytest.approx(np.average(robustness.max(1), weights=weights))


class TestBetaVAE(CodesTestCase):
    order = 0.05
    axes = 0.05
    mixed = 1.0  # a linear classifier undoes a rotation
    noise = 0.35
    constant = 0.02
    perfect = 0.98

    def score(self, *arrays):
        return beta_vae(*arrays).value


class TestFactorVAE(CodesTestCase):
    order = 0.08
    axes = 0.05
    mixed = 0.45
    noise = 0.35
    perfect = 0.98

    def score(self, *arrays):
        return factor_vae(*arrays).value

    def test_agrees_with_the_published_algorithm_in_loops(self):
        random = np.random.default_rng(0)
        factors = grid_factors(random)[:, :3]
        codes = perfect_codes(factors, random) @ np.array([[1, 0.6, 0], [0, 1, 0.6], [0.9, 0, 1]])
        votes, spread = np.zeros((3, 3), int), codes.var(0)
        for _ in range(4000):
            k = random.integers(3)
            rows = np.flatnonzero(factors[:, k] == random.integers(5))
            votes[(codes[random.choice(rows, 32)].var(0) / spread).argmin(), k] += 1
        # Both are means over votes: 4.3 standard errors, fails by chance once in 60 000.
        error = (0.25 / 4000 + 0.25 / 4000) ** 0.5
        found = factor_vae(codes, factors, group=32, test=4000).value
        assert found == pytest.approx(votes.max(1).sum() / 4000, abs=4.3 * error)
