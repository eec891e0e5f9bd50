"""Maps that keep angles: four numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.nn.spatial.grid import PointField, lattice
from pyro_models.nn.spatial.transform import Warp, vector


class Similarity(Warp):
    r"""``p -> e^s R(a) p + b`` with ``theta = (s, a, b_x, b_y) ~ N(0, scale^2)``, the angle in radians.

    The map goes from the output to the input: positive ``s`` makes the picture smaller.
    """

    summary = "scale, rotation and translation: shapes keep their proportions"

    def __init__(self, shape: tuple[int, int, int], scale: float = 0.1) -> None:
        super().__init__(torch.zeros(4), vector(scale), ("log scale", "angle", "x", "y"), lattice(shape[1], shape[2]))

    def forward(self, theta: Float[Tensor, "*#lead 4"], points: PointField | None = None) -> PointField:
        log_scale, angle, x, y = theta.unbind(-1)
        size = log_scale.exp()
        cosine, sine = size * angle.cos(), size * angle.sin()
        matrix = torch.stack((cosine, -sine, x, sine, cosine, y), -1).unflatten(-1, (2, 3))
        return (points or PointField.of(self.lattice)).affine(matrix)
