r"""Images as they would stand upright, for comparing those that a move or a slant alone tells apart.

The light of an image has a centre :math:`m` and moments about it. The image is moved to the middle, sheared along its
rows until columns and rows are uncorrelated (a slanted stroke stands up) and stretched along its columns to a common
height.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pyro_models.nn.spatial.grid import lattice

#: standard deviation of the light along the columns afterwards, where half the height is 1, and limits of the stretch
HEIGHT, MOST = 0.4, 1.4
#: light of an empty image
SMALL = 1e-6


@torch.no_grad()
def upright(x: Float[Tensor, "B channel height width"]) -> Float[Tensor, "B channel height width"]:
    """The images, each by its own moments."""
    across, down = lattice(*x.shape[-2:]).to(x).unflatten(-1, x.shape[-2:])
    light = x.sum(1).clamp_min(0)
    share = light / (light.sum((1, 2), keepdim=True) + SMALL)
    middle = torch.stack([(share * across).sum((1, 2)), (share * down).sum((1, 2))], 1)
    dx, dy = across - middle[:, 0, None, None], down - middle[:, 1, None, None]
    variance = (share * dy.square()).sum((1, 2)).clamp_min(SMALL)
    shear = (share * dx * dy).sum((1, 2)) / variance
    stretch = (variance.sqrt() / HEIGHT).clamp(1 / MOST, MOST)
    matrix = x.new_zeros(len(x), 2, 3)
    matrix[:, 0, 0] = 1
    matrix[:, 0, 1], matrix[:, 1, 1] = shear * stretch, stretch
    matrix[:, :, 2] = middle
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)
