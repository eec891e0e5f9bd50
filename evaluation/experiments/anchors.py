"""Anchors on images: MNIST and Fashion-MNIST clustered without labels, beside NVC as published, VaDE and AE + mixture.

No label is seen in training, and no run is chosen by one; which settings had labels in sight: docs/anchors.md.
Accuracy is the one-to-one (Hungarian) one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from evaluation.answers import Answers
from evaluation.clustering import hungarian_accuracy, nmi
from evaluation.correlations import latent_correlations
from evaluation.measure import evaluate
from evaluation.reproduce import Outcome, Setting, columns
from inference import fit
from pyro_models.anchors.nebula import Nebula
from pyro_models.anchors.repulsion import median_distance
from pyro_models.datasets import load
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import TrainingError

#: training data that the accuracy on the training split is measured on
TRAIN_DATA = 10_000
#: an anchor is used if more than this share of a fair one's data choose it
USED = 0.1
TRAINING: dict[str, Any] = {
    "steps": 2000,
    "batch_size": 400,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "precision": "bf16",
    "validate_every": 0,
    "progress": False,
}
#: groups of the neighbour graph as a start, neighbours as views of the same thing
_PAIRS = {"start": "neighbours", "view_weight": 100.0, "guess_until": 0.9, "moves": False}
NEBULA = {**_PAIRS, "views": ["neighbours"]}
#: strokes are worth convolutions: dense layers fit the training digits as well and hold fewer of the others
STROKES = {**NEBULA, "network": "convolutional"}
AUGMENTED = {**STROKES, "views": ["neighbours", "warps"], "view_weight": 300.0}
#: VaDE with its own networks, from the graph's groups (no part of the published method), which are let go at 40 %
VADE = {**_PAIRS, "preset": "vade", "guess_until": 0.4, "warm_up": 0.3, "ramp": 0.2}
VADE_TRAINING = {**TRAINING, "steps": 6000, "batch_size": 256, "learning_rate": 1e-3}
VADE_AS_PUBLISHED = {"preset": "vade", "warm_up": 0.4, "ramp": 0.1}
VADE_AS_PUBLISHED_TRAINING = {**TRAINING, "steps": 14000, "batch_size": 256}
#: as the published table's columns, with dense networks as in the papers
SAME_NETWORK = {"hidden": [500, 500]}
#: published figures on MNIST and Fashion-MNIST that were checked: unsupervised, test split
PUBLISHED = {
    "mnist": {"accuracy: published, hierarchical mixture (test)": 0.963, "accuracy: published VaDE (best run)": 0.9446},
    "fashion-mnist": {"accuracy: published, hierarchical mixture (test)": 0.752, "accuracy: published DEC": 0.62},
}

Row = dict[str, float]


def nebula_mnist(setting: Setting) -> Outcome:
    return _table(setting, "mnist", STROKES, TRAINING)


def nebula_mnist_augmented(setting: Setting) -> Outcome:
    """Views are neighbours moved and bent: knowledge about handwriting that the row without it does not have."""
    return _table(setting, "mnist", AUGMENTED, {**TRAINING, "steps": 4000})


def nebula_fashion_mnist(setting: Setting) -> Outcome:
    return _table(setting, "fashion-mnist", NEBULA, TRAINING)


def vade_mnist(setting: Setting) -> Outcome:
    """VaDE's objective and networks from the groups of the neighbour graph; the second half is the bound alone."""
    return _table(setting, "mnist", VADE, VADE_TRAINING)


def vade_published_start_mnist(setting: Setting) -> Outcome:
    """VaDE as published: an auto-encoder first, then a Gaussian mixture on its codes, then the bound."""
    return _table(setting, "mnist", VADE_AS_PUBLISHED, VADE_AS_PUBLISHED_TRAINING)


def ae_mnist(setting: Setting) -> Outcome:
    """Auto-encoder, then a Gaussian mixture on its codes."""
    return _table(setting, "mnist", {"preset": "ae", **SAME_NETWORK}, TRAINING)


def nvc_published_mnist(setting: Setting) -> Outcome:
    """The released code's objective with K = 10."""
    return _table(setting, "mnist", {"preset": "nvc-published", **SAME_NETWORK}, TRAINING)


#: the ablation's small problem: enough to see anchors die or run away
FEW = 6000
SHORT: dict[str, Any] = {"steps": 600, "batch_size": 200, "learning_rate": 2e-3, "validate_every": 0}
REPULSIONS = ("log-gas", "hinge", "dpp", "soft-core", "none", "published")
COUNTS = (5, 10, 20, 40)


