"""Mean and spread over seeds, and differences between groups seed by seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

#: confidence of all intervals
CONFIDENCE = 0.95

TABLE_COLUMNS = ["metric", "group", "n", "mean", "sd", "low", "high", "min", "max", "best"]
DIFFERENCE_COLUMNS = ["metric", "group", "minus", "pairs", "mean", "sd", "low", "high", "note"]


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    r"""Mean, sample standard deviation and the ends of Student's interval of the mean.

    .. math:: \bar v \pm t_{n-1,\,0.975}\; s / \sqrt n

    exact for normal values; one value has a mean and nothing else (NaN). Student (1908), The probable error of a mean.
    """
    from scipy.stats import t

    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, np.nan, np.nan, np.nan
    sd = float(numbers.std(ddof=1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(numbers) - 1)) * sd / len(numbers) ** 0.5
    return mean, sd, mean - reach, mean + reach


def make_table(frame: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """Per metric and group: n, mean, sd, interval, range; ``best`` marks the best mean where a direction is known."""
    rows = []
    for (metric, group), found in frame.groupby(["metric", "group"], sort=False, observed=True):
        values = found["value"].to_numpy()
        rows.append([metric, group, len(values), *mean_interval(values), values.min(), values.max(), False])
    table = pd.DataFrame(rows, columns=TABLE_COLUMNS)
    for metric, of_metric in table.groupby("metric", sort=False):
        means = of_metric["mean"]
        if better.get(str(metric)) in ("higher", "lower") and means.nunique(dropna=False) > 1:
            best = means.max() if better[str(metric)] == "higher" else means.min()
            table.loc[of_metric.index, "best"] = means == best
    return table


def make_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """For every pair of groups: the later one minus the earlier one, over the seeds that both have.

    Pairing takes out what a seed does to both (data order, initial weights where they agree). Intervals are per pair,
    not corrected for the number of pairs.
    """
    rows = []
    for metric, of_metric in frame.groupby("metric", sort=False):
        by_seed = {group: found.set_index("seed")["value"] for group, found in of_metric.groupby("group", sort=False)}
        for earlier, later in itertools.combinations(by_seed, 2):
            gaps = (by_seed[later] - by_seed[earlier]).dropna()
            numbers = mean_interval(gaps) if len(gaps) else (np.nan,) * 4
            rows.append([metric, later, earlier, len(gaps), *numbers, remark_on_pairs(len(gaps))])
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)


def remark_on_pairs(pairs: int) -> str:
    if pairs == 0:
        return "no seed in common"
    return "a single pair: no interval" if pairs == 1 else ""
