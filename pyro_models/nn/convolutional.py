"""Convolutional networks for images of any size: two or more stride-2 stages between the image and a vector.

A stage is a 3x3 convolution or, with ``fire=True``, a fire module.

Leading dimensions (particles, enumeration) are folded into the batch before the convolution and unfolded after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyro_models.errors import OptionError
from pyro_models.nn.fire import FireDown, FireUp


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """``(channels, height, width)``, or a clear refusal."""
    if len(shape) != 3:
        raise OptionError(
            f"a convolutional network reads images of shape (channels, height, width), but the data have shape "
            f"{tuple(shape)}; use network='mlp' or reshape the data."
        )
    return (shape[0], shape[1], shape[2])


def halved(size: int, times: int) -> list[int]:
    """Side lengths after each stride-2 stage (rounded up): ``halved(28, 2) = [28, 14, 7]``."""
    sizes = [size]
    for _ in range(times):
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


class ConvolutionalEncoder(nn.Module):
    """Image to vector: ``[..., channel, height, width] -> [..., outputs]``; stride-2 stages, one hidden layer."""

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], hidden: int, outputs: int, fire: bool = False
    ) -> None:
        super().__init__()
        depth, height, width = image_shape(shape)
        layers: list[nn.Module] = []
        for out in channels:
            layers += [FireDown(depth, out) if fire else nn.Conv2d(depth, out, 3, stride=2, padding=1), nn.ReLU()]
            depth = out
        area = halved(height, len(channels))[-1] * halved(width, len(channels))[-1]
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(depth * area, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        leading = x.shape[:-3]
        return self.net(x.reshape(-1, *x.shape[-3:])).unflatten(0, leading)


class ConvolutionalDecoder(nn.Module):
    """Vector to image, the encoder mirrored: ``[..., inputs] -> [..., channel, height, width]``."""

    def __init__(
        self, inputs: int, hidden: int, channels: Sequence[int], shape: Sequence[int], fire: bool = False
    ) -> None:
        super().__init__()
        depth, height, width = image_shape(shape)
        stages = list(channels)
        heights, widths = halved(height, len(stages))[::-1], halved(width, len(stages))[::-1]
        layers: list[nn.Module] = []
        for level, source in enumerate(reversed(stages)):
            target = stages[-level - 2] if level + 1 < len(stages) else depth
            # A stride-2 stage doubles 2n-1 or 2n; the output padding chooses which, so every image size is reached.
            extra = (heights[level + 1] - 2 * heights[level] + 1, widths[level + 1] - 2 * widths[level] + 1)
            layers.append(
                FireUp(source, target, extra)
                if fire
                else nn.ConvTranspose2d(source, target, 3, stride=2, padding=1, output_padding=extra)
            )
            layers.append(nn.ReLU())
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, stages[-1] * heights[0] * widths[0]),
            nn.ReLU(),
            nn.Unflatten(1, (stages[-1], heights[0], widths[0])),
            *layers[:-1],
        )

    def forward(self, z: Tensor) -> Tensor:
        leading = z.shape[:-1]
        return self.net(z.reshape(-1, z.shape[-1])).unflatten(0, leading)
