"""``to_inference_data`` against closed forms, its names, its limits and its files.

Statistical tests compare a mean with its expectation by Z = 5 standard errors: below 2e-5 for the file.
"""

from __future__ import annotations

import math
import warnings

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.infer.autoguide import AutoNormal

from evaluation.posterior import adapter, group, group_names, load_netcdf, save_netcdf, to_inference_data
from evaluation.posterior.labels import align_labels
from pyro_models.errors import DataError, MetricError, OptionError
from tests.posterior.toys import FactorAnalysis, Mixture, Stubborn

Z = 5.0
ALL_GROUPS = {
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "sample_stats",
    "prior",
    "prior_predictive",
    "observed_data",
    "constant_data",
}


class FakeArviz:
    """The surface of arviz 1.x that the library touches."""

    __version__ = "1.3.0"

    def __init__(self):
        self.calls = []

    def loo(self, data, **options):
        self.calls.append(("loo", data, options))
        return "loo"

    def plot_ppc_dist(self, data, **options):
        import matplotlib.pyplot as plt

        self.calls.append(("plot_ppc_dist", data, options))
        plt.figure()


@pytest.fixture(params=["installed", "1.x"])
def either_arviz(request, monkeypatch):
    """Both containers: that of the installed arviz, and a stand-in for 1.x with real xarray DataTrees."""
    if request.param == "1.x":
        fake = FakeArviz()
        monkeypatch.setattr(adapter, "arviz", lambda: fake)
    return request.param


def moved(samples, expected):
    """Largest distance of the mean over the first axis from its expectation, in standard errors."""
    return float((np.abs(samples.mean(0) - expected) / (samples.std(0) / math.sqrt(len(samples)))).max())


# What is in it


def test_every_group_with_its_dimensions(either_arviz):
    story = FactorAnalysis()
    x = story.dream(5)
    idata = to_inference_data(story, {"x": x, "label": torch.arange(5), "factors": torch.rand(5, 3)}, 30, 20)
    new = either_arviz == "1.x" or az.__version__.startswith("1.")
    assert isinstance(idata, xr.DataTree) == new == adapter.returns_trees()
    assert set(group_names(idata)) == ALL_GROUPS
    sizes = {name: dict(group(idata, name).sizes) for name in ALL_GROUPS}
    assert sizes["posterior"] == {"chain": 1, "draw": 30, "obs": 5, "z_dim": 2}
    assert sizes["posterior_predictive"] == {"chain": 1, "draw": 30, "obs": 5, "x_dim": 4}
    assert sizes["prior_predictive"] == {"chain": 1, "draw": 20, "obs": 5, "x_dim": 4}
    assert sizes["log_likelihood"] == {"chain": 1, "draw": 30, "obs": 5}
    assert sizes["observed_data"] == {"obs": 5, "x_dim": 4}
    np.testing.assert_array_equal(group(idata, "observed_data")["x"], x)
    np.testing.assert_array_equal(group(idata, "constant_data")["label"], np.arange(5))
    assert group(idata, "constant_data")["factors"].dims == ("obs", "factors_dim")
    assert idata.attrs["story"] == "FactorAnalysis"


