"""The rendered room: geometry by hand, factors that do what they say, the published file layout, sequences."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from pyro_models.datasets import load
from pyro_models.datasets.rooms import MOVING, flow_shapes3d, step_sizes
from pyro_models.datasets.shapes3d import grid, random_factors, read_hdf5, render, shapes3d, write_hdf5
from pyro_models.errors import DataError, OptionError, UnknownName

PLAIN = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0, 2.0, 0.0])  # red floor, green wall, blue sphere, seen from the front


def changed(factor: int, value: float) -> torch.Tensor:
    other = PLAIN.clone()
    other[factor] = value
    return render(torch.stack([PLAIN, other]), 32).float() / 255


def test_colours_are_where_they_belong():
    image = render(PLAIN[None], 64)[0].float()
    assert image[:, -2, 32].argmax() == 0  # floor in front
    assert image[:, 2, 32].argmax() == 1  # back wall above
    assert image[:, 34, 32].argmax() == 2  # object in the middle


@pytest.mark.parametrize(("factor", "value"), [(0, 0.5), (1, 0.8), (2, 0.1)])
def test_hues_colour_their_own_part_only(factor, value):
    before, after = changed(factor, value)
    moved = (before - after).abs().amax(0) > 0.02
    part = before.argmax(0) == factor  # red, green and blue parts
    assert torch.equal(moved, part)


def test_a_sphere_is_as_large_as_geometry_says():
    """The outline of a ball is a cone about its centre; pixels inside it, counted."""
    image = render(PLAIN[None], 128)[0].float()
    counted = (image.argmax(0) == 2).sum().item()
    eye, centre, radius = np.array([0, 2.6, 5.5]), np.array([0, 0.65, 0]), 0.65
    forward = np.array([0, 0.75, 0]) - eye
    forward /= np.linalg.norm(forward)
    up = np.cross([1, 0, 0], forward)
    place = ((np.arange(128) + 0.5) / 64 - 1) * 0.36
    rays = forward + place[None, :, None] * np.array([1, 0, 0]) - place[:, None, None] * up
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    away = centre - eye
    inside = np.linalg.norm(np.cross(rays, away), axis=-1) < radius
    assert counted == pytest.approx(inside.sum(), abs=3)


def test_scale_grows_and_orientation_mirrors():
    small, large = ((changed(3, s)[1].argmax(0) == 2).sum() for s in (0.75, 1.25))
    assert large / small == pytest.approx((1.25 / 0.75) ** 2, rel=0.15)
    left, right = changed(5, -20.0)[1], changed(5, 20.0)[1]
    wall = lambda image: image.argmax(0) == 1  # noqa: E731  # light falls from one side, outlines mirror
    assert torch.equal(wall(left), wall(right).flip(-1))
    assert not torch.equal(left, changed(5, 0.0)[1])


@pytest.mark.parametrize("shape", [0, 1, 2, 3])
def test_every_shape_stands_on_the_floor_and_differs(shape):
    image = changed(4, float(shape))[1]
    blue = (image.argmax(0) == 2).nonzero()
    assert len(blue) > 15
    others = [render(torch.cat([PLAIN[:4], torch.tensor([float(s), 0.0])])[None], 32) for s in range(4) if s != shape]
    assert all((o.float() / 255 - image).abs().sum() > 5 for o in others)


def test_the_published_layout_round_trips(tmp_path):
    factors = grid()[[0, 1, 15, 479_999]]
    assert len(grid()) == 480_000
    torch.testing.assert_close(grid()[1] - grid()[0], torch.tensor([0, 0, 0, 0, 0, 60 / 14]))
    path = write_hdf5(tmp_path / "3dshapes.h5", factors, side=16)
    with h5py.File(path) as file:
        assert file["images"].shape == (4, 16, 16, 3)
        assert file["images"].dtype == np.uint8
        assert file["labels"].dtype == np.float64
    data = read_hdf5(path)
    assert torch.equal(data.fields["x"], render(factors, 16))
    torch.testing.assert_close(data["factors"], factors)
    splits = load("3dshapes", root=tmp_path, validation=1, test=1)
    assert splits.train.shape() == (3, 16, 16)


def test_missing_and_wrong_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"3dshapes.h5.*shapes3d"):
        load("3dshapes", root=tmp_path)
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file["images"] = np.zeros((2, 4, 4, 3), np.uint8)
        file["labels"] = np.zeros((2, 5))
    with pytest.raises(DataError, match="not in the layout"):
        load("3dshapes", root=tmp_path)


def test_random_factors_are_on_the_grid():
    factors = random_factors(500, torch.Generator().manual_seed(0))
    steps = (factors[:, 5] + 30) / (60 / 14)
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert set(factors[:, 4].tolist()) == {0.0, 1.0, 2.0, 3.0}
    loose = random_factors(50, torch.Generator().manual_seed(0), levels=False)
    assert len(loose[:, 3].unique()) > 20
    assert shapes3d(3, side=16)["x"].shape == (3, 3, 16, 16)


def test_single_sequences_run_through_the_grid():
    data = flow_shapes3d(12, side=8, steps=7)
    factors, k = data["factors"], data["k"]
    moved = factors[:, 1:] - factors[:, :-1]
    for row in range(12):
        expected = torch.zeros(7, 6)
        expected[:, MOVING[k[row]]] = step_sizes()[k[row]]
        torch.testing.assert_close(moved[row], expected, atol=1e-4, rtol=1e-4)
    assert data["frames"].shape == (12, 8, 3, 8, 8)


def test_sparse_sequences_move_by_their_speeds():
    data = flow_shapes3d(12, mode="sparse", side=8, steps=4)
    moved = (data["factors"][:, 1:] - data["factors"][:, :-1])[..., list(MOVING)]
    torch.testing.assert_close(moved, data["speeds"] * step_sizes(), atol=1e-4, rtol=1e-4)
    assert (data["spikes"].sum(-1) >= 1).all()
    assert "k" not in data


def test_wrong_options_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'single'"):
        flow_shapes3d(mode="singel")
    with pytest.raises(OptionError, match="count=0"):
        flow_shapes3d(0)
    with pytest.raises(OptionError, match="side=4"):
        shapes3d(side=4)