def nebula_repulsion(setting: Setting) -> Outcome:
    """Anchors used and NMI by prior and K, anchors placed in the codes and never moved: the prior has to keep them.

    ``distance/PRIOR-K`` is the median distance of two anchors at the end, or where the run was stopped.
    """
    splits = load("mnist", **setting.data_options())
    splits, test = Splits(splits.train.take(slice(0, FEW)), splits.validation, splits.test), len(splits.test)

    def one(seed: int) -> Row:
        row: Row = {}
        for clusters in COUNTS:
            for repulsion in REPULSIONS:
                torch.manual_seed(seed)
                story: Any = Nebula.build(
                    splits.train,
                    clusters=clusters,
                    repulsion=repulsion,
                    repulsion_strength=1.0 if repulsion == "published" else 0.1,
                    covariance="spherical",
                    weights="uniform",
                    moves=False,
                    hidden=[200, 200],
                )
                name = f"{repulsion}-{clusters}"
                stopped = _stopped(story, splits, seed, setting)
                answers = Answers(story, splits.test)
                row[f"anchors_used/{name}"] = anchors_used(answers)
                row[f"nmi/{name}"] = nmi(answers["label"].numpy(), answers.responsibilities.argmax(1).numpy())
                row[f"distance/{name}"] = float(median_distance(story.anchors))
                row[f"stopped/{name}"] = float(stopped)
        return row

    rows, seconds = setting.each_seed(one)
    notes = (
        f"{FEW} images, {SHORT['steps']} steps of {SHORT['batch_size']}; stopped: the guard against run-away anchors."
    )
    headline = [f"anchors_used/{name}-20" for name in ("log-gas", "none", "published")]
    return Outcome(columns(rows), "test", test, seconds, notes=notes, headline=headline)


def nebula_correlation(setting: Setting) -> Outcome:
    """Mean absolute correlation between active code dimensions, and how many are active, as in the latent figure."""
    short: dict[str, Any] = {**TRAINING, "steps": 800}

    def one(seed: int) -> Row:
        row: Row = {}
        for preset in ("vae", "nvc", "nvc-sml", "vade"):
            story, splits = _fit(setting, "mnist", seed, {"preset": preset, "latent": 32, **SAME_NETWORK}, short)
            row["test"] = len(splits.test)
            found = latent_correlations(Answers(story, splits.test).features.numpy())
            row[f"correlation/{preset}"] = found.mean_absolute
            row[f"active/{preset}"] = float(found.active)
        return row

    rows, seconds = setting.each_seed(one)
    tested = [row.pop("test") for row in rows]
    notes = (
        f"D = 32, {short['steps']} steps of {short['batch_size']}; active: variance of the posterior mean above 0.01."
    )
    return Outcome(columns(rows), "test", int(tested[0]), seconds, notes=notes, headline=list(rows[0]))


def _stopped(story: Any, splits: Splits, seed: int, setting: Setting) -> bool:
    """Trains; True if the guard had to stop it."""
    try:
        fit(story, splits, seed=seed, device=setting.device, progress=False, **SHORT)
    except TrainingError:
        story.eval()
        return True
    return False


def _table(setting: Setting, data: str, options: Mapping[str, Any], training: Mapping[str, Any]) -> Outcome:

    def one(seed: int) -> dict[str, Any]:
        story, splits = _fit(setting, data, seed, options, training)
        measured = evaluate(story, splits.test, metrics=["clustering", "bound"])
        # An auto-encoder pays nothing for its codes, and hard assignment is no density: neither has a bound.
        bound = ["elbo"] if story.variational and not story.hard else []
        row = {key: measured["metrics"][key] for key in ("accuracy", "nmi", *bound)}
        row["accuracy_train"] = _accuracy(story, splits.train.take(slice(0, TRAIN_DATA)))
        row["anchors_used"] = anchors_used(Answers(story, splits.test))
        if story.guesses is not None:
            row["accuracy_start"] = hungarian_accuracy(splits.train["label"].numpy(), story.guesses.cpu().numpy())
        baselines = {f"accuracy: {name}": value for name, value in measured["baselines"]["accuracy"].items()}
        return {"row": row, "baselines": baselines, "test": len(splits.test), "train": len(splits.train)}

    found, seconds = setting.each_seed(one)
    rows, baselines, test = [each["row"] for each in found], found[-1]["baselines"], found[-1]["test"]
    beside = {**baselines, **PUBLISHED.get(data, {})}
    places = {"accuracy_train": ("train", TRAIN_DATA)}
    if "elbo" in rows[0]:
        beside["accuracy: best by the bound"] = max(rows, key=lambda row: row["elbo"])["accuracy"]
        places["elbo"] = ("test", 1000)
    if "accuracy_start" in rows[0]:
        places["accuracy_start"] = ("train", found[-1]["train"])
    words = f"{training['steps']} steps of {training['batch_size']}."
    if "accuracy_start" in rows[0]:
        words += " accuracy_start: the groups of the neighbour graph, before any network."
    return Outcome(columns(rows), "test", test, seconds, beside, places, words)


def _fit(
    setting: Setting, data: str, seed: int, options: Mapping[str, Any], training: Mapping[str, Any]
) -> tuple[Any, Splits]:
    run = fit(
        "nebula",
        data,
        seed=seed,
        device=setting.device,
        story_options=dict(options),
        data_options=setting.data_options(),
        **training,
    )
    return run.story, run.data()


def anchors_used(answers: Answers) -> float:
    """How many anchors more than a tenth of their fair share of the data choose."""
    clusters = answers.responsibilities.shape[1]
    share = torch.bincount(answers.responsibilities.argmax(1), minlength=clusters) / len(answers)
    return float((share > USED / clusters).sum())


def _accuracy(story: Any, data: Data) -> float:
    answers = Answers(story, data)
    return hungarian_accuracy(answers["label"].numpy(), answers.responsibilities.argmax(1).numpy())


for _experiment in (nebula_repulsion, nebula_correlation):
    _experiment.seeds = (0, 1, 2)  # type: ignore[attr-defined]