def test_draws_are_the_guides_and_densities_the_models():
    story = FactorAnalysis()
    x = story.dream(4)
    idata = to_inference_data(story, x, draws=4000)
    z = idata.posterior["z"].values[0]
    mean, sd = (value.detach().numpy() for value in story.posterior(x))
    assert moved(z, mean) < Z
    assert moved((z - mean) ** 2, np.broadcast_to(sd**2, mean.shape)) < Z
    means = torch.as_tensor(z) @ story.loading.detach().T
    by_hand = dist.Normal(means, story.noise).log_prob(x).sum(-1)
    np.testing.assert_allclose(idata.log_likelihood["x"].values[0], by_hand, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(idata.constant_data["log_evidence"], story.evidence(x), rtol=1e-4)
    # Predictions: z again, plus noise.
    predicted = idata.posterior_predictive["x"].values[0]
    assert moved(predicted, mean @ story.loading.detach().numpy().T) < Z
    assert moved((predicted - means.numpy()) ** 2, story.noise**2) < Z
    # Prior predictive: the model's marginal, whatever x is.
    dreamt = idata.prior_predictive["x"].values[0].reshape(-1, 4)
    covariance = (story.loading @ story.loading.T).detach().numpy() + story.noise**2 * np.eye(4)
    assert moved(dreamt[:, :, None] * dreamt[:, None, :], covariance) < Z


def test_sites_that_the_guide_lacks_are_drawn_from_their_conditional():
    story = Mixture(collapsed=True)
    x = story.dream(4)
    idata = to_inference_data(story, x, draws=6000)
    z, c = torch.as_tensor(idata.posterior["z"].values[0]), idata.posterior["c"].values[0]
    truth = (story.weights.log() + dist.Normal(story.means, 1.0).log_prob(z.unsqueeze(-1))).softmax(-1).numpy()
    assert moved((c[..., None] == np.arange(3)) - truth, 0.0) < Z
    assert abs(idata.constant_data["log_evidence"].values - story.evidence(x).numpy()).max() < 0.1


def test_looped_stories_give_the_same_posterior():
    story = Stubborn()
    x = story.dream(3)
    with pytest.warns(UserWarning, match="one at a time"):
        idata = to_inference_data(story, x, draws=400)
    assert idata.posterior["z"].shape == (1, 400, 3, 2)
    assert moved(idata.posterior["z"].values[0], story.posterior(x)[0].detach().numpy()) < Z


def test_same_seed_same_draws_and_the_callers_noise_is_left_alone():
    story = FactorAnalysis()
    x = story.dream(3)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = to_inference_data(story, x, draws=10, seed=3)
    torch.testing.assert_close(torch.rand(3), expected)
    second = to_inference_data(story, x, draws=10, seed=3)  # from another state of the caller's noise
    assert first.posterior.equals(second.posterior)
    assert first.posterior_predictive.equals(second.posterior_predictive)
    assert not first.posterior.equals(to_inference_data(story, x, draws=10, seed=4).posterior)


def regression(x, y):
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.deterministic("norm", weight.norm(dim=-1))
    pyro.factor("nothing", torch.zeros(()))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("y", dist.Normal((x * weight).sum(-1), 0.5), obs=y)


def regression_guide(x, y):
    pyro.sample("weight", dist.Normal(torch.tensor([1.0, -1.0]), 0.1).to_event(1))


def test_global_latents_have_no_obs_and_plain_pairs_are_taken():
    x, y = torch.randn(6, 2), torch.randn(6)
    idata = to_inference_data((regression, regression_guide), (x, y), draws=12)
    assert idata.posterior["weight"].dims == ("chain", "draw", "weight_dim")
    np.testing.assert_allclose(idata.posterior["norm"], np.linalg.norm(idata.posterior["weight"], axis=-1), rtol=1e-5)
    assert idata.log_likelihood["y"].dims == ("chain", "draw", "data")
    assert set(ALL_GROUPS) - set(group_names(idata)) == {"sample_stats", "constant_data"}
    assert "nothing" not in idata.observed_data


def test_automatic_guides_are_taken():
    x, y = torch.randn(6, 2), torch.randn(6)
    guide = AutoNormal(regression)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # draws are made together
        idata = to_inference_data((regression, guide), (x, y), draws=12)
    assert idata.posterior["weight"].shape == (1, 12, 2)
    assert set(idata.posterior) == {"weight", "norm"}


def image_story(x):
    data = pyro.plate("data", len(x), dim=-2)
    with data, pyro.plate("objects", 3, dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
    with data:
        logits = z.sum((-1, -2, -3))[..., None, None, None, None].expand(*z.shape[:-3], 1, 1, 4, 5)
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x.unsqueeze(1))


def image_guide(x):
    with pyro.plate("data", len(x), dim=-2), pyro.plate("objects", 3, dim=-1):
        pyro.sample("z", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))


def test_images_and_inner_plates_get_readable_names():
    x = torch.ones(2, 1, 4, 5)
    idata = to_inference_data((image_story, image_guide), x, draws=5)
    assert idata.posterior["z"].dims == ("chain", "draw", "obs", "objects", "z_dim_0", "z_dim_1")
    assert idata.observed_data["x"].dims == ("obs", "x_channel", "x_row", "x_column")
    np.testing.assert_array_equal(idata.observed_data["x_lit"], [20, 20])
    predicted = idata.posterior_predictive
    np.testing.assert_allclose(predicted["x_mean"], predicted["x"].mean(["x_channel", "x_row", "x_column"]))


def test_own_names_labels_and_statistics():
    story = FactorAnalysis()
    x = story.dream(3)
    idata = to_inference_data(
        story,
        x,
        draws=6,
        dims={"z": ["obs", "cause"]},
        coords={"obs": ["a", "b", "c"], "cause": ["left", "right"]},
        summaries={"largest": lambda values: values.amax(-1)},
    )
    assert idata.posterior["z"].sel(obs="b", cause="left").shape == (1, 6)
    assert set(idata.observed_data) == {"x", "x_largest"}
    np.testing.assert_array_equal(idata.observed_data["x_largest"], x.amax(-1))
    assert set(to_inference_data(story, x, draws=2, summaries={}).observed_data) == {"x"}


# Limits


def test_too_many_numbers_are_thinned_with_the_numbers_named():
    story = FactorAnalysis()
    x = story.dream(5)  # 20 numbers a draw
    with pytest.warns(UserWarning, match=r"30 draws of 20 numbers are 600, more than max_floats=300; storing 15 of 30"):
        thinned = to_inference_data(story, x, draws=30, prior_draws=0, max_floats=300)
    whole = to_inference_data(story, x, draws=30, prior_draws=0)
    kept = thinned.posterior_predictive["draw"].values
    assert len(kept) == 15
    assert kept[0] == 0
    assert kept[-1] == 29
    xr.testing.assert_equal(thinned.posterior_predictive, whole.posterior_predictive.sel(draw=kept))
    assert thinned.posterior.sizes["draw"] == 30
    assert "prior" not in group_names(thinned)


