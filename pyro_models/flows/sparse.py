"""Sparse transformation analysis: several flows at once, switched on and off, with speeds, nothing labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor, nn

from pyro_models.errors import OptionError
from pyro_models.flows.frames import STA, FrameStory, check_not_negative, pick
from pyro_models.flows.relaxed import RelaxedControls
from pyro_models.flows.revisions import revise_fields
from pyro_models.flows.spikes import SpikeChain
from pyro_models.flows.trajectories import activity
from pyro_models.flows.transition import SparseFlow
from pyro_models.nn.potentials import LatentFields


class SparseFlowStory(FrameStory):
    r"""Codes of frames move by a sparse combination of K fields; spikes are summed out, speeds integrated out.

    .. code-block:: text

        +-- data (B) ---------------------------------------+    y_t ~ Markov chain of switches, not all off
        |        y_1 -------> y_2 -------> ... y_T          |    g_t ~ N(1, tau^2 I)
        |         |            |               |            |    z_0 ~ N(0, I)
        |  z_0 -> z_1 -------> z_2 ------> ... z_T          |    z_t ~ N(z_{t-1} + sum_k y_t^k g_t^k v^k(z_{t-1}),
        |   |      |            |               |           |             sigma^2 I)                 [B, T + 1, d]
        |   v      v            v               v           |    x_t ~ p(x | dec(z_t))               [B, T + 1, *frame]
        |  x_0    x_1          x_2             x_T          |    v^k = grad u^k + r^k, div r^k = 0
        +---------------------------------------------------+    q(z_t | x_t) = N(mu(x_t), diag sigma(x_t)^2)

    The prior of the whole path is one site: its density sums over all (2^M - 1)^T paths of the M switches exactly (the
    forward recursion) with the speeds integrated out in closed form; see ``transition.py``. So there is no guide for
    spikes and speeds, no temperature and no relaxation; given the codes their posterior is exact (``activity``).

    Guides:

    * ``exact`` (default): the above;
    * ``relaxed``: the published way, for comparison. Steps are deterministic, only the first frame is encoded, and
      switches and speeds are guessed by a network from pairs of frames, the switches relaxed while training
      (``relaxed.py``).

    Control:

    * ``single`` (default): one switch per flow drives its potential and its rotational part together (M = K);
    * ``double``: a switch for each part, one speed for both (M = 2 K).

    The recipe: training begins with the first ``first_steps`` steps of every sequence and lengthens them to all until
    the share ``settle``, so that codes grow on from where sequences start: what is only met late and seldom (the last
    colours of a wheel that starts at red) otherwise lands anywhere in the code, and no straight direction leads to it.
    The noise of a step starts at ``first_noise`` and is let go, and the KL weight grows from ``first_kl`` times ``kl``
    to ``kl``, until then (the bound that is reported has full weight). Until the share ``bend`` the fields are
    constant, so that the code has to straighten every cause into a direction of its own; only then may they bend.
    (Fields that bend from the start divide the causes among themselves in ways that a bent code makes look right.) At
    the shares ``revise_at`` other fields are tried on the codes as they are, and kept if they are likelier: a flow is
    split and another gives way, and on the first occasion all are tried afresh ``restarts`` times (``revisions.py``).

    Args:
        shape: ``(T + 1, *frame)``.
        flows: K.
        latent: d.
        potential: units of each potential (0: quadratic).
        rotational: units of each divergence-free field (0: linear); None for gradient flows only.
        control: ``single`` or ``double``.
        hidden, channels, network, likelihood, scale: as for ``vae``; network ``posed`` draws a canvas and
            places it (``nn/posed.py``), ``painted`` draws surfaces and paints them (``nn/painted.py``).
        tau: standard deviation of the speeds around 1.
        on, stay: probabilities of the switches.
        first_noise, first_kl, first_steps, settle: the recipe.
        bend: share of training after which fields may bend; 1 for never, 0 for codes with fewer numbers than causes,
            which no code can straighten.
        revise_at: shares of training at which fields are revised.
        restarts: how often fresh fields are fitted to the codes on the first of these occasions.
        decoded: frames decoded per training step; None for all.
        kl: weight of the codes' divergence while training.
        guide: ``exact`` or ``relaxed``.
    """

    guides = ("exact", "relaxed")
    citation = STA
    #: a step's noise starts here and is learned; small codes' differences would drown in more
    FIRST_SIGMA = 0.1

    def __init__(
        self,
        shape: Sequence[int],
        flows: int = 3,
        latent: int = 32,
        potential: int = 0,
        rotational: int | None = 0,
        control: str = "single",
        hidden: Sequence[int] = (512, 256),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        likelihood: str = "bernoulli",
        scale: float | None = None,
        tau: float = 0.141,
        on: float = 0.1,
        stay: float = 0.9,
        first_noise: float = 0.5,
        first_kl: float = 0.1,
        settle: float = 0.3,
        bend: float = 0.3,
        first_steps: int = 2,
        revise_at: Sequence[float] = (),
        restarts: int = 0,
        decoded: int | None = None,
        kl: float = 1.0,
        guide: str = "exact",
    ) -> None:
        super().__init__(shape, flows, latent, hidden, channels, network, likelihood, scale, decoded, kl)
        if control not in ("single", "double"):
            raise OptionError(f"control is '{control}'; it is 'single' or 'double'.")
        if not (0 < settle <= 1 and 0 < first_kl <= 1 and 0 <= bend <= 1 and tau > 0 and first_noise >= 0):
            raise OptionError(
                f"settle={settle}, first_kl={first_kl}, bend={bend}, tau={tau}, first_noise={first_noise}: the first "
                f"three are from 0 to 1, the others positive."
            )
        check_not_negative(potential=potential, rotational=rotational or 0)
        self.tau, self.settle, self.bend, self.first_noise, self.first_kl = tau, settle, bend, first_noise, first_kl
        if restarts < 0 or not all(0 < share < 1 for share in revise_at) or (restarts and not revise_at):
            raise OptionError(
                f"restarts={restarts}, revise_at={list(revise_at)}: restarts are counted from 0 and happen at the "
                f"first of the shares of training revise_at, which lie between 0 and 1."
            )
        if revise_at and guide != "exact":
            raise OptionError(f"revise_at goes with guide='exact', not '{guide}': it needs the density of a path.")
        self.restarts, self.revise_at = restarts, sorted(revise_at)
        self.field_options: dict[str, Any] = {
            "flows": flows,
            "latent": latent,
            "hidden": potential,
            "rotational": rotational,
            "separate": control == "double",
        }
        self.transport = self.fresh_fields()
        columns = self.transport.columns
        self.chain = SpikeChain(columns, on, stay)
        self.controls = None
        if guide == "relaxed":
            self.controls = RelaxedControls(shape[1:], hidden[-1:], self.steps, flows, columns, tau, on, stay)
        first_sigma = torch.tensor(math.log(self.FIRST_SIGMA))
        if guide == "relaxed":
            self.register_buffer("log_sigma", first_sigma)  # its steps have no noise
        else:
            self.log_sigma = nn.Parameter(first_sigma)
        self.extra_noise, self.ramp = 0.0, 1.0
        if first_steps < 1:
            raise OptionError(f"first_steps is {first_steps}; training begins with at least one step of a sequence.")
        self.first_steps = min(first_steps, self.steps) if guide == "exact" else self.steps
        self.horizon = self.steps

    def at(self, progress: float) -> None:
        share = min(progress / self.settle, 1.0)
        self.extra_noise = self.first_noise * (1 - share)
        for name, parameter in self.transport.named_parameters():
            parameter.requires_grad_(progress >= self.bend or name.endswith("drift"))
        self.ramp = self.first_kl + (1 - self.first_kl) * share
        self.horizon = round(self.first_steps + (self.steps - self.first_steps) * share)
        if self.controls is not None:
            self.controls.at(progress)

    log_sigma: Tensor

    def fresh_fields(self) -> LatentFields:
        """Fields with start values."""
        made = LatentFields(**self.field_options)
        made.start_affine()
        return made

    def revise(self, before: float, after: float, data: Any, optimiser: torch.optim.Optimizer) -> None:
        for number, share in enumerate(self.revise_at):
            if before < share <= after:
                revise_fields(self, data, self.restarts if number == 0 else 0, optimiser)

    def beginning(self, frames: Tensor) -> Float[Tensor, "batch beginning *frame"]:
        """What training looks at so far; all of every sequence when a bound is reported."""
        return frames[:, : self.horizon + 1] if self.training else frames

    @property
    def kl_weight(self) -> float:
        """What the codes cost now: ``kl`` times its ramp while training, 1 when a bound is reported."""
        return self.ramp * self.code_weight

    @property
    def sigma(self) -> Tensor:
        """Noise of a step, with what the recipe still adds."""
        return (self.log_sigma.mul(2).exp() + self.extra_noise**2).sqrt()

    def flow(self, steps: int | None = None) -> SparseFlow:
        """The distribution of paths z_0, ..., z_T; T as in the data unless ``steps`` says otherwise."""
        return self.flow_of(self.transport, self.sigma, steps)

    def flow_of(self, fields: LatentFields, sigma: Tensor, steps: int | None = None) -> SparseFlow:
        """The same with other fields and noise."""
        return SparseFlow(
            lambda z: fields(z.unsqueeze(-2)),
            self.chain,
            sigma,
            self.tau,
            self.steps if steps is None else steps,
            self.latent,
            self.flows,
        )

    def model(self, frames: Tensor) -> None:
        frames = self.beginning(frames)
        with pyro.plate("data", len(frames), dim=-1):
            with poutine.scale(scale=self.kl_weight):
                z = self._path(frames)
            chosen = self.chosen_frames(frames)
            with poutine.scale(scale=self.weight(frames, chosen)):
                seen = pick(frames, chosen, len(self.shape) - 1)
                pyro.sample("frames", self.likelihood(self.decoder(pick(z, chosen, 1))), obs=seen)

    def _path(self, frames: Tensor) -> Float[Tensor, "*batch time_1 latent"]:
        if self.controls is None:
            return pyro.sample("z", self.flow(frames.shape[1] - 1))
        z = pyro.sample("z", self.first_code(frames))
        return self._carried(z, self.controls.model(frames))

    def guide(self, frames: Tensor) -> None:
        frames = self.beginning(frames)
        with pyro.plate("data", len(frames), dim=-1), poutine.scale(scale=self.kl_weight):
            if self.controls is not None:
                pyro.sample("z", self.posterior(self.encoder(frames[:, 0])))
                self.controls.guide(frames)
                return
            found = self.posterior(self.encoder(frames)).base_dist
            pyro.sample("z", dist.Normal(found.loc, found.scale).to_event(2))

    def velocities(self, z: Float[Tensor, "*batch latent"], step: int = 1) -> Float[Tensor, "*batch flow latent"]:
        """How far each flow (both its parts) carries z in any step, at speed 1."""
        return self._both_parts(self.transport(z.unsqueeze(-2)))

    def _both_parts(self, columns: Float[Tensor, "*batch switch latent"]) -> Float[Tensor, "*batch flow latent"]:
        return columns.unflatten(-2, (-1, self.flows)).sum(-3)

    @torch.no_grad()
    def activity(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """p(y_t^k = 1 | codes) and E[g_t^k | codes, on], both ``[B, T, K]``; under double control the flow is on when
        either part is."""
        spikes, speeds = self._inferred(frames)
        if spikes.shape[-1] > self.flows:
            spikes = spikes.unflatten(-1, (2, self.flows)).amax(-2)
        return spikes, speeds

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """Frames from the first code and the inferred controls (spikes above one half, mean speeds) alone."""
        spikes, speeds = self._inferred(frames)
        weights = (spikes > 0.5) * speeds.tile(spikes.shape[-1] // self.flows)
        return self._driven(self.codes(frames)[:, 0], weights)

    def _inferred(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if self.controls is not None:
            return self.controls.activity(frames)
        return activity(self.flow(), self.codes(frames))

    @torch.no_grad()
    def drive(self, frame: Tensor, controls: Float[Tensor, "batch time flow"]) -> Float[Tensor, "batch time_1 *frame"]:
        """The frame carried along by several flows at once, each (both its parts) as far as its control says."""
        return self._driven(self.codes(frame), controls.tile(self.transport.columns // self.flows))

    def _carried(self, z: Float[Tensor, "*batch latent"], weights: Tensor) -> Float[Tensor, "*batch time_1 latent"]:
        path = [z]
        for weight in weights.unbind(-2):
            path.append(path[-1] + (weight.unsqueeze(-1) * self.transport(path[-1].unsqueeze(-2))).sum(-2))
        return torch.stack(path, -2)

    def _driven(self, z: Tensor, weights: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(self._carried(z, weights)))

    def dream_path(self, count: int) -> Tensor:
        if self.controls is not None:
            return self._carried(
                torch.randn(count, self.latent, device=self.log_sigma.device), self.controls.dream(count)
            )
        return self.flow().sample((count,))

    @torch.no_grad()
    def traverse(self, frame: Tensor, steps: int) -> Float[Tensor, "batch flow time *frame"]:
        """The frame under every flow alone, at speed 1 (both parts under double control)."""
        z = self.codes(frame).unsqueeze(1).expand(-1, self.flows, -1)
        path = [z]
        for _ in range(steps):
            z = z + self._both_parts(self.transport(z))
            path.append(z)
        return self.likelihood.mean(self.decoder(torch.stack(path, -2)))
