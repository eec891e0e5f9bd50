"""The exact sparse objective: against brute force over all spike paths, Pyro's own densities and its enumeration."""

from __future__ import annotations

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from pyro_models.flows.spikes import SpikeChain
from pyro_models.flows.transition import SparseFlow, StepDensity, eliminate, selections
from pyro_models.nn.potentials import LatentFields

D, T = 4, 3
TAU, SIGMA = 0.3, 0.2


def make(flows=2, separate=False, rest=False) -> SparseFlow:
    fields = LatentFields(flows, D, 3, rotational=2, separate=separate)
    for parameter in fields.parameters():
        parameter.data = 0.4 * torch.randn_like(parameter)
    chain = SpikeChain(fields.columns, rest=rest)
    columns = lambda z: fields(z.unsqueeze(-2))  # noqa: E731
    return SparseFlow(columns, chain, torch.tensor(SIGMA), TAU, T, D, flows)


def step_normal(flow: SparseFlow, before: torch.Tensor, state: int) -> dist.MultivariateNormal:
    """The density of a step as Pyro would write it."""
    columns = (flow.selection[state].mT @ flow.fields(before)).detach()
    covariance = SIGMA**2 * torch.eye(D) + TAU**2 * columns.mT @ columns
    return dist.MultivariateNormal(before + columns.sum(-2), covariance)


@pytest.mark.parametrize(("separate", "rest"), [(False, False), (True, False), (False, True)])
def test_log_prob_equals_brute_force_over_all_paths(separate, rest):
    flow = make(separate=separate, rest=rest)
    z = torch.randn(3, T + 1, D)
    chain = flow.chain
    steps = [[step_normal(flow, z[:, t], s).log_prob(z[:, t + 1]) for s in range(chain.count)] for t in range(T)]
    totals = []
    for path in itertools.product(range(chain.count), repeat=T):
        value = chain.initial[path[0]].log()
        for t in range(T):
            value = value + steps[t][path[t]]
            if t:
                value = value + chain.transition[path[t - 1], path[t]].log()
        totals.append(value)
    start = dist.Normal(0.0, 1.0).expand([D]).to_event(1).log_prob(z[:, 0])
    torch.testing.assert_close(flow.log_prob(z), start + torch.stack(totals).logsumexp(0), atol=1e-4, rtol=1e-5)


def test_log_prob_equals_enumerated_pyro_sites():
    """The same story with a site per spike and step, spikes enumerated in a Markov loop by Pyro."""
    flow = make(flows=3, rest=True)
    z = torch.randn(5, T + 1, D)

    @config_enumerate
    def model():
        with pyro.plate("data", len(z), dim=-1):
            pyro.sample("start", dist.Normal(0.0, 1.0).expand([D]).to_event(1), obs=z[:, 0])
            before = [torch.zeros(())] * 3
            for t in pyro.markov(range(T)):
                before = [pyro.sample(f"y{k}_{t}", dist.Bernoulli(0.1 + 0.8 * before[k])) for k in range(3)]
                columns = flow.fields(z[:, t]).detach()
                on = torch.stack(torch.broadcast_tensors(*before), -1).unsqueeze(-1)
                loc = z[:, t] + (on * columns).sum(-2)
                factor = (TAU * on * columns).mT
                noise = torch.full((D,), SIGMA**2).expand(loc.shape)
                pyro.sample(f"z{t}", dist.LowRankMultivariateNormal(loc, factor, noise), obs=z[:, t + 1])

    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model, lambda: None)
    assert flow.log_prob(z).sum().item() == pytest.approx(-loss, abs=1e-3)


def test_elimination():
    root = torch.randn(6, 4, 4)
    matrix, vector = root @ root.mT, torch.randn(6, 4)
    log_det, quadratic = eliminate(matrix, vector)
    full = matrix + torch.eye(4)
    torch.testing.assert_close(log_det, torch.logdet(full))
    torch.testing.assert_close(quadratic, (vector * torch.linalg.solve(full, vector)).sum(-1))


def test_speed_posterior_is_gaussian_conditioning():
    columns, change = torch.randn(2, D), torch.randn(D)
    step = StepDensity(change, columns, torch.tensor(SIGMA), TAU, selections(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 2))
    # g = 1 + tau e, z = columns'g + sigma n: the blocks of their joint covariance
    cross = TAU**2 * columns
    gain = cross @ torch.linalg.inv(TAU**2 * columns.mT @ columns + SIGMA**2 * torch.eye(D))
    torch.testing.assert_close(step.speeds()[0], 1 + gain @ (change - columns.sum(0)), atol=1e-4, rtol=1e-4)
    assert step.speeds()[1, 0] == 1  # off: the prior


def test_samples_have_the_density_of_one_step():
    """First two moments of a step drawn by ``follow`` under fixed spikes."""
    torch.manual_seed(0)
    flow, count = make(), 100_000
    before = torch.randn(D)
    after = flow.follow(before.expand(count, D), torch.ones(count, 1, 2))[0]
    expected = step_normal(flow, before, 2)
    torch.testing.assert_close(after.mean(0), expected.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(after.mT.cov(), expected.covariance_matrix, atol=0.02, rtol=0.03)
    assert flow.expand([3]).sample().shape == (3, T + 1, D)
