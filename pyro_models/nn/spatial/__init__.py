"""Spatial transformers: small modules that move or retouch images, each with a prior over its parameters.

    transformer = SpatialTransformer(("affine", "thin-plate"), (1, 28, 28))
    t = transformer.prior().sample((64,))            # [64, D]
    moved = transformer(prototype, t)                # [1, 28, 28] -> [64, 1, 28, 28]

Each transform is a file; :mod:`pyro_models.nn.spatial.grid` holds what they share: the lattice of pixels, maps of
points and reading an image between its pixels.
"""

from __future__ import annotations

from pyro_models.nn.spatial.grid import PointField, affine_points, inverse_affine, lattice, read_image
from pyro_models.nn.spatial.transform import Retouch, Transform, Warp
from pyro_models.nn.spatial.transformer import TRANSFORMS, SpatialTransformer

__all__ = [
    "TRANSFORMS",
    "PointField",
    "Retouch",
    "SpatialTransformer",
    "Transform",
    "Warp",
    "affine_points",
    "inverse_affine",
    "lattice",
    "read_image",
]
