"""Scenes numbered by their factors, as Falor3D and Isaac3D publish them: one PNG per combination and a table of labels.

The table says which image has which factors, so nothing depends on the order of the numbering (two published
descriptions of Isaac3D's disagree). A traversal sets one factor to each of its values and leaves the others alone: the
digit is *replaced*, never added to, so that no value spills into a neighbouring factor.

    images/000000.png ...            any size
    train-rec.labels (Falor3D)       NumPy array [N, 7] in [0, 1]
    labels.npy (Isaac3D)             NumPy array [N, 9] in [0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.datasets.published import data_root
from pyro_models.datasets.raycast import Scene, draw_scene
from pyro_models.datasets.warps import hue_to_rgb
from pyro_models.errors import DataError, OptionError

FALOR = ("light intensity", "light x", "light y", "light z", "camera x", "camera y", "camera z")
FALOR_SIZES = (5, 6, 6, 6, 6, 6, 6)
ISAAC = (
    "object shape",
    "robot x",
    "robot y",
    "camera height",
    "object scale",
    "light intensity",
    "light y",
    "object colour",
    "wall colour",
)
ISAAC_SIZES = (3, 8, 5, 4, 4, 4, 6, 4, 4)
#: images drawn at a time
CHUNK = 64


class LabelGrid:
    """Which row has which combination of factors, from the table of labels alone."""

    def __init__(self, labels: np.ndarray, names: Sequence[str]) -> None:
        if labels.ndim != 2 or labels.shape[1] != len(names):
            raise DataError(f"labels have shape {labels.shape}; a row per image and {len(names)} factors are expected.")
        self.names = tuple(names)
        values, digits = zip(*(np.unique(c, return_inverse=True) for c in labels.T), strict=True)
        self.sizes = tuple(len(v) for v in values)
        self.digits = np.stack(digits, 1)
        codes = np.ravel_multi_index(tuple(self.digits.T), self.sizes)
        self.row_of = np.full(int(np.prod(self.sizes)), -1)
        self.row_of[codes] = np.arange(len(labels))
        if len(np.unique(codes)) < len(labels):
            raise DataError("two images have the same labels; every combination of factors belongs to one image.")

    def traversal(self, rows: np.ndarray, factor: int) -> np.ndarray:
        """``[len(rows), size of the factor]``: each row with the factor at its values in order, all others kept."""
        size = self.sizes[factor]
        digits = np.repeat(self.digits[rows][:, None], size, 1)
        digits[..., factor] = np.arange(size)
        found = self.row_of[np.ravel_multi_index(tuple(np.moveaxis(digits, -1, 0)), self.sizes)]
        if (found < 0).any():
            raise DataError(f"the set lacks images for a traversal of '{self.names[factor]}'.")
        return found


@dataclass(frozen=True)
class Layout:
    """A published set: its folder under the data root, its table of labels, factors and their sizes."""

    name: str
    labels: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    #: factors that make flows (object shape has no direction)
    moving: tuple[int, ...]


FALOR3D = Layout("falor3d", "train-rec.labels", FALOR, FALOR_SIZES, tuple(range(7)))
ISAAC3D = Layout("isaac3d", "labels.npy", ISAAC, ISAAC_SIZES, tuple(range(1, 9)))


def falor3d(root: str | Path | None = None, size: int = 2000, seed: int = 0, side: int = 64) -> Data:
    """Traversals of Falor3D: ``frames [N, steps + 1, 3, side, side]`` and ``k``; see :func:`read_traversals`."""
    return read_traversals(FALOR3D, data_root(root) / FALOR3D.name, size, seed, side)


def isaac3d(root: str | Path | None = None, size: int = 2000, seed: int = 0, side: int = 64) -> Data:
    """Traversals of Isaac3D: ``frames [N, steps + 1, 3, side, side]`` and ``k``; see :func:`read_traversals`."""
    return read_traversals(ISAAC3D, data_root(root) / ISAAC3D.name, size, seed, side)


def read_traversals(layout: Layout, folder: Path, size: int, seed: int, side: int) -> Data:
    """``size`` sequences, each one factor from its lowest value on, for as many steps as the shortest factor has.

    ``k`` (``label``) numbers the moving factors, ``spikes`` and ``speeds`` say the same per step.
    """
    table = folder / layout.labels
    if not table.is_file():
        raise DataError(
            f"{layout.name} is not at {folder} (no {layout.labels}); get it from its publisher, or write a small one "
            f"of the same layout by pyro_models.datasets.indexed.write_scenes; 'flow-shapes3d' needs no files."
        )
    grid = LabelGrid(np.load(table), layout.names)
    rng = np.random.default_rng(seed)
    frames, chosen = [], rng.integers(len(layout.moving), size=size)
    steps = min(grid.sizes[factor] for factor in layout.moving) - 1
    if steps < 1:
        raise DataError(
            f"{layout.name} at {folder} has a moving factor with a single value; there is no sequence in it."
        )
    for k in chosen:
        row = rng.integers(len(grid.digits), size=1)
        rows = grid.traversal(row, layout.moving[k])[0, : steps + 1]
        frames.append(np.stack([_read_image(folder / "images" / f"{r:06d}.png", side) for r in rows]))
    label = torch.from_numpy(chosen)
    spikes = functional.one_hot(label, len(layout.moving)).float().unsqueeze(1).repeat(1, steps, 1)
    x = torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3).contiguous()
    fields = {"frames": x, "k": label, "label": label, "spikes": spikes, "speeds": spikes.clone()}
    return Data(fields, layout.name, tuple(layout.names[factor] for factor in layout.moving))


def _read_image(path: Path, side: int) -> np.ndarray:
    from PIL import Image

    if not path.is_file():
        raise DataError(f"{path} is missing: the set is incomplete; unpack it again.")
    with Image.open(path) as image:
        found = image.convert("RGB")
        return np.asarray(found if found.size == (side, side) else found.resize((side, side), Image.Resampling.BOX))


def write_scenes(layout: Layout, folder: str | Path, sizes: Sequence[int] | None = None, side: int = 64) -> Path:
    """A procedural set in the layout: every combination of ``sizes`` values per factor (None: the published sizes)."""
    from PIL import Image

    sizes = layout.sizes if sizes is None else tuple(sizes)
    if len(sizes) != len(layout.names) or min(sizes) < 1:
        raise OptionError(f"sizes are {sizes}; give {len(layout.names)} numbers of values ({', '.join(layout.names)}).")
    target = Path(folder)
    (target / "images").mkdir(parents=True, exist_ok=True)
    axes = [torch.linspace(0, 1, n) for n in sizes]
    labels = torch.cartesian_prod(*axes)
    scene_of = falor_scene if layout is FALOR3D else isaac_scene
    for start in range(0, len(labels), CHUNK):
        pictures = draw_scene(scene_of(labels[start : start + CHUNK]), side).permute(0, 2, 3, 1).numpy()
        for offset, picture in enumerate(pictures):
            Image.fromarray(picture).save(target / "images" / f"{start + offset:06d}.png")
    with (target / layout.labels).open("wb") as file:
        np.save(file, labels.double().numpy())
    return target


def falor_scene(labels: Tensor) -> Scene:
    """A still life under a moving light and camera: labels ``[N, 7]`` in [0, 1]."""
    count = len(labels)
    light = torch.stack([labels[:, 1] * 1.6 - 0.8, 0.4 + labels[:, 2], labels[:, 3] * 1.2 - 0.2], -1)
    eye = torch.stack([labels[:, 4] * 3 - 1.5, 1.8 + 1.6 * labels[:, 5], 4.6 + 1.8 * labels[:, 6]], -1)
    colours = torch.tensor([[0.75, 0.7, 0.6], [0.6, 0.7, 0.8], [0.85, 0.35, 0.3]]).expand(count, 3, 3)
    return Scene(eye, light, 0.2 + 0.8 * labels[:, 0], colours, torch.ones(count), torch.zeros(count))


def isaac_scene(labels: Tensor) -> Scene:
    """A kitchen table with an object and an arm on a gantry: labels ``[N, 9]`` in [0, 1]."""
    count = len(labels)
    eye = torch.stack([torch.zeros(count), 1.6 + 1.8 * labels[:, 3], torch.full((count,), 5.5)], -1)
    light = torch.stack([torch.full((count,), 0.4), 0.5 + labels[:, 6], torch.full((count,), 0.5)], -1)
    table = torch.tensor([0.7, 0.6, 0.5]).expand(count, 3)
    wall, thing = hue_to_rgb(0.1 + 0.6 * labels[:, 8]), hue_to_rgb(0.75 * labels[:, 7])
    colours = torch.stack([table, 0.3 + 0.5 * wall, 0.15 + 0.8 * thing], 1)
    arm = torch.stack([labels[:, 1] * 2.4 - 1.2, torch.full((count,), 1.0), 0.9 - labels[:, 2] * 1.6], -1)
    size, kind = 0.6 + 0.5 * labels[:, 4], (labels[:, 0] * 2).round()
    return Scene(eye, light, 0.3 + 0.7 * labels[:, 5], colours, size, kind, arm)


def _card(name: str, what: str, size: str, licence: str, source: str, files: str) -> Card:
    return Card(name, what, size, licence, source, files, stand_in="flow-shapes3d")


falor3d.card = _card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    "falor3d",
    "a living room under changing light and camera: traversals of 7 factors",
    "233280 images; 2000 sequences of 5 frames unless size says otherwise",
    "stated by its publisher",
    "Nie (2019), High resolution disentanglement datasets",
    "falor3d/images/*.png, falor3d/train-rec.labels",
)
isaac3d.card = _card(  # type: ignore[attr-defined]
    "isaac3d",
    "a robot arm in a kitchen: traversals of 8 factors",
    "737280 images; 2000 sequences of 4 frames unless size says otherwise",
    "CC BY 4.0",
    "Nie (2019), High resolution disentanglement datasets",
    "isaac3d/images/*.png, isaac3d/labels.npy",
)
