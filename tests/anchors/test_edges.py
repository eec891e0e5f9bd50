"""Images by their edges: direction and place, not brightness."""

from __future__ import annotations

import pytest
import torch

from pyro_models.anchors.edges import DIRECTIONS, edges


def ramp(angle: float, size: int = 28) -> torch.Tensor:
    """Brightness grows in one direction, ``[1, 1, size, size]``."""
    place = torch.linspace(-1, 1, size)
    angle = torch.tensor(angle)
    return (place * angle.cos() + place[:, None] * angle.sin())[None, None]


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_an_edge_is_seen_in_its_direction(direction):
    found = edges(ramp(2 * torch.pi * direction / DIRECTIONS))[0]
    inside = found[:, 2:-2, 2:-2].square().sum((1, 2))
    assert inside.argmax() == direction
    assert inside[direction] > 0.99 * inside.sum()


def test_between_two_directions_both_have_half():
    inside = edges(ramp(torch.pi / DIRECTIONS))[0, :, 2:-2, 2:-2].square().sum((1, 2))
    torch.testing.assert_close(inside[0], inside[1], rtol=0.02, atol=0)
    assert inside[:2].sum() > 0.95 * inside.sum()


def test_contrast_does_not_matter_but_its_sign_does():
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(edges(5 * x), edges(x), atol=1e-3, rtol=1e-3)
    assert (edges(-x) - edges(x)).abs().max() > 0.01


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 20)])
def test_any_image_even_a_flat_one(shape):
    found = edges(torch.cat([torch.rand(2, *shape), torch.full((1, *shape), 0.5)]))
    assert found.shape[:2] == (3, DIRECTIONS)
    assert found.isfinite().all()
    assert not found[-1, :, 1:-1, 1:-1].any()
    torch.testing.assert_close(found[:2].flatten(1).norm(dim=1), torch.ones(2), atol=0.01, rtol=0)


def test_a_stroke_a_pixel_away_is_still_the_same():
    """The distance to a copy moved by one pixel is small against that to the stroke turned by a right angle."""
    x = torch.zeros(1, 1, 28, 28)
    x[..., 6:22, 13:15] = 1
    seen, moved, turned = (edges(y).flatten() for y in (x, x.roll(1, -1), x.transpose(-1, -2)))
    raw = ((x.roll(1, -1) - x).norm() / (x.transpose(-1, -2) - x).norm()).item()
    assert (moved - seen).norm() / (turned - seen).norm() < 0.5 * raw
