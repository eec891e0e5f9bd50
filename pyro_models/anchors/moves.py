"""Moves of anchors that gradients cannot make: a dead or superfluous anchor goes where another has too much to do.

A proposal gives up the anchor whose removal costs the density of codes least, puts it beside the anchor with the worst
codes, lets a few steps of expectation maximisation settle both, and is kept only if the objective on the same codes
gained: :math:`\\log p(z)` plus, where the story has views, their agreement. A reseeded dead anchor is the case in which
the removal costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyro_models.anchors import factors
from pyro_models.anchors.start import Components, em, log_joint, some
from pyro_models.datasets.data import Data
from pyro_models.prototypes.moves import survey

if TYPE_CHECKING:
    from pyro_models.anchors.nebula import Nebula

#: progress between two looks, and when they end
EVERY, UNTIL = 0.02, 0.8
#: data looked at, proposals tried per look, and steps that settle a proposal
SURVEYED, PROPOSALS, SETTLING = 4000, 6, 15
#: nats per datum by which a proposal must gain: below this it is noise of the data looked at
GAIN = 0.02


class Moves(nn.Module):
    """Proposes and judges; counts what was kept."""

    kept: Tensor

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.clusters = clusters
        self.register_buffer("kept", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def revise(self, story: Nebula, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        first = story.warm_up + EVERY
        if not first <= after <= UNTIL or int(before / EVERY) == int(after / EVERY):
            return
        rows = some(data, SURVEYED)
        was_training = story.training
        story.eval()
        codes = story.features(data.take(rows)["x"])
        pair: tuple[Tensor, Tensor] | None = None
        if story.views and story.views.ready:
            one, other, _ = story.views.draw(data.take(rows)["x"])
            pair = (story.features(one), story.features(other))
        story.train(was_training)
        best = self.propose(story, codes, pair)
        if best is not None:
            self.kept += 1
            _write(story, best, optimiser)

    def propose(self, story: Nebula, codes: Tensor, pair: tuple[Tensor, Tensor] | None = None) -> Components | None:
        """The best of a few proposals if it gains, in the terms of a free diagonal mixture."""
        now = em(codes, _read(story), SETTLING)
        value = _objective(story, now, codes, pair)
        found = survey(-log_joint(codes, now).cpu())
        best: tuple[float, Components] | None = None
        tried = 0
        for cheap in found.removal.argsort().tolist():
            for rich in found.energy.argsort(descending=True).tolist()[:2]:
                if cheap == rich or tried == PROPOSALS:
                    continue
                tried += 1
                there = em(codes, _split(now, cheap, rich), SETTLING)
                reached = _objective(story, there, codes, pair)
                if reached > value + GAIN and (best is None or reached > best[0]):
                    best = (reached, there)
        return best[1] if best is not None else None


def _objective(story: Nebula, components: Components, codes: Tensor, pair: tuple[Tensor, Tensor] | None) -> float:
    value = log_joint(codes, components).logsumexp(-1).mean()
    if pair is not None:
        one, other = (log_joint(part, components).log_softmax(-1) for part in pair)
        value = value + story.view_weight * factors.agreement(one, other)
    return float(value)


def _split(now: Components, cheap: int, rich: int) -> Components:
    """``cheap`` and ``rich`` side by side where ``rich`` was, along its widest direction."""
    means, scales, weights = (part.clone() for part in now)
    step = torch.zeros_like(means[rich])
    widest = scales[rich].argmax()
    step[widest] = scales[rich, widest]
    means[cheap], means[rich] = means[rich] + step, means[rich] - step
    scales[cheap] = scales[rich]
    weights[cheap] = weights[rich] = weights[rich] / 2
    return Components(means, scales, weights / weights.sum())


def _read(story: Nebula) -> Components:
    mixture = story.mixture()
    weights = mixture.log_weights.softmax(-1)
    return Components(mixture.anchors.clone(), mixture.scales.expand(mixture.anchors.shape).clone(), weights)


def _write(story: Nebula, found: Components, optimiser: torch.optim.Optimizer) -> None:
    """Makes the components the story's, and lets the optimiser forget what it knew of the old ones."""
    story.take_components(found)
    for parameter in story.component_parameters():
        for name, memory in optimiser.state.get(parameter, {}).items():
            if name != "step" and isinstance(memory, Tensor):
                memory.zero_()
