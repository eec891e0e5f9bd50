"""Scenes of several digits: the truth that comes with them is true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_models.datasets import load
from pyro_models.datasets.scenes import INK, Layout, compose, ink_box
from pyro_models.errors import OptionError


@pytest.fixture(scope="module")
def scenes():
    return load("multi-digits", scenes=300, held_out=100)


def test_shapes_and_sizes(scenes):
    assert [len(part) for part in scenes] == [300, 100, 100]
    assert scenes.train.shape() == (1, 64, 64)
    assert scenes.train.shape("boxes") == (2, 4)
    assert scenes.train["segments"].shape == (300, 64, 64)


def test_every_number_is_as_frequent(scenes):
    counts = torch.bincount(scenes.train["count"], minlength=3)
    assert counts.sum() == 300
    assert (counts - 100).abs().max() < 4.1 * (300 / 3 * 2 / 3) ** 0.5  # 4.1 sd of a binomial: 1e-4 for three


def test_boxes_segments_and_counts_agree(scenes):
    data = scenes.train
    for index in range(50):
        count = int(data["count"][index])
        segments = data["segments"][index].numpy()
        assert set(np.unique(segments)) == set(range(count + 1))
        for slot in range(count):
            left, top, right, bottom = data["boxes"][index, slot].int().tolist()
            rows, columns = np.nonzero(segments == slot + 1)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)
        assert (data["boxes"][index, count:] == 0).all()
        assert (data["classes"][index, :count] >= 0).all()
        assert (data["classes"][index, count:] == -1).all()
        ink = data["x"][index, 0].numpy() > INK + 1 / 255
        assert (segments[ink] > 0).all()


def test_parts_are_made_of_different_digits():
    """A scene of the test part shows no training digit: the digits themselves are split first."""
    digits = load("digits", seed=0)
    layout = Layout(64, (1,), (1.0, 1.0), 0.0, 0, False)
    train = compose(digits.train, 40, layout, np.random.default_rng(0))
    again = compose(digits.train, 40, layout, np.random.default_rng(0))
    test = compose(digits.test, 40, layout, np.random.default_rng(0))
    assert torch.equal(train["x"], again["x"])
    assert not torch.equal(train["x"], test["x"])


def test_positions_are_not_tied_to_each_other(scenes):
    """The published generator put the first digit on the diagonal; ours does not, unless asked to."""

    def correlation(data):
        box = data["boxes"][data["count"] > 0][:, 0]
        centres = torch.stack([box[:, 0] + box[:, 2], box[:, 1] + box[:, 3]])
        return float(torch.corrcoef(centres)[0, 1])

    assert abs(correlation(scenes.train)) < 4.3 / 200**0.5  # 4.3 sd: 2e-5
    legacy = load("multi-digits", scenes=200, held_out=1, legacy=True)
    assert correlation(legacy.train) > 0.9


def test_boxes_overlap_no_more_than_allowed():
    crowded = load("multi-digits", scenes=60, held_out=1, counts=[3])
    assert (crowded.train["count"] == 3).all()
    for boxes in crowded.train["boxes"]:
        for i in range(3):
            for j in range(i):
                apart = (boxes[i, :2] >= boxes[j, 2:]).any() or (boxes[j, :2] >= boxes[i, 2:]).any()
                assert apart
    overlapping = load("multi-digits", scenes=60, held_out=1, counts=[3], overlap=1.0)
    assert not torch.equal(overlapping.train["boxes"], crowded.train["boxes"])


def test_harder_scenes():
    hard = load("multi-digits", scenes=40, held_out=1, scales=(0.6, 1.4), distractors=4)
    sides = (hard.train["boxes"][..., 2:] - hard.train["boxes"][..., :2]).amax(-1)
    assert sides[sides > 0].max() > 1.5 * sides[sides > 0].min()
    background = hard.train["x"][:, 0][hard.train["segments"] == 0]
    assert background.max() > INK


def test_ink_box_of_an_empty_picture():
    assert ink_box(np.zeros((5, 7))) == (0, 0, 7, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": []}, "name at least one number"),
        ({"scales": (0.0, 1.0)}, "both positive"),
        ({"overlap": 2.0}, "from 0"),
        ({"legacy": True, "objects": 3}, "2 objects at most"),
        ({"canvas": 30, "counts": [4]}, "do not fit"),
    ],
)
def test_scenes_that_cannot_be_made(options, message):
    with pytest.raises(OptionError, match=message):
        load("multi-digits", scenes=20, held_out=1, **options)
