"""Points in the square [-1, 1]^2 and images read at them.

Points are kept coordinate by coordinate, ``[..., 2, P]`` with x first: maps of many points are then one matrix product.
The corners of the square are the outer edges of the corner pixels (``align_corners=False`` in torch's words), so that
coordinates mean the same at every resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def lattice(height: int, width: int) -> Float[Tensor, "2 pixels"]:
    """The centres of the pixels, row by row."""
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    return torch.stack((x.repeat(height), y.repeat_interleave(width)))


def affine_points(
    matrix: Float[Tensor, "*#lead 2 3"], points: Float[Tensor, "*#lead 2 P"]
) -> Float[Tensor, "*#lead 2 P"]:
    """``A p + b`` for every point, ``matrix = [A | b]``; leading dimensions broadcast."""
    return matrix[..., :2] @ points + matrix[..., 2:]


@dataclass(frozen=True)
class PointField:
    """Points as combinations of given fields: ``coefficients [..., 2, J] @ table [..., J, P]``.

    The first three rows of the table are x, y and 1. Affine maps act on the few coefficients instead of the many
    points, which are made once, in the order of memory that reading an image asks for (coordinate by coordinate).
    """

    coefficients: Tensor
    table: Tensor

    @classmethod
    def of(cls, points: Float[Tensor, "*_ 2 P"]) -> PointField:
        """The points themselves, one set for all or sets of their own."""
        table = torch.cat((points, torch.ones_like(points[..., :1, :])), -2)
        return cls(torch.eye(2, 3, dtype=points.dtype, device=points.device), table)

    def affine(self, matrix: Float[Tensor, "*#lead 2 3"]) -> PointField:
        """The field after an affine map."""
        linear = matrix[..., :2] @ self.coefficients
        shifted = linear[..., 2:3] + matrix[..., 2:]
        return PointField(torch.cat((linear[..., :2], shifted, linear[..., 3:]), -1), self.table)

    def points(self) -> Float[Tensor, "*_ 2 P"]:
        if self.table.dim() > 2:
            return self.coefficients @ self.table
        lead = self.coefficients.shape[:-2]
        rows = self.coefficients.movedim(-2, 0).reshape(-1, self.coefficients.shape[-1])
        return (rows @ self.table).reshape(2, *lead, -1).movedim(0, -2)


def inverse_affine(matrix: Float[Tensor, "*#lead 2 3"]) -> Float[Tensor, "*#lead 2 3"]:
    """The map back: from window coordinates to image coordinates and the other way round."""
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in matrix.unbind(-2))
    scale = 1 / (a * d - b * c)
    upper = torch.stack((d, -b, b * y - d * x), -1)
    lower = torch.stack((-c, a, c * x - a * y), -1)
    return torch.stack((upper, lower), -2) * scale[..., None, None]


def read_image(
    image: Float[Tensor, "*#lead C H W"],
    points: Float[Tensor, "*#lead 2 P"] | PointField,
    size: tuple[int, int],
    padding: str = "zeros",
) -> Float[Tensor, "*#lead C height width"]:
    """The image at the points, bilinear between its pixels; ``P = height * width`` of ``size``.

    Leading dimensions broadcast, and an image that many sets of points share is not copied: prototypes ``[K, 1]`` read
    at points ``[K, B]`` cost one look-up per point and no memory for K x B prototypes.
    """
    if isinstance(points, PointField):
        points = points.points()
    lead = torch.broadcast_shapes(image.shape[:-3], points.shape[:-2])
    own = (1,) * (len(lead) - image.dim() + 3) + image.shape[:-3]
    shared = next((n for n, count in enumerate(reversed(own)) if count != 1), len(own))
    outer, inner = lead[: len(lead) - shared], lead[len(lead) - shared :]
    images = image.reshape(*own, *image.shape[-3:]).expand(*outer, *own[len(outer) :], *image.shape[-3:])
    count = math.prod(inner)
    grid = points.transpose(-1, -2).expand(*lead, points.shape[-1], 2)
    found = F.grid_sample(
        images.reshape(-1, *image.shape[-3:]),
        grid.reshape(math.prod(outer), count * size[0], size[1], 2),
        padding_mode=padding,
        align_corners=False,
    )
    channels = image.shape[-3]
    found = found.reshape(math.prod(outer), channels, count, *size).transpose(1, 2)
    return found.reshape(*lead, channels, *size)
