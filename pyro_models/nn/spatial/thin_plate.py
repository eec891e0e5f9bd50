"""Smooth bending: a thin-plate spline through a few displaced control points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.nn.spatial.grid import PointField, lattice
from pyro_models.nn.spatial.transform import Warp, vector

#: keeps log(r^2) finite where a point meets a control point; r^2 log r^2 is zero there
SMALLEST_SQUARE = 1e-12


class ThinPlate(Warp):
    r"""``p -> p + sum_j theta_j B_j(p)``: control point j of a regular grid is displaced by theta_j ~ N(0, scale^2).

    ``B_j`` is the thin-plate spline (Bookstein 1989) that is 1 at control point j and 0 at the others: the least bent
    surface, :math:`\sum_i w_i r_i^2 \log r_i^2 + a_0 + a_1 x + a_2 y` with :math:`\sum w = \sum w x = \sum w y = 0`.
    ``theta`` holds the x displacements of all control points, then the y displacements.
    """

    summary = "smooth bending through 4x4 displaced control points"

    def __init__(self, shape: tuple[int, int, int], scale: float = 0.1, control: int = 4) -> None:
        names = tuple(
            f"{axis} of ({row}, {column})" for axis in "xy" for row in range(control) for column in range(control)
        )
        super().__init__(torch.zeros(2 * control**2), vector(scale), names, lattice(shape[1], shape[2]))
        side = torch.linspace(-1, 1, control, dtype=torch.float64)
        centres = torch.stack((side.repeat(control), side.repeat_interleave(control)))
        # The weights of every cardinal spline at once, in double: the system is badly conditioned for many points.
        count = control**2
        system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
        system[:count] = _radial(centres, centres)
        system[count:, :count] = system[:count, count:].T
        weights = torch.linalg.solve(system, torch.eye(count + 3, count, dtype=torch.float64)).T
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("table", self.basis(self.lattice), persistent=False)

    centres: Tensor
    weights: Tensor
    table: Tensor

    def basis(self, points: Float[Tensor, "*#lead 2 P"]) -> Float[Tensor, "*#lead J P"]:
        """``B_j(p)`` for every control point and point."""
        radial = _radial(points.to(self.centres.dtype), self.centres)
        return (self.weights @ radial.transpose(-1, -2)).to(points.dtype)

    def forward(self, theta: Float[Tensor, "*#lead D"], points: PointField | None = None) -> PointField:
        moves = theta.unflatten(-1, (2, -1))
        if points is None:
            field = PointField.of(self.lattice)
            still = field.coefficients.expand(*moves.shape[:-1], -1)
            return PointField(torch.cat((still, moves), -1), torch.cat((field.table, self.table)))
        # Elsewhere than on the lattice the splines are evaluated anew, point by point.
        start = points.points()
        return PointField.of(start + moves @ self.basis(start))


def _radial(points: Tensor, centres: Tensor) -> Tensor:
    """``[r^2 log r^2 to each centre, 1, x, y]``: ``[..., 2, P]`` and ``[2, J]`` to ``[..., P, J + 3]``."""
    columns = points.transpose(-1, -2)
    squares = (columns.unsqueeze(-2) - centres.T).square().sum(-1).clamp(min=SMALLEST_SQUARE)
    return torch.cat((squares * squares.log(), torch.ones_like(columns[..., :1]), columns), -1)
