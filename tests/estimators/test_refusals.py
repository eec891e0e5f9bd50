"""What an estimator cannot do is refused with the site, its shape and a fix."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import estimators, fit
from pyro_models.errors import EstimatorError, ModelsError

SAMPLED = ["reinforce", "nvil", "rloo", "vimco", "concrete", "straight-through", "gumbel-rao"]
SAMPLED += ["rebar", "relax", "disarm", "arm"]
X = torch.zeros(5)


def pair(make, infer=None, data=5):
    """d -> x in a plate, with the discrete distribution that ``make()`` returns; the guide's site has ``infer``."""

    def model():
        with pyro.plate("data", data):
            d = pyro.sample("d", make())
            pyro.sample("x", dist.Normal(d.reshape(data, -1).sum(-1).float(), 1.0), obs=X[:data])

    def guide():
        with pyro.plate("data", data):
            pyro.sample("d", make(), infer=infer or {})

    return model, guide


def categorical():
    return dist.Categorical(logits=torch.zeros(3))


def one_hot():
    return dist.OneHotCategorical(logits=torch.zeros(3))


def bernoulli():
    return dist.Bernoulli(logits=torch.zeros(()))


def gaussian():
    return dist.Normal(0.0, 1.0)


def refused(name, make, match, options=None, infer=None):
    for _ in range(2):  # a refusal is no preparation: the second call refuses as well
        estimator = estimators.get(name)(**(options or {}))
        for _ in range(2):
            with pytest.raises(EstimatorError, match=match):
                estimator.loss(*pair(make, infer))


@pytest.mark.parametrize("name", [*SAMPLED, "exact"])
def test_no_discrete_site(name):
    refused(name, gaussian, r"'d' \(Normal of shape \((2, |5, )?5,?\)\).*'pathwise'")


@pytest.mark.parametrize("name", [*SAMPLED, "exact"])
def test_no_discrete_site_in_a_story(name):
    with pytest.raises(ModelsError, match="discrete sites"):
        fit("vae", "digits", name, steps=1)


@pytest.mark.parametrize("name", ["disarm", "arm"])
@pytest.mark.parametrize("make", [categorical, one_hot])
def test_bernoulli_only(name, make):
    refused(
        name, make, rf"'{name}' cannot handle the guide site 'd' \(.*Categorical of shape \(5,.*Bernoulli sites.*use"
    )


@pytest.mark.parametrize("name", ["concrete", "straight-through", "gumbel-rao", "rebar", "relax"])
def test_an_index_cannot_be_relaxed(name):
    refused(name, categorical, r"'d' \(Categorical of shape \(5,\)\).*sample a OneHotCategorical")


@pytest.mark.parametrize("name", ["dreg", "pathwise"])
def test_discrete_sites_under_pathwise_estimators(name):
    refused(name, one_hot, r"needs reparameterised guide sites, but 'd' \(OneHotCategorical .* is discrete; use")


def test_too_many_states():
    def model():
        for i in range(4):
            pyro.sample(f"d{i}", dist.Categorical(logits=torch.zeros(11)))

    with pytest.raises(EstimatorError, match=r"14641 joint states.*'d0' 11 x .*max_states=10000; raise max_states"):
        estimators.get("exact")().loss(model, model)
    with pytest.raises(EstimatorError, match=r"3 joint states .* max_states=2"):
        estimators.get("exact")(max_states=2).loss(*pair(categorical))
    with pytest.raises(EstimatorError, match="max_states is 1"):
        estimators.get("exact")(max_states=1)


def test_enumeration_and_sampling_asked_at_once():
    refused("exact", one_hot, r"'d' .*both enumeration and 3 samples", infer={"num_samples": 3})
    for name in SAMPLED:
        make = bernoulli if name in ("arm", "disarm") else one_hot
        refused(name, make, rf"'d' .*asks for enumeration .*'{name}' samples it", infer={"enumerate": "parallel"})


