r"""Clusters merged into fewer after training, without labels: those that many data cannot choose between.

With responsibilities :math:`r_{nk} = \mathrm{softmax}_k(-E_{nk})` and :math:`h(r) = -r \log r`, the doubt between two
groups is the entropy that merging them would take away, as a share of the smaller one,

.. math:: \frac{\sum_n h(r_{ni}) + h(r_{nj}) - h(r_{ni} + r_{nj})}{\min(\sum_n r_{ni}, \sum_n r_{nj})}

(the entropy criterion of Baudry et al. 2010, which is not divided by the size). Two ways of writing a 2 fade into each
other, with data everywhere between; a 4 turns into a 9 by a cheap bend, but few digits are half of either.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

#: data that a cluster holds at least, or it is empty
LEAST = 0.5


def merge_clusters(energies: Float[Tensor, "N K"], groups: int) -> list[int]:
    """The group (0 to ``groups - 1``) of each of K clusters: the pair most in doubt is merged until so many are left.

    A cluster that nobody chooses goes first: it is no group.
    """
    share = (-energies.double()).softmax(1)
    members = [[k] for k in range(share.shape[1])]
    while len(members) > groups:
        doubt = _doubt(share)
        one, other = sorted(divmod(int(doubt.argmax()), len(members)))
        share[:, one] += share[:, other]
        share = torch.cat([share[:, :other], share[:, other + 1 :]], 1)
        members[one] += members.pop(other)
    group_of = {cluster: number for number, merged in enumerate(members) for cluster in merged}
    return [group_of[cluster] for cluster in range(energies.shape[1])]


def _doubt(share: Float[Tensor, "N K"]) -> Float[Tensor, "K K"]:
    """Of every two groups; minus infinity on the diagonal."""
    own = _entropy(share).sum(0)
    both = torch.stack([_entropy(share + share[:, [k]]).sum(0) for k in range(share.shape[1])])
    mass = share.sum(0)
    smaller = torch.minimum(mass, mass[:, None])
    doubt = ((own + own[:, None] - both) / smaller).masked_fill(smaller < LEAST, torch.inf)
    return doubt.fill_diagonal_(-torch.inf)


def _entropy(share: Tensor) -> Tensor:
    return -torch.special.xlogy(share, share)
