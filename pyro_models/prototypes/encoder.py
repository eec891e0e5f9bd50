"""What an image looks like to the posterior over its transform: a vector of features."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn import mlp
from pyro_models.nn.convolutional import halved, image_shape

NETWORKS = ("convolutional", "mlp")
#: groups of channels normalised together
GROUPS = 4


class ImageFeatures(nn.Module):
    """``[B, C, H, W] -> [B, features]``: strided convolutions with group normalisation, or fully connected layers.

    Normalised per datum, not per batch: a datum's posterior depends on that datum alone, in training as later.
    """

    def __init__(
        self, network: str, shape: Sequence[int], hidden: Sequence[int], channels: Sequence[int], features: int
    ) -> None:
        super().__init__()
        depth, height, width = image_shape(shape)
        if not all(size > 0 for size in (*hidden, *channels, features)):
            raise OptionError(
                f"layer sizes must be positive, got hidden={list(hidden)}, channels={list(channels)}, "
                f"features={features}."
            )
        if network == "mlp":
            self.net = nn.Sequential(nn.Flatten(), mlp(math.prod(shape), hidden, features), nn.ReLU())
            return
        if network != "convolutional":
            raise unknown_name("network", network, NETWORKS)
        layers: list[nn.Module] = []
        for position, out in enumerate(channels):
            kernel = 5 if position == 0 else 3
            layers.append(nn.Conv2d(depth, out, kernel, stride=2, padding=kernel // 2))
            layers += [nn.GroupNorm(math.gcd(GROUPS, out), out), nn.ReLU()]
            depth = out
        area = halved(height, len(channels))[-1] * halved(width, len(channels))[-1]
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(depth * area, features), nn.LayerNorm(features), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
