"""Biased estimators: flagged as such, visibly biased where they are, and how the bias goes away."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import estimators
from inference.bias import estimate, limit
from inference.hard_pairs import HARD, OPPOSITE
from inference.pairs import MATRIX, ONE, PLATE, SEQUENCE, Case, bound, normal

LIMIT = limit(2_000)


def biases(case, family, name, temperatures, copies=20_000, **options):
    found = []
    for temperature in temperatures:
        torch.manual_seed(0)
        estimator = estimators.get(name)(temperature=temperature, **options)
        assert not estimator.unbiased
        found.append(estimate(case, family, estimator, copies, 0))
    return found


@pytest.mark.parametrize("family", ["one-hot", "bits"])
@pytest.mark.parametrize("case", [*MATRIX, OPPOSITE], ids=str)
def test_the_bias_of_concrete_vanishes_with_the_temperature(case, family):
    hot, _, cold = biases(case, family, "concrete", (2.0, 0.5, 0.05))
    worst = max(float(score.abs().max()) for score in hot.z_scores().values())
    assert worst > LIMIT, "at temperature 2 the bias is larger than the noise"
    noise = sum(float((rows.var(0) / len(rows)).sum()) for rows in cold.rows.values()) ** 0.5
    assert cold.bias() < 0.35 * hot.bias() + 4 * noise


def factor_case(name, function):
    """A bound that is a chosen function of the value."""

    def model(p, family):
        d = pyro.sample("d", dist.OneHotCategorical(logits=p["prior"]))
        pyro.factor("x", function((d * p["mu"]).sum(-1)))

    def table(p):
        log_q = p["phi"].log_softmax(-1)
        return [(log_q.exp(), p["prior"].log_softmax(-1) + function(p["mu"]) - log_q)]

    return Case(name, {"phi": (0,), "prior": (0,), "mu": (0,)}, model, ONE.guide, table, ("phi",))


@pytest.mark.parametrize("name", ["straight-through", "gumbel-rao"])
@pytest.mark.parametrize("case", [factor_case("linear", lambda v: v), factor_case("quadratic", torch.square)], ids=str)
def test_straight_through_is_right_in_the_limit_where_the_bound_is_quadratic(case, name):
    hot, cold = biases(case, "one-hot", name, (2.0, 0.05))
    assert max(float(score.abs().max()) for score in hot.z_scores().values()) > LIMIT
    assert cold.bias() < 0.15 * hot.bias()


@pytest.mark.parametrize("name", ["straight-through", "gumbel-rao"])
def test_straight_through_stays_biased_elsewhere(name):
    """At any temperature, as documented; the model's own gradient has no bias."""
    case = factor_case("steep", lambda v: (3 * v).exp())
    for found in biases(case, "one-hot", name, (0.2, 0.05)):
        scores = found.z_scores()
        assert float(scores["phi"].abs().max()) > LIMIT
        assert max(float(scores[n].abs().max()) for n in ("prior", "mu")) < LIMIT


@pytest.mark.parametrize("case", [ONE, OPPOSITE, PLATE, SEQUENCE], ids=str)
def test_gumbel_rao_is_straight_through_with_less_noise(case):
    (plain,) = biases(case, "one-hot", "straight-through", (0.3,), copies=20_000)
    (averaged,) = biases(case, "one-hot", "gumbel-rao", (0.3,), copies=20_000, draws=10)
    assert averaged.variance(case.guide_names) < 0.8 * plain.variance(case.guide_names)
    for name in case.guide_names:
        one, two = plain.rows[name], averaged.rows[name]
        error = (one.var(0) / len(one) + two.var(0) / len(two)).sqrt() + 1e-9
        assert float(((one.mean(0) - two.mean(0)) / error).abs().max()) < LIMIT


