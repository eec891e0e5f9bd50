"""What a transform is: a number of parameters, the value that changes nothing, and a normal prior around it."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.nn.spatial.grid import PointField


class Transform(nn.Module):
    """A family of changes to an image, indexed by ``theta [..., size]``.

    ``identity`` is the theta that changes nothing, ``prior_scale`` the standard deviation of the prior around it, and
    ``names`` what each entry does (for pictures).
    """

    summary: ClassVar[str] = ""
    identity: Tensor
    prior_scale: Tensor

    def __init__(self, identity: Tensor, prior_scale: Tensor, names: tuple[str, ...]) -> None:
        super().__init__()
        self.register_buffer("identity", identity, persistent=False)
        self.register_buffer("prior_scale", prior_scale.expand_as(identity).clone(), persistent=False)
        self.names = names

    @property
    def size(self) -> int:
        """How many parameters."""
        return len(self.identity)


class Warp(Transform):
    """Moves pixels: tells for every point of the output where in the input to look.

    It is given the points at which the output is wanted, as a field; None means the lattice of the image, for which a
    warp may have prepared its tables.
    """

    lattice: Tensor

    def __init__(self, identity: Tensor, prior_scale: Tensor, names: tuple[str, ...], points: Tensor) -> None:
        super().__init__(identity, prior_scale, names)
        self.register_buffer("lattice", points, persistent=False)

    def forward(self, theta: Float[Tensor, "*#lead D"], points: PointField | None = None) -> PointField:
        raise NotImplementedError(f"{type(self).__name__} has no forward(...)")


class Retouch(Transform):
    """Changes the values of pixels where they are: ``image [..., C, H, W]`` to the same shape."""

    def forward(
        self, theta: Float[Tensor, "*#lead D"], image: Float[Tensor, "*#lead C H W"]
    ) -> Float[Tensor, "*#lead C H W"]:
        raise NotImplementedError(f"{type(self).__name__} has no forward(...)")


def vector(*numbers: float | int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)
