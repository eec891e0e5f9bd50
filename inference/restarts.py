"""Several starts, of which the best bound is kept."""

from __future__ import annotations

from typing import Any

from inference.device import choose_device
from inference.loop import _resolve_data, fit
from inference.run import Run
from inference.validation import validation_bound
from pyro_models.errors import OptionError


def fit_best(
    story: str, data: Any = "digits", estimator: str | None = None, *, restarts: int = 3, **options: Any
) -> Run:
    """Trains a story ``restarts`` times from different seeds and returns the run with the best bound.

    Judged on validation data (training data where there are none), never by labels. The seeds follow from the
    ``seed`` asked for, and no two values of it share a start. The other arguments are those of
    :func:`inference.loop.fit`; the run is in memory, ``run.save(folder)`` writes it.
    """
    if restarts < 1:
        raise OptionError(f"restarts is {restarts}; it must be at least 1.")
    if options.get("run_dir") is not None:
        raise OptionError("fit_best keeps its runs in memory; leave out run_dir and save the run it returns.")
    first = options.pop("seed", 0) * restarts
    runs = [fit(story, data, estimator, seed=first + number, **options) for number in range(restarts)]
    return min(runs, key=lambda run: minus_bound(run, data)) if restarts > 1 else runs[0]


def minus_bound(run: Run, data: Any) -> float:
    """Minus the bound per datum on the validation data."""
    splits = _resolve_data(data, run.config["data"].get("options") or {})[0]
    held_out = splits.validation if splits.validation is not None else splits.train
    return validation_bound(run.story, held_out, choose_device(run.training.device))()
