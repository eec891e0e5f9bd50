"""Neighbours put in order by what is left when one image is bent into the other."""

from __future__ import annotations

import torch

from pyro_models.anchors.bending import bent, reordered
from pyro_models.anchors.edges import slopes
from pyro_models.anchors.neighbours import GRAPH, Neighbours
from pyro_models.anchors.views import CANDIDATES, Views
from pyro_models.datasets.data import Data


def bar(column: int, top: int = 4, bottom: int = 16) -> torch.Tensor:
    """An upright stroke, ``[1, 1, 20, 20]``."""
    x = torch.zeros(1, 1, 20, 20)
    x[..., top:bottom, column : column + 3] = 1
    return x


def by_hand(one: torch.Tensor, other: torch.Tensor) -> float:
    """d of one pair of slopes, place by place."""
    height, width = one.shape[-2:]

    def at(image: torch.Tensor, row: int, column: int) -> torch.Tensor:
        return image[:, row, column] if 0 <= row < height and 0 <= column < width else torch.zeros(2)

    def apart(row: int, column: int, down: int, across: int) -> float:
        around = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        inside = [(i, j) for i, j in around if 0 <= i < height and 0 <= j < width]
        return sum(float((at(one, i, j) - at(other, i + down, j + across)).square().sum()) for i, j in inside) / 9

    moves = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    return sum(min(apart(row, column, *move) for move in moves) for row in range(height) for column in range(width))


def test_the_sum_is_that_of_the_formula():
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 2, 6, 5)
    found = bent(one, other)
    for number in range(3):
        torch.testing.assert_close(found[number].item(), by_hand(one[number], other[number]), atol=1e-4, rtol=1e-4)


def test_a_stroke_moved_by_a_pixel_costs_nothing_inside_and_a_turned_one_much():
    upright, moved, turned = slopes(bar(8)), slopes(bar(9)), slopes(bar(8).transpose(-1, -2))
    assert bent(upright, upright).item() == 0
    assert bent(upright, moved).item() < 1e-6
    assert bent(upright, turned).item() > 10


def test_candidates_are_put_in_order():
    x = torch.cat([bar(8), bar(8).transpose(-1, -2), bar(9), bar(12)])
    near = Neighbours(torch.tensor([[1, 3, 2]] * 4), torch.zeros(4, 3))
    found = reordered(x, near, 2)
    assert found.rows.shape == (4, 2)
    assert found.rows[0].tolist()[0] == 2
    assert bool((found.distance[:, 1:] >= found.distance[:, :-1]).all())


def test_views_that_bend_look_in_three_ways_and_others_in_one():
    torch.manual_seed(0)
    data = Data({"x": torch.rand(30, 1, 12, 12)}, "noise")
    for kinds, ways in ((["neighbours"], 1), (["neighbours", "warps"], 3), (["warps"], 0)):
        views = Views(kinds, (1, 12, 12))
        views.meet(data, neighbours=False)
        assert len(views.ways) == ways
        assert all(way.rows.shape == (30, GRAPH) for way in views.ways)
    assert len(data) > CANDIDATES
    few = Views(["neighbours", "warps"], (1, 12, 12))
    few.meet(data.take(slice(0, GRAPH + 2)), neighbours=True)  # fewer data than candidates
    assert few.groups(2, seed=0).shape == (GRAPH + 2,)
