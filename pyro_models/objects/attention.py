"""Inference networks that look for the next object: each step says whether there is one, and where.

Both have ``begin(x)``, which gives a state, and ``look(x, canvas, state, previous)``, which gives a :class:`Look`.
``canvas`` is what the objects found so far explain; ``previous`` the last object's causes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.nn import mlp
from pyro_models.objects.window import centres

#: starting log-odds that there is another object: high, so that all objects get gradients from the first step
FIRST_GO = 2.0
#: starting standard deviations of log-scale and place
FIRST_SCALES = (0.05, 0.1, 0.1)


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
    r"""Attends where ink is not explained yet.

    A small convolutional network sees the image and the canvas so far; its heat map :math:`h` plus a multiple of the
    blurred difference of the two gives attention :math:`a = \mathrm{softmax}(h)`. The next object's place is the
    attention's centre of mass, corrected by a head on the attended features. Every step is the same function of what
    is left to explain, so it serves any number of objects, also more than it was trained on.
    """

    def __init__(self, canvas: int, channels: int = 24, pooled: int = 2, sharpness: float = 40.0) -> None:
        super().__init__()
        self.pooled = pooled
        self.features = nn.Sequential(
            nn.Conv2d(2, channels, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.heat = nn.Conv2d(channels, 1, 1)
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.hidden = mlp(2 * channels + 1, (64,), 64)
        self.head = place_head(64)
        side = -(-(canvas // pooled) // 2)
        self.blur = max(3, side // 3 | 1)
        place = centres(side, torch.zeros(()))
        self.register_buffer("grid", torch.stack([place.repeat(side), place.repeat_interleave(side)], -1))

    grid: Tensor

    def begin(self, x: Tensor) -> tuple[Tensor, ...]:
        return ()

    def look(self, x: Tensor, canvas: Tensor, state: tuple[Tensor, ...], previous: Tensor | None) -> Look:
        batch = canvas.shape[:-3]
        seen = torch.cat([x.expand(canvas.shape), canvas], -3).flatten(0, -4)
        seen = F.avg_pool2d(seen, self.pooled)
        features = self.features(seen)
        left = F.interpolate(seen[:, :1] - seen[:, 1:], features.shape[-2:], mode="area")
        left = F.avg_pool2d(left, self.blur, stride=1, padding=self.blur // 2)
        heat = (self.heat(features) + self.sharpness * left).flatten(1)
        attention = heat.softmax(-1)
        flat = features.flatten(2)
        summary = torch.cat(
            [(flat * attention.unsqueeze(1)).sum(-1), flat.mean(-1), heat.logsumexp(-1, keepdim=True) / 10], -1
        )
        out = self.head(self.hidden(summary).relu()).unflatten(0, batch)
        centre = (attention @ self.grid).unflatten(0, batch)
        mean = out[..., 1:4] + F.pad(centre, (1, 0))
        return Look(out[..., 0], mean, out[..., 4:].clamp(-6, 1).exp(), ())


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
