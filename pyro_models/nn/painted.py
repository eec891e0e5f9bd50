"""Surfaces, their colours and the light told apart: for pictures of solid things, each of one colour."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pyro_models.nn.dense import mlp
from pyro_models.nn.posed import COLOUR_UNITS, SMALLEST_BRIGHTNESS, SOME_LIGHT, check_frames

#: surfaces a picture may have; those that are not needed share another's pixels
SURFACES = 6
#: side of the grid of places whose mean colours are read
PLACES = 8


class PaintedEncoder(nn.Module):
    r"""``read(max_c x_c) + hue( mean of x over each place / mean of max_c x_c there )``: light and colour read apart.

    Paint a surface anew, and the brightest channel of its pixels stays as it was, as long as paints are equally bright:
    where things are need not be learned again for every colour.
    """

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        channels, height, width = check_frames(shape, "painted")
        self.read = mlp(height * width, hidden, outputs)
        self.places = min(PLACES, height, width)
        self.hue = mlp(channels * self.places**2, hidden[-1:], outputs)

    def forward(self, x: Float[Tensor, "*batch channel height width"]) -> Float[Tensor, "*batch outputs"]:
        images = x.flatten(0, -4)
        light = images.amax(1, keepdim=True)
        coarse, dim = (functional.adaptive_avg_pool2d(part, self.places) for part in (images, light))
        colours = (coarse / dim.clamp_min(SOME_LIGHT)).flatten(1)
        return (self.read(light.flatten(1)) + self.hue(colours)).unflatten(0, x.shape[:-3])


class PaintedDecoder(nn.Module):
    r"""``logit( light(z)(p) * sum_m mask_m(z)(p) colour_m(z) )`` for every pixel p.

    One network draws the light and the masks of all surfaces (a softmax over them at every pixel). Every surface has a
    tint, *one* linear number of the code, and all tints become colours by the same small network, which ends in a sine
    (as in ``PosedDecoder``): what paints there are is learned once, from all surfaces. Repainting a surface is then a
    straight line in the code and leaves the rest of the picture alone.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], shape: Sequence[int], surfaces: int = SURFACES) -> None:
        super().__init__()
        channels, self.height, self.width = check_frames(shape, "painted")
        self.canvas = mlp(inputs, hidden, (surfaces + 1) * self.height * self.width)
        self.tints = nn.Linear(inputs, surfaces, bias=False)
        self.colour = mlp(1, (COLOUR_UNITS,), channels)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel height width"]:
        drawn = self.canvas(z).unflatten(-1, (-1, self.height, self.width))
        with torch.autocast(z.device.type, enabled=False):
            z, drawn = z.float() if z.dtype == torch.bfloat16 else z, drawn.to(self.tints.weight.dtype)
            colours = (1 + self.colour(self.tints(z).unsqueeze(-1)).sin()) / 2
            masks = drawn[..., 1:, :, :].softmax(-3)
            painted = torch.einsum("...mc,...mhw->...chw", colours, masks)
            seen = drawn[..., :1, :, :].sigmoid() * painted
            return seen.clamp(SMALLEST_BRIGHTNESS, 1 - SMALLEST_BRIGHTNESS).logit()