def test_event_dimensions_cannot_be_enumerated():
    refused("exact", lambda: dist.Bernoulli(logits=torch.zeros(3)).to_event(1), r"event dimensions .*pyro.plate")


def test_a_site_that_the_guide_lacks():
    def model():
        pyro.sample("d", bernoulli())
        pyro.sample("e", bernoulli())

    def guide():
        pyro.sample("d", bernoulli())

    for name in ("reinforce", "rloo", "relax", "disarm", "vimco", "concrete"):
        with pytest.raises(EstimatorError, match=r"model site 'e' .* is not in the guide.*'exact'"):
            estimators.get(name)().loss(model, guide)
    estimators.get("exact")().loss(model, guide)


@pytest.mark.parametrize("name", ["concrete", "straight-through", "gumbel-rao", "rebar", "relax"])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures(name, temperature):
    with pytest.raises(EstimatorError, match=r"temperature is .*; it must be positive"):
        estimators.get(name)(temperature=temperature)


@pytest.mark.parametrize("options", [{"final_temperature": 0.0}, {"prior_temperature": -1.0}])
def test_other_temperatures(options):
    with pytest.raises(EstimatorError, match="must be positive"):
        estimators.get("concrete")(**options)


@pytest.mark.parametrize("shape", [(5, 1), (1,), (3, 5), ()])
def test_a_baseline_of_the_wrong_shape(shape):
    infer = {"baseline": {"nn_baseline": lambda x: torch.zeros(shape), "nn_baseline_input": X}}
    refused("nvil", one_hot, r"baseline of the guide site 'd' has the shape .*have \(5,\).*squeeze", infer=infer)


def test_a_baseline_with_unknown_options():
    refused("nvil", one_hot, r"site 'd' has a baseline with sum", infer={"baseline": {"sum": 1}})


@pytest.mark.parametrize("name", ["rloo", "vimco", "iwae", "dreg", "reweighted-wake-sleep"])
def test_one_particle_has_nothing_to_compare(name):
    with pytest.raises(EstimatorError, match=rf"num_particles is 1; '{name}' compares particles"):
        estimators.get(name)(num_particles=1)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("reinforce", {"baseline": "median"}, "baseline is 'median'; it is 'none', 'average' or a number"),
        ("reinforce", {"decay": 1.0}, "decay is 1.0"),
        ("relax", {"control": "model"}, "control is 'model'; it is one of 'model[+]network', 'network'"),
        ("gumbel-rao", {"draws": 0}, "draws is 0"),
        ("reinforce", {"num_particles": 0}, "num_particles is 0"),
    ],
)
def test_options(name, options, match):
    with pytest.raises(EstimatorError, match=match):
        estimators.get(name)(**options)


def test_replicas_name_a_plate():
    refused(
        "nvil", one_hot, r"replicas='runs' names no plate of the site 'd' \(its plates: data\)", {"replicas": "runs"}
    )


def test_a_relaxed_site_has_one_family():
    def model():
        d = pyro.sample("d", dist.Bernoulli(logits=torch.zeros(3)).to_event(1))
        pyro.sample("x", dist.Normal(d.sum(-1), 1.0), obs=X[0])

    def guide():
        pyro.sample("d", one_hot())

    with pytest.raises(EstimatorError, match="'d' is OneHotCategorical in the guide and Independent in the model"):
        estimators.get("rebar")().loss(model, guide)


def test_a_site_that_appears_later():
    seen = []

    def model():
        for name in seen or ["d"]:
            pyro.sample(name, bernoulli())

    estimator = estimators.get("nvil")()
    estimator.loss_and_grads(model, model)
    seen.extend(["d", "late"])
    with pytest.raises(EstimatorError, match="'late' was not there in the first batch"):
        estimator.differentiable_loss(model, model)


def test_unknown_estimator():
    with pytest.raises(ModelsError, match="no estimator is called 'rllo'; did you mean 'rloo'"):
        estimators.get("rllo")
