"""Images by their moments: what a move and a slant change is taken away, what is drawn stays."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pyro_models.anchors.upright import HEIGHT, upright
from pyro_models.anchors.views import Views
from pyro_models.datasets.data import Data


def bars(size: int = 28) -> torch.Tensor:
    """A thick T of soft edges, ``[1, 1, size, size]``."""
    x = torch.zeros(1, 1, size, size)
    x[..., size // 4 : 3 * size // 4, size // 2 - 2 : size // 2 + 2] = 1
    x[..., size // 4 : size // 4 + 4, size // 3 : 2 * size // 3] = 1
    return functional.avg_pool2d(x, 3, 1, 1)


def moved(x: torch.Tensor, shear: float, shift: tuple[float, float]) -> torch.Tensor:
    matrix = torch.tensor([[[1.0, shear, shift[0]], [0.0, 1.0, shift[1]]]])
    return functional.grid_sample(x, functional.affine_grid(matrix, list(x.shape), False), align_corners=False)


@pytest.mark.parametrize(("shear", "shift"), [(0.3, (0.0, 0.0)), (-0.3, (0.1, -0.1)), (0.0, (0.15, 0.1))])
def test_a_slant_and_a_move_are_taken_away(shear, shift):
    x = bars()
    other = moved(x, shear, shift)
    assert (upright(other) - upright(x)).square().sum() < 0.05 * (other - x).square().sum()


def test_the_middle_and_the_height_are_those_wanted():
    x = upright(moved(bars(), 0.3, (0.2, -0.1)))[0, 0]
    place = (2 * torch.arange(28) + 1) / 28 - 1
    share = x / x.sum()
    assert (share.sum(0) @ place).item() == pytest.approx(0, abs=0.02)
    assert (share.sum(1) @ place).item() == pytest.approx(0, abs=0.02)
    assert (share.sum(1) @ place.square()).sqrt().item() == pytest.approx(HEIGHT, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 20)])
def test_any_image_even_an_empty_one(shape):
    x = torch.cat([torch.rand(3, *shape), torch.zeros(1, *shape)])
    found = upright(x)
    assert found.shape == x.shape
    assert found.isfinite().all()
    assert not found[-1].any()


def test_neighbours_are_upright_ones_where_moves_do_not_matter():
    """A slanted copy is nearest to its original only if moved images are the same images."""
    torch.manual_seed(0)
    kinds = torch.cat([bars(), bars().flip(-2), bars().roll(3, -1) + bars(), bars().roll(4, -2) + bars()]).clamp(max=1)
    slanted = torch.cat([moved(x[None], shear, (0.0, 0.0)) for shear in (-0.4, 0.0, 0.4) for x in kinds])
    data = Data({"x": slanted.repeat(4, 1, 1, 1) + 0.01 * torch.rand(48, 1, 28, 28)}, "bars")
    kind = torch.arange(48) % 4
    agree = {}
    for kinds_of_view in (["neighbours"], ["neighbours", "warps"]):
        views = Views(kinds_of_view, (1, 28, 28))
        views.meet(data, neighbours=True)
        agree[len(kinds_of_view)] = (kind[views.near.rows] == kind[:, None]).float().mean()
    assert views.groups(4, seed=0).shape == (48,)
    assert agree[2] > 0.99
    assert agree[1] < 0.9
