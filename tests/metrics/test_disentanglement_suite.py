"""All disentanglement scores at once: names, kinds of factors, bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation.disentanglement import (
    SCORES,
    bootstrap_intervals,
    dci,
    disentanglement,
    mig,
    modularity,
    random_codes,
    total_correlation,
)
from pyro_models.errors import MetricError, UnknownName
from tests.metrics.case import COUNT, grid_factors, mixed_codes, perfect_codes


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
