"""One short step of the experiments on images: what they report."""

from __future__ import annotations

from evaluation.experiments import EXPERIMENTS, anchors
from evaluation.reproduce import Setting
from pyro_models.datasets import load

SHORT = {"steps": 6, "batch_size": 100, "validate_every": 0, "progress": False}


def test_a_row_reports_both_splits_and_the_start(tmp_path):
    setting = Setting([0], tmp_path)
    options = {"hidden": [8], "start": "neighbours", "views": ["neighbours"]}
    found = anchors._table(setting, "digits", options, SHORT)
    assert {key: len(values) for key, values in found.metrics.items()} == dict.fromkeys(
        ("accuracy", "accuracy_train", "accuracy_start", "nmi", "elbo", "anchors_used"), 1
    )
    # The groups of the graph are there before any training; the network has hardly begun.
    assert min(found.metrics["accuracy_start"]) > 0.7 > max(found.metrics["accuracy"])
    assert found.baselines["accuracy: largest class"] < 0.2
    assert found.splits["accuracy_train"][0] == "train"


def test_they_are_registered():
    for name in (
        "nebula-mnist",
        "nebula-mnist-augmented",
        "nebula-fashion-mnist",
        "vade-mnist",
        "vade-published-start-mnist",
        "nvc-published-mnist",
    ):
        assert callable(EXPERIMENTS.get(name))


def test_the_ablation_of_priors_counts_anchors_and_reports_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(anchors, "load", lambda name, **options: load("digits"))
    monkeypatch.setattr(anchors, "COUNTS", (3,))
    monkeypatch.setattr(anchors, "REPULSIONS", ("log-gas", "published"))
    monkeypatch.setitem(anchors.SHORT, "steps", 200)
    monkeypatch.setitem(anchors.SHORT, "batch_size", 50)
    found = anchors.nebula_repulsion(Setting([0], tmp_path)).metrics
    assert found["anchors_used/log-gas-3"] == [3.0]
    assert found["nmi/log-gas-3"][0] > 0.2
    assert found["stopped/published-3"][0] in (0.0, 1.0)
    assert {"anchors_used/published-3", "nmi/published-3", "distance/published-3", "stopped/published-3"} < set(found)


def test_correlations_are_reported_for_every_preset(tmp_path, monkeypatch):
    whole = load("digits")
    monkeypatch.setattr(anchors, "load", lambda name, **options: whole)
    real = anchors._fit

    def quick(setting, data, seed, options, training):
        return real(setting, "digits", seed, {**options, "latent": 4, "hidden": [8]}, SHORT)

    monkeypatch.setattr(anchors, "_fit", quick)
    found = anchors.nebula_correlation(Setting([0], tmp_path)).metrics
    assert {
        f"{kind}/{preset}" for kind in ("correlation", "active") for preset in ("vae", "nvc", "nvc-sml", "vade")
    } == (set(found))
    assert all(0 <= found[f"correlation/{preset}"][0] <= 1 for preset in ("vae", "nvc", "nvc-sml", "vade"))
