"""Runs every metric that applies to a trained story and writes ``metrics.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluation.answers import Answers
from evaluation.features import feature_network
from evaluation.metric import METRICS, Metric
from inference.run import Run
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import MetricError, OptionError
from pyro_models.story import Story


def evaluate(
    run: Run | Story,
    data: Data | Splits | None = None,
    *,
    split: str = "test",
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    features: str | nn.Module | None = None,
    weights: str | Path | None = None,
    download: bool = False,
) -> dict[str, Any]:
    """Measures a run (or a story); returns ``{"split", "n", "metrics", "sizes", "baselines", "rules", "better",
    "from", "bounds"}``.

    ``sizes`` says on how many data a metric was measured when that is fewer than ``n``; ``from`` names the registered
    metric behind each number; ``bounds`` are the least and largest possible value (None: there is none).

    Args:
        run: a run, whose folder then gets ``metrics.json``, or a story with ``data``.
        data: what to measure on; None loads the run's own data by name.
        split: ``train``, ``validation`` or ``test``, when the data have splits.
        metrics: names of registered metrics; None takes all that apply.
        limit: use only so many data.
        seed: of everything that samples.
        features: network whose features compare real and generated images: ``classifier``, ``inception``, ``pixels``
            or a module; None takes the classifier where images are small and labelled, else pixels.
        weights, download: of ``inception``, see :func:`evaluation.features.inception`.
    """
    story = run.story if isinstance(run, Run) else run
    if data is None:
        if not isinstance(run, Run):
            raise OptionError("evaluate(story) needs data; evaluate(run) finds its own.")
        data = run.data()
    part = choose_split(data, split)
    if limit is not None:
        part = part.take(slice(0, limit))
    train = data.train if isinstance(data, Splits) else None
    network = None
    if features is not None:
        seen = part if train is None else train
        images = seen[story.fields[0]]
        labels = [seen["label"]] if "label" in seen else []
        network = feature_network(features, images, *labels, weights=weights, download=download)
    answers = Answers(story, part, seed, train, network)
    result: dict[str, Any] = {
        "split": split if isinstance(data, Splits) else "all",
        "n": len(part),
        "metrics": {},
        "sizes": {},
        "baselines": {},
        "rules": {},
        "better": {},
        "from": {},
        "bounds": {},
    }
    for found in applicable(story, part, metrics):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            scores = found(answers)
        for key, score in scores.items():
            result["metrics"][key] = float(score.value)
            result["better"][key] = score.better
            result["from"][key] = found.name
            if any(map(math.isfinite, score.bounds)):
                result["bounds"][key] = [end if math.isfinite(end) else None for end in score.bounds]
            if score.n is not None and score.n != len(part):
                result["sizes"][key] = score.n
            if score.baselines:
                result["baselines"][key] = {name: float(value) for name, value in score.baselines.items()}
            if score.rule:
                result["rules"][key] = score.rule
    if isinstance(run, Run) and run.path is not None:
        run.write_json("metrics.json" if result["split"] in ("test", "all") else f"metrics-{split}.json", result)
    return result


def choose_split(data: Data | Splits, split: str) -> Data:
    """One part of the data; data without splits are taken whole."""
    if isinstance(data, Data):
        return data
    if split not in Splits._fields:
        raise OptionError(f"split is '{split}'; it is one of {', '.join(Splits._fields)}.")
    return getattr(data, split)


def applicable(story: Story, data: Data, names: Sequence[str] | None = None) -> list[Metric]:
    """The registered metrics that the story and the data allow; a metric named explicitly must be among them."""
    chosen = []
    for name in METRICS.names() if names is None else names:
        found = METRICS.get(name)
        missing = found.missing(story, data)
        if not missing:
            chosen.append(found)
        elif names is not None:
            raise MetricError(f"the metric '{name}' cannot be computed: {missing}.")
    return chosen
