"""Scenes of coloured shapes: whoever is in front is seen, and the truth says who that is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_models.datasets import load
from pyro_models.errors import OptionError


@pytest.fixture(scope="module")
def scenes():
    return load("multi-sprites", scenes=200, held_out=20)


def test_shapes_and_sizes(scenes):
    assert [len(part) for part in scenes] == [200, 20, 20]
    assert scenes.train.shape() == (3, 64, 64)
    assert scenes.train["boxes"].shape == (200, 3, 4)
    counts = torch.bincount(scenes.train["count"], minlength=4)
    assert (counts - 50).abs().max() < 4.3 * (200 / 4 * 3 / 4) ** 0.5  # 4.3 sd of a binomial: 2e-5 for each


def test_visible_pixels_have_their_objects_colour(scenes):
    data = scenes.train
    for index in range(40):
        image, segments = data["x"][index].numpy(), data["segments"][index].numpy()
        for slot in range(int(data["count"][index])):
            seen = image[:, segments == slot + 1]
            colour = data["colours"][index, slot].numpy()
            assert (np.abs(seen - colour[:, None]).max(0) < 0.01).mean() > 0.3  # the rest are edges, mixed with others
        background = image[:, segments == 0]
        assert np.median(background.std(0)) < 0.01  # the background is grey


def test_boxes_are_around_whole_shapes_and_the_last_is_in_front():
    data, hidden = load("multi-sprites", scenes=60, held_out=1, counts=[1, 3], canvas=28, overlap=1.0).train, 0
    for index in range(60):
        count, segments = int(data["count"][index]), data["segments"][index]
        for slot in range(count):
            left, top, right, bottom = data["boxes"][index, slot].int().tolist()
            rows, columns = (segments == slot + 1).nonzero(as_tuple=True)
            if not len(rows):  # wholly behind another
                assert slot < count - 1
                continue
            assert left <= columns.min()
            assert columns.max() < right
            assert top <= rows.min()
            assert rows.max() < bottom
            tight = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
            whole = tight == [left, top, right, bottom]
            hidden += not whole
            assert whole or slot < count - 1
        assert data["depth"][index].tolist() == [*range(count), *[-1] * (3 - count)]
        assert (data["classes"][index, :count] >= 0).all()
        assert (data["classes"][index, count:] == -1).all()
    assert hidden > 10


def test_grey_scenes_are_for_stories_of_grey_images():
    data = load("multi-sprites", scenes=30, held_out=1, grey=True, overlap=0.0).train
    assert data.shape() == (1, 64, 64)
    assert (data["x"][:, 0][data["segments"] == 0] < 0.35).all()
    assert data["x"].amax((1, 2, 3))[data["count"] > 0].min() > 0.69


def test_the_seed_decides():
    one, same, other = (load("multi-sprites", scenes=10, held_out=1, seed=seed).train["x"] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("options", [{"objects": 0}, {"sizes": (0.9, 0.5)}, {"sizes": (0.5, 2.0)}, {"overlap": 2}])
def test_wrong_options(options):
    with pytest.raises(OptionError):
        load("multi-sprites", scenes=2, held_out=1, **options)
