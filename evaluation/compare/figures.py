"""Pictures of a comparison, drawn by seaborn on figures without a window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluation.figures.canvas import COLOURS, blank, plain_axes

if TYPE_CHECKING:
    from evaluation.compare.comparison import Comparison

#: panels in one figure; more metrics are in the tables only
PANELS = 12
#: panels beside each other
ACROSS = 3
#: share of the first readings that may lie outside a picture of curves (they are off the scale of all that follows)
FIRST_READINGS = 0.05
#: letters of a group's name on an axis or in a legend before it is broken into lines
LETTERS = 28


@dataclass(frozen=True)
class Picture:
    """A figure with its file name and the words around it."""

    name: str
    title: str
    caption: str
    figure: Any


def draw(comparison: Comparison) -> Iterator[Picture]:
    """Every picture that the numbers allow."""
    for make in MAKERS:
        picture = make(comparison)
        if picture is not None:
            yield picture


def spread(comparison: Comparison) -> Picture | None:
    """Every run as a dot, mean and interval beside it; metrics about gradients have their own figure."""
    shown, rest = _shown([m for m in comparison.metrics if not is_gradient_variance(m)])
    if not shown:
        return None
    return Picture(
        "spread",
        "Runs, mean and interval",
        f"Each dot is one run (a seed); the black mark is the mean with its 95 % interval (Student's t).{rest}",
        _strips(comparison, shown),
    )


def gradient_variance(comparison: Comparison) -> Picture | None:
    """Log-variance of gradients per group, where results hold it."""
    shown, rest = _shown([m for m in comparison.metrics if is_gradient_variance(m)])
    if not shown:
        return None
    return Picture(
        "gradient-variance",
        "Variance of the gradients",
        f"Logarithm of the variance of the gradient estimate, one dot per seed; lower is steadier.{rest}",
        _strips(comparison, shown),
    )


def is_gradient_variance(metric: str) -> bool:
    """The name under which experiments report it: ``logvar`` (of the cases ``logvar/ESTIMATOR``)."""
    return metric.startswith("logvar")


def curves(comparison: Comparison) -> Picture | None:
    """Loss and validation over steps, validation over time."""
    import seaborn

    logs = common_steps(comparison.curves)
    if logs.empty or logs["loss"].isna().all():
        return None
    held_out = logs.dropna(subset="validation")
    panels: list[tuple[str, str, str, pd.DataFrame]] = [("training loss", "step", "loss", logs)]
    if not held_out.empty:
        timed = held_out.groupby(["group", "step"], sort=False)[["validation", "seconds"]].mean().reset_index()
        panels += [("validation", "step", "validation", held_out), ("validation", "seconds", "validation", timed)]
    palette = _palette(comparison)
    made, axes = blank(3.9 * len(panels) + 0.2, 3.4 + 0.2 * len(palette), 1, len(panels))
    for axis, (title, across, up, found) in zip(axes.flat, panels, strict=True):
        seaborn.lineplot(
            found, x=across, y=up, hue="group", hue_order=list(palette), palette=palette, ax=axis, lw=1.3,
            errorbar=("sd", 1) if across == "step" else None, err_kws={"alpha": 0.2, "lw": 0},
        )  # fmt: skip
        _later_readings(axis, found, up)
        axis.set(xlabel=across, ylabel="nats per datum" if axis is axes.flat[0] else "")
        axis.set_title(f"{title} by {across}" if len(panels) > 1 else title, fontsize=10)
        plain_axes(axis)
    _legend_below(made, axes, palette)
    return Picture(
        "learning-curves",
        "Learning",
        "Mean over seeds, the band one standard deviation wide on either side. Loss: mean between readings, with the "
        "story's annealing. Validation: minus the full bound on held-out data. Lower is better in all panels; over "
        "time, seconds are the mean over seeds, measured while training.",
        made,
    )


def against_time(comparison: Comparison) -> Picture | None:
    """What a second of computing buys."""
    import seaborn

    timed = comparison.frame.dropna(subset="seconds")
    shown, rest = _shown([m for m in comparison.metrics if (timed["metric"] == m).any()])
    if not shown:
        return None
    palette = _palette(comparison)
    made, axes = _grid(len(shown), 2.7, extra=0.2 * len(palette))
    for axis, metric in zip(axes.flat, shown, strict=False):
        found = timed[timed["metric"] == metric]
        seaborn.scatterplot(
            found, x="seconds", y="value", hue="group", hue_order=list(palette), palette=palette, ax=axis, s=26,
            alpha=0.7, lw=0, legend=axis is axes.flat[0],
        )  # fmt: skip
        means = found.groupby("group", sort=False)[["seconds", "value"]].mean()
        axis.scatter(means["seconds"], means["value"], marker="X", s=90, lw=1, edgecolor="black",
                     color=[palette[g] for g in means.index], zorder=3)  # fmt: skip
        axis.set_title(_titled(comparison, metric), fontsize=10)
        axis.set(xlabel="seconds", ylabel="")
        axis.margins(0.12)
        plain_axes(axis)
    _legend_below(made, axes, palette)
    return Picture(
        "against-time",
        "Against wall time",
        f"Each dot is one run, each cross the mean of a group.{rest}",
        made,
    )


#: file names of all pictures that there can be
NAMES = ("spread", "learning-curves", "against-time", "gradient-variance")
MAKERS: tuple[Callable[[Comparison], Picture | None], ...] = (spread, curves, against_time, gradient_variance)


def common_steps(logs: pd.DataFrame) -> pd.DataFrame:
    """The readings at steps that all runs of a group logged: a mean over changing seeds would be a zigzag."""
    if logs.empty:
        return logs
    seeds = logs.groupby("group")["seed"].transform("nunique")
    there = logs.groupby(["group", "step"])["seed"].transform("nunique")
    return logs[there == seeds]


def _strips(comparison: Comparison, metrics: list[str]) -> Any:
    import seaborn

    palette = _palette(comparison)
    names = list(palette)
    made, axes = _grid(len(metrics), 0.9 + 0.42 * len(names), shared_names=True)
    for axis, metric in zip(axes.flat, metrics, strict=False):
        found = comparison.frame[comparison.frame["metric"] == metric]
        # Dots are shifted by seed, not by chance: the same comparison gives the same picture.
        seaborn.stripplot(
            found, x="value", y="group", order=names, hue="group", hue_order=names, palette=palette, ax=axis,
            jitter=False, size=5, alpha=0.65, legend=False,
        )  # fmt: skip
        table = comparison.table[comparison.table["metric"] == metric]
        for row in table.itertuples():
            reach = [[row.mean - row.low], [row.high - row.mean]] if not math.isnan(row.low) else None
            axis.errorbar(row.mean, names.index(row.group) + 0.26, xerr=reach, fmt="D", ms=4, color="black", lw=1.3,
                          capsize=2.5)  # fmt: skip
        axis.set_ylim(len(names) - 0.4, -0.5)
        axis.set_title(_titled(comparison, metric), fontsize=10)
        axis.set(xlabel="", ylabel="")
        axis.set_yticks(range(len(names)), [broken(name) for name in names], fontsize=8)
        axis.grid(axis="x", color="#e4e7ea", lw=0.7)
        axis.set_axisbelow(True)
        axis.margins(x=0.08)
        plain_axes(axis)
    for axis in axes[:, 1:].flat:
        axis.set_yticklabels([])
    return made


def _grid(count: int, height: float, extra: float = 0.0, shared_names: bool = False) -> tuple[Any, Any]:
    columns = min(count, ACROSS)
    rows = -(-count // columns)
    width = 3.3 * columns + (1.6 if shared_names else 0.4)
    made, axes = blank(width, height * rows + extra, rows, columns)
    for axis in list(axes.flat)[count:]:
        axis.set_axis_off()
    return made, axes


def _palette(comparison: Comparison) -> dict[str, Any]:
    import seaborn

    names = [group.name for group in comparison.groups]
    colours = COLOURS if len(names) <= len(COLOURS) else seaborn.husl_palette(len(names))
    return dict(zip(names, colours, strict=False))


def _legend_below(made: Any, axes: Any, palette: dict[str, Any]) -> None:
    """One legend for all panels, as wide as its names allow."""
    from matplotlib.lines import Line2D

    for axis in axes.flat:
        if axis.get_legend() is not None:
            axis.get_legend().remove()
    lines = [Line2D([], [], color=colour, marker="o", lw=1.5) for colour in palette.values()]
    longest = max(map(len, palette))
    across = max(1, min(len(palette), int(made.get_figwidth() * 11 // (longest + 8))))
    made.legend(lines, list(palette), loc="outside lower center", ncols=across, frameon=False, fontsize=8)


def _later_readings(axis: Any, found: pd.DataFrame, column: str) -> None:
    """Leaves the very first readings out of the scale, if they are outliers."""
    late = found[found["step"] > found["step"].max() * FIRST_READINGS][column].to_numpy()
    late = late[np.isfinite(late)]
    if len(late) < 3:
        return
    low, high = float(late.min()), float(np.quantile(late, 0.98))
    if high > low:
        axis.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


def _titled(comparison: Comparison, metric: str) -> str:
    return f"{metric} {({'higher': '↑', 'lower': '↓'}).get(comparison.better.get(metric, ''), '')}".strip()


def _shown(metrics: list[str]) -> tuple[list[str], str]:
    """The metrics that fit, and a word on those that do not."""
    more = metrics[PANELS:]
    return metrics[:PANELS], f" In the tables only: {', '.join(more)}." if more else ""


def broken(name: str) -> str:
    """A long name in lines, broken between settings."""
    lines = [""]
    for part in name.split(", "):
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if len(joined) <= LETTERS or not lines[-1]:
            lines[-1] = joined
        else:
            lines[-1] += ","
            lines.append(part)
    return "\n".join(lines)
