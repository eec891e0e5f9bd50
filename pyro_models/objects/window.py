r"""A square window on a canvas: pasting a patch through it, and cropping the canvas to it.

``where`` is :math:`(\log s, t_x, t_y)`: a canvas point u in [-1, 1] lies at :math:`v = s\,(u - t)` in the window's own
[-1, 1]. So t is the window's centre and 1/s its side as a share of the canvas.

Scaling and shifting act on rows and columns alone. Bilinear interpolation is then two matrix products with
"hat" matrices, :math:`A_{ij} = \max(0, 1 - |q_i - j|)` for the source coordinate q_i of target pixel i: the numbers
of ``grid_sample`` (zero padding, corners not aligned), cheaper for small patches, and differentiable as often as one
likes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def centres(size: int, like: Tensor) -> Float[Tensor, " size"]:
    """Pixel centres in [-1, 1]."""
    return (2 * torch.arange(size, dtype=like.dtype, device=like.device) + 1) / size - 1


def hats(points: Float[Tensor, "*batch target"], source: int) -> Float[Tensor, "*batch target source"]:
    """Bilinear weights of ``source`` pixels at points in [-1, 1]."""
    position = ((points + 1) * source - 1) / 2
    index = torch.arange(source, dtype=points.dtype, device=points.device)
    return (1 - (position.unsqueeze(-1) - index).abs()).clamp_min(0)


def paste_weights(
    where: Float[Tensor, "*batch 3"], patch: int, canvas: int
) -> tuple[Float[Tensor, "*batch canvas patch"], Float[Tensor, "*batch canvas patch"]]:
    """Matrices (rows, columns) with which a patch is pasted: ``rows @ patch @ columns.mT``."""
    scale, place = where[..., :1].exp(), centres(canvas, where)
    return hats(scale * (place - where[..., 2:3]), patch), hats(scale * (place - where[..., 1:2]), patch)


def paste(
    patches: Float[Tensor, "*batch patch patch"], where: Float[Tensor, "*batch 3"], canvas: int
) -> Float[Tensor, "*batch canvas canvas"]:
    """The patches on an empty canvas."""
    rows, columns = paste_weights(where, patches.shape[-1], canvas)
    return rows @ patches @ columns.mT


def crop(
    images: Float[Tensor, "*batch canvas canvas"], where: Float[Tensor, "*batch 3"], patch: int
) -> Float[Tensor, "*batch patch patch"]:
    """What is seen through the windows."""
    inverse, place = (-where[..., :1]).exp(), centres(patch, where)
    rows = hats(inverse * place + where[..., 2:3], images.shape[-1])
    columns = hats(inverse * place + where[..., 1:2], images.shape[-1])
    return rows @ images @ columns.mT


def tight_boxes(masks: Tensor) -> Float[Tensor, "*batch 4"]:
    """``left, top, right, bottom`` in pixels of what is set in ``masks [..., height, width]``; zeros for nothing."""

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        lit = line.to(torch.uint8)
        return lit.argmax(-1), lit.shape[-1] - lit.flip(-1).argmax(-1)

    (top, bottom), (left, right) = ends(masks.any(-1)), ends(masks.any(-2))
    boxes = torch.stack([left, top, right, bottom], -1).float()
    return boxes * masks.flatten(-2).any(-1, keepdim=True)
