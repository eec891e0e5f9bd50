"""Fresh fields for codes that are there already: the move that gradients cannot make.

Fields that were learned while the codes were still finding their places share out the causes as it happened to suit
them: two flows with half of a circle of hues each leave a third cause without any. Once the codes have settled, fields
are fitted to them alone, several times from scratch, and the set under which *other* sequences are likeliest takes the
place of the present one if it is better.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.datasets.data import Data

if TYPE_CHECKING:
    from pyro_models.flows.sparse import SparseFlowStory

#: sequences that fields are fitted to, and others that they are judged by
FITTED, JUDGED = 1500, 500
#: steps of a fit, sequences in each, first learning rate, and the share of steps in which the added noise is let go
STEPS, BATCH, RATE, SETTLED = 400, 200, 2e-2, 0.6
#: sequences encoded at a time
CHUNK = 100


def restart_fields(story: SparseFlowStory, data: Data, restarts: int, optimiser: torch.optim.Optimizer) -> bool:
    """Puts the likeliest of ``restarts`` fresh sets of fields in the place of the present one; False if none is."""
    was_training, added = story.training, story.extra_noise
    story.eval()
    codes = some_codes(story, data)
    fitted, judged = codes[:-JUDGED], codes[-JUDGED:]
    if len(fitted) == 0:  # a small set is judged by what it was fitted to
        fitted = judged = codes
    story.extra_noise = 0.0
    best, best_score = None, score(story, judged)
    for _ in range(restarts):
        tried = fresh(story)
        fit_fields(tried, fitted)
        found = score(tried, judged)
        if found > best_score:
            best, best_score = tried, found
    story.extra_noise = added
    story.train(was_training)
    if best is None:
        return False
    with torch.no_grad():
        story.log_sigma.copy_(best.log_sigma)
        for own, new in zip(story.transport.parameters(), best.transport.parameters(), strict=True):
            own.copy_(new)
    for parameter in (story.log_sigma, *story.transport.parameters()):
        optimiser.state.pop(parameter, None)  # what it remembers is of other fields
    return True


@torch.no_grad()
def some_codes(story: SparseFlowStory, data: Data) -> Float[Tensor, "n time_1 latent"]:
    """Posterior means of the codes of some sequences, drawn without replacement."""
    rows = torch.randperm(len(data), device=data.device)[: FITTED + JUDGED]
    return torch.cat([story.codes(part["frames"]) for part in data.take(rows).chunks(CHUNK)])


@torch.no_grad()
def score(story: SparseFlowStory, codes: Tensor) -> float:
    """Mean log-density of the paths."""
    return float(story.flow().log_prob(codes).mean())


def fresh(story: SparseFlowStory) -> SparseFlowStory:
    """A copy without networks, with fields and noise as at the start of training."""
    kept = {name: story._modules[name] for name in ("encoder", "decoder")}
    for name in kept:
        story._modules[name] = None
    try:
        made = copy.deepcopy(story)
    finally:
        story._modules.update(kept)
    like = story.log_sigma
    made.transport = made.fresh_fields().to(like.device)
    for own, new in zip(story.transport.parameters(), made.transport.parameters(), strict=True):
        new.requires_grad_(own.requires_grad)  # fields that may not bend yet do not bend here
    made.log_sigma = nn.Parameter(torch.full_like(like, math.log(story.FIRST_SIGMA)))
    return made


def fit_fields(story: SparseFlowStory, codes: Float[Tensor, "n time_1 latent"]) -> None:
    """Maximum likelihood of paths that stay as they are, with noise that is let go."""
    weights = [story.log_sigma, *(p for p in story.transport.parameters() if p.requires_grad)]
    optimiser = torch.optim.Adam(weights, lr=RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            done = step / STEPS
            optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * done)) / 2
            story.extra_noise = story.first_noise * max(0.0, 1 - done / SETTLED)
            batch = codes[torch.randint(len(codes), (min(BATCH, len(codes)),), device=codes.device)]
            optimiser.zero_grad()
            (-story.flow().log_prob(batch).mean()).backward()
            optimiser.step()
    story.extra_noise = 0.0
