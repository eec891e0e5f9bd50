"""Where surfaces are and what colour they have, told apart: for pictures of solid things, each of one colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pyro_models.nn.dense import mlp
from pyro_models.nn.posed import check_frames

#: surfaces a picture may have: one more than the floor, wall, object and shade that a room shows
SURFACES = 5
#: the encoder reads means over squares of this side: a quarter of the weights, and as good an answer
COARSE = 2


class PaintedEncoder(nn.Module):
    """``read(means of x over squares of 2 x 2 pixels)``, a dense network."""

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        channels, height, width = check_frames(shape, "painted")
        places = math.ceil(height / COARSE) * math.ceil(width / COARSE)
        self.read = mlp(channels * places, hidden, outputs)

    def deep(self) -> tuple[nn.Module, ...]:
        """The networks whose start values should keep the variance."""
        return (self.read,)

    def forward(self, x: Float[Tensor, "*batch channel height width"]) -> Float[Tensor, "*batch outputs"]:
        coarse = functional.avg_pool2d(x.flatten(0, -4), COARSE, ceil_mode=True)
        return self.read(coarse.flatten(1)).unflatten(0, x.shape[:-3])


class PaintedDecoder(nn.Module):
    r"""``sum_m mask_m(z)(p) colour_m(z)_c``, the logit of pixel p in channel c.

    One network draws the masks of M surfaces (a softmax over them at every pixel), another, small one mixes their
    colours. Both know everything about z; a product of the two is all that is fixed. A dense decoder has to learn every
    boundary once for each pair of colours that may meet there; here it is learned once.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], shape: Sequence[int], surfaces: int = SURFACES) -> None:
        super().__init__()
        self.channels, self.height, self.width = check_frames(shape, "painted")
        self.masks = mlp(inputs, hidden, surfaces * self.height * self.width)
        self.colours = mlp(inputs, hidden, surfaces * self.channels)

    def deep(self) -> tuple[nn.Module, ...]:
        """The networks whose start values should keep the variance."""
        return (self.masks, self.colours)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel height width"]:
        masks = self.masks(z).unflatten(-1, (-1, self.height * self.width)).softmax(-2)
        colours = self.colours(z).unflatten(-1, (self.channels, -1))
        return torch.matmul(colours, masks.to(colours.dtype)).unflatten(-1, (self.height, self.width))
