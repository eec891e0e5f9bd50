"""The analytic module against published values and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from pyro_models.conditional import exact
from pyro_models.errors import OptionError

#: AR(1), correlation .8, d = 4: given -> h(u|o), and at beta 1 loss, distortion, rate, active; at beta .1 loss, rate
GOLDEN = {
    (): (4.1433, 2.3063, 1.3376, 0.9688, 2, 0.6459, 4.4590),
    (0,): (2.7243, 1.3753, 0.9035, 0.4719, 1, 0.4461, 2.9611),
    (1,): (2.7243, 1.2508, 1.0250, 0.2258, 1, 0.4461, 2.9611),
    (0, 1): (1.8162, 0.8908, 0.6650, 0.2258, 1, 0.2974, 1.9741),
    (1, 2): (1.8162, 0.7200, 0.7200, 0.0, 0, 0.2974, 1.9741),
    (0, 2): (1.5689, 0.5795, 0.5795, 0.0, 0, 0.2727, 1.7267),
    (0, 3): (1.4574, 0.5761, 0.5761, 0.0, 0, 0.2615, 1.6153),
    (0, 1, 2): (0.9081, 0.3600, 0.3600, 0.0, 0, 0.1487, 0.9870),
    (0, 1, 3): (0.6608, 0.2195, 0.2195, 0.0, 0, 0.1240, 0.7397),
}


def mask_of(given: tuple[int, ...], d: int = 4) -> np.ndarray:
    return np.isin(np.arange(d), given)


@pytest.mark.parametrize("given", GOLDEN)
def test_the_golden_table(given):
    law = exact.autoregressive(4, 0.8)
    mirrored = tuple(3 - j for j in given)
    for one in (given, mirrored):
        values = law.eigenvalues(mask_of(one))
        at_one, at_tenth = exact.water_filling(values, 1.0), exact.water_filling(values, 0.1)
        found = (law.entropy(mask_of(one)), at_one.loss, at_one.distortion, at_one.rate, at_one.active,
                 at_tenth.loss, at_tenth.rate)  # fmt: skip
        # Four digits, and half a unit in the last one of those that end in 5.
        assert found == pytest.approx(GOLDEN[given], abs=6e-5)


def test_golden_eigenvalues_rates_and_means():
    law = exact.autoregressive(4, 0.8)
    assert law.eigenvalues() == pytest.approx([3.10318, 0.55926, 0.20882, 0.12874], abs=5e-6)
    rates = {
        0.05: [2.4107, 1.5539, 1.0613, 0.8195],
        0.1: [2.0641, 1.2073, 0.7147, 0.4729],
        0.5: [1.2594, 0.4026, 0, 0],
        1.0: [0.9128, 0.0560, 0, 0],
        2.0: [0.5662, 0, 0, 0],
    }
    for beta, expected in rates.items():
        assert exact.water_filling(law.eigenvalues(), beta).rates == pytest.approx(expected, abs=6e-5)
    entropies = [0.0 if m.all() else law.entropy(m) for m in exact.all_masks(4)]
    assert np.mean(entropies) == pytest.approx(1.76389, abs=6e-6)


def test_golden_greedy_order():
    order = exact.greedy_order(exact.autoregressive(4, 0.8), 1.0)
    assert [column for column, _ in order] == [1, 3, 0, 2]
    assert [loss for _, loss in order] == pytest.approx([1.2508, 0.5795, 0.2195, 0.0], abs=6e-5)


@pytest.mark.parametrize(("sources", "copies", "loss", "rate"), [(2, 4, 2.3863, 1.3863), (2, 8, 3.0794, 2.0794),
                                                                   (4, 8, 4.7726, 2.7726)])  # fmt: skip
def test_copies_cost_what_their_sources_cost(sources, copies, loss, rate):
    law = exact.projected(sources, copies, jitter=0.0)
    best = exact.water_filling(law.eigenvalues(), 1.0)
    assert (best.loss, best.rate) == pytest.approx((loss, rate), abs=6e-5)
    assert best.active == sources
    one_of_each = mask_of(tuple(range(sources)), copies)
    assert law.eigenvalues(one_of_each) == pytest.approx(np.zeros(copies - sources), abs=1e-12)


def test_every_first_condition_removes_the_same_rate_when_beta_is_small():
    law = exact.autoregressive(4, 0.8)
    whole = exact.water_filling(law.eigenvalues(), 0.1).rate
    for j in range(4):
        assert whole - exact.water_filling(law.eigenvalues(mask_of((j,))), 0.1).rate == pytest.approx(1.4979, abs=6e-5)
    information = law.information()
    assert information[1] > information[0]


@pytest.mark.parametrize("law", [exact.correlated(4, 1), exact.low_rank(4), exact.autoregressive(4)])
def test_conditional_densities_are_ratios_of_densities(law):
    x = law.draw(50, torch.Generator().manual_seed(0)).double().numpy()
    joint = multivariate_normal(np.zeros(4), law.covariance).logpdf(x)
    for mask in exact.all_masks(4):
        expected = joint
        if mask.any():
            expected = joint - multivariate_normal(np.zeros(mask.sum()), law.covariance[np.ix_(mask, mask)]).logpdf(
                x[:, mask]
            )
        assert law.log_density(x, mask) == pytest.approx(expected, abs=1e-7)
        if not mask.all():
            weights, rest = law.conditional(mask)
            mean = x[:, mask] @ weights.T
            by_hand = [multivariate_normal(m, rest).logpdf(row) for m, row in zip(mean, x[:, ~mask], strict=True)]
            assert law.log_density(x, mask) == pytest.approx(by_hand, abs=1e-6)


def test_mean_log_density_is_minus_the_entropy():
    law, n = exact.correlated(3, 5), 200_000
    x = law.draw(n, torch.Generator().manual_seed(0))
    for mask in exact.all_masks(3)[:-1]:
        found = law.log_density(x, mask)
        # five standard errors: probability of failure below 1e-6
        assert found.mean() == pytest.approx(-law.entropy(mask), abs=5 * found.std() / math.sqrt(n))


def test_the_two_component_toy():
    """1.0291 nats when each coordinate is hidden with probability .9."""
    law, n = exact.two_components(), 400_000
    x = law.draw(n, torch.Generator().manual_seed(0)).double().numpy()
    total, variance = 0.0, 0.0
    for mask, share in ((mask_of((), 2), 0.81), (mask_of((0,), 2), 0.09), (mask_of((1,), 2), 0.09)):
        found = law.log_density(x, mask)
        total += share * found.mean()
        variance += share**2 * found.var() / n
    assert total == pytest.approx(1.0291, abs=5 * math.sqrt(variance) + 5e-5)


def test_a_mixture_of_one_is_its_component():
    law = exact.correlated(3, 2)
    mixture, x = exact.Mixture(np.ones(1), (law,)), law.draw(20)
    for mask in exact.all_masks(3):
        assert mixture.log_density(x, mask) == pytest.approx(law.log_density(x, mask))


def test_a_random_correlation_is_one():
    for seed in range(5):
        law = exact.correlated(6, seed)
        assert np.diag(law.covariance) == pytest.approx(np.ones(6))
        assert law.eigenvalues().min() > 0


def test_densities_of_singular_laws_are_refused_and_rates_are_not():
    law = exact.projected(2, 4)
    with pytest.raises(OptionError, match=r"'projected' has no density.*add noise"):
        law.entropy()
    with pytest.raises(OptionError, match="no density"):
        law.log_density(law.draw(3))
    assert exact.projected(2, 4, noise=0.1).entropy() < 4
    assert exact.water_filling(law.eigenvalues(), 1.0).active == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.water_filling([1.0], 0.0), "beta is 0.0"),
        (lambda: exact.autoregressive(3, 1.0), "between -1 and 1"),
        (lambda: exact.Gaussian(np.zeros(2), np.ones((2, 3))), "give a square matrix"),
        (lambda: exact.Gaussian(np.zeros(2), -np.eye(2)), "eigenvalues of zero or more"),
        (lambda: exact.independent(3).entropy(np.zeros(2, bool)), "one truth value for each of 3"),
        (lambda: exact.projected(5, 4), "sources is 5"),
        (lambda: exact.all_masks(20), "draw some by a mask law"),
    ],
)
def test_wrong_questions_are_refused(call, message):
    with pytest.raises(OptionError, match=message):
        call()


def test_fewer_latents_code_the_largest_directions():
    best = exact.water_filling([0.6, 4.0, 2.0], 1.0, latents=2)
    assert best.rates == pytest.approx([0.5 * math.log(8), 0.5 * math.log(4), 0.0])
    assert best.distortions == pytest.approx([0.5, 0.5, 0.6])


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_the_best_code_loses_on_average_what_water_filling_says(beta):
    law = exact.autoregressive(4)
    x = law.draw(200_000, torch.Generator().manual_seed(1))
    for mask, values in exact.each_mask(law):
        losses = exact.best_code_loss(law, x, mask, beta)
        expected = 0.0 if mask.all() else exact.water_filling(values, beta).loss
        assert losses.mean() == pytest.approx(expected, abs=5 * losses.std() / len(x) ** 0.5 + 1e-12)
