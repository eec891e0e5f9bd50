"""Any affine map of the plane: six free numbers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from pyro_models.nn.spatial.grid import PointField, lattice
from pyro_models.nn.spatial.transform import Warp, vector


class Affine(Warp):
    r"""``p -> A p + b`` with ``theta = (A_xx, A_xy, b_x, A_yx, A_yy, b_y) ~ N((1, 0, 0, 0, 1, 0), scale^2)``.

    The map goes from the output to the input: ``A`` larger than the identity makes the picture smaller.
    """

    summary = "scale, rotation, shear and translation: a full 2x3 matrix"

    def __init__(self, shape: tuple[int, int, int], scale: float = 0.1) -> None:
        names = ("x from x", "x from y", "x", "y from x", "y from y", "y")
        super().__init__(vector(1, 0, 0, 0, 1, 0), vector(scale), names, lattice(*shape[1:]))

    def forward(self, theta: Float[Tensor, "*#lead 6"], points: PointField | None = None) -> PointField:
        return (points or PointField.of(self.lattice)).affine(theta.unflatten(-1, (2, 3)))
