r"""Groups of documents by their words alone: a mixture of multinomials, before anything is learned.

.. math:: p(n_i) = \sum_k \pi_k \prod_v \theta_{kv}^{\log(1 + n_{iv})}

Counts enter by their logarithm: a word's second occurrence in a document says less than its first. Expectation
maximisation starts hot (responsibilities to the power 1 / T, T falling to 1), so that it does not settle on the first
accident; of several starts the likeliest is kept. No labels anywhere.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: starts, steps of each, and the steps in which it cools down from the first temperature
RESTARTS, STEPS, COOLING, HOT = 40, 80, 60, 4.0
#: seen before the data: so many of each word in each group (Laplace's rule)
PRIOR = 1.0


@torch.no_grad()
def word_groups(
    counts: Float[Tensor, "N V"], groups: int, restarts: int = RESTARTS, seed: int = 0
) -> Int[Tensor, " N"]:
    """The likeliest of ``restarts`` partitions of documents into ``groups``."""
    seen = counts.log1p()
    generator = torch.Generator().manual_seed(seed)
    best: tuple[float, Tensor] | None = None
    for _ in range(restarts):
        value, found = _fit(seen, groups, generator)
        if best is None or value > best[0]:
            best = (value, found)
    assert best is not None
    return best[1]


def _fit(seen: Tensor, groups: int, generator: torch.Generator) -> tuple[float, Tensor]:
    first = torch.randint(groups, (len(seen),), generator=generator)
    member = torch.nn.functional.one_hot(first, groups).to(seen)
    value, joint = 0.0, member
    for step in range(STEPS):
        mass = member.T @ seen + PRIOR
        words = (mass / mass.sum(1, keepdim=True)).log()
        shares = ((member.sum(0) + 1) / (len(seen) + groups)).log()
        joint = seen @ words.T + shares
        value = float(joint.logsumexp(1).sum())
        member = (joint / max(1.0, HOT * (1 - step / COOLING))).softmax(1)
    return value, joint.argmax(1)
