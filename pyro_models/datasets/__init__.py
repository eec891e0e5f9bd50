"""Datasets by name, one line each; nothing heavy is imported before one is asked for.

    from pyro_models.datasets import describe, load

    print(describe("mnist"))
    train, validation, test = load("mnist", root="data", classes=[2, 6, 9])

A loader is any function that returns :class:`Data`, :class:`Parts`, :class:`Splits` or what :func:`as_data`
understands. Those of the general options of :func:`load` that it names as parameters are handed to it; the others are
applied to what it returns.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyro_models.datasets.cards import CARDS, Card
from pyro_models.registry import Registry

if TYPE_CHECKING:
    from pyro_models.datasets.convert import as_data
    from pyro_models.datasets.data import Data, Splits
    from pyro_models.datasets.loading import load
    from pyro_models.datasets.splits import Parts, split
    from pyro_models.datasets.stream import StreamedData

REGISTRY = Registry("dataset", "pyro_models.datasets")
REGISTRY.add("digits", "pyro_models.datasets.digits:digits", "1797 handwritten digits, 8x8; comes with scikit-learn")
REGISTRY.add("mnist", "pyro_models.datasets.idx:mnist", "70000 handwritten digits, 28x28")
REGISTRY.add(
    "coloured-mnist",
    "pyro_models.datasets.coloured:coloured_mnist",
    "MNIST in one colour channel, class and colour given",
)
REGISTRY.add("simplified-mnist", "pyro_models.datasets.idx:simplified_mnist", "the digits 2, 6, 9 of MNIST")
REGISTRY.add("fashion-mnist", "pyro_models.datasets.idx:fashion_mnist", "70000 pictures of clothes, 28x28")
REGISTRY.add("emnist-letters", "pyro_models.datasets.idx:emnist_letters", "145600 handwritten letters, 28x28")
REGISTRY.add("cifar10", "pyro_models.datasets.colour:cifar10", "60000 colour photographs, 32x32")
REGISTRY.add("svhn", "pyro_models.datasets.colour:svhn", "99289 house numbers in colour, 32x32")
REGISTRY.add("celeba", "pyro_models.datasets.celeba:celeba", "202599 faces in colour with 40 attributes, streamed")
REGISTRY.add("sprites", "pyro_models.datasets.sprites:sprites", "shapes with five known factors; drawn in seconds")
REGISTRY.add("gaussian", "pyro_models.datasets.laws:gaussian", "Gaussian laws with exact conditionals, fresh batches")
REGISTRY.add("projected", "pyro_models.datasets.laws:projected", "a few normal sources copied into many columns")
REGISTRY.add("two-component", "pyro_models.datasets.laws:two_component", "two narrow Gaussians in the plane")
REGISTRY.add("circles", "pyro_models.datasets.laws:circles", "two circles in the plane, fresh batches")
REGISTRY.add("moons", "pyro_models.datasets.laws:moons", "two half circles in the plane, fresh batches")
REGISTRY.add("blobs", "pyro_models.datasets.laws:blobs", "three round Gaussians in the plane, fresh batches")
REGISTRY.add("s-curve", "pyro_models.datasets.laws:s_curve", "a sheet bent like an S in space, fresh batches")
REGISTRY.add("swiss-roll", "pyro_models.datasets.laws:swiss_roll", "a rolled sheet in space, fresh batches")
REGISTRY.add(
    "augmented-swiss-roll", "pyro_models.datasets.laws:augmented_swiss_roll", "the rolled sheet and its radius"
)
REGISTRY.add("cell-features", "pyro_models.datasets.cells:cell_features", "mixed columns from a Gaussian copula")
REGISTRY.add("table:PATH", "pyro_models.datasets.table:table", "your table: column types found, empty cells missing")
REGISTRY.add("flow-mnist", "pyro_models.datasets.sequences:flow_mnist", "MNIST digits that grow, turn, change colour")
REGISTRY.add(
    "flow-digits", "pyro_models.datasets.sequences:flow_digits", "digits, 16x16, that grow, turn, change colour"
)
REGISTRY.add("flow-toy-2d", "pyro_models.datasets.trajectories:trajectories", "points moved by three known fields")
REGISTRY.add(
    "shapes3d", "pyro_models.datasets.shapes3d:shapes3d", "a room with one object, six factors; drawn in seconds"
)
REGISTRY.add("3dshapes", "pyro_models.datasets.shapes3d:published", "3D Shapes as published (3dshapes.h5)")
REGISTRY.add("falor3d", "pyro_models.datasets.indexed:falor3d", "Falor3D as published: light and camera, sequences")
REGISTRY.add("isaac3d", "pyro_models.datasets.indexed:isaac3d", "Isaac3D as published: a robot arm, sequences")
REGISTRY.add("flow-mice", "pyro_models.datasets.mice:flow_mice", "two mice from above, four behaviours")
REGISTRY.add("calms21:PATH", "pyro_models.datasets.mice:read_calms21", "CalMS21's keypoints, redrawn")
REGISTRY.add("flow-driving", "pyro_models.datasets.driving:flow_driving", "label maps of a street, four motions")
REGISTRY.add("flow-shapes3d", "pyro_models.datasets.rooms:flow_shapes3d", "the room in motion: hues, size, camera")
REGISTRY.add(
    "multi-digits",
    "pyro_models.datasets.scenes:multi_digits",
    "several digits on a canvas, with boxes; made on the spot",
)
REGISTRY.add(
    "multi-sprites",
    "pyro_models.datasets.sprite_scenes:multi_sprites",
    "several coloured shapes that hide parts of each other, with boxes; made on the spot",
)
REGISTRY.add(
    "docstrings", "pyro_models.datasets.docstrings:docstrings", "docstrings of Python's library, nine packages"
)
REGISTRY.add("topics", "pyro_models.datasets.topics:topics", "documents of a small grammar about eight topics")
REGISTRY.add("text:PATH", "pyro_models.datasets.text_folder:text_folder", "your documents, class folders optional")
REGISTRY.add("solids", "pyro_models.datasets.solids:solids", "eight solids as point clouds or voxel grids")
REGISTRY.add("modelnet:PATH", "pyro_models.datasets.models3d:modelnet", "ModelNet as published (OFF): clouds, voxels")
REGISTRY.add("shapenet:PATH", "pyro_models.datasets.models3d:shapenet", "ShapeNet as published: clouds, voxels")
REGISTRY.add("folder:PATH", "pyro_models.datasets.folder:folder", "your images, class folders optional")
REGISTRY.add("npz:PATH", "pyro_models.datasets.arrays:npz", "your arrays: x, optional label, factors, mask")
REGISTRY.add("csv:PATH", "pyro_models.datasets.arrays:csv", "your table: numeric columns, optional label column")

register = REGISTRY.register

_LAZY = {
    "Data": "data",
    "Splits": "data",
    "Parts": "splits",
    "split": "splits",
    "StreamedData": "stream",
    "as_data": "convert",
    "load": "loading",
}

__all__ = [
    "CARDS",
    "REGISTRY",
    "Card",
    "Data",
    "Parts",
    "Splits",
    "StreamedData",
    "as_data",
    "describe",
    "load",
    "register",
    "split",
]


def describe(name: str) -> Card:
    """What a dataset is, its size, licence and source; ``print(describe("mnist"))``."""
    prefix, separator, _ = name.partition(":")
    for known in (name, f"{prefix}:PATH" if separator else name):
        if known in CARDS:
            return CARDS[known]
    loader = REGISTRY.get(name)
    card = getattr(loader, "card", None)
    if isinstance(card, Card):
        return card
    summary = REGISTRY.summary(name) if name in REGISTRY else (loader.__doc__ or "").strip().partition("\n")[0]
    where = f"{getattr(loader, '__module__', '?')}:{getattr(loader, '__qualname__', '?')}"
    return Card(name, summary or "no description", "not stated", "not stated", where)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
