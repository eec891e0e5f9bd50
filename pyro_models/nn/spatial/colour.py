"""Contrast and brightness of each channel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.nn.spatial.transform import Retouch, vector


class Colour(Retouch):
    """``x_c -> gain_c x_c + bias_c`` with ``theta = (gains, biases) ~ N((1, 0), scale^2)``, one pair per channel."""

    summary = "contrast and brightness of each channel"

    def __init__(self, shape: tuple[int, int, int], scale: float = 0.3) -> None:
        channels = shape[0]
        names = tuple(f"{what} of channel {channel}" for what in ("gain", "bias") for channel in range(channels))
        super().__init__(torch.cat((torch.ones(channels), torch.zeros(channels))), vector(scale), names)

    def forward(
        self, theta: Float[Tensor, "*#lead D"], image: Float[Tensor, "*#lead C H W"]
    ) -> Float[Tensor, "*#lead C H W"]:
        gain, bias = theta[..., None, None].chunk(2, dim=-3)
        return gain * image + bias
