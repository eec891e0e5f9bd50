"""The moves between clusters: what removal costs, merging, splitting, and judging."""

from __future__ import annotations

import pytest
import torch

from pyro_models.prototypes.moves import best_split, cheapest_removals, survey
from tests.prototypes.made import adam, shapes, small


def test_the_survey_counts_what_removal_costs():
    energies = 10 * torch.rand(50, 4)
    found = survey(energies)
    best = energies.min(1).values
    for k in range(4):
        without = energies[:, [j for j in range(4) if j != k]].min(1).values
        assert found.removal[k].item() == pytest.approx((without - best).mean().item(), abs=1e-5)
        mine = energies.argmin(1) == k
        assert found.energy[k].item() == pytest.approx(best[mine].sum().item() / 50, abs=1e-5)
    assert found.objective == pytest.approx(-(-energies).exp().sum(1).log().mean().item(), abs=1e-5)


def test_duplicates_and_the_dead_are_removed_first():
    """Four groups of data with a cluster each, one cluster twice and one that nobody wants."""
    energies = torch.full((40, 6), 50.0)
    for n in range(40):
        energies[n, n % 4] = 1.0
    energies[:, 4] = energies[:, 2] + 0.1  # a worse copy of 2
    energies[:, 5] = 100.0
    assert set(cheapest_removals(energies, keep=4)) == {4, 5}
    gone = energies.clone()
    gone[:, 5] = torch.inf
    assert cheapest_removals(gone, keep=4) == [4]
    assert cheapest_removals(energies, keep=6) == []


def test_removals_are_greedy_and_sequential():
    """Two copies of each other are both free to remove, but only one of them may go."""
    energies = torch.full((30, 4), 50.0)
    for n in range(30):
        energies[n, n % 3] = 1.0
    energies[:, 3] = energies[:, 0]
    assert len({0, 3} & set(cheapest_removals(energies, keep=3))) == 1


def test_a_split_takes_from_the_cheapest_and_gives_to_the_richest():
    energies = torch.full((40, 3), 90.0)
    energies[:10, 0], energies[10:, 1] = 1.0, 30.0
    energies[:10, 2] = 1.01
    energies[0, 2] = 0.99
    found = survey(energies)
    refused = torch.zeros(3, 3, dtype=torch.bool)
    assert best_split(found, refused, worth=0.25) == (2, 1)
    refused[2, 1] = True
    assert best_split(found, refused, worth=0.25) != (2, 1)
    assert best_split(found, torch.ones(3, 3, dtype=torch.bool), worth=0.25) is None
    assert best_split(survey(torch.tensor([[0.0, 99.0], [99.0, 0.0]])), refused[:2, :2], worth=0.25) is None


def test_a_split_copies_weights_and_moments():
    story = small(guide="per-cluster")
    optimiser = adam(story)
    energies = torch.full((40, 3), 90.0)
    energies[:10, 0], energies[10:, 1], energies[0, 2] = 1.0, 30.0, 0.99
    story.split(energies, optimiser)
    assert story.moved.tolist() == [2, 1]
    for row in (story.head_weights, story.head_biases, story.index_head.weight, story.index_head.bias):
        torch.testing.assert_close(row[2], row[1])
        assert not torch.equal(row[0], row[1])
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(optimiser.state[row][name][2], optimiser.state[row][name][1])
    images = story.prototypes().detach()
    assert 0 < (images[2] - images[1]).abs().max() < 0.5


@pytest.mark.parametrize("pays", [True, False])
def test_a_move_is_judged_and_put_back_when_it_did_not_pay(pays):
    data = shapes(60)
    story, x = small(), data["x"]
    optimiser = adam(story)
    before = [row.clone() for row in story.rows()]
    energies = torch.full((40, 3), 90.0)
    energies[:10, 0], energies[10:, 1], energies[0, 2] = 1.0, 30.0, 0.99
    story.split(energies, optimiser)
    with torch.no_grad():  # what training made of the two since
        places = x[[0, 1]] if pays else 1 - x[[0, 1]]
        story.prototypes.pixels[[2, 1]] = places.clamp(0.03, 0.97).logit() / 4
    after = [row.clone() for row in story.rows()]
    story.judge(x)
    expected = after if pays else before
    for row, value in zip(story.rows(), expected, strict=True):
        torch.testing.assert_close(row.detach(), value)
    assert bool(story.refused[2, 1]) is not pays
    assert story.moved.tolist() == [-1, -1]
