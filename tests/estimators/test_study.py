"""``gradient_study`` on other people's pairs, the toy, and the order of variances and costs that they show."""

from __future__ import annotations

import math

import matplotlib
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import t
from torch import nn

from evaluation.experiments import EXPERIMENTS
from evaluation.experiments import estimators as experiments
from evaluation.reproduce import Setting, reproduce
from inference import estimators, gradient_study, study_figure
from inference.bias import FAILURE_PROBABILITY
from inference.problems import SmallPrototypes, noisy_copies
from inference.study import SUMS
from inference.toy import ESTIMATORS, TARGET, Toy, log_variance, make_estimator, toy_experiment, toy_figure
from pyro_models.errors import OptionError

matplotlib.use("Agg")


def small(clusters=4):
    torch.manual_seed(0)
    return SmallPrototypes(12, clusters, 16), noisy_copies(8, 12, clusters)


def test_a_study_of_a_small_dvae():
    vae, x = small()
    names = ["exact", "reinforce", "rloo", "rebar", "relax", "concrete", "vimco", "disarm"]
    encoder = dict(vae.encoder.named_parameters())
    table = gradient_study(vae.model, vae.guide, names, (x,), samples=80, own_steps=60, parameters=encoder)
    assert list(table.index) == names
    variance = table["variance"]
    assert variance["exact"] < 1e-8 * variance["reinforce"]
    assert variance["rebar"] < 0.5 * variance["reinforce"]
    assert variance["relax"] < 0.5 * variance["reinforce"]
    assert variance["rloo"] < 0.5 * variance["reinforce"]
    allowed = t.isf(FAILURE_PROBABILITY / (5 * SUMS) / 2, 79)
    assert (table.loc[["exact", "reinforce", "rloo", "rebar", "relax"], "max_abs_z"] < allowed).all()
    assert table["bias"]["concrete"] > 5 * table["bias_error"]["concrete"]
    assert not table["unbiased"]["concrete"]
    assert math.isnan(table["bias"]["vimco"]), "of another bound than the reference"
    assert "'disarm' cannot handle the guide site 'z'" in table["refused"]["disarm"]
    assert (table["variance_x_time"].dropna() == (table["variance"] * table["seconds"]).dropna()).all()
    figure = study_figure(table)
    assert {axis.get_title() for axis in figure.axes} >= {"variance x time", "seconds per step"}


def test_a_study_of_functions_with_parameters_in_the_store():
    def model():
        p = pyro.param("p", torch.tensor([0.2, 0.3, 0.5]), constraint=dist.constraints.simplex)
        pyro.sample("x", dist.Normal(pyro.sample("d", dist.Categorical(p)).float(), 1.0), obs=torch.tensor(1.3))

    def guide():
        pyro.sample("d", dist.Categorical(logits=pyro.param("q", torch.zeros(3))))

    table = gradient_study(model, guide, {"plain": "reinforce", "two": "rloo"}, samples=100)
    assert (table["max_abs_z"] < 6).all()
    assert set(table.index) == {"plain", "two"}


