"""Distances between shapes, against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from evaluation.shape_metrics import lengths, unigram
from evaluation.shapes import chamfer, overlap, shape_distribution
from pyro_models.datasets.solids import solids
from pyro_models.errors import MetricError


def test_chamfer_against_search_trees():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(3, 20, 3)), random.normal(size=(3, 30, 3))
    for row, found in enumerate(chamfer(one, other)):
        there = cKDTree(other[row]).query(one[row])[0]
        back = cKDTree(one[row]).query(other[row])[0]
        assert float(found) == pytest.approx((there**2).mean() + (back**2).mean())


def test_chamfer_is_a_distance_of_sets():
    x = torch.randn(2, 10, 3)
    assert float(chamfer(x, x[:, torch.randperm(10)]).max()) < 1e-10
    torch.testing.assert_close(chamfer(x, x + 1), chamfer(x + 1, x))
    assert chamfer(x, 0 * x).shape == (2,)
    with pytest.raises(MetricError, match="come in pairs"):
        chamfer(x, x[:1])


def test_overlap_by_hand():
    one = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    other = torch.tensor([[0.0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert overlap(one, other).tolist() == pytest.approx([1 / 3, 1, 0])
    with pytest.raises(MetricError, match="cannot be compared"):
        overlap(one, other[:, :3])


def test_shape_distributions_do_not_see_turns_and_order():
    x = torch.randn(4, 60, 3)
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    plain = shape_distribution(x)
    np.testing.assert_allclose(plain.sum(1), 1)
    # a distance at the edge of a bin may change sides
    assert np.abs(plain - shape_distribution(x @ turn)).sum() < 0.01
    assert np.abs(plain[1:] - shape_distribution(x)[1:]).max() == 0
    sizes = torch.tensor([1.0, 2, 3, 4])[:, None, None]
    scaled = shape_distribution(sizes * x, scaled=True)
    assert np.abs(scaled - shape_distribution(x, scaled=True)).sum() < 0.01
    assert np.abs(shape_distribution(sizes * x) - plain).sum() > 0.5


def test_shape_distributions_tell_a_torus_from_a_sphere():
    data = solids(160, scale_sd=0.0)
    found, label = shape_distribution(data["x"]), data["label"].numpy()
    means = [found[label == kind].mean(0) for kind in range(8)]
    within = np.abs(found[label == 0] - means[0]).sum(1).max()
    assert np.abs(means[0] - means[4]).sum() > within


def test_words_of_sequences_are_counted_with_their_end():
    ids = torch.tensor([[3, 4, 0, 0, 0], [3, 4, 5, 6, 0], [0, 0, 0, 0, 0]])
    # the end at the last place is no choice of the law, so it is no word
    assert lengths(ids).tolist() == [3, 4, 1]


def test_word_frequencies():
    bags = torch.tensor([[2.0, 0, 1], [1, 0, 0]])
    p = np.array([4, 1, 2]) / 7
    assert unigram(bags, bags, 3) == pytest.approx(-(3 * np.log(p[0]) + np.log(p[2])) / 4)
    ids = torch.tensor([[2, 2, 0, 0], [1, 0, 0, 0]])
    q = np.array([3, 2, 3]) / 8
    assert unigram(ids, ids, 3) == pytest.approx(-np.log(q[[2, 2, 0, 1, 0]]).mean())
