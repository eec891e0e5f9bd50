"""Collections of models in the published layouts: ``modelnet:PATH`` and ``shapenet:PATH``.

    ModelNet     PATH/CLASS/train/NAME.off, PATH/CLASS/test/NAME.off
    ShapeNet     PATH/SYNSET/MODEL/models/model_normalized.obj (or model.obj, or *.binvox), or
                 PATH/SYNSET/points/MODEL.pts (the part-annotation set)

Every model is moved and scaled into the unit ball.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.datasets.meshes import (
    Mesh,
    as_voxels,
    centred,
    on_surface,
    points_for,
    read_binvox,
    read_obj,
    read_off,
    read_points,
    shrink,
)
from pyro_models.datasets.solids import FORMS
from pyro_models.datasets.splits import Parts
from pyro_models.errors import DataError, OptionError, unknown_name

#: names of ShapeNet's folders (WordNet offsets) that are met most; others keep their number as name
SYNSETS = {
    "02691156": "airplane",
    "02773838": "bag",
    "02828884": "bench",
    "02933112": "cabinet",
    "02954340": "cap",
    "02958343": "car",
    "03001627": "chair",
    "03211117": "display",
    "03261776": "earphone",
    "03467517": "guitar",
    "03624134": "knife",
    "03636649": "lamp",
    "03642806": "laptop",
    "03691459": "loudspeaker",
    "03790512": "motorbike",
    "03797390": "mug",
    "03948459": "pistol",
    "04090263": "rifle",
    "04099429": "rocket",
    "04225987": "skateboard",
    "04256520": "sofa",
    "04379243": "table",
    "04401088": "telephone",
    "04530566": "watercraft",
}
#: where a ShapeNet model's files lie below its class, in the order of preference for each form
SHAPENET_FILES = {
    "points": ("points/*.pts", "*/models/model_normalized.obj", "*/model.obj", "*/models/*.binvox"),
    "voxels": ("*/models/model_normalized.solid.binvox", "*/models/*.binvox", "*/model.binvox", "*/models/*.obj"),
}


def modelnet(path: str | Path, form: str = "points", points: int = 256, side: int = 16) -> Parts:
    """ModelNet10 or 40 as published: ``x [N, points, 3]`` or ``x [N, 1, side, side, side]``, ``label`` the class.

    Args:
        form: ``points`` (spread over the surface) or ``voxels`` (closed surfaces filled).
        points: per cloud.
        side: voxels along each axis.
    """
    base = _folder(path, form, points, side)
    classes = sorted(p.name for p in base.iterdir() if any(p.glob("train/*.off")) or any(p.glob("test/*.off")))
    if not classes:
        raise DataError(
            f"{base} is not laid out as ModelNet: no file CLASS/train/NAME.off; give the folder that holds the classes."
        )
    parts = []
    for part in ("train", "test"):
        files = [(label, f) for label, name in enumerate(classes) for f in sorted((base / name / part).glob("*.off"))]
        parts.append(_data(files, "modelnet", tuple(classes), form, points, side) if files else None)
    if parts[0] is None:
        raise DataError(f"{base} has no training models (CLASS/train/NAME.off); unpack the whole archive.")
    return Parts(parts[0], parts[1])


def shapenet(path: str | Path, form: str = "points", points: int = 256, side: int = 16) -> Data:
    """ShapeNetCore or the part-annotation set as published: ``x`` as for ``modelnet``, ``label`` the folder (its name
    where it is well known).

    Args: as for :func:`modelnet`.
    """
    base = _folder(path, form, points, side)
    folders = sorted(p for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    files: list[tuple[int, Path]] = []
    names: list[str] = []
    for folder in folders:
        found = next((hits for p in SHAPENET_FILES[form] if (hits := sorted(folder.glob(p)))), [])
        if found:
            files += [(len(names), file) for file in found]
            names.append(SYNSETS.get(folder.name, folder.name))
    if not files:
        raise DataError(
            f"{base} is not laid out as ShapeNet: looked for SYNSET/ with {', '.join(SHAPENET_FILES[form])}; give the "
            "folder that holds the folders with numbers."
        )
    return _data(files, "shapenet", tuple(names), form, points, side)


def _folder(path: str | Path, form: str, points: int, side: int) -> Path:
    if form not in FORMS:
        raise unknown_name("form of the models", form, FORMS)
    if points < 1 or side < 2:
        raise OptionError(f"points={points} and side={side} must be at least 1 and 2.")
    base = Path(path).expanduser()
    if not base.is_dir():
        raise DataError(f"there is no folder {base} (looked in {Path.cwd()}); 'solids' can stand in, without files.")
    return base


def _data(
    files: Sequence[tuple[int, Path]], name: str, classes: tuple[str, ...], form: str, points: int, side: int
) -> Data:
    make = _cloud if form == "points" else _grid
    random = np.random.default_rng(0)
    rows = np.stack([make(file, points if form == "points" else side, random) for _, file in files])
    x = torch.from_numpy(rows).float() if form == "points" else torch.from_numpy(rows * np.uint8(255))[:, None]
    label = torch.tensor([number for number, _ in files])
    return Data({"x": x, "label": label}, name, classes, f"{len(files)} models as {form}")


def _cloud(file: Path, points: int, random: np.random.Generator) -> np.ndarray:
    if file.suffix == ".pts":
        listed = centred(read_points(file))
        return listed[random.choice(len(listed), points, replace=len(listed) < points)]
    if file.suffix == ".binvox":
        full = np.argwhere(read_binvox(file)).astype(float)
        if not len(full):
            raise DataError(f"{file} has no full voxel; leave it out.")
        return centred(full)[random.choice(len(full), points, replace=len(full) < points)]
    mesh = READERS[file.suffix](file)
    return centred(on_surface(mesh, points, random), mesh.vertices)


def _grid(file: Path, side: int, random: np.random.Generator) -> np.ndarray:
    if file.suffix == ".binvox":
        return shrink(read_binvox(file), side)
    mesh = READERS[file.suffix](file)
    dense = on_surface(mesh, points_for(side), random)
    return as_voxels(centred(dense, mesh.vertices), side)


READERS: dict[str, Callable[[Path], Mesh]] = {".off": read_off, ".obj": read_obj}

modelnet.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="modelnet:PATH",
    what="ModelNet10 or ModelNet40: furniture, vehicles, ... as meshes; read as point clouds or voxel grids",
    size="4899 (ModelNet10) or 12311 (ModelNet40) models",
    licence="for research; rights stay with the models' authors",
    source="Wu, Song, Khosla, Yu, Zhang, Tang and Xiao (2015), 3D ShapeNets",
    files="CLASS/train/*.off, CLASS/test/*.off",
    stand_in="solids",
)
shapenet.card = Card(  # type: ignore[attr-defined]
    name="shapenet:PATH",
    what="ShapeNetCore or its part-annotation set: models by WordNet class, as point clouds or voxel grids",
    size="51300 models in 55 classes (ShapeNetCore), 16881 in 16 (parts)",
    licence="non-commercial research and education, by registration",
    source="Chang and others (2015), ShapeNet, arXiv:1512.03012",
    files="SYNSET/MODEL/models/model_normalized.obj or *.binvox, or SYNSET/points/*.pts",
    stand_in="solids",
)