@pytest.mark.parametrize("family", ["one-hot", "bits"])
@pytest.mark.parametrize("case", [*MATRIX, *HARD], ids=str)
def test_the_models_own_gradient_under_straight_through_has_no_bias(case, family):
    (found,) = biases(case, family, "straight-through", (0.5,), copies=5_000)
    scores = found.z_scores()
    assert max(float(scores[n].abs().max()) for n in scores if n not in case.guide_names) < LIMIT


def test_the_temperature_falls_geometrically_and_is_saved():
    estimator = estimators.get("concrete")(temperature=1.0, final_temperature=0.01)
    estimator.at(0.5)
    assert float(estimator.temperature.value) == pytest.approx(0.1)
    again = estimators.get("concrete")(temperature=1.0, final_temperature=0.01)
    again.load_state_dict(estimator.state_dict())
    assert float(again.temperature.value) == pytest.approx(0.1)


def test_the_concrete_density_of_maddison_and_others():
    """With its own prior temperature the loss is that of torch's relaxed distributions."""
    from torch.distributions import RelaxedBernoulli, RelaxedOneHotCategorical

    from inference.estimators.concrete import ConcreteDensity

    logits, temperature = torch.tensor([0.3, -1.2, 0.8]), torch.tensor(0.7)
    reference = RelaxedOneHotCategorical(temperature, logits=logits)
    values = [reference.sample() for _ in range(3)]
    ours = [ConcreteDensity(dist.OneHotCategorical(logits=logits), temperature, v.log()).log_prob(v) for v in values]
    for value, log_p in zip(values, ours, strict=True):
        # torch's density is on the simplex: smaller by the sum of log v
        torch.testing.assert_close(log_p, reference.log_prob(value) + value.log().sum())
    bit = RelaxedBernoulli(temperature, logits=logits)
    value = bit.sample()
    ours = ConcreteDensity(dist.Bernoulli(logits=logits), temperature, value.logit()).log_prob(value)
    torch.testing.assert_close(ours, bit.log_prob(value) + value.log() + (1 - value).log())


@pytest.mark.parametrize("family", ["one-hot", "bits"])
def test_wake_sleep_trains_the_model_on_the_bound_and_the_guide_on_the_posterior(family):
    torch.manual_seed(0)
    estimator = estimators.get("reweighted-wake-sleep")(num_particles=2)
    assert not estimator.unbiased
    scores = estimate(PLATE, family, estimator, 20_000, 0, particles=2).z_scores()
    for name, score in scores.items():
        if name in PLATE.guide_names:
            assert float(score.abs().max()) > LIMIT, "the guide follows another objective"
        else:
            assert float(score.abs().max()) < LIMIT


def test_the_guides_direction_in_wake_sleep_tends_to_that_of_the_forward_divergence():
    """-grad of sum_z p(z|x) log q(z): the bias of self-normalised weights falls as 1/K."""
    values = ONE.parameters("one-hot")
    joint = values["prior"].log_softmax(-1) + normal(torch.tensor(0.7).double(), values["mu"])
    leaf = values["phi"].clone().requires_grad_()
    (truth,) = torch.autograd.grad(-(joint.softmax(-1) * leaf.log_softmax(-1)).sum(), leaf)
    errors = []
    for particles in (2, 64):
        torch.manual_seed(0)
        estimator = estimators.get("reweighted-wake-sleep")(num_particles=particles)
        found = estimate(ONE, "one-hot", estimator, 10_000, 0)
        errors.append(float((found.rows["phi"].mean(0) - truth).norm()))
    assert errors[1] < 0.15 * errors[0]
    assert errors[1] < 0.05 * float(truth.norm())


def test_the_value_of_a_straight_through_loss_is_the_discrete_bound():
    values = PLATE.parameters("one-hot")
    leaves = {name: value.expand(20_000, *value.shape) for name, value in values.items()}
    torch.manual_seed(0)
    loss = estimators.get("straight-through")().loss(*PLATE.pair(leaves, "one-hot")) / 20_000
    assert -loss == pytest.approx(float(bound(PLATE, values)), abs=0.05)
