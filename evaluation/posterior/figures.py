"""Pictures of calibration: rank histograms, ECDF differences with their band, PIT histograms, the tails of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from evaluation.posterior.calibration import Calibration, uniform_band
from evaluation.posterior.pareto import GOOD_K
from pyro_models.errors import MetricError

#: bars of uniform numbers stay inside the grey band with this probability, each
BAND = 0.99
#: coordinates drawn in one figure; more cannot be read
MOST_COORDINATES = 8
PIT_BINS = 20


def figure_calibration(calibration: Calibration, site: str | None = None, band: float = BAND) -> Any:
    """Rank histogram (left) and ECDF minus uniform with its simultaneous band (right), one row per coordinate."""
    import matplotlib.pyplot as plt

    site = site or next(iter(calibration.ranks))
    counts, ecdf, p_values = calibration.histogram(site), calibration.ecdf(site), calibration.p_values(site)
    rows, limits = min(len(counts), MOST_COORDINATES), calibration.band(band)
    figure, axes = plt.subplots(rows, 2, figsize=(8, 2.2 * rows), squeeze=False, layout="constrained")
    for row, (left, right) in enumerate(axes):
        _uniform_bars(left, counts[row], calibration.simulations, band)
        left.set(
            title=f"{site}[{row}]: ranks, p = {p_values[row]:.2g}", xlabel="rank of the truth", ylabel="simulations"
        )
        right.fill_between(limits.points, limits.lower - limits.points, limits.upper - limits.points, color="0.85")
        right.plot(limits.points, ecdf[row] - limits.points, drawstyle="steps-post")
        right.axhline(0, color="0.4", linewidth=0.8)
        right.set(title="ECDF minus uniform", xlabel="rank / L")
    if len(counts) > rows:
        figure.supxlabel(f"the first {rows} of {len(counts)} coordinates")
    return figure


def figure_pit(values: ArrayLike, title: str = "PIT", band: float = BAND) -> Any:
    """Histogram and ECDF difference of PIT values (``predictive.pit`` makes them)."""
    import matplotlib.pyplot as plt

    flat = np.sort(np.asarray(values, dtype=float).ravel())
    if flat.size == 0 or not np.isfinite(flat).all() or flat[0] < 0 or flat[-1] > 1:
        raise MetricError("PIT values have to be finite numbers from 0 to 1, at least one of them.")
    limits = uniform_band(flat.size, 4 * PIT_BINS - 1, band)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    _uniform_bars(left, np.histogram(flat, PIT_BINS, (0, 1))[0], flat.size, band)
    left.set(title=title, xlabel="PIT value", ylabel="data")
    ecdf = np.searchsorted(flat, limits.points, side="right") / flat.size
    right.fill_between(limits.points, limits.lower - limits.points, limits.upper - limits.points, color="0.85")
    right.plot(limits.points, ecdf - limits.points)
    right.set(title="ECDF minus uniform", xlabel="PIT value")
    return figure


def figure_pareto_k(k: ArrayLike) -> Any:
    """k-hat of every datum, sorted, with the line above which weights are not to be trusted."""
    import matplotlib.pyplot as plt

    values = np.sort(np.asarray(k, dtype=float).ravel())
    shown = values[np.isfinite(values)]
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.plot(np.arange(len(shown)), shown, ".", markersize=3)
    axis.axhline(GOOD_K, color="tab:red", linewidth=0.8)
    share = float((values > GOOD_K).mean()) if len(values) else 0.0
    axis.set(title=f"k-hat: {share:.1%} above {GOOD_K}", xlabel="data, sorted", ylabel="k-hat")
    return figure


def _uniform_bars(axis: Any, counts: np.ndarray, total: int, band: float) -> None:
    """Bars of counts over the band where the bars of uniform numbers lie."""
    bins = len(counts)
    low, high = binom.interval(band, total, 1 / bins)
    axis.axhspan(low, high, color="0.85")
    axis.axhline(total / bins, color="0.4", linewidth=0.8)
    axis.bar((np.arange(bins) + 0.5) / bins, counts, width=0.9 / bins)
