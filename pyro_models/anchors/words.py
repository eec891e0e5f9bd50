r"""Groups of documents by their words alone: a mixture of multinomials, before anything is learned.

.. math:: p(n_i) = \sum_k \pi_k \prod_v \theta_{kv}^{\log(1 + n_{iv})}

Counts enter by their logarithm: a word's second occurrence in a document says less than its first. Expectation
maximisation starts hot (responsibilities to the power 1 / T, T falling to 1), so that it does not settle on the first
accident. The likeliest of several starts is cut by the others; the pieces are merged by what costs the least
likelihood, and fitted again, as long as that helps. No labels anywhere.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_models.anchors.crossing import Found, improve

#: starts, steps of each, and the steps in which it cools down from the first temperature
RESTARTS, STEPS, COOLING, HOT = 40, 80, 60, 4.0
#: steps, without heat, after pieces were merged
SETTLING = 25
#: pieces that mergers start from, at most: their cost grows with the cube
PIECES = 200
#: seen before the data: so many of each word in each group (Laplace's rule)
PRIOR = 1.0


@torch.no_grad()
def word_groups(
    counts: Float[Tensor, "N V"], groups: int, restarts: int = RESTARTS, seed: int = 0
) -> Int[Tensor, " N"]:
    """The likeliest partition of documents into ``groups`` that ``restarts`` starts and their pieces lead to."""
    seen = counts.log1p()
    generator = torch.Generator().manual_seed(seed)
    starts = [torch.randint(groups, (len(seen),), generator=generator) for _ in range(restarts)]
    found = [fit_groups(seen, start, groups, HOT, STEPS) for start in starts]
    best = improve(found, lambda pieces: settled_words(seen, torch.as_tensor(pieces), groups), groups)
    return torch.as_tensor(best[1])


def fit_groups(seen: Float[Tensor, "N V"], start: Int[Tensor, " N"], groups: int, hot: float, steps: int) -> Found:
    """Expectation maximisation from a partition: log-likelihood per document, and the group of each."""
    member = one_hot(start, groups).to(seen)
    value, joint = 0.0, member
    for step in range(steps):
        words = _log_words(member.T @ seen)
        shares = ((member.sum(0) + 1) / (len(seen) + groups)).log()
        joint = seen @ words.T + shares
        value = float(joint.logsumexp(1).mean())
        member = (joint / max(1.0, hot * (1 - step / COOLING))).softmax(1)
    return value, joint.argmax(1).numpy()


def settled_words(seen: Float[Tensor, "N V"], pieces: Int[Tensor, " N"], groups: int) -> Found:
    """Pieces merged into groups and fitted, with their likelihood."""
    return fit_groups(seen, merge_words(seen, pieces, groups), groups, hot=1.0, steps=SETTLING)


def merge_words(seen: Float[Tensor, "N V"], pieces: Int[Tensor, " N"], groups: int) -> Int[Tensor, " N"]:
    """Merges the two pieces that cost the least likelihood until ``groups`` are left."""
    member = one_hot(pieces).to(seen)
    if member.shape[1] > PIECES:
        pieces = _fewer(seen, member)[pieces]
        member = one_hot(pieces).to(seen)
    mass, size, name = member.T @ seen, member.sum(0), torch.arange(member.shape[1])
    total = len(seen) + groups
    gain = torch.stack([_gains(mass, size, one, total) for one in range(len(mass))])
    while len(mass) > groups:
        one, other = sorted(divmod(int(gain.argmax()), len(mass)))
        mass[one] += mass[other]
        size[one] += size[other]
        name = torch.where(name == other, one, name - (name > other).long())
        kept = torch.arange(len(mass)) != other
        mass, size, gain = mass[kept], size[kept], gain[kept][:, kept]
        gain[one] = gain[:, one] = _gains(mass, size, one, total)
    return name[pieces]


def _fewer(seen: Float[Tensor, "N V"], member: Float[Tensor, "N P"]) -> Int[Tensor, " P"]:
    """The largest pieces by number, every other at the one of them that explains its words best."""
    mass, largest = member.T @ seen, member.sum(0).topk(PIECES).indices
    owner = (mass @ _log_words(mass[largest]).T).argmax(1)
    return owner.index_copy(0, largest, torch.arange(PIECES))


def _gains(mass: Float[Tensor, "P V"], size: Float[Tensor, " P"], one: int, total: int) -> Float[Tensor, " P"]:
    """What merging piece ``one`` with each other adds to the likelihood of words and groups; with itself: -infinity."""
    apart = _likelihood(mass, size, total)
    gain = _likelihood(mass + mass[one], size + size[one], total) - apart - apart[one]
    gain[one] = -torch.inf
    return gain


def _likelihood(mass: Float[Tensor, "P V"], size: Float[Tensor, " P"], total: int) -> Float[Tensor, " P"]:
    return (mass * _log_words(mass)).sum(1) + size * ((size + 1) / total).log()


def _log_words(mass: Float[Tensor, "K V"]) -> Float[Tensor, "K V"]:
    return ((mass + PRIOR) / (mass + PRIOR).sum(1, keepdim=True)).log()
