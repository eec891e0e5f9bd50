"""Mask laws: what they promise, with stated failure probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from pyro_models.conditional import masks

CPU = torch.device("cpu")


def near(found: float, expected: float, n: int) -> bool:
    """Within 4.5 standard errors of a share: fails with probability 7e-6."""
    return abs(found - expected) < 4.5 * math.sqrt(max(expected * (1 - expected), 1e-3) / n)


def test_the_count_is_uniform_and_never_full():
    n, d = 40_000, 6
    drawn = masks.uniform_count(n, (d,), CPU)
    counts = drawn.sum(1)
    for k in range(d):
        assert near((counts == k).float().mean().item(), 1 / d, n)
    assert counts.max() < d
    # ... and the subset of a given size is uniform too
    two = drawn[counts == 2]
    for j in range(d):
        assert near(two[:, j].float().mean().item(), 2 / d, len(two))


def test_every_subset_but_the_full_one():
    n, d = 60_000, 3
    drawn = masks.every_subset(n, (d,), CPU)
    codes = (drawn.long() * torch.tensor([1, 2, 4])).sum(1)
    shares = torch.bincount(codes, minlength=8) / n
    assert shares[7] == 0
    assert all(near(share.item(), 1 / 7, n) for share in shares[:7])


def test_chains_are_nested():
    drawn = masks.chain(500, (5,), CPU)
    assert set(drawn.sum(1).tolist()) == set(range(5))
    assert torch.equal(drawn, drawn.cummax(1).values)


def test_halves_and_quadrants():
    shape = (1, 6, 8)
    drawn = masks.halves(400, shape, CPU)
    assert (drawn.flatten(1).sum(1) == 24).all()
    assert len(drawn.flatten(1).unique(dim=0)) == 4
    one, two, three = masks.quadrant_masks(shape)
    assert [m.sum().item() for m in (one, two, three)] == [12, 24, 36]
    assert one[0, -1, 0]
    assert not one[0, 0, 0]
    assert two[0, 0, 0]
    assert not three[0, 0, -1]
    assert len(masks.quadrants(300, shape, CPU).flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20)])
def test_rectangles_hide_enough(shape):
    hidden = ~masks.rectangles(500, shape, CPU)
    assert hidden.float().flatten(1).mean(1).min() >= 0.3 - 1e-6
    # one rectangle: the area is the product of its sides
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].flatten(1).sum(1), rows * columns)


def test_laws_as_distributions():
    law = masks.MaskLaw(masks.images, (1, 8, 8), torch.zeros(1)).expand((5,))
    drawn = law.sample((3,))
    assert drawn.shape == (3, 5, 1, 8, 8)
    # particles of a datum share its mask; data do not
    assert torch.equal(drawn[0], drawn[1])
    assert len(law.expand((4, 200)).sample()[0].flatten(1).unique(dim=0)) > 20
    assert drawn.dtype == torch.bool
    assert law.log_prob(drawn).shape == (3, 5)
    assert not law.log_prob(drawn).any()
