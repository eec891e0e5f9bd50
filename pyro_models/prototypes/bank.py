"""Where the K prototypes come from: free pixels, or a network that draws them from a code each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.errors import unknown_name

#: pixels are sigmoid(GAIN * parameter): under Adam's equal steps a pixel crosses from 0 to 1 in about a thousand
GAIN = 4.0
#: images are pulled this far away from 0 and 1 when they become prototypes, where a sigmoid would not learn any more
MARGIN = 0.03
#: steps and rate that teach a generator the images it shall start from
FITTING_STEPS, FITTING_RATE = 300, 1e-2


class FreePixels(nn.Module):
    """K images as parameters, kept in (0, 1)."""

    def __init__(self, count: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.pixels = nn.Parameter(torch.randn(count, *shape) / GAIN)

    def forward(self) -> Float[Tensor, "K ..."]:
        return (GAIN * self.pixels).sigmoid()

    @torch.no_grad()
    def place(self, images: Float[Tensor, "K ..."]) -> None:
        self.pixels.copy_(images.clamp(MARGIN, 1 - MARGIN).logit() / GAIN)

    def rows(self) -> list[nn.Parameter]:
        """Parameters with one row per prototype, which a move may copy."""
        return [self.pixels]


class Generator(nn.Module):
    """K codes through one hidden layer and a sigmoid (the original's K-800-pixels decoder, run once per prototype)."""

    def __init__(self, count: int, shape: Sequence[int], hidden: int = 800) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(count, hidden))
        self.output = nn.Linear(hidden, math.prod(shape))
        self.shape = tuple(shape)

    def forward(self) -> Float[Tensor, "K ..."]:
        return self.output(self.codes.relu()).sigmoid().reshape(-1, *self.shape)

    def place(self, images: Float[Tensor, "K ..."]) -> None:
        optimiser = torch.optim.Adam(self.parameters(), FITTING_RATE)
        with torch.enable_grad():
            for _ in range(FITTING_STEPS):
                optimiser.zero_grad()
                (self() - images).square().mean().backward()
                optimiser.step()
        self.zero_grad()

    def rows(self) -> list[nn.Parameter]:
        return [self.codes]


KINDS = {"pixels": FreePixels, "generator": Generator}


def make_bank(kind: str, count: int, shape: Sequence[int]) -> FreePixels | Generator:
    """The bank called ``pixels`` or ``generator``."""
    if kind not in KINDS:
        raise unknown_name("kind of prototypes", kind, KINDS)
    return KINDS[kind](count, shape)


@torch.no_grad()
def spread_out(images: Float[Tensor, "N ..."], count: int, tries: int = 8) -> Float[Tensor, "K ..."]:
    """``count`` of the images far from each other: k-means++ (Arthur and Vassilvitskii 2007), the greedy variant.

    Each is drawn with probability proportional to the squared distance to those chosen before; of ``tries`` draws the
    one that leaves the least distance is kept.
    """
    flat = images.flatten(1)
    chosen = [int(torch.randint(len(flat), ()))]
    nearest = (flat - flat[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        if not nearest.sum() > 0:  # fewer different images than prototypes
            chosen.append(int(torch.randint(len(flat), ())))
            continue
        drawn = torch.multinomial(nearest, tries, replacement=True)
        after = torch.minimum(nearest, torch.cdist(flat[drawn], flat).square())
        best = after.sum(1).argmin()
        chosen.append(int(drawn[best]))
        nearest = after[best]
    return images[chosen]
