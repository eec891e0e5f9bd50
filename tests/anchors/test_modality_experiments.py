"""Two steps of the experiments on words and shapes, with their results' keys."""

from __future__ import annotations

import pytest
import torch

from evaluation.experiments import modalities
from evaluation.reproduce import Setting
from pyro_models.nn import mlp
from pyro_models.nn.voxels import keep_signal


@pytest.fixture
def setting(tmp_path, monkeypatch):
    for name in modalities.STEPS:
        monkeypatch.setitem(modalities.STEPS, name, 2)
    monkeypatch.setitem(modalities.TOPICS, "count", 100)
    monkeypatch.setitem(modalities.SENTENCES, "count", 1500)  # enough that every word is known
    monkeypatch.setitem(modalities.SENTENCES, "length", 96)
    monkeypatch.setitem(modalities.CLOUD, "count", 100)
    monkeypatch.setitem(modalities.CLOUD, "points", 16)
    monkeypatch.setitem(modalities.GRID, "count", 100)
    monkeypatch.setitem(modalities.GRID, "side", 8)
    monkeypatch.setitem(modalities.TRAINING, "batch_size", 16)
    monkeypatch.setattr(modalities, "FLOOR_DOCUMENTS", 100)
    return Setting([0], tmp_path, device="cpu")


EVERY = {"accuracy", "accuracy_train", "nmi", "anchors_used"}


def test_topics(setting):
    outcome = modalities.nebula_topics(setting)
    assert EVERY | {"accuracy_start", "perplexity", "kl"} <= set(outcome.metrics)
    assert outcome.baselines["accuracy: perfect reader"] > 0.9
    assert outcome.splits["accuracy_train"][0] == "train"


@pytest.mark.parametrize(("kind", "name"), [("points", "chamfer"), ("voxels", "iou")])
def test_shapes(kind, name, setting):
    outcome = getattr(modalities, f"nebula_{kind}")(setting)
    assert EVERY | {name, f"{name}/ae", "accuracy/ae"} <= set(outcome.metrics)
    assert any(key.startswith(f"{name}: one ") for key in outcome.baselines)


def test_completion(setting):
    found = modalities.nebula_completion(setting).metrics
    assert found["iou/best"][0] >= found["iou"][0] - 0.2
    assert found["chamfer/spread"][0] > 0


def test_sequence(setting):
    outcome = modalities.nebula_sequence(setting)
    assert {"kl", "nll", "nll/without a code", "iwae_100"} <= set(outcome.metrics)
    assert outcome.splits["nll/without a code"] == outcome.splits.get("nll", ("test", outcome.n))
    # two steps leave the language model near the uniform law
    law = outcome.baselines["nll: the corpus' own law"]
    assert min(outcome.metrics["nll/without a code"] + outcome.metrics["nll"]) > law > 100


def test_the_signal_keeps_its_size():
    torch.manual_seed(0)
    network, x = mlp(200, [200] * 6, 200), torch.randn(500, 200)
    before = float(network(x).std(0).mean().detach())
    keep_signal(network)
    assert before < 0.1
    assert 0.5 < float(network(x).std(0).mean().detach()) < 3
