"""k-hat of the guide: against arviz, and against what is known of Gaussian guides.

For a Gaussian guide of width w (in units of the posterior's standard deviation) the weights have a tail of shape
1 - w^2: their moment of order r is finite if and only if r (1 - w^2) < 1.
"""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.likelihood import log_weights
from evaluation.posterior import pareto_k, pareto_report
from pyro_models.errors import MetricError
from tests.posterior.toys import FactorAnalysis


def k_of(width, shift=0.0, particles=4000, data=8):
    story = FactorAnalysis(width, shift)
    return pareto_k(log_weights(story.model, story.guide, story.dream(data), particles))


@pytest.mark.skipif(not hasattr(az, "psislw"), reason="arviz 1.x has no psislw to compare with")
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), count=st.integers(30, 2000), spread=st.floats(0.05, 6.0))
def test_same_numbers_as_arviz(seed, count, spread):
    weights = spread * np.random.default_rng(seed).standard_normal((count, 3)) ** 3
    theirs = az.psislw(weights.T.copy())[1]
    np.testing.assert_allclose(pareto_k(torch.as_tensor(weights)), theirs, atol=1e-8)


def test_small_for_the_exact_guide_and_large_for_a_bad_one():
    assert bool((k_of(1.0) == -torch.inf).all())
    assert float(k_of(1.2).max()) < 0.5  # too wide is harmless
    assert float(k_of(0.3).median()) > 0.7  # in truth 0.91
    assert float(k_of(1.0, shift=4.0).median()) > 0.5  # four standard deviations off
    widths = [float(k_of(width).median()) for width in (1.1, 0.8, 0.5, 0.25)]
    assert widths == sorted(widths)


def test_one_weight_that_is_everything():
    weights = torch.full((200, 1), -1e4)
    weights[0] = 0
    assert float(pareto_k(weights)) == torch.inf


def test_the_report_says_what_to_do():
    report = pareto_report(torch.tensor([-torch.inf, 0.1, 0.6, 0.9, 2.0]), particles=100)
    assert (report.good, report.too_few_draws, report.bad) == (2, 1, 2)
    assert report.median == pytest.approx(0.6)
    assert "2 of 5 data" in report.text
    assert "take more than 100 draws" in report.text
    assert "richer guide" in report.text
    assert "richer" not in pareto_report(torch.tensor([0.1]), 1000).text


def test_bad_input_is_refused():
    with pytest.raises(MetricError, match="24 particles are too few, take 25"):
        pareto_k(torch.zeros(24, 3))
    with pytest.raises(MetricError, match=r"give \[particle, batch\]"):
        pareto_k(torch.zeros(50))
    with pytest.raises(MetricError, match="NaN"):
        pareto_k(torch.full((50, 2), torch.nan))
    with pytest.raises(MetricError, match="no k-hat"):
        pareto_report(torch.zeros(0), 100)
