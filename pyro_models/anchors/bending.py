r"""Which of an image's neighbours become it when they are bent a little.

.. math:: d(a, b) = \sum_p \min_{|s|_\infty \le 1} \sum_{|c|_\infty \le 1}
          | \nabla a(p + c) - \nabla b(p + s + c) |^2 / 9

Every place p of an image looks for the place next to it where the other image has the same strokes (the image
distortion model on gradients with their surroundings, Keysers et al. 2007). Too dear for all pairs, so only the
nearest by another measure are put in a new order. No labels anywhere.
"""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pyro_models.anchors.edges import slopes
from pyro_models.anchors.neighbours import Neighbours

#: pixels that a place may move by, and half the width of the surroundings that move with it
REACH, AROUND = 1, 1
#: images at a time
CHUNK = 60


@torch.no_grad()
def reordered(x: Float[Tensor, "N channel height width"], near: Neighbours, count: int) -> Neighbours:
    """The ``count`` nearest by bending among those that are ``near``."""
    images = slopes(x)
    rows, distance = [], []
    for start in range(0, len(x), CHUNK):
        others = near.rows[start : start + CHUNK]
        own = images[start : start + CHUNK].repeat_interleave(others.shape[1], 0)
        found = bent(own, images[others.flatten()]).unflatten(0, others.shape).topk(count, dim=1, largest=False)
        rows.append(others.gather(1, found.indices))
        distance.append(found.values)
    return Neighbours(torch.cat(rows), torch.cat(distance))


def bent(one: Float[Tensor, "B 2 height width"], other: Float[Tensor, "B 2 height width"]) -> Float[Tensor, " B"]:
    """d of every pair, from the images' slopes."""
    height, width = one.shape[-2:]
    other = functional.pad(other, (REACH,) * 4)
    best: Tensor | None = None
    for down, across in product(range(2 * REACH + 1), repeat=2):
        apart = (one - other[..., down : down + height, across : across + width]).square_().sum(1)
        apart = functional.avg_pool2d(apart, 2 * AROUND + 1, 1, AROUND)
        best = apart if best is None else torch.minimum(best, apart, out=best)
    assert best is not None
    return best.sum((1, 2))
