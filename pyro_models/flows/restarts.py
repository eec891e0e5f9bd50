"""Fresh fields for codes that are there already: the move that gradients cannot make.

Fields that were learned while the codes were still finding their places share out the causes as it happened to suit
them: two flows with half of a circle of hues each leave a third cause without any. Once the codes have settled, fields
are fitted to them alone, several times from scratch, and the set under which *other* sequences are likeliest takes the
place of the present one if it is better.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.nn.potentials import LatentFields

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
    codes = some_codes(story, data)
    fitted, judged = codes[:-JUDGED], codes[-JUDGED:]
    if len(fitted) == 0:  # a small set is judged by what it was fitted to
        fitted = judged = codes
    best, best_score = None, score(story, story.transport, story.log_sigma, judged)
    for _ in range(restarts):
        tried = fit_fields(story, fitted)
        found = score(story, *tried, judged)
        if found > best_score:
            best, best_score = tried, found
    if best is None:
        return False
    fields, log_sigma = best
    own, new = [*story.transport.parameters(), story.log_sigma], [*fields.parameters(), log_sigma]
    with torch.no_grad():
        for present, found_better in zip(own, new, strict=True):
            present.copy_(found_better)
    for parameter in own:
        optimiser.state.pop(parameter, None)  # what it remembers is of other fields
    return True


@torch.no_grad()
def some_codes(story: SparseFlowStory, data: Data) -> Float[Tensor, "n time_1 latent"]:
    """Posterior means of the codes of some sequences, drawn without replacement."""
    was_training = story.training
    story.eval()
    rows = torch.randperm(len(data), device=data.device)[: FITTED + JUDGED]
    codes = torch.cat([story.codes(part["frames"]) for part in data.take(rows).chunks(CHUNK)])
    story.train(was_training)
    return codes


@torch.no_grad()
def score(story: SparseFlowStory, fields: LatentFields, log_sigma: Tensor, codes: Tensor) -> float:
    """Mean log-density of the paths, with a step's own noise alone."""
    return float(story.flow_of(fields, log_sigma.exp()).log_prob(codes).mean())


@torch.enable_grad()
def fit_fields(story: SparseFlowStory, codes: Float[Tensor, "n time_1 latent"]) -> tuple[LatentFields, Tensor]:
    """Fields and log noise from start values to the maximum likelihood of paths that stay as they are; what is added to
    the noise is let go on the way."""
    fields = story.fresh_fields().to(codes.device)
    for own, new in zip(story.transport.parameters(), fields.parameters(), strict=True):
        new.requires_grad_(own.requires_grad)  # fields that may not bend yet do not bend here
    log_sigma = torch.full_like(story.log_sigma, math.log(story.FIRST_SIGMA)).requires_grad_()
    optimiser = torch.optim.Adam([log_sigma, *(p for p in fields.parameters() if p.requires_grad)], lr=RATE)
    for step in range(STEPS):
        done = step / STEPS
        optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * done)) / 2
        added = story.first_noise * max(0.0, 1 - done / SETTLED)
        sigma = (log_sigma.mul(2).exp() + added**2).sqrt()
        batch = codes[torch.randint(len(codes), (min(BATCH, len(codes)),), device=codes.device)]
        optimiser.zero_grad()
        (-story.flow_of(fields, sigma).log_prob(batch).mean()).backward()
        optimiser.step()
    return fields, log_sigma
