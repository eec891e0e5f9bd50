"""Errors a person can act on: each says what was got, what is allowed and the usual fix.

All of them derive from :class:`ModelsError`, which the command line prints without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModelsError(Exception):
    """Root of every error this library raises on purpose."""

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return " ".join(str(argument) for argument in self.args)


class UnknownName(ModelsError, KeyError):
    """A story, dataset, estimator, guide or metric that nobody registered."""


class OptionError(ModelsError, ValueError):
    """An option whose value is outside what is allowed."""


class DataError(ModelsError, ValueError):
    """Data that are missing, corrupt, of the wrong shape or not finite."""


class EstimatorError(ModelsError, ValueError):
    """A gradient estimator asked to do what it cannot do."""


class RunError(ModelsError, RuntimeError):
    """A run folder that cannot be read, written or continued."""


class TrainingError(ModelsError, ArithmeticError):
    """Training stopped because a number was not finite."""


class MetricError(ModelsError, ValueError):
    """Arrays on which a metric is not defined."""


def unknown_name(kind: str, got: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that is not among ``known``, with the nearest one that is.

    >>> print(unknown_name("story", "vea", ["vae", "mixture-vae"]))
    no story is called 'vea'; did you mean 'vae'? Known: mixture-vae, vae.
    """
    known = sorted(known)
    near = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return UnknownName(f"no {kind} is called '{got}'{hint} Known: {', '.join(known) or 'none'}.")
