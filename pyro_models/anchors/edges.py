r"""Images by their edges: how much of each place is an edge, and in which of eight directions.

Pixels of two drawings of the same thing seldom meet, but the directions of their strokes do at nearly the same places.
The gradient :math:`g` of a pixel is shared out between the two nearest of eight directions, :math:`|g| \cdot (1 - `
distance in steps :math:`)`, each direction's map is blurred and read at a ninth of the image's resolution, square roots
keep a few strong edges from deciding alone, and the whole has length one (histograms of oriented gradients, Dalal and
Triggs 2005, with soft places).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

#: directions that edges are told apart by
DIRECTIONS = 8
#: places along each side, and standard deviation of their blur in widths of the image
PLACES, BLUR = 9, 0.054
#: length of an image without edges
SMALL = 1e-3


@torch.no_grad()
def edges(x: Float[Tensor, "B channel height width"]) -> Float[Tensor, "B direction down across"]:
    """Edges of the images' light (the sum of their channels)."""
    across, down = slopes(x).unbind(1)
    step = 2 * math.pi / DIRECTIONS
    each = step * torch.arange(DIRECTIONS, device=x.device, dtype=x.dtype)[:, None, None]
    off = (torch.atan2(down, across).unsqueeze(1) - each + math.pi) % (2 * math.pi) - math.pi
    maps = (across.square() + down.square()).sqrt().unsqueeze(1) * (1 - off.abs() / step).clamp_min(0)
    found = _at_places(maps).clamp_min(0).sqrt()
    return found / (found.flatten(1).norm(dim=1)[:, None, None, None] + SMALL)


def slopes(x: Float[Tensor, "B channel height width"]) -> Float[Tensor, "B 2 height width"]:
    """By how much the light (the sum of the channels) grows across and down at every pixel."""
    light = x.sum(1)
    across = functional.pad(light[:, :, 2:] - light[:, :, :-2], (1, 1))
    down = functional.pad(light[:, 2:] - light[:, :-2], (0, 0, 1, 1))
    return torch.stack([across, down], 1)


def _at_places(maps: Tensor) -> Tensor:
    """Blurred, and read at regular places."""
    width = maps.shape[-1]
    spread, stride = BLUR * width, max(1, round(width / PLACES))
    reach = math.ceil(3 * spread)
    kernel = (-0.5 * (torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype) / spread).square()).exp()
    kernel = (kernel / kernel.sum()).expand(DIRECTIONS, 1, 1, -1)
    maps = functional.conv2d(maps, kernel, padding=(0, reach), groups=DIRECTIONS)
    maps = functional.conv2d(maps, kernel.transpose(-1, -2), padding=(reach, 0), groups=DIRECTIONS)
    first = stride // 2
    return maps[..., first::stride, first::stride]
