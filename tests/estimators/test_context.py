"""What baselines and control networks may look at: the data and earlier draws, laid along a site's plates."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from inference import estimators
from inference.estimators.base import trace_pair
from inference.estimators.own import context

X = torch.arange(6.0).reshape(3, 2)


def model():
    g = pyro.sample("g", dist.Bernoulli(0.5))
    with pyro.plate("data", 3, dim=-2):
        d = pyro.sample("d", dist.Categorical(logits=torch.zeros(4)))
        with pyro.plate("pixels", 2, dim=-1):
            pyro.sample("x", dist.Normal(g + d.float(), 1.0), obs=X)


def guide():
    pyro.sample("g", dist.Bernoulli(0.5))
    with pyro.plate("data", 3, dim=-2):
        pyro.sample("d", dist.Categorical(logits=torch.zeros(4)))


def features(name, program=(model, guide)):
    model_trace, guide_trace = trace_pair(*program, (), {})
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    return context(guide_trace.nodes[name], model_trace, guide_trace), guide_trace


def test_a_nested_plate_becomes_features_and_earlier_draws_are_seen():
    found, trace = features("d")
    assert found.shape == (3, 1, 3)
    torch.testing.assert_close(found[:, 0, :2], X)
    assert (found[:, 0, 2] == trace.nodes["g"]["value"]).all()


def test_data_seen_by_a_global_site_are_averaged():
    found, _ = features("g")
    assert found.shape == (1,)
    torch.testing.assert_close(found, X.mean().reshape(1))


def test_a_site_sees_neither_itself_nor_what_comes_later():
    assert features("g")[0].shape[-1] == 1, "the data alone"

    def longer():
        guide()
        with pyro.plate("more data", 3, dim=-2):
            pyro.sample("later", dist.Bernoulli(0.5), infer={"is_auxiliary": True})

    assert features("d", (model, longer))[0].shape == (3, 1, 3)


def test_an_index_is_seen_as_a_row_of_its_values():
    def two():
        with pyro.plate("data", 3, dim=-2):
            pyro.sample("d", dist.Categorical(logits=torch.zeros(4)))
            pyro.sample("e", dist.Bernoulli(0.5))

    found, trace = features("e", (two, two))
    torch.testing.assert_close(found[:, 0], torch.nn.functional.one_hot(trace.nodes["d"]["value"][:, 0], 4).float())


def test_without_data_there_is_nothing_to_see():
    def alone():
        pyro.sample("d", dist.Bernoulli(0.5))

    assert features("d", (alone, alone))[0].shape == (0,)
    for name in ("nvil", "relax"):
        assert estimators.get(name)().differentiable_loss(alone, alone).isfinite()


def test_particles_and_nested_plates_run_under_every_learned_baseline():
    theta = torch.zeros(3, 1, 4, requires_grad=True)

    def learned():
        pyro.sample("g", dist.Bernoulli(0.5))
        with pyro.plate("data", 3, dim=-2):
            pyro.sample("d", dist.Categorical(logits=theta))

    for name, options in (("nvil", {}), ("relax", {"control": "network"})):
        estimator = estimators.get(name)(num_particles=5, **options)
        estimator.differentiable_loss(model, learned).backward()
        assert theta.grad.isfinite().all()
        assert float(theta.grad.abs().sum()) > 0
        theta.grad = None


def test_dropout_is_the_same_in_the_passes_of_a_step():
    """Common random numbers inside networks: with the relaxation at the hard value nothing is left of the noise."""
    seen = []

    def noisy():
        d = pyro.sample("d", dist.Bernoulli(0.5))
        noise = torch.randn(())  # as a network with dropout would draw
        seen.append(noise)
        pyro.sample("x", dist.Normal(d + noise, 1.0), obs=torch.tensor(0.3))

    logit = torch.zeros((), requires_grad=True)

    def plain():
        pyro.sample("d", dist.Bernoulli(logits=logit))

    estimator = estimators.get("rebar")()
    estimator.prepare(noisy, plain)
    seen.clear()
    estimator.differentiable_loss(noisy, plain)
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    seen.clear()
    with poutine.block():
        estimator.differentiable_loss(noisy, plain)
    assert len({float(value) for value in seen}) == 1
