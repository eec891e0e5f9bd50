r"""Moves that gradients cannot make: fields tried afresh, and flows split and merged, on codes that stay as they are.

Fields that were learned while the codes were still finding their places share out the causes as it happened to suit
them: two flows with half of a circle of hues each leave two other causes to one flow, which then means either of them.
Once the codes have settled, other fields are fitted to the codes alone, where a step costs little, and those under
which *other* sequences are likeliest take the place of the present ones:

* the present fields, fitted further (so that the others are compared with no less);
* fresh fields, several times from nothing, with noise that is let go on the way;
* of the best so far: a flow that means two things is split in two, another one gives way, all are fitted further. What
  a flow leaves unexplained when it acts has a longest axis; if it stands for causes a and b, that is v_a - v_b. The
  flow with the longest one is split, to both sides along it, and each of the others is tried as the one to give way.
  The halves hold still at first: what the flow that gave way did is for the others to learn, and would draw a half away
  before it has found its own cause. This is repeated as long as it helps.

Codes are draws from their posteriors, as in the bound: their means alone would leave out a noise that the fields have
to stand, and fields that bend to the means' accidents would look better than they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.flows.trajectories import activity
from pyro_models.nn.potentials import LatentFields

if TYPE_CHECKING:
    from pyro_models.flows.sparse import SparseFlowStory

#: sequences that fields are fitted to, and others that they are judged by
FITTED, JUDGED = 1500, 500
#: sequences in a step of a fit
BATCH = 100
#: fresh fields: steps, first learning rate, and the share of steps in which the added noise is let go
STEPS, RATE, SETTLED = 400, 2e-2, 0.6
#: fields that are fitted further: steps, and first learning rates while halves hold still and of all
TRIAL, BRISK, GENTLE = 150, 1e-2, 3e-3
#: flows split on one occasion, at most
SPLITS = 2
#: sequences encoded at a time
CHUNK = 100


class Codes(NamedTuple):
    """Posterior means and standard deviations of the codes of some sequences."""

    loc: Float[Tensor, "n time_1 latent"]
    scale: Float[Tensor, "n time_1 latent"]

    def draw(self, rows: Tensor | slice) -> Float[Tensor, "m time_1 latent"]:
        loc = self.loc[rows]
        return loc + self.scale[rows] * torch.randn_like(loc)


class Tried(NamedTuple):
    """Fields, the log standard deviation of a step under them, and how likely they make other sequences."""

    fields: LatentFields
    log_sigma: Tensor
    score: float


class Search:
    """One occasion: codes to fit fields to, and draws of others to judge them by."""

    def __init__(self, story: SparseFlowStory, codes: Codes) -> None:
        self.story = story
        enough = len(codes.loc) > JUDGED  # few are judged by what they were fitted to
        self.codes = Codes(*(part[:-JUDGED] for part in codes)) if enough else codes
        self.judged = codes.draw(slice(-JUDGED, None))

    @torch.no_grad()
    def score(self, fields: LatentFields, log_sigma: Tensor) -> float:
        """Mean log-density of the paths, with a step's own noise alone; minus infinity for what is not a number."""
        found = float(self.story.flow_of(fields, log_sigma.exp()).log_prob(self.judged).mean())
        return found if math.isfinite(found) else -math.inf

    @torch.enable_grad()
    def fit(
        self,
        fields: LatentFields,
        log_sigma: Tensor,
        steps: int,
        rate: float,
        noise: float = 0.0,
        still: Sequence[int] = (),
    ) -> Tried:
        """To the maximum likelihood of paths; ``noise`` is added to a step's own at first and let go; the flows
        ``still`` stay as they are."""
        for own, new in zip(self.story.transport.parameters(), fields.parameters(), strict=True):
            new.requires_grad_(own.requires_grad)  # fields that may not bend yet do not bend here
        log_sigma = log_sigma.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([log_sigma, *(p for p in fields.parameters() if p.requires_grad)], lr=rate)
        size = len(self.codes.loc)
        for step in range(steps):
            done = step / steps
            optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * done)) / 2
            added = noise * max(0.0, 1 - done / SETTLED)
            sigma = (log_sigma.mul(2).exp() + added**2).sqrt()
            batch = self.codes.draw(torch.randint(size, (min(BATCH, size),), device=log_sigma.device))
            optimiser.zero_grad()
            (-self.story.flow_of(fields, sigma).log_prob(batch).mean()).backward()
            for parameter in fields.parameters():
                if still and parameter.grad is not None:
                    parameter.grad[list(still)] = 0.0
            optimiser.step()
        log_sigma = log_sigma.detach()
        return Tried(fields, log_sigma, self.score(fields, log_sigma))

    def present(self) -> Tried:
        """The story's own fields as they are."""
        fields, log_sigma = self.story.transport, self.story.log_sigma.detach()
        return Tried(fields, log_sigma, self.score(fields, log_sigma))

    def fresh(self) -> Tried:
        """From start values."""
        story = self.story
        log_sigma = torch.full_like(story.log_sigma, math.log(story.FIRST_SIGMA))
        return self.fit(story.fresh_fields().to(log_sigma.device), log_sigma, STEPS, RATE, story.first_noise)

    def further(self, tried: Tried) -> Tried:
        """Fitted further, gently."""
        return self.fit(copy.deepcopy(tried.fields), tried.log_sigma, TRIAL, GENTLE)

    @torch.no_grad()
    def unexplained(self, tried: Tried) -> Float[Tensor, "flow latent"]:
        """The longest axis of what each flow leaves unexplained when it acts, as long as the standard deviation along
        it."""
        flow = self.story.flow_of(tried.fields, tried.log_sigma.exp())
        z = self.judged
        spikes, speeds = activity(flow, z)
        controls = spikes * speeds.tile(spikes.shape[-1] // speeds.shape[-1])
        columns = tried.fields(z[:, :-1].unsqueeze(-2))
        rest = (z[:, 1:] - z[:, :-1] - (controls.unsqueeze(-1) * columns).sum(-2)).flatten(0, 1)
        acts = spikes.unflatten(-1, (-1, self.story.flows)).amax(-2).flatten(0, 1)  # either part, under double control
        spread = torch.einsum("nk,ni,nj->kij", acts, rest, rest) / acts.sum(0)[:, None, None].clamp_min(1e-6)
        values, axes = torch.linalg.eigh(spread)
        return values[:, -1:].clamp_min(0).sqrt() * axes[..., -1]

    def split(self, tried: Tried) -> Tried:
        """The flow that leaves most unexplained in two, another given up for it: the likeliest choice of that other."""
        axes = self.unexplained(tried)
        wide = int(axes.norm(dim=-1).argmax())
        found = []
        for away in range(len(axes)):
            if away != wide:
                halves = _halved(tried.fields, wide, away, axes[wide])
                found.append(self.fit(halves, tried.log_sigma, TRIAL, BRISK, still=(wide, away)))
        return self.further(self.further(max(found, key=attrgetter("score"))))


def revise_fields(story: SparseFlowStory, data: Data, restarts: int, optimiser: torch.optim.Optimizer) -> bool:
    """Puts the likeliest fields that the moves above find in the place of the present ones; False if these stay."""
    search = Search(story, some_codes(story, data))
    present = search.present()
    best = max([present, search.further(present), *(search.fresh() for _ in range(restarts))], key=attrgetter("score"))
    for _ in range(SPLITS if story.flows > 1 else 0):
        found, as_long = search.split(best), search.further(search.further(search.further(best)))
        better = found.score > as_long.score
        best = max(best, found, as_long, key=attrgetter("score"))
        if not better:
            break
    if best is present:
        return False
    own, new = [*story.transport.parameters(), story.log_sigma], [*best.fields.parameters(), best.log_sigma]
    with torch.no_grad():
        for now, found_better in zip(own, new, strict=True):
            now.copy_(found_better)
    for parameter in own:
        optimiser.state.pop(parameter, None)  # what it remembers is of other fields
    return True


@torch.no_grad()
def some_codes(story: SparseFlowStory, data: Data) -> Codes:
    """Of sequences drawn without replacement."""
    was_training = story.training
    story.eval()
    rows = torch.randperm(len(data), device=data.device)[: FITTED + JUDGED]
    found = [story.posterior(story.encoder(part["frames"])).base_dist for part in data.take(rows).chunks(CHUNK)]
    story.train(was_training)
    return Codes(torch.cat([q.loc for q in found]), torch.cat([q.scale for q in found]))


@torch.no_grad()
def _halved(fields: LatentFields, wide: int, away: int, axis: Float[Tensor, " latent"]) -> LatentFields:
    """With two copies of the flow ``wide``, moved apart along ``axis``; one of them in the place of ``away``."""
    halves = copy.deepcopy(fields)
    for parameter in halves.parameters():
        parameter[away] = parameter[wide]
    halves.potentials.drift[wide] += axis
    halves.potentials.drift[away] -= axis
    return halves
