"""Measures of conditional distributions against perfect forecasts and independent references; training together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from evaluation import conditional as measured
from evaluation.posterior import to_inference_data
from inference import fit
from inference.together import fit_together
from pyro_models.conditional import exact
from pyro_models.conditional.cvae import CVAE
from pyro_models.conditional.joint import JointCVAE
from pyro_models.datasets import load
from pyro_models.datasets.data import Data
from pyro_models.errors import MetricError, OptionError
from tests.conditional.rows import tied_to


def forecasts(draws: int, rows: int, wide: float = 1.0):
    """Truth and draws from N(0, [[1, .8], [.8, 1]]), the draws ``wide`` times as wide; the third column is given."""
    generator = torch.Generator().manual_seed(0)
    law = exact.autoregressive(2)
    x = law.draw(rows * (draws + 1), generator).reshape(draws + 1, rows, 2)
    x = torch.cat([x, torch.zeros(draws + 1, rows, 1)], -1)
    hidden = torch.tensor([True, True, False]).expand(rows, 3)
    return wide * x[1:], x[0], hidden


def test_perfect_draws_cover_exactly():
    draws, truth, hidden = forecasts(99, 20_000)
    found = measured.coverage(measured.region_ranks(draws, truth, hidden))
    for level, share in found.items():
        # 4.5 standard errors: fails with probability 7e-6
        assert abs(share - level) < 4.5 * math.sqrt(level * (1 - level) / 20_000)


@pytest.mark.parametrize(("wide", "side"), [(0.7, -1), (1.4, 1)])
def test_narrow_draws_cover_too_little_and_wide_ones_too_much(wide, side):
    draws, truth, hidden = forecasts(99, 4000, wide)
    found = measured.coverage(measured.region_ranks(draws, truth, hidden))
    assert side * (found[0.5] - 0.5) > 0.05
    assert measured.uniformity(measured.pit(draws, truth, hidden)) > 0.03


def test_pit_of_perfect_draws_is_uniform():
    draws, truth, hidden = forecasts(99, 10_000)
    values = measured.pit(draws[..., :1], truth[:, :1], hidden[:, :1])
    reference = stats.kstest(values.numpy(), "uniform")
    assert measured.uniformity(values) == pytest.approx(reference.statistic)
    assert reference.pvalue > 1e-4


def test_crps_of_a_normal_forecast():
    draws, truth, hidden = forecasts(200, 20_000)
    assert measured.crps(draws, truth, hidden) == pytest.approx(1 / math.sqrt(math.pi), rel=0.02)
    given = np.array([False, True])
    law = exact.autoregressive(2)
    assert measured.gaussian_crps(law, given) == pytest.approx(0.6 / math.sqrt(math.pi))


def test_crps_equals_the_double_sum():
    generator = torch.Generator().manual_seed(2)
    draws, truth = torch.randn(7, 3, 2, generator=generator).double(), torch.randn(3, 2, generator=generator).double()
    pairs = (draws[:, None] - draws[None]).abs().sum((0, 1)) / (7 * 6)
    by_hand = ((draws - truth).abs().mean(0) - 0.5 * pairs).mean()
    assert measured.crps(draws, truth, torch.ones(3, 2, dtype=torch.bool)) == pytest.approx(by_hand.item())


def test_nrmse_of_the_mean_is_one():
    x = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1])
    hidden = torch.rand(5000, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    assert measured.nrmse(x.mean(0).expand_as(x), x, hidden) == pytest.approx(1.0, abs=0.03)
    assert measured.nrmse(x, x, hidden) == 0.0


def test_arrays_that_do_not_belong_together_are_refused():
    draws, truth, hidden = forecasts(3, 10)
    for call in (measured.region_ranks, measured.pit, measured.crps):
        with pytest.raises(MetricError, match="do not belong together"):
            call(draws[:, :5], truth, hidden)


@pytest.fixture(scope="module")
def linear():
    """A story with the exact answer for AR(1) at fixed scale sqrt(beta / 2), beta = .1: all variances are above it."""
    law, story = exact.autoregressive(4), JointCVAE((4,), hidden=())
    values, vectors = np.linalg.eigh(law.covariance)
    with torch.no_grad():
        story.path.loading.copy_(torch.from_numpy(vectors * np.sqrt(values - 0.05)))
        story.path.log_scale.fill_(0.5 * math.log(0.05))
    cvae = CVAE((4,), hidden=())
    cvae.path = story.path
    return law, cvae.eval()


def test_rates_of_the_exact_model_are_water_filling(linear):
    law, story = linear
    x = law.draw(20_000, torch.Generator().manual_seed(0))
    for mask in (np.zeros(4, bool), np.array([True, False, False, False]), np.array([True, False, True, False])):
        best = exact.water_filling(law.eigenvalues(mask), 0.1)
        found = measured.latent_rates(story, x, torch.from_numpy(mask))
        # the mean square of 20000 standard normals is known to .01 (4.5 standard errors of sqrt(2 / n) / 2: .0225)
        assert found[: best.active].numpy() == pytest.approx(best.rates, abs=0.0225)
        assert found[best.active :].abs().max() < 1e-3 if best.active < 4 else True
        point = measured.information_point(story, x, torch.from_numpy(mask), 0.1)
        assert point.loss == pytest.approx(best.loss, abs=0.02)
        assert point.distortion == pytest.approx(best.distortion, abs=0.01)


def test_the_greedy_order_of_the_exact_model_is_the_analytic_one(linear):
    law, story = linear
    x = law.draw(4000, torch.Generator().manual_seed(0))
    order = measured.greedy_order(story, x, 0.1)
    losses = [loss for _, loss in exact.greedy_order(law, 0.1)]
    assert [loss for _, loss in order] == pytest.approx(losses, abs=0.02)


def test_gaps_of_the_exact_model_are_zero_and_of_a_wrong_one_are_not(linear):
    law, story = linear
    gaps = measured.mask_gaps(story, law, rows=500)
    assert np.abs(gaps.gaps).max() < 1e-4
    wrong = measured.mask_gaps(story, exact.independent(4), rows=500)
    assert wrong.mean > 0.1


def test_posterior_predictive_of_hidden_values(linear, tmp_path):
    """Draws of hidden coordinates through ArviZ have the exact conditional mean and spread; the truth is not read."""
    law, story = linear
    x = law.draw(200, torch.Generator().manual_seed(0))
    given = torch.tensor([True, False, True, False]).expand_as(x).contiguous()
    idata = to_inference_data(story, (x, given, given), draws=400, prior_draws=0)
    drawn = idata.posterior_predictive["x"].values[0]
    assert np.allclose(drawn[:, :, 0], x[:, 0])
    mean, variance = law.conditional_mean(x, given[0].numpy()), np.diag(law.conditional(given[0].numpy())[1])
    off = (drawn.mean(0) - mean)[:, [1, 3]] / np.sqrt(variance / 400)
    assert np.abs(off).max() < 5.0  # 400 values; fails with probability 2e-4 x 1e-3
    assert (drawn.var(0)[:, [1, 3]].mean(0) / variance) == pytest.approx([1, 1], rel=0.05)
    constants = idata.constant_data
    assert constants["given"].values.dtype == bool
    assert constants["given"].values[:, 0].all()
    assert idata.observed_data["x"].shape == (200, 4)
    idata.to_netcdf(str(tmp_path / "hidden.nc"))


def test_training_together_is_training_apart():
    """Without sampled masks and noise to tell them apart, the stacked computation takes the very same steps."""
    law, made = exact.autoregressive(3), {}
    x = law.draw(512, torch.Generator().manual_seed(0))
    for together in (True, False):
        stories = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            stories.append(CVAE((3,), hidden=(), masks="nothing", standardise=False))
        if together:
            fit_together(
                stories, [Data({"x": x})] * 2, steps=300, batch_size=128, learning_rate=1e-2, schedule="cosine"
            )
        else:
            for story in stories:
                fit(story, {"x": x}, steps=300, batch_size=128, learning_rate=1e-2, schedule="cosine", progress=False)
        nothing = np.zeros((1, 3), bool)
        made[together] = [measured.mask_gaps(story, law, nothing, rows=4000).mean for story in stories]
    # Not the same noise, but the same place: both within a hundredth of a nat of the truth.
    assert made[True] == pytest.approx(made[False], abs=0.02)
    assert max(made[True]) < 0.03


def test_training_together_leaves_every_story_its_own():
    laws = [exact.independent(2), exact.autoregressive(2, 0.95)]
    stories = [CVAE((2,), hidden=(8,)) for _ in laws]
    data = [Data({"x": law.draw(4000, torch.Generator().manual_seed(0))}) for law in laws]
    losses = fit_together(stories, data, steps=400, batch_size=128, learning_rate=2e-2)
    assert losses[1] < losses[0] - 0.3
    assert (
        measured.mask_gaps(stories[1], laws[1], rows=500).mean < measured.mask_gaps(stories[0], laws[1], rows=500).mean
    )
    with pytest.raises(OptionError, match="one set per story"):
        fit_together(stories, data[:1], steps=1)
    with pytest.raises(OptionError, match="same shapes"):
        fit_together([*stories, CVAE((3,), hidden=(8,))], [*data, data[0]], steps=1)


def test_tied_to_puts_the_law_into_the_path():
    law, story = exact.correlated(3, 1), CVAE((3,), hidden=())
    tied_to(law, story, story.path)
    covariance = story.path.loading @ story.path.loading.T + (2 * story.path.log_scale).exp().diag()
    assert covariance.detach().numpy() == pytest.approx(law.covariance, abs=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "two-component", "circles", "moons", "blobs", "s-curve", "swiss-roll",
                                  "augmented-swiss-roll", "projected"])  # fmt: skip
def test_fresh_sets(name):
    train, validation, test = load(name, count=500)
    first, second = (next(train.batches(64, seed)) for seed in (0, 1))
    again = next(train.batches(64, 0))
    assert torch.equal(first["x"], again["x"])
    assert not torch.equal(first["x"], second["x"])
    stream = train.batches(64, 0)
    next(stream)
    assert torch.equal(next(stream)["x"], next(train.batches(64, 0, first_step=1))["x"])
    assert not torch.equal(validation["x"][:100], test["x"][:100])
    assert len(train.take([1, 2])) == 2


def test_missing_values_are_marked():
    train, _, test = load("gaussian", dimensions=3, missing=0.3, count=5000)
    assert train["mask"].float().mean().item() == pytest.approx(0.7, abs=0.02)
    assert not train["x"][~train["mask"]].any()
    assert "mask" in test
    with pytest.raises(OptionError, match=r"missing is 1\.5"):
        load("gaussian", missing=1.5)
    with pytest.raises(OptionError, match="law is 'normal'"):
        load("gaussian", law="normal")


def test_legacy_is_the_original_fixed_sample():
    train, _, test = load("moons", legacy=True)
    assert len(train) == 64
    assert torch.equal(train["x"], test["x"])
    with pytest.raises(OptionError, match="legacy=True is for"):
        load("swiss-roll", legacy=True)
    blobs = load("blobs", legacy=True)[0]["x"]
    centres = torch.tensor([(7.469, 9.371), (7.384, 0.617), (-5.345, -9.772)])
    assert torch.cdist(blobs, centres).min(1).values.mean() < 2


def test_cell_features_have_their_make_up():
    train, _, test = load("cell-features", count=3000)
    x = train["x"]
    assert x.shape == (3000, 106)
    assert len(test) == 8640
    assert len(train.kinds) == 106
    assert set(x[:, 0].tolist()) == {0.0, 1.0}
    assert x[:, 103].max() == 19
    real = x[:, 1:103]
    assert real.mean(0).abs().max() < 0.15
    assert (real.std(0) - 1).abs().max() < 0.2
    story = CVAE.build(train, hidden=[8], latent=4)
    assert story.columns.places == 2 + 102 + 59
