"""Feature networks: the classifier that is trained once, Inception's file, pixels, and a module of the user's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from evaluation import classifier
from evaluation.classifier import ClassifierSettings, default_folder, trained_classifier
from evaluation.features import extract, feature_network, inception, pixels
from pyro_models import datasets
from pyro_models.errors import MetricError

QUICK = ClassifierSettings(features=16, steps=120)


@pytest.fixture(scope="module")
def digits():
    train = datasets.load("digits").train
    return train["x"], train["label"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture(scope="module")
def network(digits, folder):
    return trained_classifier(*digits, settings=QUICK, folder=folder)


class TestClassifier:
    def test_learns_and_says_how_well(self, network, digits):
        assert network.accuracy > 0.8
        assert f"held-out accuracy {network.accuracy:.4f} on {round(len(digits[0]) * 0.1)}" in network.description
        assert "16 features" in network.description
        assert extract(network, digits[0]).shape == (len(digits[0]), 16)
        rows = network.probabilities(digits[0])
        assert torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-5)

    def test_is_read_from_the_cache(self, network, digits, folder, monkeypatch):
        def never(*arguments):
            raise AssertionError("trained again")

        monkeypatch.setattr(classifier, "_train", never)
        again = trained_classifier(*digits, settings=QUICK, folder=folder)
        np.testing.assert_array_equal(extract(again, digits[0]), extract(network, digits[0]))
        assert (again.accuracy, again.description) == (network.accuracy, network.description)
        for change in ({"seed": 1}, {"settings": ClassifierSettings(features=16, steps=121)}):
            with pytest.raises(AssertionError, match="trained again"):
                trained_classifier(*digits, folder=folder, **{"settings": QUICK, **change})
        with pytest.raises(AssertionError, match="trained again"):
            trained_classifier(digits[0][1:], digits[1][1:], settings=QUICK, folder=folder)

    def test_same_seed_same_network_and_the_callers_noise_is_left_alone(self, digits, tmp_path):
        quick = ClassifierSettings(features=8, steps=3)
        state = torch.get_rng_state()
        one = trained_classifier(*digits, settings=quick, folder=tmp_path / "a")
        assert torch.equal(state, torch.get_rng_state())
        torch.manual_seed(99)
        two = trained_classifier(*digits, settings=quick, folder=tmp_path / "b")
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.equal(a, b)

    def test_names_of_classes_may_be_anything(self, tmp_path):
        images = np.random.default_rng(0).random((40, 1, 4, 4)).astype(np.float32)
        labels = np.array(["cat", "dog"] * 20)
        made = trained_classifier(images, labels, settings=ClassifierSettings(4, 2), folder=tmp_path)
        assert "classifier of 2 classes" in made.description

    def test_the_cache_is_where_it_says(self, monkeypatch, tmp_path):
        monkeypatch.delenv("PYRO_MODELS_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_folder() == tmp_path / "pyro-models" / "classifiers"
        monkeypatch.setenv("PYRO_MODELS_CACHE", str(tmp_path / "mine"))
        assert default_folder() == tmp_path / "mine"

    def test_bad_input_is_refused(self, digits, tmp_path):
        x, label = digits
        with pytest.raises(MetricError, match="give one label per image"):
            trained_classifier(x, label[:-1], folder=tmp_path)
        with pytest.raises(MetricError, match="all images are of one class"):
            trained_classifier(x, torch.zeros(len(x)), folder=tmp_path)
        with pytest.raises(MetricError, match="scale them to"):
            trained_classifier(x * 16, label, folder=tmp_path)
        with pytest.raises(MetricError, match="leaves 0 of 4 images"):
            trained_classifier(x[:4], label[:4], folder=tmp_path)
        with pytest.raises(MetricError, match="too small for the classifier"):
            trained_classifier(x[:, :, :3, :3], label, folder=tmp_path)


class TestChoice:
    def test_by_name_and_by_default(self, digits, folder, network, monkeypatch):
        monkeypatch.setattr(classifier, "_train", lambda *a: 0.5)
        assert feature_network("pixels", digits[0]).description == "raw pixels"
        assert "classifier" in feature_network(None, *digits, folder=folder).description
        mine = nn.Flatten()
        assert feature_network(mine, digits[0]) is mine
        with pytest.raises(MetricError, match="choose 'inception' or 'pixels'"):
            feature_network("classifier", digits[0])
        with pytest.raises(MetricError, match="needs its weights: give weights=FILE"):
            feature_network(None, digits[0])  # no labels: Inception, whose weights are not here
        with pytest.raises(MetricError, match="no feature network is called 'vgg'"):
            feature_network("vgg", digits[0])

    def test_missing_and_foreign_weights(self, tmp_path):
        with pytest.raises(MetricError, match="there is no weights file"):
            inception(tmp_path / "none.pth")
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
        with pytest.raises(MetricError, match="is not an Inception v3 of torchvision"):
            inception(tmp_path / "linear.pth")

    @pytest.mark.slow
    def test_inception_from_a_file(self, tmp_path):
        from pyro_models.vision import torchvision

        torch.manual_seed(0)
        network = torchvision().models.inception_v3(weights=None, init_weights=False, transform_input=False)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        made = inception(tmp_path / "weights.pth")
        images = np.random.default_rng(0).random((2, 1, 20, 20)).astype(np.float32)
        found = extract(made, images)
        assert found.shape == (2, 2048)
        network.fc = nn.Identity()
        with torch.no_grad():
            resized = nn.functional.interpolate(
                torch.from_numpy(images).expand(-1, 3, -1, -1), (299, 299), mode="bilinear", antialias=True
            )
            np.testing.assert_allclose(found, network.eval()(resized * 2 - 1).numpy(), atol=1e-4)
        assert "weights.pth" in made.description


class TestExtract:
    def test_batches_change_nothing_and_modes_come_back(self, digits):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Dropout(0.9), nn.BatchNorm1d(5)).train()
        whole = extract(network, digits[0][:50])
        np.testing.assert_allclose(extract(network, digits[0][:50], batch_size=7), whole, atol=1e-6)
        assert network.training
        assert whole.dtype == np.float64

    def test_bytes_are_scaled(self):
        bytes_ = np.random.default_rng(0).integers(256, size=(3, 1, 2, 2), dtype=np.uint8)
        np.testing.assert_allclose(extract(pixels(), bytes_), bytes_.reshape(3, 4) / 255, atol=1e-7)

    def test_bad_images_are_refused(self):
        with pytest.raises(MetricError, match=r"give \[N, channel, height, width\]"):
            extract(pixels(), np.zeros((3, 4)))
        with pytest.raises(MetricError, match="scale them to"):
            extract(pixels(), np.full((1, 1, 2, 2), np.nan))
