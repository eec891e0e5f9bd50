"""Every unbiased estimator agrees with the truth, for model and guide parameters alike.

The truth is a sum written by hand (``cases.py``), not another estimator. A test fails when any entry of the mean of
many independent gradients is further from it than a correct estimator would be, with probability 2e-5 over all the
comparisons of this file together.
"""

from __future__ import annotations

import pytest
import torch
from scipy.stats import t

from inference import estimators
from inference.bias import FAILURE_PROBABILITY, estimate, limit
from inference.estimators.rloo import RLOO
from inference.hard_pairs import GAUSSIAN, HARD, MASKED, OPPOSITE, SHARED, UPSTREAM
from inference.pairs import MATRIX, MIXED, PLATE, SEQUENCE, bound
from pyro_models.errors import EstimatorError

#: entries compared in this file, counted generously
COMPARISONS = 10_000
LIMIT = limit(COMPARISONS)

CASES = (*MATRIX, *HARD)
BY_NAME = {case.name: case for case in (*CASES, MASKED, GAUSSIAN)}
#: label: name, options, gradients drawn, steps that the estimator's own parameters learn for, families
SCORE = {
    "reinforce": ("reinforce", {}, 20_000, 0, ("one-hot", "bits")),
    "reinforce, average": ("reinforce", {"baseline": "average"}, 20_000, 3, ("one-hot",)),
    "reinforce, constant": ("reinforce", {"baseline": -1.5}, 20_000, 0, ("one-hot",)),
    "nvil": ("nvil", {"hidden": (8,), "learning_rate": 0.05}, 10_000, 5, ("one-hot", "bits")),
    "rloo": ("rloo", {"num_particles": 3}, 10_000, 0, ("one-hot", "index", "bits")),
    "arm": ("arm", {}, 20_000, 0, ("bits",)),
    "disarm": ("disarm", {}, 20_000, 0, ("bits",)),
    "rebar": ("rebar", {"learning_rate": 0.1}, 3_000, 3, ("one-hot", "bits")),
    "relax": ("relax", {"hidden": (8,), "learning_rate": 0.05}, 3_000, 4, ("one-hot", "bits")),
    "relax, network": (
        "relax",
        {"control": "network", "hidden": (8,), "learning_rate": 0.05},
        5_000,
        4,
        ("one-hot", "index", "bits"),
    ),
}


def check(case, family, name, options, copies, own_steps, particles=1):
    torch.manual_seed(0)
    found = estimate(case, family, estimators.get(name)(**options), copies, own_steps, particles)
    for parameter, scores in found.z_scores().items():
        worst = float(scores.abs().max())
        assert worst < LIMIT, f"{parameter}: {worst:.1f} standard errors from the truth"
    return found


def matrix():
    for label, (name, options, copies, steps, families) in SCORE.items():
        for case in CASES:
            for family in families:
                if family == "index" and case not in (PLATE, SEQUENCE):
                    continue  # the same arithmetic as one-hot
                if "," in label and case in (OPPOSITE, UPSTREAM):
                    continue  # the same handling of sites as without the option
                yield pytest.param(case.name, family, name, options, copies, steps, id=f"{label}-{case.name}-{family}")


@pytest.mark.parametrize(("case", "family", "name", "options", "copies", "steps"), list(matrix()))
def test_the_mean_is_the_true_gradient(case, family, name, options, copies, steps):
    check(BY_NAME[case], family, name, options, copies, steps)


