r"""Which flows are on: M switches that turn on and off as a Markov chain, summed out exactly.

    first step    each switch is on with probability ``on``; the state with all switches off is redrawn
    later steps   P(on | was on) = stay, P(on | was off) = on, each on its own; when all switches end up off, the state
                  is redrawn as if all had been off before, until one is on

so that with B(y'|y) the product of independent switches and 0 the state with all off,

    Q(y' | y) = B(y'|y) + B(0|y) B(y'|0) / (1 - B(0|0)),     y' != 0,

over 2^M - 1 states. With ``rest=True`` nothing is redrawn and all 2^M states are used.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional

from pyro_models.errors import OptionError

#: 2^M states are visited at every step; above this the sum no longer fits
LARGEST_SWITCHES = 10
#: probabilities that are zero in exact arithmetic may leave float32 as tiny negatives or zeros; logarithms start here
SMALLEST = 1e-30


class SpikeChain(nn.Module):
    """The chain's states, probabilities and sums.

    Args:
        switches: M.
        on: probability of turning on.
        stay: probability of staying on.
        rest: whether all switches may be off at once.
    """

    states: Tensor
    initial: Tensor
    transition: Tensor

    def __init__(self, switches: int, on: float = 0.1, stay: float = 0.9, rest: bool = False) -> None:
        super().__init__()
        if not 1 <= switches <= LARGEST_SWITCHES:
            raise OptionError(
                f"{switches} switches have {2**switches} joint states; from 1 to {LARGEST_SWITCHES} can be summed over."
            )
        if not (0 < on < 1 and 0 < stay < 1):
            raise OptionError(f"on is {on} and stay is {stay}; both are probabilities between 0 and 1.")
        self.switches, self.on, self.stay, self.rest = switches, on, stay, rest
        codes = torch.arange(0 if rest else 1, 2**switches)
        states = (codes.unsqueeze(1) >> torch.arange(switches)) & 1
        initial, transition = chain_tables(states.bool(), on, stay, rest)
        self.register_buffer("states", states.float(), persistent=False)
        self.register_buffer("initial", initial, persistent=False)
        self.register_buffer("transition", transition, persistent=False)

    @property
    def count(self) -> int:
        """S, the number of joint states."""
        return len(self.states)

    def log_evidence(self, scores: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*batch"]:
        """log sum over all paths of p(path) exp(sum of the scores along it): the forward algorithm."""
        return self._forward(scores)[1]

    def _forward(self, scores: Tensor) -> tuple[list[Tensor], Tensor]:
        predicted, total, filtered = self.initial, scores.new_zeros(()), []
        for score in scores.unbind(-2):
            joint = score + predicted.clamp(min=SMALLEST).log()
            norm = joint.logsumexp(-1, keepdim=True)
            now = (joint - norm).exp()
            filtered.append(now)
            total = total + norm.squeeze(-1)
            predicted = now @ self.transition
        return filtered, total

    @torch.no_grad()
    def smoothed(self, scores: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*batch time state"]:
        """p(state at t | all scores), by the forward and backward recursions."""
        filtered, _ = self._forward(scores)
        found = [filtered[-1]]
        for now in reversed(filtered[:-1]):
            predicted = (now @ self.transition).clamp(min=SMALLEST)
            found.append(now * ((found[-1] / predicted) @ self.transition.mT))
        return torch.stack(found[::-1], -2)

    @torch.no_grad()
    def sample_posterior(self, scores: Float[Tensor, "*batch time state"]) -> Int[Tensor, "*batch time"]:
        """One path from p(path | scores): forward filtering, backward sampling; indices of states."""
        filtered, _ = self._forward(scores)
        chosen = [torch.distributions.Categorical(probs=filtered[-1]).sample()]
        for now in reversed(filtered[:-1]):
            back = now * self.transition.mT[chosen[-1]]
            chosen.append(torch.distributions.Categorical(probs=back.clamp(min=SMALLEST)).sample())
        return torch.stack(chosen[::-1], -1)

    @torch.no_grad()
    def sample(
        self, shape: tuple[int, ...], steps: int, generator: torch.Generator | None = None
    ) -> Int[Tensor, "*batch time"]:
        """Paths from the prior ``[*shape, steps]``; indices of states."""
        count = math.prod(shape)
        path = [torch.multinomial(self.initial.expand(count, -1), 1, generator=generator).squeeze(-1)]
        for _ in range(steps - 1):
            path.append(torch.multinomial(self.transition[path[-1]], 1, generator=generator).squeeze(-1))
        return torch.stack(path, -1).reshape(*shape, steps)

    def switches_on(self, states: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch switch"]:
        """State indices as zeros and ones."""
        return self.states[states]


class SwitchPaths(TorchDistribution):
    """Paths ``[T, M]`` of M switches that go on and off each on its own (all off is allowed): zeros and ones."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch reads it from the class
    support = constraints.independent(constraints.boolean, 2)

    def __init__(self, steps: int, on: Tensor, stay: Tensor, batch_shape: torch.Size = torch.Size()) -> None:  # noqa: B008
        self.on, self.stay = on, stay
        super().__init__(batch_shape, torch.Size([steps, len(on)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SwitchPaths:
        return SwitchPaths(self.event_shape[0], self.on, self.stay, torch.Size(batch_shape))

    def chances(self, before: Tensor) -> Tensor:
        """P(on now), ``before`` being states or probabilities of having been on, ``[..., T - 1, M]``: one step more."""
        first = self.on.expand(*before.shape[:-2], 1, -1)
        return torch.cat([first, self.on + (self.stay - self.on) * before], -2)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        path: list[Tensor] = []
        chance = self.on.expand(*sample_shape, *self.batch_shape, -1)
        for _ in range(self.event_shape[0]):
            path.append(torch.bernoulli(chance))
            chance = self.on + (self.stay - self.on) * path[-1]
        return torch.stack(path, -2)

    def log_prob(self, value: Tensor) -> Tensor:
        chance = self.chances(value[..., :-1, :])
        return torch.where(value > 0.5, chance.log(), (1 - chance).log()).sum((-2, -1))

    def mean_field_kl(self, logits: Float[Tensor, "*batch time switch"]) -> Float[Tensor, "*batch"]:
        """KL to this from switches that are independent of each other and over time: sums over two values each.

        From logits: a probability that has been rounded to 0 or 1 has no logarithm to follow a gradient along.
        """
        probs, log_on, log_off = logits.sigmoid(), functional.logsigmoid(logits), functional.logsigmoid(-logits)
        cost = probs.new_zeros(())
        before = self.chances(torch.zeros_like(probs[..., :-1, :])), self.chances(torch.ones_like(probs[..., :-1, :]))
        was_on = torch.cat([torch.zeros_like(probs[..., :1, :]), probs[..., :-1, :]], -2)
        for chance, weight in zip(before, (1 - was_on, was_on), strict=True):
            ratio = probs * (log_on - chance.log()) + (1 - probs) * (log_off - (1 - chance).log())
            cost = cost + weight * ratio
        return cost.sum((-2, -1))


def chain_tables(states: Tensor, on: float, stay: float, rest: bool) -> tuple[Tensor, Tensor]:
    """Initial probabilities ``[S]`` and transition matrix ``[S, S]`` (from, to) over the boolean states ``[S, M]``."""

    def independent(before: Tensor, after: Tensor) -> Tensor:
        chance = torch.where(before, stay, on).double()
        return torch.where(after, chance, 1 - chance).prod(-1)

    off = torch.zeros_like(states[:1])
    fresh = independent(off, states)
    if rest:
        return fresh.float(), independent(states[:, None], states[None]).float()
    fresh = fresh / (1 - independent(off, off))
    redrawn = independent(states, off)
    return fresh.float(), (independent(states[:, None], states[None]) + redrawn[:, None] * fresh).float()
