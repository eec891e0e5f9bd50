"""Bounds and weights against closed forms. Statistical tests fail by chance with probability below 2e-5 for the file.

They compare a mean with its expectation by Z = 5 standard errors (6e-7 two-sided, 20 such comparisons at most).
"""

from __future__ import annotations

import math
from itertools import pairwise

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.infer import RenyiELBO, TraceEnum_ELBO, config_enumerate

from evaluation.annealing import temperature_ladder
from evaluation.likelihood import (
    active_units,
    annealed_importance,
    bits_per_dim,
    elbo,
    iwae,
    log_mean_weight,
    log_weights,
    rate_distortion,
)
from evaluation.particles import Particles
from pyro_models.errors import EstimatorError, MetricError, OptionError
from tests.posterior.toys import FactorAnalysis, Mixing, Mixture, Stubborn

Z = 5.0


def z_score(samples, expected):
    """Of the mean over the first axis, the largest over the rest."""
    error = samples.std(0) / math.sqrt(len(samples))
    return float(((samples.mean(0) - expected) / error).abs().max())


# Exact guides and analytic bounds


@pytest.mark.parametrize("particles", [1, 7])
def test_exact_guide_gives_the_evidence_whatever_the_draws(particles):
    story = FactorAnalysis()
    x = story.dream(9)
    torch.testing.assert_close(elbo(story.model, story.guide, (x,), particles), story.evidence(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(iwae(story.model, story.guide, x, particles), story.evidence(x), atol=1e-5, rtol=1e-5)


def test_exact_discrete_guide_gives_the_evidence():
    story = Mixture(collapsed=False)
    x = story.dream(9)
    torch.testing.assert_close(iwae(story.model, story.guide, x, 3), story.evidence(x), atol=1e-5, rtol=1e-5)


def test_elbo_is_the_evidence_minus_the_analytic_kl():
    story = FactorAnalysis(width=0.7, shift=0.5)
    x = story.dream(5)
    kl = 2 * (-math.log(0.7) + (0.7**2 + 0.5**2) / 2 - 0.5)  # two coordinates, in units of the posterior's sd
    weights = log_weights(story.model, story.guide, x, 4000)
    assert z_score(weights, story.evidence(x) - kl) < Z


def test_iwae_tightens_with_particles():
    story = FactorAnalysis(width=1.4, shift=0.8)
    x = story.dream(4)
    weights = log_weights(story.model, story.guide, x, 6000).reshape(200, 30, 4)
    bounds = [torch.stack([log_mean_weight(w) for w in weights[:, :k].double()]) for k in (1, 5, 30)]
    for looser, tighter in pairwise(bounds):
        gain = (tighter - looser).mean(1)
        assert float(gain.mean() / (gain.std() / math.sqrt(len(gain)))) > Z
    assert float((bounds[-1].mean(0) - story.evidence(x)).abs().max()) < 0.1


def test_weights_are_unbiased():
    story = FactorAnalysis(width=1.3, shift=0.4)
    x = story.dream(4)
    assert z_score((log_weights(story.model, story.guide, x, 8000) - story.evidence(x)).exp(), 1.0) < Z


def test_iwae_agrees_with_renyi_elbo_of_pyro():
    story = FactorAnalysis(width=1.2)
    x = story.dream(50)
    renyi = RenyiELBO(alpha=0, num_particles=20, vectorize_particles=True, max_plate_nesting=1)
    theirs = torch.tensor([-renyi.loss(story.model, story.guide, x) for _ in range(200)])
    ours = torch.stack([iwae(story.model, story.guide, x, 20).sum() for _ in range(200)])
    error = math.hypot(float(theirs.std()), float(ours.std())) / math.sqrt(200)
    assert abs(float(theirs.mean() - ours.mean())) < Z * error


# Sites that are summed out


def test_model_only_sites_are_summed_out():
    story = Mixture(collapsed=True)
    x = story.dream(6)
    z = torch.randn(1, 6)

    def at_z(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(z[0]))

    prior = (story.weights.log() + dist.Normal(story.means, 1.0).log_prob(z[0].unsqueeze(-1))).logsumexp(-1)
    by_hand = prior + dist.Normal(z[0], story.noise).log_prob(x)
    torch.testing.assert_close(log_weights(story.model, at_z, x, 1)[0], by_hand)
    assert z_score((log_weights(story.model, story.guide, x, 8000) - story.evidence(x)).exp(), 1.0) < Z


def nested(x, mask=None):
    """c per datum, b per pixel given c: both discrete, both absent from the guide; z per datum."""
    with pyro.plate("data", len(x), dim=-2):
        c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7])))
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("pixels", x.shape[1], dim=-1), poutine.mask(mask=True if mask is None else mask):
            b = pyro.sample("b", dist.Bernoulli(torch.tensor([0.2, 0.9])[c]))
            pyro.sample("x", dist.Normal(z + 2 * b - c, 0.5), obs=x)


def nested_guide(x, mask=None):
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 0.5))


