"""A step or two of every experiment of the flows, with its results file's keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluation.experiments import flow_baselines, flow_cost, flows
from evaluation.reproduce import Setting
from pyro_models.flows import revisions

MNIST = Path(os.environ.get("PYRO_MODELS_DATA", "nowhere")) / "MNIST" / "raw" / "train-images-idx3-ubyte"


@pytest.fixture
def setting(tmp_path):
    return Setting([0], tmp_path, device="cpu")


def test_toy(setting, monkeypatch):
    monkeypatch.setattr(flows, "TOY_STEPS", 2)
    outcome = flows.toy_2d(setting)
    assert {"recovered_of_24", "best_by_loss_cos", "spike_f1", "speed_correlation"} < set(outcome.metrics)
    assert outcome.metrics["recovered_of_24"][0] < 24  # two steps find nothing: the number is measured


@pytest.mark.skipif(not MNIST.is_file(), reason="needs MNIST under $PYRO_MODELS_DATA")
@pytest.mark.parametrize("kind", ["supervised", "weak", "sparse"])
def test_digits(kind, setting, monkeypatch):
    monkeypatch.setattr(flows, kind.upper(), (2, 8, 1e-3))
    monkeypatch.setattr(flows, "MEASURED", 30)
    monkeypatch.setattr(flows, "NETWORK", {"network": "posed", "latent": 4, "hidden": [16], "decoded": 2})
    monkeypatch.setattr(flows, "SPARSE_NETWORK", flows.NETWORK)
    outcome = getattr(flows, f"{kind}_mnist")(setting)
    expected = {"equivariance/scale", "equivariance/rotation", "equivariance/hue", "bits_per_dim"}
    expected |= {"composition_error", "extrapolation_error"}
    assert expected < set(outcome.metrics)
    assert ("spike_f1" in outcome.metrics) == (kind != "supervised")
    assert outcome.baselines["equivariance/scale: black"] > outcome.baselines["equivariance/scale: copy previous"]
    assert "2 steps of 8 sequences" in outcome.notes


@pytest.mark.parametrize("kind", ["supervised", "sparse"])
def test_rooms(kind, setting, monkeypatch):
    monkeypatch.setattr(flows, "ROOM", (2, 8, 1e-3))
    monkeypatch.setattr(flows, "SPARSE_ROOM", (4, 8, 1e-3))
    monkeypatch.setattr(flows, "ROOMS", 40)
    monkeypatch.setattr(flows, "ROOM_TESTS", 4)
    for name in ("ROOM_NETWORK", "SPARSE_ROOM_NETWORK"):
        monkeypatch.setattr(flows, name, {**getattr(flows, name), "latent": 6, "hidden": [16]})
    monkeypatch.setattr(revisions, "STEPS", 2)
    monkeypatch.setattr(revisions, "TRIAL", 2)
    outcome = getattr(flows, f"{kind}_shapes3d")(setting)
    assert any(key.startswith("equivariance/") for key in outcome.metrics)
    assert ("spike_f1" in outcome.metrics) == ("match/floor hue" in outcome.metrics) == (kind == "sparse")


@pytest.mark.skipif(not MNIST.is_file(), reason="needs MNIST under $PYRO_MODELS_DATA")
def test_baselines(setting, monkeypatch):
    network = {"network": "posed", "latent": 4, "hidden": [16], "decoded": 2, "kl": 0.1}
    compared = {name: (story, dict(options)) for name, (story, options) in flow_baselines.COMPARED.items()}
    compared["tvae"][1]["latent"] = 27
    for name, value in (("NETWORK", network), ("COMPARED", compared), ("MEASURED", 30)):
        monkeypatch.setattr(flow_baselines, name, value)
    monkeypatch.setattr(flow_baselines, "TRAINING", {**flow_baselines.TRAINING, "steps": 2, "batch_size": 8})
    outcome = flow_baselines.baselines_mnist(setting)
    assert len(outcome.metrics) == 18
    assert all(values[0] > 0 for values in outcome.metrics.values())
    assert outcome.baselines["equivariance/hue/vae: copy previous"] > 0


def test_cost(setting, monkeypatch):
    for name, value in (("FLOWS", (2,)), ("SIZES", (3,)), ("BATCH", 4), ("REPEATS", 1), ("LOOP_REPEATS", 1)):
        monkeypatch.setattr(flow_cost, name, value)
    outcome = flow_cost.flow_cost(setting)
    assert set(outcome.metrics) == {"speedup/2-3", "milliseconds/2-3", "milliseconds_loop/2-3"}
    assert all(values[0] > 0 for values in outcome.metrics.values())
