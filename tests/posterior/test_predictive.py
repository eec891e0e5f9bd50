"""Predictive checks, LOO and WAIC, the example script: on both arviz lines where they differ.

Chance failures: one uniformity test at 1e-6.
"""

from __future__ import annotations

import arviz as az
import matplotlib as mpl
import numpy as np
import pytest
import torch
from scipy.stats import kstest

from evaluation.posterior import (
    ConditionalLikelihood,
    adapter,
    figure_pareto_k,
    figure_pit,
    loo,
    marginal_score,
    pit,
    ppc,
    save_netcdf,
    tail_probabilities,
    to_inference_data,
    waic,
)
from evaluation.posterior.statistics import contrast, lit_pixels, mean_intensity
from pyro_models.errors import MetricError, OptionError
from tests.posterior.test_inference_data import FakeArviz, regression, regression_guide
from tests.posterior.toys import FactorAnalysis, Mixture

mpl.use("Agg")


@pytest.fixture(scope="module")
def idata():
    torch.manual_seed(0)
    story = FactorAnalysis()
    return to_inference_data(story, story.dream(300), draws=200)


def test_statistics_of_an_image():
    image = torch.tensor([[0.0, 1.0, 0.9, 0.1]])
    assert float(mean_intensity(image)) == pytest.approx(0.5)
    assert int(lit_pixels(image)) == 2
    assert float(contrast(image)) == pytest.approx(float(np.std([0.0, 1.0, 0.9, 0.1])))


def test_pit_of_data_from_the_model_is_uniform_under_the_prior(idata):
    values = pit(idata, "x_mean", kind="prior")
    assert values.shape == (300,)
    # Against 200 shared-model draws, exact uniformity holds per datum; data are independent.
    assert kstest(values, "uniform").pvalue > 1e-6
    assert pit(idata, "x").shape == (300, 4)
    # Ties (a count of lit pixels) are spread, not stacked.
    assert len(np.unique(pit(idata, "x_lit", kind="prior"))) == 300


def test_pit_by_hand(idata):
    predicted = idata.posterior_predictive["x_mean"].values[0]
    by_hand = (predicted < idata.observed_data["x_mean"].values).mean(0)
    np.testing.assert_allclose(pit(idata, "x_mean"), by_hand)


def test_tails_find_what_the_model_does_not_produce(idata):
    fair = tail_probabilities(idata, kind="prior")
    assert set(fair) == {"x_mean", "x_contrast", "x_lit"}
    assert all(0.001 < value < 0.999 for value in fair.values())
    story = FactorAnalysis()
    wrong = to_inference_data(story, 3 * story.dream(300), draws=100)
    assert tail_probabilities(wrong, kind="prior")["x_contrast"] < 0.001


@pytest.mark.parametrize("kind", ["posterior", "prior"])
def test_ppc_draws_in_either_arviz(idata, kind, monkeypatch):
    figure = ppc(idata, kind=kind, draws=20)
    assert len(figure.axes[0].lines) >= 2
    assert "x_mean" in (figure.axes[0].get_xlabel(), figure.axes[0].get_title())
    fake = FakeArviz()
    monkeypatch.setattr(adapter, "arviz", lambda: fake)
    monkeypatch.setattr("evaluation.posterior.predictive.arviz", lambda: fake)
    story = Mixture()
    tree = to_inference_data(story, story.dream(5), draws=30)
    assert ppc(tree, kind=kind) is not None
    name, data, options = fake.calls[-1]
    assert (name, data) == ("plot_ppc_dist", tree)
    assert options == {"var_names": "x", "group": f"{kind}_predictive", "num_samples": 30, "backend": "matplotlib"}


def test_figures_of_pit_and_k(idata):
    assert len(figure_pit(pit(idata), title="mean").axes) == 2
    assert "0.0% above" in figure_pareto_k(idata.constant_data["pareto_k"]).axes[0].get_title()
    with pytest.raises(MetricError, match="from 0 to 1"):
        figure_pit([0.2, 1.4])


# LOO, WAIC, marginal score


