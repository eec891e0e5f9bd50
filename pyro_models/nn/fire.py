"""Fire modules (squeeze, then two expanding branches): stages of a network of images or volumes with few weights.

Down: 1x1 to a quarter of the channels, then a 1x1 and a 3x3 branch of stride 2, half of the channels each. Up: a 1x1
and a 3x3 transposed branch of stride 2 from the source, a quarter of its channels (and one) each, then 1x1. At 128 to
128 channels that is about a sixth of the weights of a 3x3 convolution. With ``sides=3`` all of it in space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

PLAIN: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class FireDown(nn.Module):
    """``[B, source, *sides] -> [B, target, *sides / 2]``, rounded up."""

    def __init__(self, source: int, target: int, sides: int = 2) -> None:
        super().__init__()
        squeezed, convolution = max(1, target // 4), PLAIN[sides]
        self.squeeze = convolution(source, squeezed, 1)
        self.point = convolution(squeezed, target // 2, 1, stride=2)
        self.around = convolution(squeezed, target - target // 2, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = self.squeeze(x)
        return torch.cat([self.point(small), self.around(small)], dim=1)


class FireUp(nn.Module):
    """``[B, source, *sides] -> [B, target, *(2 sides - 1 + extra)]``."""

    def __init__(self, source: int, target: int, extra: Sequence[int]) -> None:
        super().__init__()
        branch, transposed, extra = source // 4 + 1, TRANSPOSED[len(extra)], tuple(extra)
        self.point = transposed(source, branch, 1, stride=2, output_padding=extra)
        self.around = transposed(source, branch, 3, stride=2, padding=1, output_padding=extra)
        self.join = PLAIN[len(extra)](2 * branch, target, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.point(x), self.around(x)], dim=1))
