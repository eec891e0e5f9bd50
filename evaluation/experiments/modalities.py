"""Anchors on words, clouds and voxels: clustering without labels, and what each kind of data adds.

No label is seen in training, and no run is chosen by one; which settings had labels in sight: docs/anchors.md.
Accuracy is the one-to-one (Hungarian) one;
``accuracy_start`` that of the start's groups before any network, on the training split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evaluation.answers import Answers
from evaluation.clustering import hungarian_accuracy, nmi
from evaluation.experiments.anchors import anchors_used
from evaluation.measure import evaluate
from evaluation.reproduce import Outcome, Setting, columns
from evaluation.shape_metrics import lengths
from evaluation.shapes import chamfer, overlap
from inference import fit
from pyro_models.datasets.data import Data, Splits
from pyro_models.datasets.topics import LEXICON, document, log_likelihoods, nats, sentences_of
from pyro_models.nn.sequence import END, READERS, Spelling

#: completions drawn of each shape
DRAWS = 8
#: documents that the perfect reader of the topic corpus is tried on
FLOOR_DOCUMENTS = 2000

Options = Mapping[str, Any]
Row = dict[str, float]

TRAINING: dict[str, Any] = {"batch_size": 64, "learning_rate": 2e-3, "schedule": "cosine", "validate_every": 0}
BAG: dict[str, Any] = {"start": "words", "moves": False, "hidden": [200]}
POINTS: dict[str, Any] = {"clusters": 8, "start": "neighbours", "moves": False, "hidden": [256, 128]}
VOXELS: dict[str, Any] = {**POINTS, "hidden": [128], "channels": [8, 16, 32]}
#: enough points to tell the solids apart at a quarter of the cost of 256
CLOUD: dict[str, Any] = {"points": 128}
GRID: dict[str, Any] = {"form": "voxels"}
TOPICS: dict[str, Any] = {}
SEQUENCE: dict[str, Any] = {
    "clusters": 8,
    "start": "codes",
    "moves": False,
    "hidden": [128],
    "network_options": {"width": 64, "word_dropout": 0.0},
    "free_bits": 2.0,
    "warm_up": 0.08,
    "ramp": 0.08,
}
#: more documents than the default, for reader and code alike
SENTENCES: dict[str, Any] = {"form": "sequence", "count": 24_000}
STEPS = {"docstrings": 800, "topics": 600, "voxels": 2000, "points": 2000, "completion": 2000, "sequence": 6000}


def nebula_docstrings(setting: Setting) -> Outcome:
    """The nine packages of the docstrings of Python's standard library."""
    return _table(setting, "docstrings", {}, {**BAG, "clusters": 9}, STEPS["docstrings"], ("words",))


def nebula_topics(setting: Setting) -> Outcome:
    """The generated corpus; the perfect reader knows its law."""
    outcome = _table(setting, "topics", TOPICS, {**BAG, "clusters": 8}, STEPS["topics"], ("words",))
    return _beside(outcome, {"accuracy: perfect reader": perfect_reader()})


def nebula_voxels(setting: Setting) -> Outcome:
    """Solids on a 16-cube, turned about the upright axis, log-scale of standard deviation 0.3."""
    return _table(setting, "solids", GRID, VOXELS, STEPS["voxels"], ("shape",), compare="ae")


def nebula_points(setting: Setting) -> Outcome:
    """The same solids as clouds of points."""
    return _table(setting, "solids", CLOUD, POINTS, STEPS["points"], ("shape",), compare="ae")