def elpd_and_parameters(found):
    """Of an arviz result, whose attributes are named otherwise in 1.x."""
    return (found.elpd_loo, found.p_loo) if hasattr(found, "elpd_loo") else (found.elpd, found.p)


def test_conditional_scores_warn_and_the_marginal_is_the_evidence(idata):
    with pytest.warns(ConditionalLikelihood, match="conditional on z"):
        found = loo(idata)
    assert (
        elpd_and_parameters(found)[1] > 0.5 * 300
    )  # an effective parameter for nearly every datum: what the warning is about
    with pytest.warns(ConditionalLikelihood, match="WAIC"):
        waic(idata)
    story, x = FactorAnalysis(), torch.as_tensor(idata.observed_data["x"].values)
    score = marginal_score(idata)
    assert score.elpd == pytest.approx(float(story.evidence(x).sum()), rel=1e-4)
    assert score.se == pytest.approx(float(story.evidence(x).std(correction=0)) * np.sqrt(300), rel=1e-3)


@pytest.mark.filterwarnings("error::evaluation.posterior.ConditionalLikelihood")
@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_global_posteriors_are_scored_as_arviz_does():
    torch.manual_seed(1)
    x = torch.randn(30, 2)
    y = x @ torch.tensor([1.0, -1.0]) + 0.5 * torch.randn(30)
    idata = to_inference_data((regression, regression_guide), (x, y), draws=200)
    ours = waic(idata)
    if hasattr(az, "waic"):  # arviz 1.x has none
        theirs = az.waic(idata)
        assert ours.elpd == pytest.approx(float(theirs.elpd_waic), rel=1e-6)
        assert ours.p_waic == pytest.approx(float(theirs.p_waic), rel=1e-6)
        assert ours.se == pytest.approx(float(theirs.se), rel=1e-6)
    elpd, parameters = elpd_and_parameters(loo(idata))
    assert elpd == pytest.approx(ours.elpd, abs=0.5)
    assert parameters < 5


def test_loo_of_the_new_arviz(monkeypatch):
    fake = FakeArviz()
    monkeypatch.setattr(adapter, "arviz", lambda: fake)
    monkeypatch.setattr("evaluation.posterior.information.arviz", lambda: fake)
    tree = to_inference_data((regression, regression_guide), (torch.randn(4, 2), torch.randn(4)), draws=5)
    assert loo(tree) == "loo"
    assert fake.calls[-1][2] == {"var_name": "y", "pointwise": True, "reff": 1.0}
    assert np.isfinite(waic(tree).elpd)


# The example script


def test_the_example_opens_a_file_without_this_library(tmp_path, capsys):
    from examples import arviz_from_netcdf

    story = FactorAnalysis()
    path = save_netcdf(to_inference_data(story, story.dream(10), draws=40), tmp_path / "posterior.nc")
    assert arviz_from_netcdf.main([str(path), "--figure", str(tmp_path / "f.png")]) == 0
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert "posterior_predictive" in text
    assert "z[0, 0]" in text
    assert "k-hat" in text
    with pytest.raises(SystemExit):
        arviz_from_netcdf.main([str(tmp_path / "none.nc")])
    with pytest.raises(SystemExit):
        arviz_from_netcdf.main([str(path), "--variable", "w"])
    assert "not both observed and predicted" in capsys.readouterr().err


# Bad input


def test_bad_input_is_refused(idata):
    with pytest.raises(OptionError, match="kind is 'later'"):
        pit(idata, kind="later")
    with pytest.raises(MetricError, match="'w' is not both observed and predicted"):
        ppc(idata, "w")
    with pytest.raises(MetricError, match="no variable 'w'; it has x"):
        waic(idata, "w")
    story = FactorAnalysis()
    bare = to_inference_data(story, story.dream(3), draws=1, prior_draws=0)
    with pytest.raises(MetricError, match="no group 'prior_predictive'"):
        pit(bare, kind="prior")
    with pytest.raises(MetricError, match="draws=100"), pytest.warns(ConditionalLikelihood):
        waic(bare)
