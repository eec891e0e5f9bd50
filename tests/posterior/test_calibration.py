"""Simulation-based calibration: uniform for exact guides, visibly not for others.

An exact guide's p-value is below 1e-6 with that probability: the file fails by chance with probability below 2e-5.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest

from evaluation.posterior import figure_calibration, simulation_based_calibration, uniform_band
from evaluation.posterior.calibration import Calibration
from pyro_models.errors import EstimatorError, MetricError, OptionError
from tests.posterior.toys import FactorAnalysis, Mixture, Stubborn

mpl.use("Agg")
CHANCE = 1e-6


def calibrated(width=1.0, shift=0.0, simulations=640):
    story = FactorAnalysis(width, shift)
    return simulation_based_calibration(story.model, story.guide, story.dream(100), simulations)


def test_uniform_for_an_exact_guide():
    found = calibrated()
    assert found.ranks["z"].shape == (640, 2)
    assert found.ranks["z"].min() >= 0
    assert found.ranks["z"].max() <= 63
    assert found.p_value > CHANCE
    coverage = found.coverage("z", 0.9)
    assert np.abs(coverage.observed - coverage.expected).max() < 5 * coverage.standard_error
    assert kstest((found.ranks["z"][:, 0] + 0.5) / 64, "uniform").pvalue > CHANCE


@pytest.mark.parametrize(("width", "shift", "where"), [(0.6, 0, "ends"), (1.6, 0, "middle"), (1, 0.6, "start")])
def test_visibly_not_uniform_for_a_wrong_one(width, shift, where):
    found = calibrated(width, shift)
    assert found.p_value < 1e-9
    counts = found.histogram("z")[0]
    outer, middle = counts[[0, 1, -2, -1]].mean(), counts[6:10].mean()
    if where == "ends":
        assert outer > 1.3 * middle
        assert found.coverage("z").observed.max() < 0.85
    elif where == "middle":
        assert middle > 1.3 * outer
        assert found.coverage("z").observed.min() > 0.95
    else:
        assert counts[:4].mean() > 1.5 * counts[-4:].mean()
    band = found.band(0.99)
    ecdf = found.ecdf("z")[0]
    assert bool(((ecdf < band.lower) | (ecdf > band.upper)).any())


def test_discrete_sites_rank_with_random_ties():
    story = Mixture(collapsed=False)
    found = simulation_based_calibration(story.model, story.guide, story.dream(200), 1000)
    assert set(found.ranks) == {"c", "z"}
    assert found.p_value > CHANCE


def test_pairs_that_loop_and_arguments_that_are_not_observed():
    stubborn = Stubborn()

    def model(scale, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, scale), obs=x.flatten())

    def guide(scale, x):
        with pyro.plate("data", len(x), dim=-1):
            variance = 1 / (1 + 1 / scale**2)
            pyro.sample("z", dist.Normal(variance * x.flatten() / scale**2, variance.sqrt()))

    x = torch.zeros(80, 1)
    found = simulation_based_calibration(model, guide, (torch.full((80,), 0.7), x), 640)
    assert found.p_value > CHANCE
    assert bool((x == 0).all())
    with pytest.warns(UserWarning, match="one at a time"):
        looped = simulation_based_calibration(stubborn.model, stubborn.guide, stubborn.dream(160), 160, draws=7)
    assert looped.p_value > CHANCE


def test_seeded_and_silent_about_the_callers_noise():
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    first = calibrated(simulations=100)
    torch.testing.assert_close(torch.rand(2), expected)
    second = calibrated(simulations=100)
    np.testing.assert_array_equal(first.ranks["z"], second.ranks["z"])


def test_the_band_holds_uniform_ranks_as_often_as_it_says():
    band, random = uniform_band(300, 31, 0.9), np.random.default_rng(1)
    counts = random.multinomial(300, np.full(32, 1 / 32), 20_000)
    ecdf = counts.cumsum(1)[:, :-1] / 300
    inside = ((ecdf >= band.lower) & (ecdf <= band.upper)).all(1).mean()
    # The band's own Monte Carlo error is 0.0034, this one's 0.002: five of both, and a discrete statistic.
    assert 0.88 < inside < 0.925


def test_the_p_value_is_the_chi_square_of_the_histogram():
    ranks = np.random.default_rng(0).integers(0, 64, (500, 1))
    found = Calibration({"z": ranks}, 63)
    counts = np.histogram(ranks, np.arange(0, 65, 4))[0]
    np.testing.assert_array_equal(found.histogram("z")[0], counts)
    expected = 500 / 16
    statistic = ((counts - expected) ** 2 / expected).sum()
    below = torch.special.gammainc(torch.tensor(15 / 2, dtype=torch.float64), torch.tensor(statistic / 2))
    assert found.p_values("z")[0] == pytest.approx(1 - float(below), abs=1e-6)


def test_the_figure_shows_each_coordinate():
    figure = figure_calibration(calibrated(simulations=100))
    assert len(figure.axes) == 4
    assert "z[0]" in figure.axes[0].get_title()


def test_bad_input_is_refused():
    story = FactorAnalysis()
    x = story.dream(5)
    with pytest.raises(OptionError, match="simulations=0"):
        simulation_based_calibration(story.model, story.guide, x, 0)
    with pytest.raises(MetricError, match="no equal bins"):
        _ = simulation_based_calibration(story.model, story.guide, x, 5).p_value
    found = simulation_based_calibration(story.model, story.guide, x, 100)
    with pytest.raises(MetricError, match="no site 'w' was ranked; there are z"):
        found.histogram("w")
    with pytest.raises(OptionError, match=r"level is 1\.5"):
        found.coverage("z", 1.5)
    with pytest.raises(OptionError, match="level is 0"):
        found.band(0)
    mixture = Mixture()

    def only_c(x):
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Categorical(mixture.weights))
            pyro.sample("x", dist.Normal(mixture.means[c], 1.0), obs=x)

    with pytest.raises(EstimatorError, match="samples nothing"):
        simulation_based_calibration(only_c, lambda x: None, torch.zeros(4))

    def transformed(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ story.loading.T, 1.0).to_event(1), obs=2 * x)

    with pytest.raises(EstimatorError, match="cannot tell which argument"):
        simulation_based_calibration(transformed, story.guide, x)