def nebula_completion(setting: Setting) -> Outcome:
    """Half of a solid seen, the whole explained: voxels (``iou``) and clouds (``chamfer``).

    ``/best`` is the best of eight completions drawn from the posterior, ``/spread`` the mean distance of two of them.
    """

    def one(seed: int) -> dict[str, Any]:
        row: Row = {}
        beside: dict[str, float] = {}
        count = 0
        for name, options, data_options, distance in (
            ("iou", VOXELS, GRID, overlap),
            ("chamfer", POINTS, CLOUD, chamfer),
        ):
            # The halves have no common measure in which neighbours could be looked for.
            chosen = {**options, "start": "codes", "latent": 16}
            story, splits = _fit(
                setting, "solids", seed, {**data_options, "partial": True}, chosen, STEPS["completion"]
            )
            answers = Answers(story, splits.test)
            count = len(splits.test)
            measured = evaluate(story, splits.test, metrics=["shape", "clustering"])
            row[name] = measured["metrics"][name]
            row[f"accuracy/{name}"] = measured["metrics"]["accuracy"]
            beside |= {f"{name}: {key}": value for key, value in measured["baselines"][name].items()}
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                with torch.no_grad():
                    drawn = torch.cat([story.complete(x, DRAWS) for x, _ in answers.batches()], 1).cpu()
            each = torch.stack([distance(answers.explained, one) for one in drawn])
            row[f"{name}/best"] = float((each.amax(0) if name == "iou" else each.amin(0)).mean())
            row[f"{name}/spread"] = float(distance(drawn[0], drawn[1]).mean())
        return {"row": row, "beside": beside, "test": count}

    found, seconds = setting.each_seed(one)
    rows, beside, count = [each["row"] for each in found], found[-1]["beside"], found[-1]["test"]
    notes = (
        "/best: of 8 draws; /spread: overlap (or distance) of two draws. Nothing seen of one half, chosen at random."
    )
    return Outcome(columns(rows), "test", count, seconds, beside, notes=notes, headline=["iou", "chamfer"])


def nebula_sequence(setting: Setting) -> Outcome:
    """Sentences of the topic corpus spelled word by word from a code, beside the same reader of words without one, and
    the law that the corpus was drawn from."""
    steps = STEPS["sequence"]
    outcome = _table(setting, "topics", SENTENCES, SEQUENCE, steps, ("words", "bound"))
    plain = [language_model(setting, seed, steps) for seed in setting.seeds]
    metrics = {**outcome.metrics, "nll/without a code": plain}
    headline = ["kl", "nll", "nll/without a code", "accuracy"]
    beside = {**outcome.baselines, "nll: the corpus' own law": law_of_topics(setting)}
    same = outcome.splits.get("nll", ("test", outcome.n))  # documents
    places = {**outcome.splits, "nll/without a code": same}
    return Outcome(metrics, "test", outcome.n, outcome.wall_seconds, beside, places, outcome.notes, headline)


