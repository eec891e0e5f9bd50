"""What partitions of the same data learn from each other, whatever they are judged by.

Two partitions that nearly tie often differ in one piece of a group. Cut by each other into pieces, each piece is judged
by itself when they are merged again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

#: value and group of every datum
Found = tuple[float, Int[np.ndarray, " N"]]
#: nats a datum that a round must add to be followed by another
LEAST_GAIN = 1e-5


def improve(found: Sequence[Found], settle: Callable[[np.ndarray], Found], groups: int) -> Found:
    """Cuts the best partition by each of the others and lets the pieces settle, while that adds to its value.

    ``settle``: from pieces, more than ``groups`` of them, to a partition and its value in nats per datum.
    """
    best, *others = sorted(found, key=lambda one: -one[0])
    while True:
        before = best[0]
        for _, other in others:
            pieces = np.unique(best[1] * groups + other, return_inverse=True)[1]
            best = max(best, settle(pieces), key=lambda one: one[0])
        if best[0] - before < LEAST_GAIN:
            return best
