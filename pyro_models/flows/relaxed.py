"""Controls guessed by a network from pairs of frames, switches relaxed: the published way to train sparse flows."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor, nn

from pyro_models.flows.spikes import SwitchPaths
from pyro_models.nn import mlp

#: temperature of the relaxed switches at the end of training; it falls from 1 geometrically
LAST_TEMPERATURE = 0.067
#: speeds start this uncertain, in units of their prior's spread
FIRST_SPREAD = 0.5


class RelaxedControls(nn.Module):
    r"""Sites ``spikes [T, M]`` and ``speeds [T, K]`` of prior and posterior.

    The prior lets every switch go on and off on its own; the posterior is independent over time,
    :math:`q(y_t^m = 1 | x_{t-1}, x_t)` and :math:`q(g_t^k | x_{t-1}, x_t)` from one network. In training switches take
    values between 0 and 1 (binary concrete) and their KL term is that of the probabilities, in closed form: no bound.
    In evaluation they are zeros and ones and both densities are those of the sample: a bound.
    """

    def __init__(
        self, frame: Sequence[int], hidden: Sequence[int], steps: int, flows: int, switches: int, tau: float,
        on: float, stay: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.steps, self.flows, self.switches, self.tau = steps, flows, switches, tau
        self.network = mlp(2 * int(torch.Size(frame).numel()), hidden, switches + 2 * flows)
        self.register_buffer("on", torch.full((switches,), on), persistent=False)
        self.register_buffer("stay", torch.full((switches,), stay), persistent=False)
        self.temperature = LAST_TEMPERATURE

    on: Tensor
    stay: Tensor

    def at(self, progress: float) -> None:
        self.temperature = LAST_TEMPERATURE**progress

    def forward(self, frames: Float[Tensor, "*batch time_1 *frame"]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of switches ``[B, T, M]``, means and standard deviations of speeds ``[B, T, K]``."""
        flat = frames.flatten(-3) if frames.dim() > 4 else frames
        found = self.network(torch.cat([flat[..., :-1, :], flat[..., 1:, :]], -1))
        logits, shift, spread = found.split([self.switches, self.flows, self.flows], -1)
        return logits, 1 + self.tau * shift, self.tau * FIRST_SPREAD * spread.clamp(-5, 2).exp()

    def prior(self) -> SwitchPaths:
        return SwitchPaths(self.steps, self.on, self.stay)

    def model(self, like: Tensor) -> Float[Tensor, "*batch time switch"]:
        """The weight of every column of the fields at every step."""
        spikes = pyro.sample("spikes", self.prior().mask(not self.training))
        one = like.new_ones(self.steps, self.flows)
        speeds = pyro.sample("speeds", dist.Normal(one, self.tau * one).to_event(2))
        return spikes * speeds.tile(self.switches // self.flows)

    def guide(self, frames: Tensor) -> None:
        logits, mean, spread = self(frames)
        if self.training:
            relaxed = dist.RelaxedBernoulli(logits.new_tensor(self.temperature), logits=logits).rsample()
            pyro.sample("spikes", dist.Delta(relaxed, event_dim=2))
            pyro.factor("spike_kl", self.prior().mean_field_kl(logits), has_rsample=True)
        else:
            # A draw that brings its log-density along: a bound by any estimator, which is all it is for here.
            q = dist.Bernoulli(logits=logits).to_event(2)
            drawn = q.sample()
            pyro.sample("spikes", dist.Delta(drawn, log_density=q.log_prob(drawn), event_dim=2))
        pyro.sample("speeds", dist.Normal(mean, spread).to_event(2))

    @torch.no_grad()
    def activity(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        logits, mean, _ = self(frames)
        return logits.sigmoid(), mean

    def dream(self, count: int) -> Tensor:
        with poutine.block(), pyro.plate("dreams", count):
            return self.model(self.on)
