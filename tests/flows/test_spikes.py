"""The chain of spikes: published numbers of its prior, and sums against brute force over all paths."""

from __future__ import annotations

import itertools

import pytest
import torch

from pyro_models.errors import OptionError
from pyro_models.flows.spikes import SpikeChain, SwitchPaths


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("switches", [1, 2, 4])
def test_rows_sum_to_one(switches, rest):
    chain = SpikeChain(switches, rest=rest)
    assert chain.count == 2**switches - (not rest)
    torch.testing.assert_close(chain.initial.sum(), torch.tensor(1.0))
    torch.testing.assert_close(chain.transition.sum(1), torch.ones(chain.count))


def expected_activity(chain: SpikeChain, steps: int) -> torch.Tensor:
    """The prior probability that a switch is on at steps 1, ..., steps."""
    now, found = chain.initial, []
    for _ in range(steps):
        found.append(now @ chain.states.mean(1))
        now = now @ chain.transition
    return torch.stack(found)


def test_activity_of_the_published_chain():
    """Three switches, 0.1 and 0.9: computed by hand for steps 1 to 8."""
    expected = torch.tensor([0.369, 0.422, 0.461, 0.490, 0.511, 0.526, 0.538, 0.546])
    torch.testing.assert_close(expected_activity(SpikeChain(3), 8), expected, atol=6e-4, rtol=0)


def test_the_redraw_is_that_of_the_generator():
    """Frequencies of the procedure as described: independent switches, then fresh draws until one is on."""
    torch.manual_seed(0)
    chain, count = SpikeChain(3, 0.3, 0.7), 200_000
    before = torch.tensor([1.0, 0.0, 1.0]).expand(count, 3)
    after = torch.bernoulli(torch.where(before > 0, 0.7, 0.3))
    while (off := after.sum(1) == 0).any():
        after[off] = torch.bernoulli(torch.full_like(after[off], 0.3))
    found = torch.bincount((after @ torch.tensor([1.0, 2.0, 4.0])).long() - 1, minlength=7) / count
    # 5 standard deviations of a frequency near 1/4
    torch.testing.assert_close(found, chain.transition[5 - 1], atol=5 * 0.433 / count**0.5, rtol=0)


def all_paths(chain: SpikeChain, scores: torch.Tensor) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """log p(path) + scores of every path, one sequence."""
    steps = scores.shape[0]
    paths = list(itertools.product(range(chain.count), repeat=steps))
    values = []
    for path in paths:
        value = chain.initial[path[0]].log() + scores[0, path[0]]
        for t in range(1, steps):
            value = value + chain.transition[path[t - 1], path[t]].log() + scores[t, path[t]]
        values.append(value)
    return torch.stack(values), paths


def test_evidence_and_posterior_equal_brute_force():
    chain, steps = SpikeChain(2), 4
    scores = 3 * torch.randn(5, steps, chain.count)
    marginals = chain.smoothed(scores)
    for row in range(5):
        values, paths = all_paths(chain, scores[row])
        torch.testing.assert_close(chain.log_evidence(scores)[row], values.logsumexp(0))
        weights = values.softmax(0)
        for t in range(steps):
            expected = torch.stack([weights[[p[t] == s for p in paths]].sum() for s in range(chain.count)])
            torch.testing.assert_close(marginals[row, t], expected)


def test_posterior_samples_have_the_posterior_frequencies():
    torch.manual_seed(1)
    chain, steps, count = SpikeChain(2), 3, 60_000
    scores = torch.randn(steps, chain.count)
    values, _ = all_paths(chain, scores)
    drawn = chain.sample_posterior(scores.expand(count, -1, -1))
    codes = (drawn * torch.tensor([9, 3, 1])).sum(1)
    found = torch.bincount(codes, minlength=27) / count
    expected = values.softmax(0)
    # 5 standard deviations in every cell: all 27 hold with probability above 1 - 2e-5
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / count).sqrt() + 1e-6).all()


def test_prior_samples_have_the_prior_activity():
    chain = SpikeChain(3)
    path = chain.sample((50_000,), 8, torch.Generator().manual_seed(0))
    found = chain.switches_on(path).mean((0, 2))
    torch.testing.assert_close(found, expected_activity(chain, 8), atol=5 * 0.5 / (3 * 50_000) ** 0.5 * 1.5, rtol=0)


@pytest.mark.parametrize("options", [{"switches": 0}, {"switches": 30}, {"switches": 2, "on": 1.5}])
def test_wrong_options_are_refused(options):
    with pytest.raises(OptionError, match=r"switches|probabilities"):
        SpikeChain(**options)


def test_paths_of_switches_are_a_distribution():
    paths = SwitchPaths(3, torch.tensor([0.2, 0.3]), torch.tensor([0.9, 0.6]))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).reshape(-1, 3, 2)
    log_p = paths.log_prob(every)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    drawn = paths.expand((20_000,)).sample()
    torch.testing.assert_close(drawn.mean(0), (log_p.exp()[:, None, None] * every).sum(0), atol=0.02, rtol=0)
    logits = torch.randn(3, 2)
    probs = logits.sigmoid()
    log_q = torch.where(every > 0, probs.log(), (1 - probs).log()).sum((1, 2))
    by_hand = (log_q.exp() * (log_q - log_p)).sum()
    torch.testing.assert_close(paths.mean_field_kl(logits), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("extreme", [-100.0, -18.0, 18.0, 100.0])
def test_switches_that_are_sure_have_gradients(extreme):
    """Rounded to 0 or 1, a probability costs what the certain switch costs, and its logit may still move."""
    paths = SwitchPaths(3, torch.tensor([0.2, 0.3]), torch.tensor([0.9, 0.6]))
    logits = torch.full((3, 2), extreme, requires_grad=True)
    cost = paths.mean_field_kl(logits)
    certain = -paths.log_prob((logits > 0).float())
    torch.testing.assert_close(cost, certain, atol=1e-4, rtol=1e-4)
    cost.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() < 1e-4
