"""Looks, place and colour told apart: an encoder that reads, and a decoder that draws, each by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.errors import OptionError
from pyro_models.nn.dense import mlp
from pyro_models.nn.spatial.grid import read_image
from pyro_models.nn.spatial.similarity import Similarity

#: logit outside the canvas
DARK = -9.3
#: in absent channels the brightness may be zero, whose logit is not finite
SMALLEST_BRIGHTNESS = 1e-4
#: the pose starts near the identity, different enough from it to have a gradient
FIRST_POSE = 0.02
#: units between the tint and the colour
COLOUR_UNITS = 32
#: light below which a frame has no colour
SOME_LIGHT = 1e-3


def check_frames(shape: Sequence[int], network: str) -> tuple[int, int, int]:
    """Channels, height and width, of images only."""
    if len(shape) != 3:
        raise OptionError(
            f"network='{network}' draws frames of shape (channel, height, width), but these have {tuple(shape)}; use "
            f"'mlp'."
        )
    channels, height, width = shape
    return channels, height, width


class PosedEncoder(nn.Module):
    r"""``read(max_c x_c) + hue( sum_p x / sum_p max_c x_c )``: brightness and colour read apart, and added.

    The brightest channel of a pixel does not change when a pure colour turns into another, so what a thing looks like
    need not be learned again for every colour.
    """

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        channels, height, width = check_frames(shape, "posed")
        self.read = mlp(height * width, hidden, outputs)
        self.hue = mlp(channels, (COLOUR_UNITS,), outputs) if channels > 1 else None

    def deep(self) -> tuple[nn.Module, ...]:
        """The networks whose start values should keep the variance."""
        return (self.read,)

    def forward(self, x: Float[Tensor, "*batch channel height width"]) -> Float[Tensor, "*batch outputs"]:
        light = x.amax(-3).flatten(-2)
        found = self.read(light)
        if self.hue is None:
            return found
        return found + self.hue(x.sum((-2, -1)) / light.sum(-1, keepdim=True).clamp_min(SOME_LIGHT))


class PosedDecoder(nn.Module):
    r"""``logit( colour(z)_c * sigmoid( canvas(z)(pose(z) p) ) )`` for every pixel p and channel c.

    The canvas holds logits from an MLP, read between its pixels *before* the sigmoid: reading brightness would blur
    whatever is turned or shifted by parts of a pixel, while steep logits keep an edge an edge. The pose (log-scale,
    angle, shift) is linear in the code, so that a code moving straight on turns and grows steadily. The colour is a
    small network on *one* linear number, the tint, for the same reason, and ends in a sine: a sigmoid would send the
    tint of a pure colour towards infinity. It is left out for grey frames. How things look is thus told apart from
    where they are, which is all that this decoder knows beyond a plain one.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        channels, self.height, self.width = check_frames(shape, "posed")
        self.canvas = mlp(inputs, hidden, self.height * self.width)
        self.pose = nn.Linear(inputs, 4, bias=False)
        nn.init.normal_(self.pose.weight, 0.0, FIRST_POSE)
        self.colour = None
        if channels > 1:
            self.colour = nn.Sequential(nn.Linear(inputs, 1, bias=False), mlp(1, (COLOUR_UNITS,), channels))
        self.placed = Similarity((1, self.height, self.width))

    def deep(self) -> tuple[nn.Module, ...]:
        """The networks whose start values should keep the variance."""
        return (self.canvas,)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel height width"]:
        canvas = self.canvas(z).unflatten(-1, (1, self.height, self.width))
        # Places need more digits than bfloat16 has.
        with torch.autocast(z.device.type, enabled=False):
            z, canvas = z.float() if z.dtype == torch.bfloat16 else z, canvas.to(self.pose.weight.dtype)
            points = self.placed(self.pose(z))
            # what lies outside is read as zero: after the shift that is the logit of darkness
            seen = (read_image(canvas - DARK, points, (self.height, self.width)) + DARK).sigmoid()
            if self.colour is not None:
                seen = ((1 + self.colour(z).sin()) / 2)[..., None, None] * seen
            return seen.clamp(SMALLEST_BRIGHTNESS, 1 - SMALLEST_BRIGHTNESS).logit()
