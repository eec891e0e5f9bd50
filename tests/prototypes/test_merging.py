"""Clusters merged without labels: where data cannot choose, two clusters are one."""

from __future__ import annotations

import pytest
import torch

from pyro_models.prototypes.merging import _doubt, merge_clusters


def between(one: int, other: int, places: torch.Tensor, clusters: int = 4) -> torch.Tensor:
    """Energies of data that lie between two clusters: ``places`` from -1 (the one) to 1 (the other)."""
    energies = torch.full((len(places), clusters), 200.0)
    energies[:, one], energies[:, other] = 20 * (places + 1).square(), 20 * (places - 1).square()
    return energies


def test_two_ends_of_a_continuum_are_one_group_although_another_pair_is_nearer():
    """Clusters 0 and 1 share a continuum; 2 and 3 explain each other's data cheaply, but no datum is between."""
    spread = between(0, 1, torch.linspace(-1, 1, 400))
    apart = between(2, 3, torch.cat([torch.full((200,), -0.5), torch.full((200,), 0.5)]))
    groups = merge_clusters(torch.cat([spread, apart]), 3)
    assert groups[0] == groups[1]
    assert len({groups[0], groups[2], groups[3]}) == 3


def test_doubt_is_the_entropy_saved_as_a_share_of_the_smaller():
    share = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    doubt = _doubt(share)
    assert doubt[0, 1].item() == pytest.approx(torch.tensor(2.0).log().item() / 0.5)
    assert doubt[0, 2].item() == doubt[1, 2].item() == 0
    assert torch.equal(doubt, doubt.T)


def test_copies_and_empty_clusters_cost_no_group():
    energies = torch.full((60, 5), 50.0)
    for n in range(60):
        energies[n, n % 3] = 1.0
    energies[:, 3] = energies[:, 1] + 0.1  # as good as 1
    energies[:, 4] = torch.inf
    groups = merge_clusters(energies, 3)
    assert groups[3] == groups[1]
    assert sorted({groups[0], groups[1], groups[2]}) == [0, 1, 2]


def test_any_number_of_groups_down_to_one():
    energies = 10 * torch.rand(50, 5)
    before = energies.clone()
    assert merge_clusters(energies, 5) == [0, 1, 2, 3, 4]
    assert merge_clusters(energies, 1) == [0] * 5
    assert torch.equal(energies, before)
