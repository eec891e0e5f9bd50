"""Thicker and thinner strokes by one number: part of the way to the brightest or the darkest neighbour."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pyro_models.nn.spatial.transform import Retouch, vector


class Thickness(Retouch):
    r"""``x -> x + max(theta, 0) (dilated - x) + max(-theta, 0) (eroded - x)`` with one ``theta ~ N(0, scale^2)``.

    Dilated and eroded are the maximum and the minimum over 3x3 neighbours: at ``theta = 1`` a stroke is two pixels
    wider. Both are made once per picture, so pictures that many thetas share cost one blend per theta, a fraction of
    what the windows of :class:`~pyro_models.nn.spatial.morphological.Morphological` cost.
    """

    summary = "thicker and thinner strokes: towards the maximum or minimum of 3x3 neighbours"

    def __init__(self, shape: tuple[int, int, int], scale: float = 0.5) -> None:
        super().__init__(torch.zeros(1), vector(scale), ("width",))

    def forward(
        self, theta: Float[Tensor, "*#lead 1"], image: Float[Tensor, "*#lead C H W"]
    ) -> Float[Tensor, "*#lead C H W"]:
        flat = image.reshape(-1, *image.shape[-3:])
        wider = (F.max_pool2d(flat, 3, 1, 1) - flat).reshape(image.shape)
        thinner = (-F.max_pool2d(-flat, 3, 1, 1) - flat).reshape(image.shape)
        amount = theta[..., None, None]
        return image + amount.relu() * wider + (-amount).relu() * thinner
