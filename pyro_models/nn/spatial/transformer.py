"""Transforms in sequence, with one vector of parameters and one prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn.convolutional import image_shape
from pyro_models.nn.spatial.affine import Affine
from pyro_models.nn.spatial.colour import Colour
from pyro_models.nn.spatial.grid import PointField, read_image
from pyro_models.nn.spatial.morphological import Morphological
from pyro_models.nn.spatial.similarity import Similarity
from pyro_models.nn.spatial.thickness import Thickness
from pyro_models.nn.spatial.thin_plate import ThinPlate
from pyro_models.nn.spatial.transform import Transform, Warp

TRANSFORMS: dict[str, Any] = {
    "affine": Affine,
    "similarity": Similarity,
    "colour": Colour,
    "morphological": Morphological,
    "thickness": Thickness,
    "thin-plate": ThinPlate,
}
PADDINGS = ("zeros", "border")


class SpatialTransformer(nn.Module):
    """Applies the named transforms to an image, the first named first: ``[..., C, H, W], [..., D] -> [..., C, H, W]``.

    Warps that follow each other are composed as maps of points, so that the image is read, and blurred by reading
    between pixels, only once. ``active`` says how many of the transforms are in use; the rest leave the image alone
    (a curriculum switches them on one by one), and their entries of theta are ignored.

    Args:
        names: keys of ``TRANSFORMS``, each at most once.
        shape: of the images, ``(channels, height, width)``.
        scales: standard deviation of each transform's prior, in the order of ``names``; None takes their defaults.
        padding: what is outside the image, ``zeros`` or its ``border``.
    """

    identity: Tensor
    prior_scale: Tensor

    def __init__(
        self,
        names: Sequence[str],
        shape: Sequence[int],
        scales: Sequence[float] | None = None,
        padding: str = "zeros",
    ) -> None:
        super().__init__()
        size = image_shape(shape)
        names = tuple(names)
        check_names(names)
        if padding not in PADDINGS:
            raise unknown_name("padding", padding, PADDINGS)
        if scales is not None:
            if len(scales) != len(names):
                raise OptionError(
                    f"{len(scales)} prior scales for {len(names)} transforms ({', '.join(names)}); give one each."
                )
            if not all(scale > 0 for scale in scales):
                raise OptionError(f"the prior scales of the transforms are {list(scales)}; they must be positive.")
        self.names, self.image_size, self.padding = names, size[1:], padding
        options = [{} if scales is None else {"scale": scale} for scale in scales or names]
        self.transforms = nn.ModuleList(TRANSFORMS[name](size, **o) for name, o in zip(names, options, strict=True))
        self.sizes = [transform.size for transform in self._each()]
        empty = torch.zeros(0)
        self.register_buffer("identity", torch.cat([empty, *(t.identity for t in self._each())]), persistent=False)
        self.register_buffer(
            "prior_scale", torch.cat([empty, *(t.prior_scale for t in self._each())]), persistent=False
        )
        self.active = len(names)

    def _each(self) -> list[Transform]:
        return [module for module in self.transforms if isinstance(module, Transform)]

    @property
    def size(self) -> int:
        """D, the number of parameters of all transforms."""
        return len(self.identity)

    @property
    def active_size(self) -> int:
        """How many of the parameters are in use: the first ones of theta."""
        return sum(self.sizes[: self.active])

    def parameter_names(self) -> list[str]:
        """``affine: x from y`` and so on, one for each entry of theta."""
        return [f"{name}: {each}" for name, t in zip(self.names, self._each(), strict=True) for each in t.names]

    def prior(self) -> TorchDistributionMixin:
        """``N(identity, prior_scale^2)`` over theta, an event of D numbers."""
        return dist.Normal(self.identity, self.prior_scale).to_event(1)

    def forward(
        self, image: Float[Tensor, "*#lead C H W"], theta: Float[Tensor, "*#lead D"]
    ) -> Float[Tensor, "*#lead C H W"]:
        waiting: list[tuple[Warp, Tensor]] = []
        parts = theta.split(self.sizes, dim=-1)
        for transform, part in list(zip(self._each(), parts, strict=True))[: self.active]:
            if isinstance(transform, Warp):
                waiting.append((transform, part))
                continue
            image = transform(part, self._read(image, waiting))
            waiting = []
        moved = self._read(image, waiting)
        lead = torch.broadcast_shapes(moved.shape[:-3], theta.shape[:-1])
        return moved.expand(*lead, *moved.shape[-3:])

    def _read(self, image: Tensor, warps: list[tuple[Warp, Tensor]]) -> Tensor:
        """The image after the warps: points go through them from the last to the first."""
        if not warps:
            return image
        points: PointField | None = None
        for warp, theta in reversed(warps):
            points = warp(theta, points)
        assert points is not None
        return read_image(image, points, self.image_size, self.padding)


def check_names(names: Sequence[str]) -> None:
    """Every transform is known and named once."""
    for position, name in enumerate(names):
        if name not in TRANSFORMS:
            raise unknown_name("transform", name, TRANSFORMS)
        if name in names[:position]:
            raise OptionError(
                f"the transform '{name}' is named twice in {list(names)}; one of each is enough (raise its prior scale "
                f"instead)."
            )
