"""The tables of a comparison's page, as rows of words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from evaluation.compare.groups import differing, written
from evaluation.compare.text import interval, shown_differences
from evaluation.reporting import number

if TYPE_CHECKING:
    from evaluation.compare.comparison import Comparison

ARROWS = {"higher": " ↑", "lower": " ↓"}
#: metrics beside each other in the table of single runs; the others are in runs.csv
RUN_COLUMNS = 8


def summary_table(comparison: Comparison) -> dict[str, Any]:
    """Per metric and group: mean, spread, interval; what trivial predictors reach beside the first group."""
    rows = []
    for metric in comparison.metrics:
        beside = ", ".join(f"{name} {number(value)}" for name, value in comparison.baselines(metric).items())
        first = True
        for row in comparison.table[comparison.table["metric"] == metric].itertuples():
            name = f"{metric}{ARROWS.get(comparison.better.get(metric, ''), '')}" if first else ""
            numbers = [number(row.mean) + (" *" if row.best else ""), number(row.sd), interval(row.low, row.high)]
            reach = f"{number(row.min)} to {number(row.max)}"
            rows.append([name, row.group, str(row.n), *numbers, reach, beside if first else ""])
            first = False
    return {
        "title": "Mean and spread over seeds",
        "caption": "Interval: 95 %, Student's t over seeds. A star marks the best mean; whether it is better than the "
        "others, the differences below tell.",
        "columns": ["metric", "group", "n", "mean", "sd", "95 % interval", "range", "beside it"],
        "rows": rows,
    }


def rule_tables(comparison: Comparison) -> list[dict[str, Any]]:
    """What each number means and what it was measured on."""
    rows = [[metric, comparison.rule(metric), str(comparison.places[metric])] for metric in comparison.metrics]
    return [{"title": "How it was measured", "caption": "", "columns": ["metric", "rule", "data"], "rows": rows}]


def difference_tables(comparison: Comparison) -> list[dict[str, Any]]:
    """Groups against each other, seed by seed; nothing for a single group."""
    if len(comparison.groups) < 2:
        return []
    rows = []
    for metric in comparison.metrics:
        for row in shown_differences(comparison, metric).itertuples():
            numbers = [number(row.mean), number(row.sd), interval(row.low, row.high)] if row.pairs else ["–"] * 3
            rows.append([metric, f"{row.group} minus {row.minus}", str(row.pairs), *numbers, row.note])
    return [
        {
            "title": "Differences, seed by seed",
            "caption": "Mean over the seeds that both groups have; 95 % intervals, not corrected for their number. "
            "An interval that leaves out zero is a difference that a change of seeds does not explain.",
            "columns": ["metric", "difference", "pairs", "mean", "sd", "95 % interval", "remark"],
            "rows": rows,
        }
    ]


def group_tables(comparison: Comparison) -> list[dict[str, Any]]:
    """The settings that tell the groups apart; nothing for a single group."""
    keys = differing([group.settings for group in comparison.groups])
    if not keys:
        return []
    rows = [
        [
            group.name,
            *(written(group.settings[key]) if key in group.settings else "–" for key in keys),
            ", ".join(map(str, group.seeds)),
        ]
        for group in comparison.groups
    ]
    return [{"title": "The groups", "caption": "", "columns": ["group", *keys, "seeds"], "rows": rows}]


def runs_table(comparison: Comparison) -> dict[str, Any]:
    """Every run with its numbers."""
    shown = comparison.metrics[:RUN_COLUMNS]
    rows = []
    for group in comparison.groups:
        for one in group.members:
            values = [number(one.metrics[key]) if key in one.metrics else "–" for key in shown]
            seconds = "–" if math.isnan(one.seconds) else f"{one.seconds:.1f}"
            rows.append([group.name, str(one.seed), *values, seconds, one.source])
    more = len(comparison.metrics) - len(shown)
    return {
        "title": "Every run",
        "caption": f"{more} more metrics are in runs.csv." if more else "",
        "columns": ["group", "seed", *shown, "seconds", "from"],
        "rows": rows,
    }
