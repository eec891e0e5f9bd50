"""How sure is a score? Intervals by computing it again on random halves of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.arrays import Array, as_numpy, positive, same_length
from pyro_models.errors import MetricError


@dataclass(frozen=True)
class Interval:
    """``value`` on all data with its ``standard_error`` and the interval from ``low`` to ``high``."""

    value: float
    low: float
    high: float
    standard_error: float


def bootstrap_intervals(
    score: Callable[..., Any], *arrays: Array, resamples: int = 20, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    r"""Intervals for every number that ``score(*arrays)`` returns: ``{name: Interval}``.

    A bootstrap by half-samples (delete-half jackknife; Shao and Wu 1989): the score is computed on random halves
    without replacement. For a mean over N data the spread between halves,
    :math:`\sigma\sqrt{2/N}\sqrt{1-1/2} = \sigma/\sqrt N`, is exactly its standard error. The usual bootstrap would not
    do here: a datum drawn twice sits in the training *and* the test part of the classifiers inside the scores. The
    interval is ``value`` plus or minus Student's t times that spread; it holds the noise of the finite data, not of
    training again, and not the bias of a score at finite N.

    Args:
        score: a function of arrays with a row per datum; returns a mapping of names to numbers, or a single number or a
            result that converts to float, which is then called ``"value"``. Fix its own seed, so that only data vary.
        arrays: codes and factors, for instance.
        resamples: halves computed, each at about half the cost of the score; the standard error itself is known to
            about :math:`1/\sqrt{2(\text{resamples}-1)}`.
        level: probability that the interval is to hold.
        seed: of the halves.

    >>> import numpy as np
    >>> found = bootstrap_intervals(lambda x: x.mean(), np.arange(100.0))
    >>> found["value"].value
    49.5
    """
    from scipy.stats import t

    positive(resamples, "resamples", 2)
    if not 0 < level < 1:
        raise MetricError(f"level is {level}; it lies between 0 and 1, usually 0.95.")
    if not arrays:
        raise MetricError("give the arrays that the score is computed from.")
    given = [as_numpy(array) for array in arrays]
    same_length(**{f"array {number}": array for number, array in enumerate(given)})
    count = len(given[0])
    random = np.random.default_rng(seed)
    whole = _named(score(*given))
    drawn: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(resamples):
        rows = np.sort(random.permutation(count)[: count // 2])
        for name, value in _named(score(*(array[rows] for array in given))).items():
            drawn[name].append(value)
    reach = float(t.ppf((1 + level) / 2, resamples - 1))
    found = {}
    for name, value in whole.items():
        spread = float(np.std(drawn[name], ddof=1))
        found[name] = Interval(value, value - reach * spread, value + reach * spread, spread)
    return found


def _named(result: Any) -> dict[str, float]:
    if isinstance(result, Mapping):
        return {name: float(value) for name, value in result.items()}
    return {"value": float(result)}
