"""Estimators in use: stock ``SVI``, the ELBO module, saturated logits, learning of their own, saving."""

from __future__ import annotations

import io

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, TraceEnum_ELBO, config_enumerate
from pyro.optim import Adam
from torch import nn

from inference import estimators

DISCRETE = ["exact", "reinforce", "nvil", "rloo", "vimco", "concrete", "straight-through", "gumbel-rao", "rebar"]
DISCRETE += ["relax", "iwae", "reweighted-wake-sleep"]
BITS = [*DISCRETE, "disarm", "arm"]
X = torch.tensor([[-1.2], [0.9], [1.1], [-0.8]])


class Pair(nn.Module):
    """d -> x with one of two families; ``scale`` multiplies the guide's logits."""

    def __init__(self, family="bits", scale=1.0):
        super().__init__()
        self.family, self.scale = family, scale
        self.encoder, self.means = nn.Linear(1, 2), nn.Parameter(torch.tensor([-0.3, 0.3]))

    def draw(self, logits):
        if self.family == "bits":
            bit = pyro.sample("d", dist.Bernoulli(logits=logits[..., 1] - logits[..., 0]))
            return torch.stack([1 - bit, bit], -1)
        return pyro.sample("d", dist.OneHotCategorical(logits=logits))

    def model(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            d = self.draw(x.new_zeros(2))
            pyro.sample("x", dist.Normal((d * self.means).sum(-1), 0.5), obs=x[:, 0])

    def guide(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            self.draw(self.scale * self.encoder(x))


@pytest.mark.parametrize("name", BITS)
def test_stock_svi_learns(name):
    pair = Pair()
    estimator = estimators.get(name)()
    svi = SVI(pair.model, pair.guide, Adam(estimator.rates({"lr": 0.05})), loss=estimator)
    start = estimators.get("exact")().loss(pair.model, pair.guide, X)
    for _ in range(100):
        svi.step(X)
    assert estimators.get("exact")().loss(pair.model, pair.guide, X) < start - 3.0
    assert svi.evaluate_loss(X) < start


@pytest.mark.parametrize("name", ["nvil", "rebar", "relax"])
def test_the_estimators_own_parameters_learn_under_stock_svi_at_their_own_rate(name):
    pair, estimator = Pair(), estimators.get(name)(learning_rate=0.5)
    svi = SVI(pair.model, pair.guide, Adam(estimator.rates({"lr": 0.0})), loss=estimator)
    estimator.prepare(pair.model, pair.guide, X)
    before = [p.detach().clone() for p in (*estimator.parameters(), *pair.parameters())]
    for _ in range(3):
        svi.step(X)
    after = [*estimator.parameters(), *pair.parameters()]
    own = len(list(estimator.parameters()))
    assert any(not torch.equal(a, b) for a, b in zip(before[:own], after[:own], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before[own:], after[own:], strict=True))


@pytest.mark.parametrize("name", BITS)
def test_the_elbo_module(name):
    """``elbo(model, guide)`` as a module with a torch optimiser, without calling ``prepare``."""
    pair = Pair()
    loss = estimators.get(name)()(pair.model, pair.guide)(X)
    loss.backward()
    assert loss.isfinite()
    assert float(pair.encoder.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("scale", [1e3, 1e30])
@pytest.mark.parametrize("family", ["bits", "one-hot"])
@pytest.mark.parametrize("name", BITS)
def test_saturated_logits_give_finite_numbers(name, family, scale):
    if name in ("disarm", "arm") and family == "one-hot":
        pytest.skip("bits only")
    pair, estimator = Pair(family, scale), estimators.get(name)()
    for _ in range(3):
        loss = estimator.differentiable_loss(pair.model, pair.guide, X)
        loss.backward()
        assert loss.isfinite()
    for parameter in (*pair.parameters(), *estimator.parameters()):
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_concrete_densities_of_saturated_logits():
    pair = Pair("one-hot", 1e3)
    loss = estimators.get("concrete")(prior_temperature=0.5)
    value = loss.differentiable_loss(pair.model, pair.guide, X)
    value.backward()
    assert value.isfinite()
    assert pair.encoder.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", ["nvil", "rebar", "relax", "reinforce"])
def test_the_state_of_an_estimator_is_saved(name):
    options = {"baseline": "average"} if name == "reinforce" else {}
    pair = Pair()
    first, second = (estimators.get(name)(**options) for _ in range(2))
    for _ in range(3):
        first.loss_and_grads(pair.model, pair.guide, X)
    second.prepare(pair.model, pair.guide, X)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    losses = []
    for estimator in (first, second):
        torch.manual_seed(1)
        pair.zero_grad()
        estimator.differentiable_loss(pair.model, pair.guide, X).backward()
        losses.append(pair.encoder.weight.grad.clone())
    assert torch.equal(*losses)


def test_exact_is_pyros_enumeration():
    pair = Pair("one-hot")
    ours = estimators.get("exact")().differentiable_loss(pair.model, pair.guide, X)
    theirs = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(
        config_enumerate(pair.model), config_enumerate(pair.guide), X
    )
    torch.testing.assert_close(ours, theirs)


def test_control_flow_and_writing_in_place():
    """The order of execution is all that is read: Python ``if`` on a sample and buffers written in place."""
    theta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def model():
        buffer = torch.zeros(2, dtype=torch.float64)
        buffer[0] = pyro.sample("d", dist.Bernoulli(torch.tensor(0.5, dtype=torch.float64)))
        loc = 2.0 if buffer[0].item() else -1.0
        pyro.sample("x", dist.Normal(loc, 1.0), obs=torch.tensor(1.0, dtype=torch.float64))

    def guide():
        pyro.sample("d", dist.Bernoulli(logits=theta))

    normal = dist.Normal(torch.tensor([-1.0, 2.0], dtype=torch.float64), 1.0)
    q = torch.stack([-theta, theta]).sigmoid()
    truth = (q * (torch.tensor(0.5).log() + normal.log_prob(torch.tensor(1.0)) - q.log())).sum()
    (exact,) = torch.autograd.grad(-truth, theta)
    estimator = estimators.get("reinforce")(baseline="average")
    found = [torch.autograd.grad(estimator.differentiable_loss(model, guide), theta)[0] for _ in range(1000)]
    rows = torch.stack(found)
    assert abs(float((rows.mean() - exact) / (rows.std() / 1000**0.5))) < 4.4  # 2e-5


def test_particles_lower_the_variance():
    pair = Pair()
    spread = []
    for particles in (1, 16):
        estimator = estimators.get("reinforce")(num_particles=particles)
        rows = [
            torch.autograd.grad(estimator.differentiable_loss(pair.model, pair.guide, X), pair.encoder.bias)[0]
            for _ in range(150)
        ]
        spread.append(float(torch.stack(rows).var(0).sum()))
    assert spread[1] < spread[0] / 8
