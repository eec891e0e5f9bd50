"""Mice and streets: keypoints, behaviours that do what they are called, label maps, the CalMS21 layout."""

from __future__ import annotations

import json

import pytest
import torch

from pyro_models.datasets import load
from pyro_models.datasets.driving import draw_street, flow_driving, paint
from pyro_models.datasets.mice import LENGTH, behave, flow_mice, keypoints_of, read_calms21, write_calms21
from pyro_models.errors import DataError, OptionError


def test_behaviours_do_what_they_are_called():
    told = behave(3000, 4, torch.Generator().manual_seed(0))
    pose, behaviour = told["pose"][:, :, 0], told["behaviour"]
    moved = (pose[:, 1:, :2] - pose[:, :-1, :2]).norm(dim=-1)
    turned = (pose[:, 1:, 2] - pose[:, :-1, 2]).abs()
    assert not moved[behaviour < 2].any()
    assert not turned[behaviour == 0].any()
    assert (turned[behaviour == 1] > 0.1).all()
    assert moved[behaviour == 3].mean() > 1.2 * moved[behaviour == 2].mean() > 0
    apart = (told["pose"][:, :, 0, :2] - told["pose"][:, :, 1, :2]).norm(dim=-1)
    hunted = (behaviour >= 2).all(1)
    assert apart[hunted, -1].mean() < apart[hunted, 0].mean()


def test_keypoints_lie_along_the_body():
    points = keypoints_of(torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(points[0, 0] - points[0, 6], torch.tensor(LENGTH))  # nose ahead of the tail
    torch.testing.assert_close(points[:, [1, 4]].sum(1) + points[:, [2, 5]].sum(1), points[:, [1, 2, 4, 5]].sum(1))
    turned = keypoints_of(torch.tensor([0.5, 0.5, torch.pi / 2]))
    torch.testing.assert_close(turned[1] - 0.5, points[0] - 0.5)


def test_mice_are_seen():
    data = flow_mice(6, side=32)
    frames = data["frames"]
    assert frames.shape == (6, 7, 1, 32, 32)
    assert frames.min() < 0.15
    assert frames.max() > 0.85
    assert (data["spikes"].sum(-1) == 1).all()
    assert torch.equal(data["speeds"] > 0, data["spikes"] > 0)
    factors = data["factors"]
    assert factors.shape == (6, 7, 6)
    torch.testing.assert_close(keypoints_of(factors.unflatten(-1, (2, 3))), data["keypoints"], atol=1e-5, rtol=1e-5)


def test_the_calms21_layout_round_trips(tmp_path):
    path = write_calms21(tmp_path / "calms21_task1_train.json", sequences=2, frames=40)
    groups = json.loads(path.read_text())
    one = next(iter(groups["annotator-id_0"].values()))
    assert torch.tensor(one["keypoints"]).shape == (40, 2, 2, 7)
    assert torch.tensor(one["scores"]).shape == (40, 2, 7)
    data = read_calms21(path, steps=6, stride=3)
    assert data["frames"].shape == (4, 7, 1, 32, 32)
    first = torch.tensor(one["keypoints"])[0] / torch.tensor([1024.0, 570.0])[:, None]
    torch.testing.assert_close(data["keypoints"][0, 0], first)
    assert len(load(f"calms21:{path}", validation=1, test=1).train) == 2


@pytest.mark.parametrize("content", ["{", '{"a": {"b": {}}}', '{"a": {"b": {"keypoints": [[1]]}}}'])
def test_wrong_calms21_files_are_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"CalMS21|keypoints"):
        read_calms21(path)
    with pytest.raises(DataError, match="flow-mice"):
        read_calms21(tmp_path / "none.json")


def test_streets_move_as_told():
    data = flow_driving(400, side=64)
    labels, spikes = data.fields["labels"], data["spikes"]
    assert set(labels.unique().tolist()) == {0, 1, 2, 3, 4, 5}
    car = (labels == 4).flatten(2).sum(-1).float()
    only = lambda k: spikes[:, 0, k].bool() & (spikes[:, 0].sum(-1) == 1)  # noqa: E731
    for k, sign in ((0, 1), (1, -1)):  # whole pixels: single small cars may not change
        change = sign * (car[only(k), 1] - car[only(k), 0])
        assert (change >= 0).float().mean() > 0.9
        assert change.mean() > 0.05 * car.mean()
    assert torch.equal(data.fields["frames"], paint(labels.long()))


def test_the_road_swings_left_and_the_car_drifts_right():
    straight, bent, drifted = draw_street(torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.5, 0.0], [5.0, 0.0, 0.3]]), 64)
    place = lambda labels, row: (labels[row] == 0).nonzero().float().mean()  # noqa: E731
    assert place(bent, 34) < place(straight, 34)  # far ahead
    assert abs(place(bent, 63) - place(straight, 63)) < 1  # here
    assert place(drifted, 63) < place(straight, 63)  # the road lies further left when the car is right


def test_wrong_options_are_refused():
    for make in (flow_mice, flow_driving):
        with pytest.raises(OptionError, match="count=0"):
            make(0)