def language_model(setting: Setting, seed: int, steps: int) -> float:
    """Nats per test document of the recurrent reader alone, trained as long, on the documents that `words` looks at.

    It reads all words while training (no word dropout), which is what a language model does best with.
    """
    train, test = _sentences(setting)
    torch.manual_seed(seed)
    width = SEQUENCE["network_options"]["width"]
    law = Spelling(READERS["gru"](len(train.words), width, 1), train.shape()[0])  # type: ignore[attr-defined]
    optimiser = torch.optim.Adam(law.parameters(), lr=TRAINING["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    batches = train.batches(TRAINING["batch_size"], seed)
    for _ in range(steps):
        x = next(batches)["x"]
        optimiser.zero_grad()
        loss = -law(x.new_zeros(len(x), 1).float()).log_prob(x).mean()  # type: ignore[attr-defined]
        loss.backward()
        optimiser.step()
        schedule.step()
    law.eval()
    with torch.no_grad():
        x = test["x"]
        found = -law(x.new_zeros(len(x), 1).float()).log_prob(x)  # type: ignore[attr-defined]
    assert int(lengths(x).min()) > 0
    return float(found.mean())


def law_of_topics(setting: Setting) -> float:
    """Nats per document under the law that the corpus was drawn from, on the same documents."""
    test = _sentences(setting)[1]
    words: Sequence[str] = test.words  # type: ignore[attr-defined]
    documents = [[words[number] for number in row if number != END] for row in test["x"].tolist()]
    return sum(nats(sentences_of(document)) for document in documents) / len(documents)


def _sentences(setting: Setting) -> tuple[Data, Data]:
    """Documents word by word: for training, and those that `words` looks at."""
    from evaluation.metrics import BOUND_DATA
    from pyro_models.datasets import load

    splits = load("topics", **SENTENCES, **setting.data_options())
    return splits.train, splits.test.take(slice(0, BOUND_DATA))


def perfect_reader() -> float:
    """Accuracy of the exact posterior of the topic corpus, on documents of its own."""
    import random

    drawn, right = random.Random(1), 0
    for _ in range(FLOOR_DOCUMENTS):
        topic = drawn.randrange(len(LEXICON))
        right += int(log_likelihoods(document(topic, drawn)).argmax()) == topic
    return right / FLOOR_DOCUMENTS


def _table(
    setting: Setting,
    data: str,
    data_options: Options,
    options: Options,
    steps: int,
    extra: Sequence[str],
    compare: str | None = None,
) -> Outcome:
    """``accuracy``, ``accuracy_train``, ``nmi``, ``anchors_used``, ``accuracy_start`` and the numbers of ``extra``
    metrics; the same numbers ``/PRESET`` of a relative with the same networks."""

    def one(seed: int) -> dict[str, Any]:
        story, splits = _fit(setting, data, seed, data_options, options, steps)
        measured = evaluate(story, splits, metrics=["clustering", *extra])
        row = _row(story, splits, measured)
        if story.guesses is not None:
            row["accuracy_start"] = hungarian_accuracy(splits.train["label"].numpy(), story.guesses.cpu().numpy())
        if compare is not None:
            names = ("clusters", "hidden", "channels", "network_options")
            same = {key: options[key] for key in names if key in options}
            other, _ = _fit(setting, data, seed, data_options, {"preset": compare, **same}, steps)
            found = evaluate(other, splits, metrics=["clustering", *extra])["metrics"]
            row |= {f"{key}/{compare}": found[key] for key in ("accuracy", "iou", "chamfer") if key in found}
        beside: dict[str, float] = {}
        for key in ("accuracy", "nmi", "iou", "chamfer", "perplexity"):
            named = measured["baselines"].get(key, {})
            beside |= {f"{key}: {name}": value for name, value in named.items() if name != "perfect"}
        counts = {"sizes": measured["sizes"], "test": len(splits.test), "train": len(splits.train)}
        return {"row": row, "beside": beside, **counts}

    kept, seconds = setting.each_seed(one)
    rows, last = [each["row"] for each in kept], kept[-1]
    places = {key: ("test", n) for key, n in last["sizes"].items()}
    places |= {
        key: ("train", last["train"]) for key in rows[0] if key in ("accuracy_train", "nmi_train", "accuracy_start")
    }
    words = f"{steps} steps of {TRAINING['batch_size']}."
    return Outcome(columns(rows), "test", last["test"], seconds, last["beside"], places, words)


def _row(story: Any, splits: Splits, measured: Mapping[str, Any]) -> Row:
    wanted = ("accuracy", "nmi", "iou", "chamfer", "perplexity", "nll", "kl", "elbo", "iwae_100")
    row = {key: measured["metrics"][key] for key in wanted if key in measured["metrics"]}
    row["anchors_used"] = anchors_used(Answers(story, splits.test))
    train = Answers(story, splits.train)
    known = train.responsibilities.argmax(1).numpy()
    row["accuracy_train"] = hungarian_accuracy(train["label"].numpy(), known)
    row["nmi_train"] = nmi(train["label"].numpy(), known)
    return row


def _fit(
    setting: Setting, data: str, seed: int, data_options: Options, options: Options, steps: int
) -> tuple[Any, Splits]:
    run = fit(
        "nebula",
        data,
        seed=seed,
        device=setting.device,
        story_options=dict(options),
        data_options=setting.data_options(**data_options),
        steps=steps,
        **TRAINING,
    )
    return run.story, run.data()


def _beside(outcome: Outcome, more: Mapping[str, float]) -> Outcome:
    from dataclasses import replace

    return replace(outcome, baselines={**outcome.baselines, **more})


for _experiment in (
    nebula_docstrings,
    nebula_topics,
    nebula_voxels,
    nebula_points,
    nebula_completion,
    nebula_sequence,
):
    _experiment.seeds = (0, 1, 2)  # type: ignore[attr-defined]
