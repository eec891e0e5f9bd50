"""Thicker and thinner strokes: a soft maximum or minimum over a small window."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pyro_models.nn.spatial.transform import Retouch, vector

#: the soft maximum is taken at most this sharply: e^20 leaves float32 its precision
SHARPEST = 20.0
#: share of the window's centre at theta = 0, so that the prior's middle leaves the picture nearly as it is
CENTRE = 0.98


class Morphological(Retouch):
    r"""Soft dilation and erosion: ``y_p = sum_d w_d x_{p+d} e^{s x_{p+d}} / sum_d w_d e^{s x_{p+d}}``.

    ``s`` is the sharpness (positive thickens, negative thins, zero blurs) and ``w = softmax(...)`` the window's shape.
    ``theta = (s / 10, logits of the window's 7x7 places) ~ N(0, scale^2)``; at zero the centre holds 98 % of the
    weight.
    """

    summary = "thicker and thinner strokes: soft maximum over a 7x7 window"

    def __init__(self, shape: tuple[int, int, int], scale: float = 1.0, window: int = 7) -> None:
        self_names = ("sharpness", *(f"window ({r}, {c})" for r in range(window) for c in range(window)))
        super().__init__(torch.zeros(1 + window**2), vector(scale), self_names)
        self.window = window
        start = torch.zeros(window**2)
        start[window**2 // 2] = math.log(CENTRE / (1 - CENTRE) * (window**2 - 1))
        self.register_buffer("start", start, persistent=False)

    start: Tensor

    def forward(
        self, theta: Float[Tensor, "*#lead D"], image: Float[Tensor, "*#lead C H W"]
    ) -> Float[Tensor, "*#lead C H W"]:
        lead = torch.broadcast_shapes(theta.shape[:-1], image.shape[:-3])
        image = image.expand(*lead, *image.shape[-3:])
        sharpness = (10 * theta[..., :1]).clamp(-SHARPEST, SHARPEST)[..., None, None].expand(*lead, 1, 1, 1)
        kernel = (theta[..., 1:] + self.start).softmax(-1).expand(*lead, -1)
        channels, height, width = image.shape[-3:]
        # e^{s (x - 1)} for s > 0 and e^{s x} for s < 0 stay in (0, 1]; the ratio is the same.
        powers = (sharpness * image - sharpness.clamp(min=0)).exp()
        both = torch.stack((image * powers, powers), -4)
        # Every image has a window of its own: one grouped convolution over all of them.
        count = math.prod(lead)
        kernels = kernel.reshape(count, 1, 1, -1).expand(-1, 2 * channels, -1, -1)
        sums = F.conv2d(
            F.pad(both.reshape(1, -1, height, width), (self.window // 2,) * 4, mode="replicate"),
            kernels.reshape(-1, 1, self.window, self.window),
            groups=2 * channels * count,
        ).reshape(count, 2, channels, height, width)
        return (sums[:, 0] / sums[:, 1]).reshape(*lead, channels, height, width)
