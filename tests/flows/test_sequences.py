"""Digits in motion: poses against torchvision's warp, fresh and reproducible causes, contract of the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pyro_models.datasets import load
from pyro_models.datasets.sequences import Movement, flow_digits
from pyro_models.datasets.warps import hue_to_rgb, tint, warp
from pyro_models.errors import OptionError, UnknownName
from pyro_models.flows.supervised import SupervisedFlow


def test_warps_against_an_independent_one():
    """SciPy's affine transform about the centre, order 1."""
    from scipy.ndimage import affine_transform

    images = torch.rand(3, 12, 16)
    scale, angle = (
        torch.tensor([[1.0, 1.3], [0.7, 1.0], [2.0, 1.1]]),
        torch.tensor([[0.0, 0.4], [1.0, -2.0], [3.0, 0.1]]),
    )
    found = warp(images, scale, angle)
    centre = np.array([(12 - 1) / 2, (16 - 1) / 2])
    for i in range(3):
        for t in range(2):
            c, s = math.cos(angle[i, t]) / scale[i, t], math.sin(angle[i, t]) / scale[i, t]
            # rows then columns; counter-clockwise on a screen whose rows point down
            matrix = np.array([[c, s], [-s, c]])
            expected = affine_transform(
                images[i].numpy(), matrix, centre - matrix @ centre, order=1, mode="grid-constant"
            )
            torch.testing.assert_close(found[i, t], torch.from_numpy(expected), atol=1e-4, rtol=0)


def test_a_quarter_turn_is_exact():
    image = torch.rand(1, 8, 8)
    turned = warp(image, torch.ones(1, 1), torch.full((1, 1), math.pi / 2))[0, 0]
    torch.testing.assert_close(turned, torch.rot90(image[0], 1, (0, 1)), atol=1e-5, rtol=0)


def test_hues():
    import colorsys

    hues = torch.linspace(0, 0.99, 13)
    expected = torch.tensor([colorsys.hsv_to_rgb(float(h), 1.0, 1.0) for h in hues])
    torch.testing.assert_close(hue_to_rgb(hues), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["single", "sparse"])
def test_the_first_frame_is_the_red_digit_and_causes_make_the_rest(mode):
    data = flow_digits(mode=mode).take(slice(0, 60))
    batch = data.batch(slice(None))
    frames = batch["frames"]
    assert frames.shape == (60, *data.shape("frames")) == (60, 9, 3, 16, 16)
    assert not frames[:, 0, 1:].any()
    torch.testing.assert_close(frames[:, 0, 0], data.fields["image"] / 255)
    moved = batch["speeds"]
    assert ((moved > 0) == (batch["spikes"] > 0)).all()
    if mode == "single":
        assert (batch["spikes"].sum((1, 2)) == 8).all()
        assert (batch["spikes"][:, 0].argmax(1) == batch["k"]).all()
        still = frames[batch["k"] == 1]  # rotation leaves the ink in the red channel
        assert not still[:, :, 1:].any()
    else:
        assert (batch["spikes"].sum(2) >= 1).all()
        assert batch["spikes"].sum(2).max() > 1
        hue_off = (batch["spikes"][:, :, 2] == 0).all(1)
        assert not frames[hue_off][:, :, 1:].any()


def test_sparse_poses_accumulate():
    movement = Movement("sparse", steps=3, turn=20.0)
    speeds = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 2.0, 0.0], [1.0, 1.0, 1.0]]])
    scale, angle, hue = movement.poses(speeds)
    torch.testing.assert_close(scale, torch.tensor([[1.0, 1.1, 1.1, 1.21]]))
    torch.testing.assert_close(angle.rad2deg(), torch.tensor([[0.0, 0.0, 40.0, 60.0]]))
    torch.testing.assert_close(hue * 360, torch.tensor([[0.0, 10.0, 10.0, 30.0]]))


def test_training_batches_are_fresh_and_a_function_of_seed_and_step():
    data = flow_digits(mode="sparse").take(slice(0, 20))
    batches = data.batches(20, seed=1)
    first = [next(batches) for _ in range(3)]
    again = next(data.batches(20, seed=1, first_step=2))
    assert torch.equal(first[2]["frames"], again["frames"])
    by_digit = [b["speeds"][b["digit"].argsort(stable=True)] for b in first]
    assert not torch.equal(by_digit[0], by_digit[1])
    chunks = [torch.cat([b["frames"] for b in data.chunks(7)]) for _ in range(2)]
    assert torch.equal(*chunks)


def test_legacy_shares_causes_in_a_batch():
    data = flow_digits(mode="sparse", legacy=True).take(slice(0, 20))
    speeds = next(data.batches(10, seed=0))["speeds"]
    assert (speeds == speeds[:1]).all()
    assert not (next(flow_digits(mode="sparse").batches(10, seed=0))["speeds"] == speeds[:1]).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_legacy_sets_show_every_transformation(seed):
    """Sequences of a batch share one; those of the set, which evaluation and the number of flows rest on, do not."""
    data = flow_digits(seed=seed, legacy=True)
    assert data["k"].unique().tolist() == [0, 1, 2]
    assert torch.equal(data["k"], flow_digits(seed=seed)["k"])
    assert SupervisedFlow.derive(data)["flows"] == 3
    batches = data.batches(10, seed=0)
    shared = [next(batches)["k"] for _ in range(8)]
    assert all((k == k[0]).all() for k in shared)
    assert len({int(k[0]) for k in shared}) > 1
    assert len(flow_digits(mode="sparse", seed=seed, legacy=True)["speeds"].unique(dim=0)) > 1000


@pytest.mark.parametrize("mode", ["single", "sparse"])
def test_factors_are_the_poses_of_the_frames(mode):
    data = flow_digits(mode=mode).take(slice(0, 30))
    assert "factors" in data
    assert {"frames", "factors"} < set(data.names())
    factors = data["factors"]
    assert factors.shape == (30, 9, 3) == (30, *data.shape("factors"))
    assert not factors[:, 0].any()
    scale, angle, hue = data.movement.poses(data["speeds"])
    torch.testing.assert_close(factors, torch.stack([scale.log(), angle, hue], -1))
    again = tint(warp(data.fields["image"] / 255, factors[..., 0].exp(), factors[..., 1]), factors[..., 2])
    torch.testing.assert_close(again, data["frames"])
    fresh = next(data.batches(10, seed=0))
    torch.testing.assert_close(fresh["factors"], data.movement.factors(fresh["speeds"]))  # of the fresh causes
    assert data.classes == ("scale", "rotation", "hue")


def test_splits_keep_what_they_are():
    train, validation, test = load("flow-digits", mode="single", test=100, validation=50)
    assert (len(train), len(validation), len(test)) == (1647, 50, 100)
    assert "frames" in test
    assert "image" not in test
    assert test.classes == ("scale", "rotation", "hue")
    assert test["frames"].shape == (100, 9, 3, 16, 16)
    assert next(train.batches(8, 0))["label"].shape == (8,)


def test_wrong_options_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'sparse'"):
        flow_digits(mode="sparce")
    with pytest.raises(OptionError, match="steps is 0"):
        flow_digits(steps=0)
