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
    SCORES,
    aggregate_total_correlation,
    beta_vae,
    bootstrap_intervals,
    correlations,
    dci,
    disentanglement,
    disentanglement_completeness,
    factor_vae,
    irs,
    mig,
    modularity,
    random_codes,
    sap,
    total_correlation,
    udr,
    vp,
)
from evaluation.disentanglement.modularity import area_under_roc
from pyro_models.errors import MetricError, UnknownName
from tests.metrics.case import COUNT, CodesTestCase, MetricTestCase, grid_factors, mixed_codes, perfect_codes


def grid(*levels: int, repeats: int = 1) -> np.ndarray:
    """Every combination of values, so that factors are exactly independent."""
    return np.array(list(itertools.product(*map(range, levels))) * repeats, float)


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


class TestSuite:
    def test_is_its_parts(self):
        random = np.random.default_rng(0)
        factors = grid_factors(random, 600)
        codes = mixed_codes(factors, random)[:, :3]
        found = disentanglement(codes, factors)
        assert found["mig"] == mig(codes, factors).value
        assert found["dci_completeness"] == dci(codes, factors).completeness
        assert found["explicitness"] == modularity(codes, factors).explicitness
        assert found["total_correlation"] == total_correlation(codes)
        assert set(disentanglement(codes, factors, metrics=["sap", "irs"])) == {"sap", "irs"}
        assert len(found) == 12

    def test_perfect_over_mixed_over_noise(self):
        random = np.random.default_rng(0)
        factors = grid_factors(random)
        names = ["factor_vae", "mig", "dci", "sap", "modularity", "irs"]
        perfect, mixed, noise = (
            disentanglement(codes, factors, metrics=names)
            for codes in (perfect_codes(factors, random), mixed_codes(factors, random), random_codes(factors, 4))
        )
        for name in ("factor_vae", "mig", "dci_disentanglement", "dci_completeness", "sap", "modularity", "irs"):
            assert perfect[name] > mixed[name] + 0.3, name
            assert perfect[name] > noise[name] + 0.5, name
        assert perfect["dci_informativeness"] > mixed["dci_informativeness"] > noise["dci_informativeness"] + 0.3

    def test_kinds_are_found_once_or_said(self):
        random = np.random.default_rng(0)
        factors = np.c_[random.random(300), random.integers(4, size=300)]
        codes = factors + 0.01 * random.standard_normal((300, 2))
        said = disentanglement(codes, factors, ["continuous", "discrete"], metrics=["sap", "mig"])
        assert said == disentanglement(codes, factors, metrics=["sap", "mig"])
        assert said != disentanglement(codes, factors, ["continuous", "continuous"], metrics=["sap", "mig"])

    def test_bad_input_is_refused(self):
        random = np.random.default_rng(0)
        factors, codes = grid_factors(random, 100), random.random((100, 2))
        with pytest.raises(UnknownName, match="mig"):
            disentanglement(codes, factors, metrics=["migg"])
        with pytest.raises(MetricError, match="hold infinity; use NaN"):
            disentanglement(codes, np.where(factors == 4, np.inf, factors))
        with pytest.raises(MetricError, match=r"a column per factor .*number the classes"):
            disentanglement(codes, factors.astype(str))
        with pytest.raises(MetricError, match="give 'discrete' or 'continuous' for each"):
            disentanglement(codes, factors, ["discrete"])
        with pytest.raises(MetricError, match="every code dimension is constant"):
            disentanglement(np.ones((100, 2)), factors, metrics=["dci"])
        with pytest.raises(MetricError, match=r"known for 5 data .* leave out"):
            disentanglement(codes, np.c_[factors, np.where(np.arange(100) < 5, factors[:, 0], np.nan)])

    @pytest.mark.parametrize("name", sorted(set(SCORES) - {"dci", "sap", "mig", "irs", "correlation"}))
    def test_a_single_factor_is_refused_where_factors_are_compared(self, name):
        random = np.random.default_rng(0)
        factors = grid_factors(random, 100)[:, :1]
        with pytest.raises(MetricError, match="two factors or more"):
            disentanglement(random.random((100, 2)), factors, metrics=[name])


class TestBootstrap:
    def test_the_error_of_a_mean_is_known(self):
        values = np.random.default_rng(0).standard_normal(400)
        found = bootstrap_intervals(lambda x: float(x.mean()), values, resamples=400)["value"]
        assert found.standard_error == pytest.approx(values.std(ddof=1) / 20, rel=0.15)  # 4 sd of a spread of 400
        assert found.value == pytest.approx(values.mean())
        reach = stats.t.ppf(0.975, 399) * found.standard_error
        assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach))

    def test_intervals_of_mig_hold_its_value_at_many_data(self):
        random = np.random.default_rng(1)
        factors = grid_factors(random, 40_000)
        codes = factors + 1.5 * random.standard_normal(factors.shape)
        truth = mig(codes, factors).value
        some = bootstrap_intervals(lambda c, f: mig(c, f), codes[:COUNT], factors[:COUNT], level=0.9999)["value"]
        assert some.low < truth < some.high

    def test_bad_input_is_refused(self):
        with pytest.raises(MetricError, match="lies between 0 and 1"):
            bootstrap_intervals(np.mean, np.ones(9), level=95)
        with pytest.raises(MetricError, match="give the arrays"):
            bootstrap_intervals(np.mean)
        with pytest.raises(MetricError, match="differ in length"):
            bootstrap_intervals(lambda a, b: 0.0, np.ones(9), np.ones(8))
