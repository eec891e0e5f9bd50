"""A room with one object, drawn by casting rays: the six factors of 3D Shapes, any number of images, nothing to fetch.

    floor hue, wall hue, object hue   0 to 1 (10 values: 0, 0.1, ..., 0.9), saturation and value fixed
    scale                             0.75 to 1.25 (8 values)
    shape                             0 cube, 1 cylinder, 2 sphere, 3 pill
    orientation                       -30 to 30 degrees: where the camera stands (15 values)

In the manner of 3D Shapes (Burgess and Kim 2018), whose file layout :func:`write_hdf5` writes and :func:`read_hdf5`
reads:
``images (N, 64, 64, 3)`` bytes, ``labels (N, 6)`` float64, factors in the order above, the last varying fastest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.datasets.published import data_root
from pyro_models.datasets.raycast import Scene, draw_scene
from pyro_models.datasets.warps import hue_to_rgb
from pyro_models.errors import DataError, OptionError

FACTORS = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
SHAPES = ("cube", "cylinder", "sphere", "pill")
LEVELS = (10, 10, 10, 8, 4, 15)
#: least and largest value of each factor
LOW, HIGH = (0.0, 0.0, 0.0, 0.75, 0.0, -30.0), (0.9, 0.9, 0.9, 1.25, 3.0, 30.0)
SIDE, FILE = 64, "3dshapes.h5"
#: the camera's distance from the middle and its height; the direction towards the light
DISTANCE, HEIGHT, LIGHT = 5.5, 2.6, (0.4, 0.8, 0.45)
#: colours are a little less than fully saturated, so that shading shows in every channel
SATURATION = 0.85
#: images drawn at a time
CHUNK = 128


def shapes3d(count: int = 4000, seed: int = 0, side: int = SIDE, levels: bool = True) -> Data:
    """``x [N, 3, side, side]`` bytes, ``factors [N, 6]``, ``label`` the shape.

    Args:
        count: images, drawn at random.
        seed: of the factors.
        side: pixels.
        levels: factors on their published grid; False for a continuum (but for the shape).
    """
    if count < 1 or side < 8:
        raise OptionError(f"count={count}, side={side}: need at least one image of 8 x 8.")
    factors = random_factors(count, torch.Generator().manual_seed(seed), levels)
    fields = {"x": render(factors, side), "factors": factors, "label": factors[:, 4].long()}
    return Data(fields, "shapes3d", SHAPES, "a room with one object; six known factors")


def random_factors(count: int, generator: torch.Generator, levels: bool = True) -> Float[Tensor, "count 6"]:
    """Independent factors, uniform on their grid or between its ends."""
    low, high, steps = torch.tensor(LOW), torch.tensor(HIGH), torch.tensor(LEVELS)
    uniform = torch.rand(count, len(FACTORS), generator=generator)
    grid = (uniform * steps).floor() / (steps - 1)
    unit = grid if levels else uniform
    unit[:, 4] = grid[:, 4]
    return low + unit * (high - low)


@torch.no_grad()
def render(factors: Float[Tensor, "count 6"], side: int = SIDE) -> UInt8[Tensor, "count 3 side side"]:
    """The images of any factors; hues wrap around."""
    return torch.cat([_draw(part, side) for part in factors.float().split(CHUNK)])


def _draw(factors: Tensor, side: int) -> Tensor:
    angle = torch.deg2rad(factors[:, 5])
    eye = torch.stack([DISTANCE * angle.sin(), torch.full_like(angle, HEIGHT), DISTANCE * angle.cos()], -1)
    light = torch.tensor(LIGHT).expand(len(factors), 3)
    hues = hue_to_rgb(factors[:, :3] % 1)
    scene = Scene(eye, light, torch.ones(len(factors)), 1 - SATURATION * (1 - hues), factors[:, 3], factors[:, 4])
    return draw_scene(scene, side)


def grid() -> Float[Tensor, "480000 6"]:
    """All combinations in the published order."""
    axes = [torch.linspace(low, high, n) for low, high, n in zip(LOW, HIGH, LEVELS, strict=True)]
    return torch.cartesian_prod(*axes)


def write_hdf5(path: str | Path, factors: Float[Tensor, "count 6"] | None = None, side: int = SIDE) -> Path:
    """Renders factors (None: the whole grid, 480000 images) into a file of the published layout."""
    import h5py

    factors = grid() if factors is None else factors
    target = Path(path)
    with h5py.File(target, "w") as file:
        images = file.create_dataset("images", (len(factors), side, side, 3), "uint8", compression="gzip")
        file.create_dataset("labels", data=factors.double().numpy())
        for start in range(0, len(factors), CHUNK):
            part = render(factors[start : start + CHUNK], side)
            images[start : start + len(part)] = part.permute(0, 2, 3, 1).numpy()
    return target


def read_hdf5(path: str | Path, rows: np.ndarray | None = None) -> Data:
    """A file of the published layout, or some rows of it (ascending)."""
    import h5py

    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"3D Shapes is not at {path}; fetch 3dshapes.h5 from its publisher (github.com/google-deepmind/3d-shapes) "
            f"into that folder, write one with pyro_models.datasets.shapes3d.write_hdf5, or use the set 'shapes3d'."
        )
    with h5py.File(path, "r") as file:
        missing = {"images", "labels"} - set(file)
        if missing or file["images"].ndim != 4 or file["labels"].shape != (len(file["images"]), len(FACTORS)):
            raise DataError(f"{path} is not in the layout of 3D Shapes: images (N, H, W, 3) and labels (N, 6).")
        pick = slice(None) if rows is None else rows
        images, labels = file["images"][pick], file["labels"][pick]
    factors = torch.from_numpy(labels).float()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Data({"x": x, "factors": factors, "label": factors[:, 4].round().long()}, "3dshapes", SHAPES)


def published(root: str | Path | None = None, size: int = 50_000, seed: int = 0) -> Data:
    """``size`` images of ``3dshapes.h5`` under ``root``, chosen by seed (all 480000 take 6 GB)."""
    import h5py

    path = data_root(root) / FILE
    if not path.is_file():
        return read_hdf5(path)
    with h5py.File(path, "r") as file:
        total = len(file["images"])
    chosen = np.random.default_rng(seed).permutation(total)[: min(size, total)]
    return read_hdf5(path, np.sort(chosen))


shapes3d.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="shapes3d",
    what="a room with one object; floor, wall and object hue, scale, shape, orientation",
    size="4000 images by default, any number; 3 x 64 x 64, bytes; 4 shapes",
    licence="made by this library; free of rights",
    source="ray casting, in the manner of 3D Shapes (Burgess and Kim 2018)",
)
published.card = Card(  # type: ignore[attr-defined]
    name="3dshapes",
    what="3D Shapes as published: a room with one object and six factors",
    size="480000 images, 3 x 64 x 64, bytes; 50000 of them unless size says otherwise",
    licence="Apache 2.0",
    source="Burgess and Kim (2018), 3D Shapes Dataset",
    files="3dshapes.h5",
    stand_in="shapes3d",
)
