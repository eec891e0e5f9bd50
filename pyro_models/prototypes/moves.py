r"""Moves that gradients cannot make, judged by the energies :math:`E_{nk}` alone (never by labels).

:math:`E_{nk}` is minus the bound of datum n if it had to use cluster k. A cluster's *removal cost* is how much worse
its data would fare with their second choice, and the cheapest one is a duplicate or a dead one: every cluster may be
in use and one of them still be superfluous, which counting members does not see.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Survey:
    """What the energies say, in nats per datum: ``objective`` (soft minimum over clusters), and for every cluster the
    cost of doing without it and the energy of its members."""

    objective: float
    removal: Tensor
    energy: Tensor


def survey(energies: Float[Tensor, "N K"]) -> Survey:
    """``energies`` of clusters that are gone are infinite; their removal cost is too."""
    count, clusters = energies.shape
    best, second = energies.topk(min(2, clusters), dim=1, largest=False).values.T[[0, -1]]
    winner = energies.argmin(1)
    gone = torch.isinf(energies).all(0)
    loss = torch.where(torch.isinf(second), torch.zeros_like(second), second - best)
    removal = torch.zeros(clusters).index_add_(0, winner, loss) / count
    energy = torch.zeros(clusters).index_add_(0, winner, best) / count
    objective = -(-energies).logsumexp(1).mean()
    return Survey(float(objective), removal.masked_fill(gone, torch.inf), energy.masked_fill(gone, -torch.inf))


def cheapest_removals(energies: Float[Tensor, "N K"], keep: int) -> list[int]:
    """The clusters to do without, one after the other, until ``keep`` are left."""
    energies = energies.clone()
    removed: list[int] = []
    while int((~torch.isinf(energies).all(0)).sum()) > keep:
        cluster = int(survey(energies).removal.argmin())
        energies[:, cluster] = torch.inf
        removed.append(cluster)
    return removed


def best_split(found: Survey, refused: Tensor, worth: float) -> tuple[int, int] | None:
    """``(from, to)``: the cheapest cluster to remove that may become a copy of the one with the most energy.

    None when it costs more than ``worth`` of that energy, or when the pair was tried in vain (``refused [K, K]``).
    """
    for cheap in found.removal.argsort().tolist():
        for rich in found.energy.argsort(descending=True).tolist():
            if torch.isinf(found.removal[cheap]) or torch.isinf(found.energy[rich]):
                continue
            if found.removal[cheap] > worth * found.energy[rich]:
                break
            if cheap != rich and not bool(refused[cheap, rich]):
                return cheap, rich
    return None


def copy_row(parameter: torch.nn.Parameter, source: int, target: int, optimiser: torch.optim.Optimizer) -> None:
    """Row ``target`` becomes row ``source``, in the parameter and in what the optimiser remembers of it."""
    with torch.no_grad():
        parameter[target] = parameter[source]
        for name, memory in optimiser.state.get(parameter, {}).items():
            if name != "step" and isinstance(memory, Tensor):
                memory[target] = memory[source]