def test_a_study_leaves_parameters_and_random_numbers_alone():
    vae, x = small()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    gradient_study(vae.model, vae.guide, ["nvil"], (x,), samples=3, own_steps=2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_a_study_needs_samples_and_parameters():
    vae, x = small()
    with pytest.raises(OptionError, match="samples is 1"):
        gradient_study(vae.model, vae.guide, ["rloo"], (x,), samples=1)

    def model():
        pyro.sample("d", dist.Bernoulli(0.5))

    with pytest.raises(OptionError, match="no trainable parameters"):
        gradient_study(model, model, ["rloo"])


def test_the_toy_orders_the_estimators():
    result = toy_experiment(["exact", "reinforce", "rloo", "nvil", "relax"], 20, steps=250, variance_every=100)
    table = result.table()
    error, variance = table["err1000"], table["log variance"]
    assert error["exact"] < error["rloo"] < error["relax"] < error["reinforce"]
    assert variance["exact"] < variance["rloo"] < variance["nvil"] < variance["reinforce"]
    assert result.curves["exact"].optimum == pytest.approx(0.2178, abs=1e-4)
    assert float(result.curves["reinforce"].loss[0].mean()) == pytest.approx(0.222244, abs=1e-5)
    assert len(toy_figure(result).axes) == 2


def test_the_variance_of_the_toy_is_that_of_many_single_gradients():
    torch.manual_seed(0)
    toy, estimator = Toy(TARGET, 1), make_estimator("reinforce", {})
    estimator.prepare(toy.model, toy.guide, toy.rows())
    gradients = []
    for _ in range(600):
        (gradient,) = torch.autograd.grad(estimator.differentiable_loss(toy.model, toy.guide, toy.rows()), toy.logits)
        gradients.append(gradient.flatten())
    single = float(torch.stack(gradients).var(0).sum().log())
    assert float(log_variance(toy, estimator, 3000)) == pytest.approx(single, abs=0.15)
    assert single == pytest.approx(-3.41, abs=0.15)  # by a computation outside of this library


@pytest.mark.parametrize("name", ["nvil", "relax", "rebar", "reinforce"])
def test_repetitions_do_not_touch_each_other(name):
    """What one repetition learns, its baselines and control variates included, depends on itself alone."""
    options = {**ESTIMATORS[name], **({"baseline": "average"} if name == "reinforce" else {})}

    def learned(shift):
        torch.manual_seed(0)
        toy, estimator = Toy(TARGET, 3), make_estimator(name, options)
        with torch.no_grad():
            toy.logits[1, 0, 0] += shift
        estimator.prepare(toy.model, toy.guide, toy.rows())
        for _ in range(3):
            loss = estimator.differentiable_loss(toy.model, toy.guide, toy.rows())
            toy.logits.grad = None
            loss.backward()
            with torch.no_grad():
                for parameter in estimator.parameters():
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
        return toy.logits.grad, [*estimator.parameters(), *estimator.averages.buffers()]

    (one, own), (two, others) = learned(0.0), learned(5.0)
    keep = torch.tensor([0, 2])
    torch.testing.assert_close(one[keep], two[keep])
    assert not torch.equal(one[1], two[1])
    for mine, theirs in zip(own, others, strict=True):
        if mine.dim():
            torch.testing.assert_close(mine[keep], theirs[keep])


def test_a_bigger_batch_does_not_trouble_a_learned_baseline():
    """It stays in the units of one sample, so that its first errors do not grow with the batch and spoil Adam's memory
    of the size of gradients."""
    left = {
        batch: toy_experiment(["nvil"], 10, 200, batch=batch, variance_every=0).curves["nvil"].loss[-1].mean()
        for batch in (1, 50)
    }
    assert left[50] < left[1]


def test_toys_refuse_nonsense():
    with pytest.raises(OptionError, match="repetitions=0"):
        toy_experiment(["rloo"], 0)


def test_the_toy_is_reproduced_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "ESTIMATORS", {"exact": {}, "rloo": {}})
    monkeypatch.setattr(experiments, "toy_experiment", lambda *a, **k: toy_experiment(*a, **{**k, "steps": 5}))
    path, text = reproduce("toy", [0, 1, 2], out=tmp_path)
    assert path.is_file()
    assert "err1000/rloo" in text
    assert (tmp_path / "toy.png").is_file()


def test_other_experiments_run(tmp_path, monkeypatch):
    setting = Setting([0], tmp_path)
    monkeypatch.setattr(experiments, "ESTIMATORS", {"rloo": {}})
    speedup = experiments.toy_speedup(setting, repetitions=3, steps=2)
    assert speedup.metrics["speedup"][0] > 0
    monkeypatch.setattr(experiments, "BIAS", {"rloo": ("rloo", {}, 100, 0, 1), "exact": ("exact", {}, 50, 0, 1)})
    bias = experiments.estimator_bias(setting)
    assert set(bias.metrics) == {f"{q}/{n}" for q in ("max_abs_z", "relative_bias") for n in ("rloo", "exact")}
    monkeypatch.setattr(experiments, "COST", {n: (n, {}) for n in ("exact", "reinforce", "rloo")})
    cost = experiments.estimator_cost(setting, batch=4, samples=2)
    assert cost.metrics["relative_to_exact/exact K=50"] == [1.0]


def test_experiments_are_registered():
    for name in ("toy-replication", "toy", "toy-hyperparameters", "toy-speedup", "estimator-bias", "estimator-cost"):
        assert callable(EXPERIMENTS.get(name))


class Switch(nn.Module):
    """Two ways of saying the same: a Bernoulli and a Categorical of two values."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.4))

    def model(self):
        d = pyro.sample("d", dist.Bernoulli(logits=torch.tensor(0.0)))
        pyro.sample("x", dist.Normal(2 * d, 1.0), obs=torch.tensor(1.5))

    def guide(self):
        pyro.sample("d", dist.Bernoulli(logits=self.logit))


def test_antithetic_pairs_need_less_than_two_samples():
    switch = Switch()
    kept = {"disarm": "disarm", "arm": "arm", "rloo": "rloo", "reinforce": estimators.get("reinforce")(num_particles=2)}
    variance = gradient_study(switch.model, switch.guide, kept, samples=400, reference=None)["variance"]
    assert variance["disarm"] < variance["arm"] < variance["reinforce"]
    assert variance["disarm"] < 1.2 * variance["rloo"]
