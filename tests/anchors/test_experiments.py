"""One short step of the experiments on images: what they report."""

from __future__ import annotations

from evaluation.experiments import EXPERIMENTS, anchors
from evaluation.reproduce import Setting

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
