"""Schedules: plain functions of the progress in [0, 1], so that they mean the same for runs of any length."""

from __future__ import annotations

import math

#: where ``drop`` divides the learning rate by ten
DROP_AT = 0.85


def learning_rate_factor(schedule: str, progress: float) -> float:
    """What the learning rate is multiplied by: ``constant``, ``cosine`` (to zero) or ``drop``."""
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if schedule == "drop":
        return 1.0 if progress < DROP_AT else 0.1
    return 1.0


def linear(progress: float, start: float, end: float, until: float = 1.0) -> float:
    """From ``start`` to ``end`` in a straight line over the first ``until`` of training, then constant."""
    return end if progress >= until else start + (end - start) * progress / until


def geometric(progress: float, start: float, end: float, until: float = 1.0) -> float:
    """From ``start`` to ``end`` by equal factors over the first ``until`` of training, then constant."""
    return end if progress >= until else start * (end / start) ** (progress / until)