@pytest.mark.parametrize("particles", [1, 5])
def test_nested_plates_against_brute_force(particles):
    x = torch.randn(4, 3)
    mask = torch.rand(4, 3) > 0.3
    pair = Particles(nested, nested_guide, (x, mask), 2)
    run = next(pair.passes(particles))
    z = pair.values(run)["z"].reshape(particles, 4)
    total = []
    for c, weight in enumerate((0.3, 0.7)):
        lit = (0.2, 0.9)[c]
        terms = torch.stack(
            [
                math.log(p) + dist.Normal(z.unsqueeze(-1) + 2 * b - c, 0.5).log_prob(x)
                for b, p in ((0, 1 - lit), (1, lit))
            ]
        ).logsumexp(0)
        total.append(math.log(weight) + (terms * mask).sum(-1))
    joint = torch.stack(total).logsumexp(0) + dist.Normal(0.0, 1.0).log_prob(z)
    by_hand = joint - dist.Normal(x.mean(-1), 0.5).log_prob(z)
    torch.testing.assert_close(pair.log_joint(run) - pair.log_guide(run), by_hand)


def test_the_sum_agrees_with_trace_enum_elbo():
    story = Mixture(collapsed=True)
    x = story.dream(40)
    theirs = TraceEnum_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
    loss = theirs.loss(config_enumerate(story.model), story.guide, x)
    ours = log_weights(story.model, story.guide, x, 4000).sum(1)
    error = float(ours.std()) * math.sqrt(2 / 4000)
    assert abs(loss + float(ours.mean())) < Z * error


def test_guide_without_sites_is_exact():
    story = Mixture()

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Categorical(story.weights))
            pyro.sample("x", dist.Normal(story.means[c], math.sqrt(1 + story.noise**2)), obs=x)

    x = story.dream(5)
    torch.testing.assert_close(iwae(model, lambda x: None, x, 2), story.evidence(x))


# What is ignored and what is not


def test_scales_are_ignored_and_plate_nesting_is_found():
    story = FactorAnalysis()

    def scaled(program):
        return poutine.scale(program, scale=0.1)

    x = story.dream(5)
    weights = log_weights(scaled(story.model), scaled(story.guide), x, 3, max_plate_nesting=None)
    torch.testing.assert_close(weights, story.evidence(x).expand(3, 5), atol=1e-5, rtol=1e-5)


def test_modules_are_evaluated_in_eval_mode_and_restored():
    class Noisy(FactorAnalysis):
        def __init__(self):
            super().__init__()
            self.drop = torch.nn.Dropout(0.9)

        def guide(self, x):
            return super().guide(self.drop(x))

    story = Noisy()
    x = story.dream(4)
    torch.testing.assert_close(elbo(story.model, story.guide, x, 3), story.evidence(x), atol=1e-5, rtol=1e-5)
    assert story.training
    assert story.drop.training


@pytest.mark.parametrize("kind", [Stubborn, Mixing])
def test_networks_that_cannot_broadcast_are_looped_over_with_a_word(kind):
    story, plain = kind(width=0.8), FactorAnalysis(width=0.8)
    x = story.dream(4)
    with pytest.warns(UserWarning, match="one at a time"):
        looped = log_weights(story.model, story.guide, x, 400)
    together = log_weights(plain.model, plain.guide, x, 400)
    error = ((looped.var(0) + together.var(0)) / 400).sqrt()
    assert float(((looped.mean(0) - together.mean(0)) / error).abs().max()) < Z
    assert float(looped.std(0).min()) > 0.01  # not one draw repeated


@settings(deadline=None, max_examples=8)
@given(particles=st.integers(1, 9), chunk=st.integers(1, 10), batch=st.integers(1, 4))
def test_chunks_change_nothing_but_the_noise(particles, chunk, batch):
    story = FactorAnalysis()
    x = story.dream(batch)
    weights = log_weights(story.model, story.guide, x, particles, chunk=chunk)
    torch.testing.assert_close(weights, story.evidence(x).expand(particles, batch), atol=1e-5, rtol=1e-5)


# Rate, distortion, bits, active units


def test_rate_and_distortion_make_the_elbo():
    story = FactorAnalysis(width=0.6)
    x = story.dream(5)
    torch.manual_seed(2)
    rate, distortion = rate_distortion(story.model, story.guide, x, 50)
    torch.manual_seed(2)
    torch.testing.assert_close(-(rate + distortion), elbo(story.model, story.guide, x, 50), atol=1e-4, rtol=1e-4)


def test_rate_is_the_kl_to_the_prior():
    story = FactorAnalysis()
    x = story.dream(3)
    mean, sd = story.posterior(x)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, sd.expand_as(mean)), torch.distributions.Normal(0.0, 1.0)
    ).sum(-1)
    rates = torch.stack([rate_distortion(story.model, story.guide, x, 20).rate for _ in range(200)])
    assert z_score(rates, kl.detach()) < Z


