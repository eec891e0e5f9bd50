"""Fire modules (squeeze, then two expanding branches): stages of an image network with few weights.

Down: 1x1 to a quarter of the channels, then a 1x1 and a 3x3 branch of stride 2, half of the channels each. Up: a 1x1
and a 3x3 transposed branch of stride 2 from the source, a quarter of its channels (and one) each, then 1x1. At 128 to
128 channels that is about a sixth of the weights of a 3x3 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FireDown(nn.Module):
    """``[B, source, H, W] -> [B, target, H/2, W/2]``, rounded up."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        squeezed = max(1, target // 4)
        self.squeeze = nn.Conv2d(source, squeezed, 1)
        self.point = nn.Conv2d(squeezed, target // 2, 1, stride=2)
        self.around = nn.Conv2d(squeezed, target - target // 2, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = self.squeeze(x)
        return torch.cat([self.point(small), self.around(small)], dim=1)


class FireUp(nn.Module):
    """``[B, source, H, W] -> [B, target, 2 H - 1 + extra, 2 W - 1 + extra]``."""

    def __init__(self, source: int, target: int, extra: tuple[int, int]) -> None:
        super().__init__()
        branch = source // 4 + 1
        self.point = nn.ConvTranspose2d(source, branch, 1, stride=2, output_padding=extra)
        self.around = nn.ConvTranspose2d(source, branch, 3, stride=2, padding=1, output_padding=extra)
        self.join = nn.Conv2d(2 * branch, target, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.point(x), self.around(x)], dim=1))
