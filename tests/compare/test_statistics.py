"""Means, intervals and paired differences against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.compare.statistics import make_differences, make_table, mean_interval


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_interval_is_that_of_scipy(values):
    mean, sd, low, high = mean_interval(values)
    assert mean == pytest.approx(np.mean(values))
    assert sd == pytest.approx(np.std(values, ddof=1))
    if sd > 1e-6:
        theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).standard_normal((2000, 5))
    held = np.mean([low <= 0 <= high for _, _, low, high in map(mean_interval, draws)])
    assert abs(held - 0.95) < 4.3 * (0.95 * 0.05 / 2000) ** 0.5  # fails by chance once in 60 000


def test_one_value_has_a_mean_and_no_spread():
    mean, *rest = mean_interval([3.0])
    assert mean == 3.0
    assert np.isnan(rest).all()


def frame(**groups) -> pd.DataFrame:
    rows = [(g, seed, "accuracy", value) for g, found in groups.items() for seed, value in found.items()]
    return pd.DataFrame(rows, columns=["group", "seed", "metric", "value"])


def test_differences_are_paired_by_seed():
    a, b = {0: 0.5, 1: 0.7, 2: 0.6, 9: 0.1}, {2: 0.65, 0: 0.56, 1: 0.77, 7: 0.9}
    row = make_differences(frame(a=a, b=b)).iloc[0]
    theirs = stats.ttest_rel([b[s] for s in (0, 1, 2)], [a[s] for s in (0, 1, 2)])
    assert (row["group"], row["minus"], row["pairs"]) == ("b", "a", 3)
    assert row["mean"] == pytest.approx(0.06)
    interval = theirs.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))


def test_pairs_that_do_not_exist_are_told():
    found = make_differences(frame(a={0: 1.0}, b={1: 2.0}, c={0: 3.0}))
    assert found["note"].tolist() == ["no seed in common", "a single pair: no interval", "no seed in common"]


@pytest.mark.parametrize(("better", "best"), [("higher", "b"), ("lower", "a"), ("neither", None)])
def test_the_star_follows_the_direction(better, best):
    table = make_table(frame(a={0: 1.0, 1: 2.0}, b={0: 3.0, 1: 4.0}), {"accuracy": better})
    assert table.loc[table["best"], "group"].tolist() == ([best] if best else [])


def test_equal_means_get_no_star():
    assert not make_table(frame(a={0: 1.0}, b={0: 1.0}), {"accuracy": "higher"})["best"].any()