@pytest.mark.parametrize("family", ["one-hot", "index", "bits"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in (MIXED, UPSTREAM, SHARED)], ids=str)
def test_enumeration_is_exact(case, family):
    found = estimate(case, family, estimators.get("exact")(), copies=2, own_steps=0)
    for name, rows in found.rows.items():
        torch.testing.assert_close(rows, found.truth[name].expand_as(rows), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", [MIXED, UPSTREAM], ids=str)
@pytest.mark.parametrize("family", ["one-hot", "bits"])
def test_enumeration_beside_continuous_sites(case, family):
    check(case, family, "exact", {}, 3_000, 0)


@pytest.mark.parametrize("family", ["one-hot", "bits"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_multi_sample_bound_of_discrete_sites(case, family):
    check(case, family, "vimco", {"num_particles": 2}, 10_000, 0, particles=2)


def test_iwae_takes_discrete_sites_too():
    check(MIXED, "bits", "iwae", {"num_particles": 2}, 10_000, 0, particles=2)


@pytest.mark.parametrize("name", ["iwae", "dreg"])
def test_the_multi_sample_bound_of_continuous_sites(name):
    check(GAUSSIAN, "one-hot", name, {"num_particles": 2}, 20_000, 0, particles=2)


@pytest.mark.parametrize("options", [{"analytic_kl": True}, {"analytic_kl": False}], ids=str)
def test_pathwise(options):
    check(GAUSSIAN, "one-hot", "pathwise", options, 20_000, 0)


def test_three_particles():
    check(PLATE, "one-hot", "vimco", {"num_particles": 3}, 20_000, 0, particles=3)


@pytest.mark.parametrize("name", ["reinforce", "nvil", "rloo", "rebar", "relax", "disarm", "arm"])
def test_a_site_that_a_mask_leaves_out_gets_no_gradient_and_no_noise(name):
    found = check(MASKED, "bits", name, {}, 2_000, 1)
    assert float(found.rows["absent"].abs().max()) == 0.0


@pytest.mark.parametrize("name", ["rloo", "nvil", "relax", "disarm", "exact", "vimco"])
def test_mini_batches_drawn_by_the_plate(name):
    """Pyro scales a plate that subsamples; the mean over mini-batches is the gradient of the whole."""
    import pyro
    import pyro.distributions as dist

    x = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
    values = PLATE.parameters("bits")
    copies = 300 if name in ("exact", "relax") else 1_000
    leaves = {n: v.expand(copies, *v.shape).clone().requires_grad_() for n, v in values.items()}
    logits = {n: (leaf[..., 1] - leaf[..., 0]).unsqueeze(-1) for n, leaf in leaves.items() if n != "mu"}
    mu = leaves["mu"].unsqueeze(1)

    def model():
        with pyro.plate("copies", copies, dim=-2), pyro.plate("data", 4, subsample_size=2, dim=-1) as rows:
            d = pyro.sample("d", dist.Bernoulli(logits=logits["prior"]))
            pyro.sample("x", dist.Normal(mu[..., 0] * (1 - d) + mu[..., 1] * d, 1.0), obs=x[rows])

    def guide():
        with pyro.plate("copies", copies, dim=-2), pyro.plate("data", 4, subsample_size=2, dim=-1) as rows:
            pyro.sample("d", dist.Bernoulli(logits=logits["phi"] + logits["slope"] * x[rows]))

    options = {"num_particles": 2} if name == "vimco" else {}
    estimator = estimators.get(name)(**options)
    means = []
    for _ in range(40):  # mini-batches: the same for all copies of one
        loss = estimator.differentiable_loss(model, guide)
        means.append([g.mean(0) for g in torch.autograd.grad(loss, list(leaves.values()))])
    truth_leaves = {n: v.clone().requires_grad_() for n, v in values.items()}
    log_q = torch.stack([(truth_leaves["phi"] + truth_leaves["slope"] * value).log_softmax(-1) for value in x])
    # the slope's Bernoulli logits are differences, as everywhere in the cases
    log_p = truth_leaves["prior"].log_softmax(-1) - 0.5 * (x.unsqueeze(-1) - truth_leaves["mu"]) ** 2
    log_w = log_p - log_q - 0.5 * torch.log(torch.tensor(2 * torch.pi))
    if name == "vimco":
        pair = torch.stack([log_w.unsqueeze(-1).expand(-1, -1, 2), log_w.unsqueeze(-2).expand(-1, 2, -1)])
        weight = log_q.exp().unsqueeze(-1) * log_q.exp().unsqueeze(-2)
        value = (weight * (pair.logsumexp(0) - torch.log(torch.tensor(2.0)))).sum()
    else:
        value = (log_q.exp() * log_w).sum()
    truth = torch.autograd.grad(-value, list(truth_leaves.values()))
    for column, true in zip(zip(*means, strict=True), truth, strict=True):
        rows = torch.stack(column)
        error = rows.std(0) / len(rows) ** 0.5 + 1e-9
        # 40 means: Student's t with 39 degrees of freedom
        assert float(((rows.mean(0) - true) / error).abs().max()) < t.isf(FAILURE_PROBABILITY / 100 / 2, 39)


def test_a_wrong_estimator_is_caught():
    """The tests above can fail: a baseline that contains the sample's own cost is biased by a third."""

    class Wrong(RLOO):
        def baselines(self, signals, model_trace, guide_trace):
            return {name: signal.mean(0, keepdim=True) for name, signal in signals.items()}, None

    torch.manual_seed(0)
    scores = estimate(PLATE, "one-hot", Wrong(num_particles=3), 10_000, 0).z_scores()
    assert max(float(scores[name].abs().max()) for name in PLATE.guide_names) > 2 * LIMIT


def test_costs_by_the_order_of_the_model_alone_are_caught(monkeypatch):
    """The opposite-order case sees a cost rule that forgets that the parents of an early model site come late."""
    from inference.estimators import score as module
    from inference.estimators.costs import Terms, plates_of, sample_sites, score_sites

    def by_model_order(model_trace, guide_trace):
        found = {}
        model_sites, guide_sites = list(sample_sites(model_trace).values()), list(sample_sites(guide_trace).values())
        names = [site["name"] for site in model_sites]
        for name in score_sites(guide_trace):
            terms = Terms()
            for site in model_sites[names.index(name) :]:
                terms.add(site, site["log_prob"])
            for site in guide_sites[[site["name"] for site in guide_sites].index(name) :]:
                terms.add(site, -site["log_prob"])
            found[name] = terms.sum_to(plates_of(guide_trace.nodes[name])).detach()
        return found

    monkeypatch.setattr(module, "learning_signals", by_model_order)
    torch.manual_seed(0)
    scores = estimate(OPPOSITE, "one-hot", estimators.get("rloo")(num_particles=3), 20_000, 0).z_scores()
    assert max(float(value.abs().max()) for value in scores.values()) > LIMIT


def test_enumeration_refuses_what_it_would_get_wrong():
    with pytest.raises(EstimatorError, match=r"'y' depends on 'd' from outside of its plate 'data'"):
        estimate(SHARED, "one-hot", estimators.get("exact")(), copies=2, own_steps=0)


def test_the_truth_by_hand_agrees_with_pyro():
    """``bound`` and the Pyro programs of the cases are the same models: a second look at the tables."""
    for case in CASES:
        if case is SHARED:
            continue
        values = case.parameters("one-hot")
        leaves = {name: value.expand(4_000, *value.shape) for name, value in values.items()}
        with torch.no_grad():
            loss = estimators.get("exact")().loss(*case.pair(leaves, "one-hot")) / 4_000
        assert -loss == pytest.approx(float(bound(case, values)), abs=1e-9 if case in (OPPOSITE, PLATE) else 0.3)
