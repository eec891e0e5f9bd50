"""Measuring a story: which metrics apply, what is written, and that the numbers are those of the arrays."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from evaluation import evaluate
from evaluation.answers import Answers
from evaluation.figures import FIGURES, draw
from evaluation.metric import METRICS, Score, metric
from evaluation.metrics import PARTICLES
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import DataError, MetricError, OptionError, UnknownName
from pyro_models.story import Clusters, Reconstructs, Represents, Story


class Linear(Story):
    """z ~ N(0, 1), x | z ~ N(z w, I), with the exact posterior as guide: everything is known in closed form."""

    citation = "none"

    def __init__(self, shape):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 2.0]))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * self.w, 1.0).to_event(1), obs=x)

    def guide(self, x):
        precision = 1 + self.w.square().sum()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x @ self.w / precision, precision**-0.5))

    def features(self, x):
        return (x @ self.w / (1 + self.w.square().sum()))[:, None]

    def reconstruct(self, x):
        return self.features(x) * self.w

    def responsibilities(self, x):
        positive = (x @ self.w > 0).float()
        return torch.stack([positive, 1 - positive], 1)


@pytest.fixture
def data() -> Data:
    torch.manual_seed(0)
    z = torch.randn(400)
    x = z[:, None] * torch.tensor([1.0, 2.0]) + torch.randn(400, 2)
    return Data({"x": x, "label": (z > 0).long()}, "line")


def log_evidence(x) -> float:
    w = torch.tensor([1.0, 2.0])
    return float(dist.MultivariateNormal(torch.zeros(2), torch.eye(2) + torch.outer(w, w)).log_prob(x).mean())


def test_with_the_exact_guide_both_bounds_are_the_evidence(data):
    found = evaluate(Linear((2,)), data)["metrics"]
    assert found["elbo"] == pytest.approx(log_evidence(data["x"]), abs=1e-4)
    assert found[f"iwae_{PARTICLES}"] == pytest.approx(log_evidence(data["x"]), abs=1e-4)


def test_every_metric_is_that_of_the_arrays(data):
    result = evaluate(Linear((2,)), data)
    story, x = Linear((2,)), data["x"]
    agree = ((x @ story.w > 0) == (data["label"] == 1)).float().mean().item()
    assert result["metrics"]["accuracy"] == pytest.approx(max(agree, 1 - agree), abs=1e-6)
    error = (x - story.reconstruct(x)).square().sum(1).mean()
    assert result["metrics"]["squared_error"] == pytest.approx(error.item(), rel=1e-5)
    assert result["baselines"]["squared_error"]["mean of the split"] == pytest.approx(
        x.var(0, unbiased=False).sum().item(), rel=1e-5
    )
    assert result["metrics"]["active_units"] == 1
    assert result["n"] == 400


def test_it_is_deterministic_and_leaves_the_random_stream_alone(data):
    torch.manual_seed(5)
    first = evaluate(Linear((2,)), data)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert evaluate(Linear((2,)), data) == first


def test_labels_are_needed_only_by_metrics_of_labels(data):
    unlabelled = Data({"x": data["x"]}, "plain")
    found = evaluate(Linear((2,)), unlabelled)["metrics"]
    assert "accuracy" not in found
    assert "elbo" in found
    with pytest.raises(MetricError, match="'clustering' cannot be computed: plain has no field label"):
        evaluate(Linear((2,)), unlabelled, metrics=["clustering"])
    with pytest.raises(DataError, match="unlabelled"):
        Answers(Linear((2,)), unlabelled)["label"]


def test_a_capability_that_is_lacking_is_named(data):
    class Barest(Story):
        model, guide = Linear.model, Linear.guide

        def __init__(self, shape):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 2.0]))

    assert not isinstance(Barest((2,)), Clusters | Represents | Reconstructs)
    assert set(evaluate(Barest((2,)), data)["metrics"]) == {
        "elbo",
        f"iwae_{PARTICLES}",
        "rate",
        "distortion",
        "khat_bad",
    }
    with pytest.raises(MetricError, match="Barest is not Clusters"):
        evaluate(Barest((2,)), data, metrics=["clustering"])


def test_a_users_metric_runs_with_the_others(data, monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))

    @metric("spread-for-this-test", needs=(Represents,), summary="width of the codes")
    def spread(answers):
        return {"spread": Score(answers.features.std().item(), {"prior": 1.0}, "standard deviation", "neither")}

    result = evaluate(Linear((2,)), data)
    assert result["metrics"]["spread"] == pytest.approx(math.sqrt(5 / 6), abs=0.1)
    assert result["baselines"]["spread"] == {"prior": 1.0}


def test_wrong_requests(data):
    with pytest.raises(UnknownName, match="did you mean 'bound'"):
        evaluate(Linear((2,)), data, metrics=["bond"])
    with pytest.raises(OptionError, match="split is 'tets'"):
        evaluate(Linear((2,)), Splits(data, data, data), split="tets")
    with pytest.raises(OptionError, match="needs data"):
        evaluate(Linear((2,)))


def test_figures_are_made_when_they_apply(data):
    made = {maker.name: picture for maker, picture in draw(Answers(Linear((2,)), data))}
    assert set(made) == {"confusion", "reliability"}  # no images; a single latent has no map; no run, no curve
    for name in FIGURES:
        assert FIGURES.get(name).title
    for picture in made.values():
        assert picture.get_axes()


def test_image_figures():
    from pyro_models.anchors.mixture_vae import MixtureVAE

    x = torch.rand(40, 3, 9, 9)
    answers = Answers(MixtureVAE((3, 9, 9), clusters=3, latent=2, hidden=(8,)), Data({"x": x}))
    made = {maker.name for maker, _ in draw(answers)}
    assert made == {"reconstructions", "samples", "cluster-means", "cluster-members", "latent-map", "explanations"}


def test_report_stays_a_function_whatever_was_imported_before():
    import evaluation
    import evaluation.compare.page

    assert callable(evaluation.report)
    assert callable(evaluation.evaluate)
