"""Label switching undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.posterior import align_labels, permute_clusters
from pyro_models.errors import MetricError


def shuffled_draws(seed, draws=6, data=60, clusters=4, flips=0.1):
    """Draws of one clustering, each with a few labels flipped and its clusters renumbered; and the numbering."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(clusters), random.integers(0, clusters, data - clusters)])
    noisy = np.where(random.random((draws, data)) < flips, random.integers(0, clusters, (draws, data)), truth)
    renumbering = np.stack([random.permutation(clusters) for _ in range(draws)])
    return truth, noisy, np.take_along_axis(renumbering, noisy, 1), renumbering


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_the_renumbering_is_found(seed):
    truth, noisy, shuffled, renumbering = shuffled_draws(seed, flips=0.05)
    found = align_labels(shuffled, reference=truth, clusters=4)
    np.testing.assert_array_equal(found.draws, noisy)
    np.testing.assert_array_equal(np.take_along_axis(found.permutation, renumbering, 1), np.tile(np.arange(4), (6, 1)))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_responsibilities_align_as_their_labels_do_and_without_a_reference(seed):
    _, noisy, shuffled, _ = shuffled_draws(seed, flips=0.05)
    hard = align_labels(shuffled, clusters=4)
    soft = align_labels(np.eye(4)[shuffled])
    np.testing.assert_array_equal(hard.permutation, soft.permutation)
    np.testing.assert_array_equal(soft.draws.argmax(-1), hard.draws)
    # Aligned with one another: the draws agree wherever the unshuffled ones did.
    agree = (noisy[:, None] == noisy[None]).mean()
    assert (hard.draws[:, None] == hard.draws[None]).mean() == pytest.approx(agree)


def test_parameters_follow_their_clusters():
    truth, _, shuffled, renumbering = shuffled_draws(3)
    means = np.arange(4.0)[:, None] * np.ones(2)
    seen = np.empty((6, 4, 2))
    for draw, order in enumerate(renumbering):
        seen[draw, order] = means
    permutation = align_labels(shuffled, truth, clusters=4).permutation
    np.testing.assert_array_equal(permute_clusters(seen, permutation), np.tile(means, (6, 1, 1)))


def test_bad_input_is_refused():
    with pytest.raises(MetricError, match=r"give labels \[draw, N\]"):
        align_labels(np.zeros(3))
    with pytest.raises(MetricError, match="integers from 0"):
        align_labels(np.array([[0.5, 1.0]]))
    with pytest.raises(MetricError, match="integers from 0"):
        align_labels(np.array([[-1, 1]]))
    with pytest.raises(MetricError, match="clusters is 2, but labels go up to 3"):
        align_labels(np.array([[0, 3]]), clusters=2)
    with pytest.raises(MetricError, match="clusters is 2, but the responsibilities have 3"):
        align_labels(np.ones((2, 4, 3)), clusters=2)
    with pytest.raises(MetricError, match="have to agree"):
        align_labels(np.zeros((2, 4), int), reference=np.zeros(5, int))
    with pytest.raises(MetricError, match="NaN"):
        align_labels(np.full((2, 4, 3), np.nan))
    with pytest.raises(MetricError, match="draws and clusters"):
        permute_clusters(np.zeros((2, 5)), np.tile(np.arange(3), (2, 1)))
