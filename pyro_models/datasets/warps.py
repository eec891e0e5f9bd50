"""Grey images turned, zoomed and tinted, a whole batch of sequences in one pass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def warp(
    images: Float[Tensor, "batch height width"],
    scale: Float[Tensor, "batch time"],
    angle: Float[Tensor, "batch time"],
) -> Float[Tensor, "batch time height width"]:
    """Each image enlarged by ``scale`` and turned by ``angle`` (radians, counter-clockwise) about its centre.

    Bilinear; what lies outside the image is black.
    """
    batch, times = scale.shape
    height, width = images.shape[-2:]
    cos, sin = (angle.cos() / scale).flatten(), (angle.sin() / scale).flatten()
    ratio = height / width
    # places from -1 to 1, at pixels' centres; y points down
    across = (torch.arange(width, device=scale.device) + 0.5) * 2 / width - 1
    down = (torch.arange(height, device=scale.device) + 0.5) * 2 / height - 1
    # the map from output to input places is a sum of one part per column and one per row: cheaper than a product
    by_column = torch.stack([cos, sin / ratio], -1)[:, None, None, :] * across[:, None]
    by_row = torch.stack([-sin * ratio, cos], -1)[:, None, None, :] * down[:, None, None]
    grid = by_column + by_row
    # all frames of a sequence are read from one image: its frames are stacked along the rows of one grid
    grid = grid.reshape(batch, times * height, width, 2)
    sampled = functional.grid_sample(images.unsqueeze(1), grid, padding_mode="zeros", align_corners=False)
    return sampled.reshape(batch, times, height, width)


def hue_to_rgb(hue: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """Fully saturated colours of value 1: 0 red, 1/3 green, 2/3 blue, 1 red again."""
    shifted = (hue.unsqueeze(-1) * 6 + torch.tensor([0.0, 4.0, 2.0], device=hue.device)) % 6
    return ((shifted - 3).abs() - 1).clamp(0, 1)


def tint(
    grey: Float[Tensor, "*batch height width"], hue: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 height width"]:
    """Grey values as the brightness of one hue."""
    return hue_to_rgb(hue)[..., None, None] * grey.unsqueeze(-3)
