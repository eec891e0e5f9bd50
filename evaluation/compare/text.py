"""A comparison as plain text, for a terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from evaluation.compare.groups import shared, written
from evaluation.reporting import number

if TYPE_CHECKING:
    from evaluation.compare.comparison import Comparison

#: settings worth a line of their own when all groups have them alike
TOLD = ("story", "guide", "estimator", "data", "steps", "epochs", "experiment")
#: up to so many groups every pair is printed; beyond, each group against the first
ALL_PAIRS = 3

WORDS = {"higher": "higher is better", "lower": "lower is better"}


def as_text(comparison: Comparison) -> str:
    """Per metric a table of the groups, what stands beside it, and the differences."""
    blocks = [heading(comparison)]
    blocks += [_metric_block(comparison, metric) for metric in comparison.metrics]
    notes = [f"note: {remark}." for remark in comparison.remarks]
    if comparison.table["best"].any():
        notes.append("* best mean; whether it is better than the others, the differences tell.")
    if len(comparison.groups) > 1:
        notes.append("Intervals: 95 %, Student's t over seeds, not corrected for the number of comparisons.")
    if len(comparison.groups) > ALL_PAIRS:
        notes.append("Differences are against the first group; all pairs are in differences.csv and .differences.")
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])])


def heading(comparison: Comparison) -> str:
    """How many runs and groups, measured on what, and what they have in common."""
    runs, groups = len(comparison.members), len(comparison.groups)
    lines = [f"{runs} {_plural('run', runs)} in {groups} {_plural('group', groups)}; {seeds_in_words(comparison)}"]
    lines += measured_on(comparison)
    same = {key: value for key, value in shared(comparison.groups).items() if key in TOLD and value is not None}
    if same:
        lines.append("the same in all: " + ", ".join(f"{key}={written(value)}" for key, value in same.items()))
    return "\n".join(lines)


def seeds_in_words(comparison: Comparison) -> str:
    seeds = sorted({one.seed for one in comparison.members})
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"{_plural('seed', len(seeds))} {', '.join(map(str, seeds))}"


def measured_on(comparison: Comparison) -> list[str]:
    """``measured on the 359 data of digits (test split)``, a line per place where there are several."""
    places: dict[str, list[str]] = {}
    for metric, place in comparison.places.items():
        places.setdefault(str(place), []).append(metric)
    if len(places) == 1:
        return [f"measured on {next(iter(places))}"]
    return [f"{', '.join(metrics)}: measured on {place}" for place, metrics in places.items()]


def shown_differences(comparison: Comparison, metric: str) -> pd.DataFrame:
    """All pairs of few groups; of many, each against the first."""
    found = comparison.differences[comparison.differences["metric"] == metric]
    if len(comparison.groups) <= ALL_PAIRS or found.empty:
        return found
    return found[found["minus"] == found["minus"].iloc[0]]


def interval(low: float, high: float) -> str:
    """``0.61 to 0.74``, a dash where there is none."""
    return "–" if math.isnan(low) else f"{number(low)} to {number(high)}"


def _metric_block(comparison: Comparison, metric: str) -> str:
    table = comparison.table[comparison.table["metric"] == metric]
    rows = [["", "group", "n", "mean", "sd", "95 % interval", "min", "max"]]
    for row in table.itertuples():
        rows.append(
            [
                *("*" if row.best else "", row.group, str(row.n), number(row.mean), number(row.sd)),
                *(interval(row.low, row.high), number(row.min), number(row.max)),
            ]
        )
    direction = WORDS.get(comparison.better.get(metric, ""), "")
    lines = [f"{metric}{direction and f' ({direction})'}", *(f"  {line}" for line in aligned(rows, left=(0, 1, 5)))]
    beside = comparison.baselines(metric)
    if beside:
        lines.append("    beside it: " + ", ".join(f"{name} {number(value)}" for name, value in beside.items()))
    for row in shown_differences(comparison, metric).itertuples():
        found = f"{number(row.mean)}, interval {interval(row.low, row.high)}, " if row.pairs > 1 else ""
        found = found or (f"{number(row.mean)}, " if row.pairs else "")
        counted = row.note or f"{row.pairs} pairs"
        lines.append(f"    {row.group} minus {row.minus}: {found}{counted}")
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Rows of cells as lines with straight columns; ``left``: columns of words."""
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    return [
        "  ".join(
            cell.ljust(width) if position in left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
