"""Solids drawn by formulas, and models read from files in the published formats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from pyro_models.datasets import load
from pyro_models.datasets.meshes import as_voxels, on_surface, points_for, read_binvox, read_obj, read_off, shrink
from pyro_models.datasets.solids import NEAR, SOLIDS, solids, surface
from pyro_models.errors import DataError, OptionError, UnknownName

#: volumes of the solids at scale 1 that have a formula
VOLUMES = {
    "sphere": 4 / 3 * math.pi * 0.5**3,
    "cube": 0.8**3,
    "cylinder": math.pi * 0.35**2,
    "cone": math.pi * 0.5**2 / 3,
    "torus": 2 * math.pi**2 * 0.36 * 0.14**2,
    "cross": 3 * 0.32**2 - 2 * 0.32**3,
    "tube": math.pi * (0.44**2 - 0.24**2),
    "table": 1.0 * 0.72 * 0.2 + 4 * 0.2**2 * 0.8,
}


@pytest.mark.parametrize("name", SOLIDS)
def test_volumes(name):
    """By drawing points in a box of side 1.1: within five deviations."""
    points = 1.1 * (torch.rand(200_000, 3, generator=torch.Generator().manual_seed(0)) - 0.5)
    inside = float((SOLIDS[name](points) < 0).float().mean())
    assert inside == pytest.approx(VOLUMES[name] / 1.1**3, abs=5 * math.sqrt(inside * (1 - inside) / len(points)))


@pytest.mark.parametrize("name", SOLIDS)
def test_surfaces(name):
    points = surface(name)
    assert float(SOLIDS[name](points).abs().max()) < NEAR / 10
    assert float(points.abs().max()) < 0.51


def test_points_are_spread_evenly():
    """On the cylinder: shares of caps and wall as their areas (20 000 points, beyond 5 deviations)."""
    points = surface("cylinder")
    caps = float((points[:, 2].abs() > 0.5 - 1e-3).float().mean())
    share = 2 * math.pi * 0.35**2 / (2 * math.pi * 0.35**2 + 2 * math.pi * 0.35)
    assert caps == pytest.approx(share, abs=5 * math.sqrt(0.25 / len(points)) + 0.01)


def test_clouds_lie_on_the_scaled_surface():
    data = solids(80, scale_sd=0.3)
    log_scale, angle = data["factors"].T
    for row in range(8, 80, 9):
        cos, sin = angle[row].cos(), angle[row].sin()
        x, y, z = data["x"][row].T
        own = torch.stack([cos * x + sin * y, cos * y - sin * x, z], 1) / log_scale[row].exp()
        distance = list(SOLIDS.values())[int(data["label"][row])](own)
        assert float(distance.abs().max()) < NEAR / 10 + 1e-5
    assert torch.bincount(data["label"]).tolist() == [10] * 8


def test_grids_and_clouds_are_of_the_same_solids():
    clouds, grids = solids(40), solids(40, form="voxels", side=32)
    assert torch.equal(clouds["factors"], grids["factors"])
    for cloud, grid in zip(clouds["x"], grids["x"][:, 0], strict=True):
        place = ((cloud + 1) * 16).long().clamp(0, 31)
        near = torch.nn.functional.max_pool3d(grid[None], 3, 1, 1)[0]
        assert float(near[tuple(place.T)].mean()) > 0.97


def test_what_is_hidden():
    clouds, grids = solids(60, partial=True), solids(60, form="voxels", partial=True)
    assert clouds.shape("x") == (128, 3)
    assert clouds.shape("target") == (256, 3)
    # all visible points lie on one side of some plane through the middle: a direction n with p n < 0 for all of them
    for cloud in clouds["x"][:16].double().numpy():
        found = linprog(np.zeros(3), A_ub=cloud, b_ub=np.full(len(cloud), -1e-3), bounds=(-1e4, 1e4))
        assert found.status == 0
    seen, visible = grids["x"][:, 0], grids["x"][:, 1]
    assert torch.equal(seen, grids["target"][:, 0] * visible)
    assert (visible.flatten(1).mean(1) - 0.5).abs().max() < 0.02


def test_turns_are_turns():
    data = solids(40, rotation="any", scale_sd=0.0)
    spheres = data["x"][data["label"] == 0].norm(dim=-1)
    assert float((spheres - 0.5).abs().max()) < 0.01
    flat = solids(40, rotation="none", scale_sd=0.0)["x"]
    assert float(flat[1].abs().max()) < 0.41


def test_bad_options():
    with pytest.raises(UnknownName, match="rotation is called 'upwright'"):
        solids(rotation="upwright")
    with pytest.raises(UnknownName, match="form of the solids"):
        solids(form="mesh")
    with pytest.raises(OptionError, match="count=3"):
        solids(3)


def test_by_name():
    splits = load("solids", count=80, points=32)
    assert splits.train.shape() == (32, 3)
    assert splits.train.classes[4] == "torus"


# --- files in the published formats ---

CUBE = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
SQUARES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def write_off(path, glued=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["OFF8 6 0" if glued else "OFF\n# made by hand\n8 6 0"]
    lines += [" ".join(map(str, v)) for v in CUBE] + [" ".join(map(str, (4, *f))) for f in SQUARES]
    path.write_text("\n".join(lines) + "\n")


def write_obj(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["mtllib model.mtl", *("v " + " ".join(map(str, v)) for v in CUBE), "vn 0 0 1"]
    lines += ["f " + " ".join(f"{n + 1}//1" for n in f) for f in SQUARES[:-1]]
    lines += ["f " + " ".join(str(n - 8) for n in SQUARES[-1])]
    path.write_text("\n".join(lines))


def write_binvox(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = voxels.transpose(0, 2, 1).ravel().astype(np.uint8)
    body = b"".join(bytes([value, 1]) for value in flat)
    sides = " ".join(map(str, voxels.shape))
    path.write_bytes(f"#binvox 1\ndim {sides}\ntranslate 0 0 0\nscale 1\ndata\n".encode() + body)


@pytest.mark.parametrize("glued", [False, True])
def test_off(tmp_path, glued):
    write_off(tmp_path / "cube.off", glued)
    mesh = read_off(tmp_path / "cube.off")
    assert np.array_equal(mesh.vertices, CUBE)
    assert len(mesh.faces) == 12
    check_cube(mesh)


def test_obj(tmp_path):
    write_obj(tmp_path / "cube.obj")
    mesh = read_obj(tmp_path / "cube.obj")
    assert np.array_equal(mesh.vertices, CUBE)
    check_cube(mesh)


def check_cube(mesh):
    """Points on its faces, a sixth on each (3000 points, five deviations)."""
    points = on_surface(mesh, 3000, np.random.default_rng(0))
    for axis in range(3):
        for side in (0, 1):
            share = np.isclose(points[:, axis], side).mean()
            assert share == pytest.approx(1 / 6, abs=5 * math.sqrt(5 / 36 / 3000))


def test_binvox(tmp_path):
    voxels = np.zeros((4, 4, 4), bool)
    voxels[1, 2, 3] = voxels[0, 0, 1] = True
    write_binvox(tmp_path / "a.binvox", voxels)
    assert np.array_equal(read_binvox(tmp_path / "a.binvox"), voxels)
    full = np.zeros((4, 4, 4), bool)
    full[:2, :2, :2] = True
    assert shrink(full, 2).sum() == 1
    assert shrink(full, 2)[0, 0, 0]


def test_voxels_of_a_surface_are_filled():
    points = np.random.default_rng(0).normal(size=(points_for(16), 3))
    points = 0.8 * points / np.linalg.norm(points, axis=1, keepdims=True)
    grid = as_voxels(points, 16)
    assert grid[8, 8, 8]
    assert not grid[0, 0, 0]
    # what is touched is full: the ball swells, but by less than half a voxel
    assert 4 / 3 * math.pi * 0.8**3 < grid.mean() * 8 < 4 / 3 * math.pi * (0.8 + 1 / 16) ** 3


def test_modelnet(tmp_path):
    for kind in ("bed", "chair"):
        for part, count in (("train", 6), ("test", 2)):
            for n in range(count):
                write_off(tmp_path / kind / part / f"{kind}_{n:04d}.off", glued=n == 1)
    splits = load(f"modelnet:{tmp_path}", points=64, validation=2)
    assert [len(part) for part in splits] == [10, 2, 4]
    assert splits.train.shape() == (64, 3)
    assert splits.train.classes == ("bed", "chair")
    assert float(splits.train["x"].norm(dim=-1).max()) <= 1 + 1e-6
    voxels = load(f"modelnet:{tmp_path}", form="voxels", side=8, validation=2)
    assert voxels.test.shape() == (1, 8, 8, 8)
    assert voxels.test["x"][0, 0, 4, 4, 4] == 1


def test_shapenet(tmp_path):
    for synset in ("02691156", "99999999"):
        for n in range(5):
            write_obj(tmp_path / synset / f"model{n}" / "models/model_normalized.obj")
            write_binvox(
                tmp_path / synset / f"model{n}" / "models/model_normalized.solid.binvox", np.ones((8, 8, 8), bool)
            )
    clouds = load(f"shapenet:{tmp_path}", points=32)
    assert clouds.train.classes == ("airplane", "99999999")
    assert clouds.train.shape() == (32, 3)
    assert load(f"shapenet:{tmp_path}", form="voxels", side=4).train["x"].min() == 1


def test_shapenet_parts(tmp_path):
    folder = tmp_path / "03001627/points"
    folder.mkdir(parents=True)
    for n in range(10):
        points = np.random.default_rng(n).normal(size=(50, 3))
        (folder / f"m{n}.pts").write_text("\n".join(" ".join(map(str, p)) for p in points))
    splits = load(f"shapenet:{tmp_path}", points=40)
    assert splits.train.classes == ("chair",)
    assert splits.train["x"].norm(dim=-1).max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("PLY\n", "begins with 'PLY'"),
        ("OFF\n3 1 0\n0 0 0\n", "promises 3 vertices and 1 faces"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "names vertex 7"),
        ("OFF\nx 1 0\n", "'x' stands where a whole number"),
    ],
)
def test_damaged_off_files_are_named(tmp_path, content, word):
    (tmp_path / "bad.off").write_text(content)
    with pytest.raises(DataError, match=rf"bad.off is damaged or in another format: .*{word}"):
        read_off(tmp_path / "bad.off")


def test_other_damaged_files_are_named(tmp_path):
    (tmp_path / "a.binvox").write_bytes(b"#binvox 1\ndim 4 4 4\ndata\n\x01\x05")
    with pytest.raises(DataError, match="promises 4 x 4 x 4 voxels, its runs hold 5"):
        read_binvox(tmp_path / "a.binvox")
    (tmp_path / "b.obj").write_text("v a b c")
    with pytest.raises(DataError, match="is no vertex"):
        read_obj(tmp_path / "b.obj")
    with pytest.raises(DataError, match="not laid out as ModelNet"):
        load(f"modelnet:{tmp_path}")
    with pytest.raises(DataError, match="not laid out as ShapeNet"):
        load(f"shapenet:{tmp_path}")
    with pytest.raises(DataError, match="'solids' can stand in"):
        load(f"modelnet:{tmp_path / 'none'}")