def test_no_images_but_their_statistics():
    story = FactorAnalysis()
    with pytest.warns(UserWarning, match="only statistics"):
        idata = to_inference_data(story, story.dream(5), draws=9, max_floats=0)
    assert set(idata.posterior_predictive) == {"x_mean", "x_contrast", "x_lit"}
    assert idata.posterior_predictive.sizes["draw"] == 9


# Files


def test_netcdf_round_trip(either_arviz, tmp_path):
    story = Mixture()
    idata = to_inference_data(story, {"x": story.dream(4), "label": torch.arange(4)}, draws=30)
    path = save_netcdf(idata, tmp_path / "posterior.nc")
    back = load_netcdf(path)
    assert group_names(back) == group_names(idata)
    for name in group_names(idata):
        xr.testing.assert_identical(group(back, name), group(idata, name))
    assert back.attrs["story"] == "Mixture"
    assert [file.name for file in tmp_path.iterdir()] == ["posterior.nc"]
    # The installed arviz opens it, whichever version wrote it, with its own defaults.
    opened = az.from_netcdf(str(path))
    assert len(az.summary(opened, var_names=["z"], kind="stats")) == 4
    opened.close()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    story = FactorAnalysis()
    path = save_netcdf(to_inference_data(story, story.dream(2), draws=3), tmp_path / "p.nc")
    before = path.read_bytes()

    class Breaks:
        def to_netcdf(self, name, engine):
            with open(name, "wb") as file:  # noqa: PTH123
                file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_netcdf(Breaks(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.nc"]


def test_unreadable_files_are_named(either_arviz, tmp_path):
    idata = to_inference_data(FactorAnalysis(), FactorAnalysis().dream(2), draws=2)
    with pytest.raises(DataError, match="does not exist"):
        save_netcdf(idata, tmp_path / "no" / "p.nc")
    with pytest.raises(DataError, match="it is a folder"):
        save_netcdf(idata, tmp_path)
    with pytest.raises(DataError, match="there is no file"):
        load_netcdf(tmp_path / "p.nc")
    (tmp_path / "bad.nc").write_bytes(b"not netcdf")
    with pytest.raises(DataError, match="cannot be read as a netCDF"):
        load_netcdf(tmp_path / "bad.nc")
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DataError, match="no group"):
        load_netcdf(tmp_path / "other.nc")


# Bad input


def test_bad_input_is_refused():
    story = FactorAnalysis()
    x = story.dream(3)
    with pytest.raises(OptionError, match="draws=0"):
        to_inference_data(story, x, draws=0)
    with pytest.raises(OptionError, match="give a story"):
        to_inference_data("vae", x)
    with pytest.raises(OptionError, match="names no batch fields"):
        to_inference_data((story.model, story.guide), {"x": x})
    with pytest.raises(OptionError, match="reads the batch fields x"):
        to_inference_data(story, {"y": x})
    with pytest.raises(OptionError, match="names the site 'w', but the sites are"):
        to_inference_data(story, x, dims={"w": ["obs"]})
    with pytest.raises(OptionError, match=r"dims for 'z' are \['obs'\]"):
        to_inference_data(story, x, dims={"z": ["obs"]})
    with pytest.raises(OptionError, match="'obs' has 2 labels, but the dimension is 3"):
        to_inference_data(story, x, coords={"obs": ["a", "b"]})
    with pytest.raises(OptionError, match="names the dimension 'observation'"):
        to_inference_data(story, x, coords={"observation": ["a", "b", "c"]})
    with pytest.raises(OptionError, match="would be both"):
        to_inference_data(story, x, dims={"z": ["obs", "k"], "x": ["obs", "k"]})
    with pytest.raises(OptionError, match="the summary 'total' turned"):
        to_inference_data(story, x, summaries={"total": lambda values: values.sum()})
    with (
        pytest.raises(OptionError, match="one draw of the posterior is 6 numbers"),
        pytest.warns(UserWarning, match="max_floats=1"),
    ):
        to_inference_data(story, x, draws=2, max_floats=1)
    idata = to_inference_data(story, x, draws=2, prior_draws=0)
    with pytest.raises(MetricError, match="there is no group 'prior'"):
        group(idata, "prior")


def test_clusters_of_a_posterior_can_be_aligned():
    story = Mixture(collapsed=False)
    idata = to_inference_data(story, story.dream(20), draws=15)
    c = idata.posterior["c"].values[0]
    shuffled = np.stack([np.random.default_rng(s).permutation(3)[draw] for s, draw in enumerate(c)])
    np.testing.assert_array_equal(align_labels(shuffled, reference=c[0], clusters=3).draws.shape, c.shape)
