"""The metrics behind ``evaluate``: what each needs and says, and that its numbers are those of the arrays."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from evaluation import evaluate
from evaluation.answers import Answers
from evaluation.disentanglement import disentanglement, mig
from evaluation.figures import FIGURES
from evaluation.generated import generation_scores
from evaluation.measure import applicable
from evaluation.metric import METRICS, Metric
from inference import fit
from pyro_models import datasets
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import MetricError
from pyro_models.story import Story


class Oracle(Story):
    """One broad Gaussian per pixel; its answers are handed to it."""

    def __init__(self, shape, made=None):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(shape))
        self.made = made
        self.position = 0

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.level + z[..., None, None, None], 1.0).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean((-1, -2, -3)), 0.1))

    def generate(self, count):
        start, self.position = self.position, self.position + count
        return self.made[start : start + count]


@pytest.fixture(scope="module")
def digits() -> Splits:
    return datasets.load("digits")


@pytest.fixture(scope="module")
def trained():
    return fit("mixture-vae", "digits", steps=40, story_options={"clusters": 4, "latent": 3, "hidden": [16]}).story


@pytest.fixture(scope="module")
def sprites() -> Data:
    return datasets.load("sprites", size=300).train


OWN = (
    "bound", "calibration", "clustering", "disentanglement", "generation", "guide-fit", "latents", "rate-distortion",
    "reconstruction", "silhouette",
)  # fmt: skip


class TestEvery:
    def test_registration_is_complete(self):
        for name in OWN:
            found = METRICS.get(name)
            assert isinstance(found, Metric)
            assert METRICS.summary(name)
            assert found.function.__doc__
            assert all(getattr(protocol, "_is_protocol", False) for protocol in found.needs)
            if name not in ("reconstruction", "clustering", "latents"):
                assert found.citation.startswith("@")
        assert set(METRICS) >= set(OWN)

    def test_numbers_lie_within_their_bounds_and_say_what_they_are(self, trained, digits):
        result = evaluate(trained, digits)
        assert {
            "clustering",
            "bound",
            "calibration",
            "generation",
            "silhouette",
            "guide-fit",
            "rate-distortion",
        } <= set(result["from"].values())
        assert len(result["metrics"]) >= 20
        for key, value in result["metrics"].items():
            assert math.isfinite(value), key
            assert result["better"][key] in ("higher", "lower", "neither")
            low, high = result["bounds"].get(key, (None, None))
            for number in (value, *result["baselines"].get(key, {}).values()):
                assert low is None or number >= low - 1e-9, key
                assert high is None or number <= high + 1e-9, key

    def test_rate_and_distortion_make_the_elbo(self, trained, digits):
        found = evaluate(trained, digits, metrics=["rate-distortion", "bound"])["metrics"]
        assert -found["rate"] - found["distortion"] == pytest.approx(found["elbo"], rel=0.02)

    def test_same_seed_same_numbers(self, trained, digits):
        assert evaluate(trained, digits, seed=3) == evaluate(trained, digits, seed=3)


class TestGeneration:
    def scores(self, made, digits, **options):
        return evaluate(Oracle((1, 8, 8), made), digits, metrics=["generation"], **options)

    def test_a_perfect_generator_reaches_the_floor_and_dealt_pixels_do_not(self, digits):
        random = np.random.default_rng(0)
        x = digits.train["x"]
        perfect = self.scores(x[random.permutation(len(x))], digits)
        dealt = self.scores(torch.from_numpy(random.permuted(x.flatten(1).numpy(), axis=0)).reshape(x.shape), digits)
        for key in ("frechet_classifier", "kernel_classifier"):
            floor, trivial = perfect["baselines"][key].values()
            width = trivial - floor
            assert perfect["metrics"][key] < floor + 0.1 * width, key
            assert dealt["metrics"][key] > trivial - 0.3 * width, key
            assert perfect["better"][key] == "lower"
        for key in ("precision", "recall", "density", "coverage", "inception_score"):
            assert perfect["metrics"][key] > dealt["metrics"][key] + 0.1, key
        assert f"{len(digits.test)} real and as many generated images" in perfect["rules"]["frechet_classifier"]
        assert "held-out accuracy 0.9" in perfect["rules"]["frechet_classifier"]

    def test_one_picture_has_fidelity_and_no_variety(self, digits):
        copies = digits.train["x"][:1].expand(2000, -1, -1, -1)
        found = self.scores(copies, digits)["metrics"]
        assert found["precision"] in (0.0, 1.0)
        assert found["recall"] < 0.1
        assert found["coverage"] < 0.1
        assert found["inception_score"] == pytest.approx(1.0)

    def test_without_labels_pixels_are_compared_and_without_training_data_halves(self, digits):
        test = digits.test
        found = evaluate(Oracle((1, 8, 8), digits.train["x"]), Data({"x": test["x"]}, "plain"), metrics=["generation"])
        assert "raw pixels" in found["rules"]["kernel_pixels"]
        assert found["sizes"]["kernel_pixels"] == len(test) // 2
        assert "inception_score" not in found["metrics"]

    def test_a_network_of_ones_own(self, digits):
        answers = Answers(Oracle((1, 8, 8), digits.train["x"]), digits.test, train=digits.train)
        network = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
        found = generation_scores(answers, network, "pooled")
        assert found["frechet_pooled"].value < 0.3 * found["frechet_pooled"].baselines["pixels dealt at random"]
        assert found["frechet_pooled"].rule.endswith("Sequential")
        assert "inception_score" not in found

    def test_the_network_is_chosen(self, digits, tmp_path):
        made = digits.train["x"]
        assert "frechet_pixels" in self.scores(made, digits, features="pixels", limit=300)["metrics"]
        pooled = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
        assert "frechet_features" in self.scores(made, digits, features=pooled, limit=300)["metrics"]
        with pytest.raises(MetricError, match="Inception v3 needs its weights"):
            self.scores(made, digits, features="inception")
        with pytest.raises(MetricError, match="no weights file"):
            self.scores(made, digits, features="inception", weights=tmp_path / "missing.pth")

    def test_refusals(self, digits):
        with pytest.raises(MetricError, match="generates NaN or infinity"):
            self.scores(torch.full((2000, 1, 8, 8), torch.nan), digits)
        with pytest.raises(MetricError, match="150 data are fewer than 200"):
            self.scores(digits.train["x"], digits, limit=150)
        points = Data({"x": torch.rand(300, 2)}, "points")
        story = Oracle((2,), torch.rand(900, 2))
        assert "generation" not in [found.name for found in applicable(story, points)]
        with pytest.raises(MetricError, match=r"data of shape \(2,\) are no grey or colour images"):
            applicable(story, points, ["generation"])


class Encoder(Oracle):
    """Its features are the mean brightness of each corner: known functions of the datum."""

    def features(self, x):
        return torch.stack([x[:, 0, :16, :16], x[:, 0, 16:, :16], x[:, 0, :16, 16:]]).mean((2, 3)).T


class TestDisentanglement:
    def test_is_that_of_the_arrays_beside_noise_and_truth(self, sprites):
        story = Encoder((1, 32, 32))
        result = evaluate(story, sprites, metrics=["disentanglement"])
        by_hand = disentanglement(story.features(sprites["x"]), sprites["factors"])
        assert result["metrics"] == pytest.approx(by_hand, abs=1e-6)
        assert result["baselines"]["mig"]["noise"] < 0.3 < result["baselines"]["mig"]["the factors themselves"]
        assert result["better"]["total_correlation"] == "lower"

    def test_what_does_not_vary_takes_no_part(self, sprites):
        factors = sprites["factors"].clone()
        factors[:, 1:] = 1.0
        found = evaluate(
            Encoder((1, 32, 32)), Data({"x": sprites["x"], "factors": factors}, "one"), metrics=["disentanglement"]
        )
        assert "mig" in found["metrics"]
        assert "factor_vae" not in found["metrics"]  # compares factors
        factors[:] = 1.0
        nothing = Data({"x": sprites["x"], "factors": factors}, "none")
        assert evaluate(Encoder((1, 32, 32)), nothing, metrics=["disentanglement"])["metrics"] == {}

    def test_factors_are_needed(self, digits):
        with pytest.raises(MetricError, match="digits has no field factors"):
            evaluate(Encoder((1, 8, 8)), digits, metrics=["disentanglement"])


class Clusterer(Oracle):
    def responsibilities(self, x):
        return self.made[: len(x)]

    def features(self, x):
        return x.flatten(1)


class TestSoftAssignments:
    def data(self):
        labels = torch.arange(400) % 2
        x = torch.rand(400, 1, 2, 2) + 5 * labels[:, None, None, None]
        return Data({"x": x, "label": labels}, "two")

    def test_honest_and_overconfident(self):
        data = self.data()
        right = torch.nn.functional.one_hot(data["label"], 2).float()
        wrong = torch.arange(400) % 5 == 0  # a fifth, in both classes
        picked = torch.where(wrong[:, None], 1 - right, right)
        honest = picked * 0.6 + 0.2
        found = evaluate(Clusterer((1, 2, 2), honest), data, metrics=["calibration"])
        assert found["metrics"]["calibration_error"] == pytest.approx(0.0, abs=1e-6)
        assert found["baselines"]["calibration_error"]["the same predictions, always sure"] == pytest.approx(0.2)
        sure = evaluate(Clusterer((1, 2, 2), picked), data, metrics=["calibration"])
        assert sure["metrics"]["calibration_error"] == pytest.approx(0.2)

    def test_silhouette_needs_two_clusters_in_use(self):
        data = self.data()
        right = torch.nn.functional.one_hot(data["label"], 3).float()
        found = evaluate(Clusterer((1, 2, 2), right), data, metrics=["silhouette"])
        beside = found["baselines"]["silhouette"]
        assert found["metrics"]["silhouette"] == pytest.approx(beside["the labels as clusters"])
        assert beside["clusters dealt at random"] < 0.1 < found["metrics"]["silhouette"]
        collapsed = torch.tensor([[0.0, 0.0, 1.0]]).expand(400, 3)
        assert evaluate(Clusterer((1, 2, 2), collapsed), data, metrics=["silhouette"])["metrics"] == {}

    def test_an_empty_cluster_has_a_rule(self):
        data = self.data()
        soft = torch.nn.functional.one_hot(data["label"], 3).float() * 0.7 + 0.1  # the third is nobody's first choice
        found = evaluate(Clusterer((1, 2, 2), soft), data, metrics=["calibration"])
        assert 0 <= found["metrics"]["calibration_error"] < 0.5
        assert "one that no datum chose for the largest" in found["rules"]["calibration_error"]


class TestGuideFit:
    def test_the_exact_guide_and_one_that_misses(self):
        data = Data({"x": torch.randn(60, 1, 1, 1) * 2**0.5}, "line")

        class Exact(Oracle):
            width = 0.5**0.5

            def guide(self, x):
                with pyro.plate("data", len(x)):
                    pyro.sample("z", dist.Normal(x.mean((-1, -2, -3)) / 2, self.width))

        class Narrow(Exact):
            width = 0.1

            def guide(self, x):
                return super().guide(x)

        assert evaluate(Exact((1, 1, 1)), data, metrics=["guide-fit"])["metrics"]["khat_bad"] == 0.0
        assert evaluate(Narrow((1, 1, 1)), data, metrics=["guide-fit"])["metrics"]["khat_bad"] > 0.5


def test_a_users_metric_from_a_file(tmp_path, monkeypatch, trained, digits):
    (tmp_path / "mine.py").write_text(
        "from evaluation.metric import Score, metric\n"
        "from pyro_models.story import Reconstructs\n"
        "@metric('brightness', needs=(Reconstructs,), summary='mean of reconstructions', citation='@misc{me}')\n"
        "def brightness(answers):\n"
        "    value = float(answers.reconstructions.mean())\n"
        "    return {'brightness': Score(value, {'data': float(answers.x.mean())}, better='neither', bounds=(0, 1))}\n"
    )
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    result = evaluate(trained, digits, metrics=[f"{tmp_path}/mine.py:brightness", "reconstruction"])
    assert result["metrics"]["brightness"] == pytest.approx(float(Answers(trained, digits.test).reconstructions.mean()))
    assert result["from"]["brightness"] == "brightness"
    assert result["bounds"]["brightness"] == [0, 1]
    assert "brightness" in METRICS


class TestFigures:
    def test_reliability_and_factor_map(self, sprites):
        labels = sprites["label"]
        soft = torch.nn.functional.one_hot(labels, 3).float() * 0.7 + 0.1
        story = type("Both", (Encoder, Clusterer), {"features": Encoder.features})((1, 32, 32), soft)
        answers = Answers(story, sprites)
        makers = [FIGURES.get(name) for name in ("reliability", "factor-map")]
        assert all(maker.applies(answers) for maker in makers)
        made = {maker.name: maker.function(answers, None) for maker in makers}
        codes = story.features(sprites["x"])
        assert made["factor-map"].axes[0].get_title() == f"MIG {mig(codes, sprites['factors']).value:.3f}"
        shown = made["factor-map"].axes[0].images[0].get_array()
        assert shown.shape == (3, 5)
        assert 0 <= shown.min() < shown.max() <= 1
        assert "0.2" in made["reliability"].axes[0].get_title()  # 0.8 sure, always right
