"""Inference networks that look for the next object: each step says whether there is one, and where.

Both have ``begin(x)``, which gives a state, and ``look(x, canvas, state, previous)``, which gives a :class:`Look`.
``canvas`` is what the objects found so far explain; ``previous`` the last object's causes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.nn import mlp
from pyro_models.objects.window import centres, crop

#: starting log-odds that there is another object: high, so that all objects get gradients from the first step
FIRST_GO = 2.0
#: starting standard deviations of log-scale and place
FIRST_SCALES = (0.05, 0.1, 0.1)
#: side of a glimpse, in expected sides of an object
GLIMPSE = 1.5
#: standard deviation of attention around its peak, in half sides of an object
REACH = 0.5


class Look(NamedTuple):
    """Log-odds of another object, its place (mean, as a difference from the prior's, and standard deviation), and the
    network's next state."""

    go: Float[Tensor, "*batch"]
    mean: Float[Tensor, "*batch 3"]
    scale: Float[Tensor, "*batch 3"]
    state: tuple[Tensor, ...]


def place_head(features: int) -> nn.Linear:
    """A last layer that starts at the prior's centre, with small scales: outputs go, 3 means, 3 log-scales."""
    head = nn.Linear(features, 7)
    nn.init.normal_(head.weight, std=1e-3)
    with torch.no_grad():
        head.bias.copy_(torch.cat([torch.tensor([FIRST_GO, 0, 0, 0]), torch.tensor(FIRST_SCALES).log()]))
    return head


class Residual(nn.Module):
    r"""Attends where ink is not explained yet, and looks there closely.

    A small convolutional network sees what is left to explain and the canvas so far, both coarsely; its heat map
    :math:`h` plus a multiple of the blurred rest gives attention :math:`a = \mathrm{softmax}(h)` around its peak: a
    softmax of the whole map would look half-way between two objects that are equally bright. Around the centre of
    mass of the attention a glimpse is taken of the rest, ``GLIMPSE`` times as wide as an object is expected to be: it
    says whether there is an object, and corrects its place. Every step is the same function of what is left to
    explain, so it serves any number of objects, also more than it was trained on.
    """

    def __init__(
        self, canvas: int, size: float, channels: int = 8, cells: int = 16, pixels: int = 20, sharpness: float = 40.0
    ) -> None:
        super().__init__()
        self.pixels = pixels
        self.heat = nn.Sequential(nn.Conv2d(2, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 3, padding=1))
        self.reach = REACH * size / canvas
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.hidden = mlp(pixels * pixels + 2, (200,), 100)
        self.head = place_head(100)
        side = min(cells, canvas)
        place = centres(side, torch.zeros(()))
        self.register_buffer("grid", torch.stack([place.repeat(side), place.repeat_interleave(side)], -1))
        self.register_buffer("coarse", averages(canvas, side))
        self.register_buffer("blur", running_averages(side, max(3, side // 3 | 1)))
        self.register_buffer("zoom", torch.tensor(math.log(canvas / (GLIMPSE * size))))

    grid: Tensor
    coarse: Tensor
    blur: Tensor
    zoom: Tensor

    def begin(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.coarse @ x @ self.coarse.mT,)

    def look(self, x: Tensor, canvas: Tensor, state: tuple[Tensor, ...], previous: Tensor | None) -> Look:
        batch = canvas.shape[:-3]
        if previous is None:
            explained = state[0].new_zeros(*batch, 1, *state[0].shape[-2:]).flatten(0, -4)
        else:
            explained = (self.coarse @ canvas @ self.coarse.mT).flatten(0, -4)
        rest = state[0].expand(*batch, *state[0].shape[-3:]).flatten(0, -4) - explained
        heat = self.heat(torch.cat([rest, explained], 1)) + self.sharpness * (self.blur @ rest @ self.blur.mT)
        heat = heat.flatten(1)
        peak = self.grid[heat.argmax(-1)]
        near = (self.grid - peak.unsqueeze(1)).square().sum(-1) / (2 * self.reach**2)
        centre = (heat - near).softmax(-1) @ self.grid
        window = torch.cat([self.zoom.expand(len(centre), 1), centre.detach()], -1)
        left = (x - canvas).flatten(0, -3)
        glimpse = crop(left, window, self.pixels).flatten(1)
        amount = torch.stack([glimpse.mean(-1), rest.mean((-1, -2, -3))], -1)
        out = self.head(self.hidden(torch.cat([glimpse, 10 * amount], -1)).relu()).unflatten(0, batch)
        mean = out[..., 1:4] + F.pad(centre, (1, 0)).unflatten(0, batch)
        return Look(out[..., 0], mean, out[..., 4:].clamp(-6, 1).exp(), state)


def averages(pixels: int, cells: int) -> Float[Tensor, "cells pixels"]:
    """Matrix that averages a row of pixels within each of as many cells of the same width."""
    edges = torch.arange(cells + 1) * (pixels / cells)
    pixel = torch.arange(pixels)
    inside = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return inside.clamp_min(0) * (cells / pixels)


def running_averages(cells: int, width: int) -> Float[Tensor, "cells cells"]:
    """Matrix that averages each cell with its neighbours, ``width`` in all; beyond the edge there is nothing."""
    cell = torch.arange(cells)
    return ((cell[:, None] - cell).abs() <= width // 2) / width


class Recurrent(nn.Module):
    """The design of the first publication and of Pyro's tutorial: an LSTM on the whole image and the last object."""

    def __init__(self, canvas: int, previous: int, state: int = 256, hidden: int = 200) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(canvas * canvas + previous, state)
        self.previous, self.size = previous, state
        self.hidden = nn.Linear(state, hidden)
        self.head = place_head(hidden)

    def begin(self, x: Tensor) -> tuple[Tensor, ...]:
        zero = x.new_zeros(*x.shape[:-3], self.size)
        return zero, zero

    def look(self, x: Tensor, canvas: Tensor, state: tuple[Tensor, ...], previous: Tensor | None) -> Look:
        batch = canvas.shape[:-3]
        image = x.flatten(-3)
        last = image.new_zeros(*batch, self.previous) if previous is None else previous
        inputs = torch.cat([image.expand(*batch, image.shape[-1]), last], -1).flatten(0, -2)
        before = tuple(part.expand(*batch, self.size).flatten(0, -2) for part in state)
        after = self.cell(inputs, before)
        out = self.head(self.hidden(after[0]).relu()).unflatten(0, batch)
        next_state = tuple(part.unflatten(0, batch) for part in after)
        return Look(out[..., 0], out[..., 1:4], out[..., 4:].clamp(-6, 1).exp(), next_state)