def test_bits_per_dim_of_known_codes():
    uniform_bytes = torch.tensor([-8 * math.log(2) * 10])  # ten bytes coded as such
    assert float(bits_per_dim(uniform_bytes, 10)) == pytest.approx(8.0)
    # A uniform density on [0, 1] is log 1 = 0 nats, and tells nothing about a byte.
    assert float(bits_per_dim(torch.zeros(1), 784, levels=256)) == pytest.approx(8.0)


def test_active_units_are_those_that_move():
    means = torch.stack([torch.randn(500), 0.05 * torch.randn(500), torch.zeros(500), 3 + torch.randn(500)], -1)
    found = active_units(means)
    assert found.number == 2
    assert found.active.tolist() == [True, False, False, True]
    torch.testing.assert_close(found.variance, means.double().var(0))


# Annealed importance sampling


def test_annealing_is_unbiased_and_beats_importance_sampling():
    story = FactorAnalysis(width=0.5, shift=1.5)
    x = story.dream(6)
    truth = story.evidence(x)
    found = annealed_importance(story.model, story.guide, x, particles=48, temperatures=40)
    assert z_score((found.log_weights - truth).exp(), 1.0) < Z
    plain = iwae(story.model, story.guide, x, 48)
    assert float((found.log_evidence - truth).abs().mean()) < 0.3 * float((plain - truth).abs().mean())
    assert float(found.acceptance.min()) > 0.4


def gamma_poisson(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Gamma(2.0, 1.0))
        pyro.sample("x", dist.Poisson(z), obs=x)


def test_annealing_of_a_positive_latent_counts_the_jacobian():
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.LogNormal(torch.ones(len(x)), 1.0))

    x = torch.tensor([0.0, 2.0, 6.0])
    truth = dist.NegativeBinomial(2.0, probs=torch.tensor(0.5)).log_prob(x)
    found = annealed_importance(gamma_poisson, guide, x, particles=300, temperatures=15)
    assert z_score((found.log_weights - truth).exp(), 1.0) < Z
    assert float((found.log_evidence - truth).abs().max()) < 0.1


def test_annealing_sums_out_discrete_sites_and_loops_where_it_must():
    story = Mixture(collapsed=True)
    x = story.dream(3)
    found = annealed_importance(story.model, story.guide, x, particles=100, temperatures=10, leapfrog=3)
    assert z_score((found.log_weights - story.evidence(x)).exp(), 1.0) < Z
    stubborn = Stubborn(width=0.8)
    x = stubborn.dream(3)
    with pytest.warns(UserWarning, match="one at a time"):
        found = annealed_importance(stubborn.model, stubborn.guide, x, particles=6, temperatures=5, leapfrog=2)
    assert float((found.log_evidence - stubborn.evidence(x)).abs().max()) < 1.0


def test_the_ladder_climbs_from_guide_to_posterior():
    ladder = temperature_ladder(20)
    assert ladder[0] == 0
    assert ladder[-1] == 1
    assert bool((ladder.diff() > 0).all())


# Bad input


def unplated(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def test_bad_input_is_refused():
    story = FactorAnalysis()
    x = story.dream(3)
    with pytest.raises(EstimatorError, match="'mu' is in no plate"):
        log_weights(unplated, lambda x: pyro.sample("mu", dist.Normal(0.0, 1.0)), torch.zeros(3), 2)
    with pytest.raises(EstimatorError, match=r"'z' \(Normal\) is not in the guide"):
        log_weights(story.model, lambda x: None, x, 2)

    def misnamed(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(EstimatorError, match=r"'w'.*not in the model, whose latent sites are z"):
        log_weights(story.model, misnamed, x, 2)
    with pytest.raises(OptionError, match="particles is 0"):
        iwae(story.model, story.guide, x, 0)
    with pytest.raises(OptionError, match="chunk is 0"):
        iwae(story.model, story.guide, x, 3, chunk=0)
    with pytest.raises(OptionError, match="dimensions is 0"):
        bits_per_dim(torch.zeros(1), 0)
    with pytest.raises(OptionError, match="levels is 1"):
        bits_per_dim(torch.zeros(1), 4, levels=1)
    with pytest.raises(MetricError, match=r"give \[data, latent\]"):
        active_units(torch.zeros(5))
    with pytest.raises(MetricError, match="NaN"):
        active_units(torch.full((5, 2), torch.nan))
    with pytest.raises(MetricError, match=r"\[particle, batch\]"):
        log_mean_weight(torch.zeros(5))
    with pytest.raises(OptionError, match="temperatures=0"):
        annealed_importance(story.model, story.guide, x, temperatures=0)
    discrete = Mixture(collapsed=False)
    with pytest.raises(EstimatorError, match="'c' is discrete"):
        annealed_importance(discrete.model, discrete.guide, discrete.dream(3))

    def auxiliary(x):
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u, event_dim=1))

    with pytest.raises(EstimatorError, match="draws 'u' on the way"):
        annealed_importance(story.model, auxiliary, x)
    with pytest.raises(EstimatorError, match="no latent site to anneal"):
        annealed_importance(poutine.block(story.model, hide=["z"]), lambda x: None, x)
