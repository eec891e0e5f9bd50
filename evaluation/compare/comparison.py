"""What ``compare`` returns: the numbers of many runs in one table, and what can be said from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.compare.choose import choose_metrics, refuse_different_data
from evaluation.compare.groups import Group, make_groups
from evaluation.compare.measured import Measured, Place
from evaluation.compare.sources import Source, read_all
from evaluation.compare.statistics import make_differences, make_table

FRAME_COLUMNS = ["group", "seed", "metric", "value", "split", "seconds"]
CURVE_COLUMNS = ["group", "seed", "step", "loss", "validation", "seconds"]


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, their metrics and remarks on what should be known when reading them.

    ``frame``: one row per run and metric (``group``, ``seed``, ``metric``, ``value``, ``split``, ``seconds``);
    ``table``: mean and spread per metric and group; ``differences``: groups against each other, seed by seed.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    frame: pd.DataFrame = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = [
            [group.name, one.seed, key, one.metrics[key], one.places[key].split, one.seconds]
            for key in self.metrics
            for group in self.groups
            for one in group.members
            if key in one.metrics
        ]
        object.__setattr__(self, "frame", pd.DataFrame(rows, columns=FRAME_COLUMNS))

    @cached_property
    def table(self) -> pd.DataFrame:
        """Per metric and group: ``n, mean, sd, low, high`` (95 % interval of the mean), ``min, max, best``."""
        return make_table(self.frame, self.better)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Per metric and pair of groups: ``group - minus`` over shared seeds: ``pairs, mean, sd, low, high, note``."""
        return make_differences(self.frame)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The logs of all runs, one row per reading: ``group, seed, step, loss, validation, seconds``."""
        rows = [
            [group.name, one.seed, *(row.get(key, np.nan) for key in CURVE_COLUMNS[2:])]
            for group in self.groups
            for one in group.members
            for row in one.curve
        ]
        return pd.DataFrame(rows, columns=CURVE_COLUMNS)

    @property
    def members(self) -> list[Measured]:
        return [one for group in self.groups for one in group.members]

    @cached_property
    def better(self) -> dict[str, str]:
        """The direction of each metric that has one."""
        return {key: word for one in self.members for key, word in one.better.items() if word in ("higher", "lower")}

    @cached_property
    def places(self) -> dict[str, Place]:
        """What each metric was measured on, as the run that says most about it tells."""
        found = {key: [one.places[key] for one in self.members if key in one.places] for key in self.metrics}
        return {key: max(places, key=lambda place: len(place.data)) for key, places in found.items()}

    def baselines(self, metric: str) -> dict[str, float]:
        """What trivial and perfect predictors reach, mean over the runs that say so."""
        values: dict[str, list[float]] = {}
        for one in self.members:
            for name, value in one.baselines.get(metric, {}).items():
                values.setdefault(name, []).append(value)
        return {name: float(np.mean(found)) for name, found in values.items()}

    def rule(self, metric: str) -> str:
        """The rule behind a metric, in words."""
        return next((one.rules[metric] for one in self.members if metric in one.rules), "")

    def text(self) -> str:
        """The comparison as a page of plain text."""
        from evaluation.compare.text import as_text

        return as_text(self)

    def write(self, folder: str | Path) -> Path:
        """Writes ``comparison.html``, ``table.csv``, ``differences.csv`` and ``figures/*.png``; returns the page."""
        from evaluation.compare.page import write_page

        return write_page(self, Path(folder))


def compare(runs: Source | Sequence[Source], metrics: str | Sequence[str] | None = None) -> Comparison:
    """Compares what was learned in many runs.

    Runs that differ in nothing but their seed are a group, named by what tells it from the others.

    Args:
        runs: run folders, folders that hold run folders at any depth, runs that have a folder, or results files
            (``results/NAME.json``).
        metrics: names of the metrics to compare; by default all that at least two groups have.
    """
    groups = make_groups(read_all(runs))
    chosen, remarks = choose_metrics(groups, [metrics] if isinstance(metrics, str) else metrics)
    refuse_different_data(groups, chosen)
    kept = [g for g in groups if any(key in one.metrics for key in chosen for one in g.members)]
    remarks += [f"{g.name} has none of these metrics and is left out" for g in groups if g not in kept]
    return Comparison(tuple(kept), tuple(chosen), tuple(remarks + reservations(kept)))


def reservations(groups: Sequence[Group]) -> list[str]:
    """What a careful reader would want to be told."""
    said = []
    alone = [group.name for group in groups if len(group.seeds) == 1]
    if alone:
        said.append(f"one seed only, so no spread is known: {'; '.join(alone)}")
    if len({group.seeds for group in groups}) > 1:
        said.append("the groups do not have the same seeds; differences are over those that two groups share")
    members = [one for group in groups for one in group.members]
    for key, consequence in (
        ("device", "times are not comparable"),
        ("threads", "times are not comparable"),
        ("commit", "the code may differ"),
    ):
        values = sorted({one.origin[key] for one in members if key in one.origin})
        if len(values) > 1:
            said.append(f"not the same {key} ({', '.join(values)}): {consequence}")
    if len({one.kind for one in members}) > 1:
        said.append("times of results files are those of training and evaluation, times of runs are of training alone")
    if any("handed over in code" in place.data for one in members for place in one.places.values()):
        said.append("data handed over in code are taken to be the same; only their number and shape could be checked")
    return said
