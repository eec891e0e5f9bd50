"""Shapes from files: meshes (OFF, OBJ), voxel grids (binvox) and point lists; points on meshes, voxels of meshes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyro_models.errors import DataError

#: a surface is turned into a grid this much finer first, so that what it touches does not swell by half a voxel
FINER = 2
#: points per face of a voxel of the fine grid: a voxel that the surface crosses is missed once in e^16
POINTS_PER_FACE = 16


@dataclass(frozen=True)
class Mesh:
    """``vertices [V, 3]`` and ``faces [F, 3]``, triangles as numbers of vertices."""

    vertices: np.ndarray
    faces: np.ndarray


def read_off(path: Path) -> Mesh:
    """An OFF file (ModelNet); also those of its files in which the first line runs into the second (``OFF490 518 0``).

    Faces with more than three corners are cut into triangles around their first corner.
    """
    words = _numbers(path, "OFF")
    vertices, faces, _ = (_whole(next(words, ""), path) for _ in range(3))
    try:
        points = np.array([float(next(words)) for _ in range(3 * vertices)]).reshape(vertices, 3)
        corners = []
        for _ in range(faces):
            corners.append([int(next(words)) for _ in range(int(next(words)))])
    except (StopIteration, ValueError, RuntimeError) as error:
        raise _damaged(path, f"it promises {vertices} vertices and {faces} faces and holds fewer") from error
    return _mesh(points, corners, path)


def read_obj(path: Path) -> Mesh:
    """The vertices and faces of an OBJ file (ShapeNet); normals, textures and materials are left out."""
    points, corners = [], []
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            try:
                points.append([float(word) for word in words[1:4]])
            except ValueError as error:
                raise _damaged(path, f"its line '{line.strip()}' is no vertex") from error
        elif words[:1] == ["f"]:
            numbers = [_whole(word.split("/")[0], path) for word in words[1:]]
            # numbers count from 1; negative ones count back from the latest vertex
            corners.append([n - 1 if n > 0 else len(points) + n for n in numbers])
    return _mesh(np.array(points, float).reshape(-1, 3), corners, path)


def read_binvox(path: Path) -> np.ndarray:
    """A binvox file (ShapeNet) as truth values ``[x, y, z]``: a header in words, then runs of equal voxels."""
    raw = path.read_bytes()
    head, mark, body = raw.partition(b"data\n")
    lines = head.decode(errors="replace").splitlines()
    sides = next((line.split()[1:] for line in lines if line.startswith("dim")), [])
    if not lines or not lines[0].startswith("#binvox") or not mark or len(sides) != 3:
        raise _damaged(path, "it does not begin as a binvox file: '#binvox 1', 'dim ...', 'data'")
    shape = tuple(_whole(side, path) for side in sides)
    runs = np.frombuffer(body[: len(body) // 2 * 2], np.uint8).reshape(-1, 2)
    voxels = np.repeat(runs[:, 0] > 0, runs[:, 1])
    if len(voxels) != np.prod(shape):
        raise _damaged(path, f"its header promises {' x '.join(map(str, shape))} voxels, its runs hold {len(voxels)}")
    # The format runs through y fastest, then z, then x.
    return voxels.reshape(shape[0], shape[2], shape[1]).transpose(0, 2, 1)


def read_points(path: Path) -> np.ndarray:
    """A list of points ``[N, 3]``, one a line, split by blanks or commas; further columns are left out."""
    rows = [
        line.replace(",", " ").split()[:3] for line in path.read_text(errors="replace").splitlines() if line.strip()
    ]
    try:
        points = np.array(rows, dtype=float)
    except ValueError as error:
        raise _damaged(path, "a line of it does not begin with three numbers") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise _damaged(path, "it holds no lines of three numbers")
    return points


def on_surface(mesh: Mesh, count: int, random: np.random.Generator) -> np.ndarray:
    """``count`` points spread evenly over the faces, ``[count, 3]``."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not area.sum() > 0:
        raise DataError("a mesh without area has no points on its surface; leave the file out.")
    face = random.choice(len(area), count, p=area / area.sum())
    # a point of the unit square, folded into the triangle below its diagonal
    u, v = random.random((2, count))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    return a[face] + u[:, None] * (b - a)[face] + v[:, None] * (c - a)[face]


def centred(points: np.ndarray, around: np.ndarray | None = None) -> np.ndarray:
    """Moved and scaled so that ``around`` (or the points themselves) fills the unit ball about the origin."""
    whole = points if around is None else around
    middle = (whole.min(0) + whole.max(0)) / 2
    radius = np.linalg.norm(whole - middle, axis=1).max()
    return (points - middle) / (radius if radius > 0 else 1.0)


def as_voxels(points: np.ndarray, side: int) -> np.ndarray:
    """A closed surface given by many points in [-1, 1]^3 as a filled grid ``[side, side, side]``.

    Voxels of a finer grid with a point are full, and so is whatever they enclose; a voxel is full when half of it is.
    Surfaces with holes stay hollow.
    """
    from scipy.ndimage import binary_fill_holes

    fine = FINER * side
    place = np.clip(((points + 1) / 2 * fine).astype(int), 0, fine - 1)
    grid = np.zeros((fine, fine, fine), bool)
    grid[tuple(place.T)] = True
    return shrink(binary_fill_holes(grid), side)


def points_for(side: int) -> int:
    """How many points of a surface in [-1, 1]^3 make a grid without leaks."""
    return POINTS_PER_FACE * 6 * (FINER * side) ** 2


def shrink(voxels: np.ndarray, side: int) -> np.ndarray:
    """A grid with fewer voxels: one is full when half of those that it replaces are."""
    times = voxels.shape[0] // side
    if any(length != times * side for length in voxels.shape):
        raise DataError(f"a grid of {voxels.shape} voxels cannot be shrunk to {side} a side; choose a divisor.")
    blocks = voxels.reshape(side, times, side, times, side, times)
    return blocks.mean((1, 3, 5)) >= 0.5


def _numbers(path: Path, mark: str) -> Iterator[str]:
    """The words of a file after its first one, comments left out."""
    lines = path.read_text(errors="replace").splitlines()
    words = (word for line in lines for word in line.split("#")[0].split())
    first = next(words, "")
    if not first.startswith(mark):
        raise _damaged(path, f"it begins with '{first[:12]}', not with {mark}")
    if first != mark:
        yield first[len(mark) :]
    yield from words


def _mesh(points: np.ndarray, corners: Sequence[Sequence[int]], path: Path) -> Mesh:
    triangles = [(face[0], face[k], face[k + 1]) for face in corners for k in range(1, len(face) - 1)]
    faces = np.array(triangles, dtype=int).reshape(-1, 3)
    if len(points) == 0 or len(faces) == 0:
        raise _damaged(path, f"it holds {len(points)} vertices and {len(faces)} triangles")
    if faces.min() < 0 or faces.max() >= len(points):
        raise _damaged(path, f"a face names vertex {faces.max()}, but there are {len(points)}")
    if not np.isfinite(points).all():
        raise _damaged(path, "a vertex is not finite")
    return Mesh(points, faces)


def _whole(word: str, path: Path) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise _damaged(path, f"'{word}' stands where a whole number is due") from error


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged or in another format: {why}; get it again, or leave it out.")
