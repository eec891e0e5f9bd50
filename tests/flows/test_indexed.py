"""Scenes numbered by factors: tiny sets in the published layouts, traversals without carry, any order of numbering."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_models.datasets import load
from pyro_models.datasets.indexed import (
    FALOR3D,
    FALOR_SIZES,
    ISAAC3D,
    ISAAC_SIZES,
    LabelGrid,
    isaac_scene,
    write_scenes,
)
from pyro_models.datasets.raycast import draw_scene
from pyro_models.errors import DataError, OptionError


def test_the_published_sizes():
    assert np.prod(FALOR_SIZES) == 233_280
    assert np.prod(ISAAC_SIZES) == 737_280


def test_a_traversal_changes_one_factor_only_whatever_the_order_of_the_rows():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in (3, 4, 2)), indexing="ij"), -1).reshape(-1, 3)
    labels = grid[rng.permutation(len(grid))]
    found = LabelGrid(labels, ("a", "b", "c"))
    assert found.sizes == (3, 4, 2)
    for factor in range(3):
        rows = found.traversal(np.arange(len(labels)), factor)
        moved = labels[rows]
        np.testing.assert_allclose(moved[..., factor], np.broadcast_to(np.unique(grid[:, factor]), moved.shape[:2]))
        others = [f for f in range(3) if f != factor]
        np.testing.assert_allclose(moved[..., others], np.repeat(labels[:, None][..., others], moved.shape[1], 1))


@pytest.mark.parametrize(("layout", "sizes"), [(FALOR3D, (2,) * 7), (ISAAC3D, (1, 2, 2, 2, 2, 2, 2, 2, 2))])
def test_written_sets_are_read_as_sequences(tmp_path, layout, sizes):
    write_scenes(layout, tmp_path / layout.name, sizes, side=8)
    assert len(list((tmp_path / layout.name / "images").glob("*.png"))) == np.prod(sizes)
    splits = load(layout.name, root=tmp_path, size=30, side=8, validation=5, test=5)
    data = splits.train
    assert data.shape("frames") == (2, 3, 8, 8)
    frames = data.fields["frames"].int()
    assert ((frames[:, 0] - frames[:, 1]).abs().flatten(1).sum(1) > 0).float().mean() > 0.8
    assert (data["spikes"].argmax(-1) == data["k"][:, None]).all()


def test_the_arm_moves_and_nothing_else_does():
    labels = torch.full((2, 9), 0.5)
    labels[1, 1] = 1.0
    before, after = draw_scene(isaac_scene(labels), 32).int()
    moved = (before - after).abs().sum(0) > 0
    assert 5 < moved.sum() < 400


def test_missing_and_wrong_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="falor3d is not at"):
        load("falor3d", root=tmp_path)
    write_scenes(FALOR3D, tmp_path / "falor3d", (2,) * 7, side=8)
    next(iter((tmp_path / "falor3d" / "images").glob("*.png"))).unlink()
    with pytest.raises(DataError, match="is missing: the set is incomplete"):
        load("falor3d", root=tmp_path, size=500, side=8)
    with pytest.raises(OptionError, match="give 7 numbers"):
        write_scenes(FALOR3D, tmp_path, (2, 2))
    with pytest.raises(DataError, match="the same labels"):
        LabelGrid(np.zeros((2, 1)), ("a",))
