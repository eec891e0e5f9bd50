"""Sparse flows on trajectories that are seen as they are: which few fields move these points?"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.flows.frames import STA, check_not_negative
from pyro_models.flows.spikes import SpikeChain
from pyro_models.flows.transition import SparseFlow, StepDensity
from pyro_models.nn.potentials import LatentFields, check_sizes
from pyro_models.story import Story


class TrajectoryFlow(Story):
    r"""K fields, each on or off at every step, explain how observed points move; spikes and speeds are summed out.

    .. code-block:: text

        +-- data (B) -------------------------------------+    y_t ~ Markov chain of K switches (0.1 on, 0.9 stay)
        |    y_1 ------> y_2 ------> ... ------> y_T      |    g_t ~ N(1, tau^2 I)
        |     |           |                       |       |    z_0 ~ N(0, I)
        |    z_1 ------> z_2 ------> ... ------> z_T      |    z_t ~ N(z_{t-1} + sum_k y_t^k g_t^k v^k(z_{t-1}),
        |   /                                             |             sigma^2 I)
        |  z_0       (g_t acts on z_t, not drawn)         |    frames = z_0, ..., z_T, observed   [B, T + 1, d]
        +-------------------------------------------------+

    No guide is needed: the likelihood is exact. It has local maxima, so ``restarts`` sets of fields are trained side by
    side as one batch; the one with the best likelihood of the training data (never one chosen by truth) is kept. The
    recipe: fields start affine, the noise is kept large at first and let go, and only in the last part of training the
    ``hidden`` units of non-affine fields are let in (their weights start small and are frozen until then).

    Args:
        shape: ``(T + 1, d)``.
        flows: K.
        hidden: units of each potential and of each rotational field; 0 for affine fields.
        tau: standard deviation of the speeds around 1.
        on, stay: probabilities of the switches.
        restarts: sets of fields trained at once.
        first_noise: the noise that training starts with.
        settle: share of training after which the noise is free and the hidden units are let in.
    """

    fields = ("frames",)
    citation = STA
    #: the noise that is added to the learned one has fallen to this when it is let go: negligible beside any data
    LAST_NOISE = 1e-3

    def __init__(
        self,
        shape: Sequence[int],
        flows: int = 3,
        hidden: int = 0,
        tau: float = 0.141,
        on: float = 0.1,
        stay: float = 0.9,
        restarts: int = 1,
        first_noise: float = 0.5,
        settle: float = 0.6,
    ) -> None:
        super().__init__()
        if len(shape) != 2:
            raise OptionError(f"trajectories have the shape (steps + 1, dimensions), but these have {tuple(shape)}.")
        check_sizes(flows=flows, restarts=restarts)
        if not 0 < settle < 1:
            raise OptionError(f"settle is {settle}; it is a share of training between 0 and 1.")
        if not (first_noise > 0 and tau >= 0):
            raise OptionError(
                f"first_noise is {first_noise} and tau is {tau}; the one is above 0, the other at least 0."
            )
        check_not_negative(hidden=hidden)
        self.steps, self.latent = shape[0] - 1, shape[1]
        self.flows, self.hidden, self.tau, self.restarts = flows, hidden, tau, restarts
        self.first_noise, self.settle = first_noise, settle
        self.max_plate_nesting = 2 if restarts > 1 else 1  # type: ignore[misc]  # differs from story to story
        self.chain = SpikeChain(flows, on, stay)
        made = [self._fields() for _ in range(restarts)]
        stacked, _ = stack_module_state([nn.ModuleList([one]) for one in made])
        self.names = {name.replace(".", "__"): name.removeprefix("0.") for name in stacked}
        self.weights = nn.ParameterDict({key: stacked[f"0.{name}"].detach() for key, name in self.names.items()})
        self.log_sigma = nn.Parameter(torch.full((restarts,), -1.0))
        #: not a submodule: it only lends its formulas to the stacked weights
        self._formulas = (self._fields(),)
        self.register_buffer("best", torch.zeros((), dtype=torch.long))
        self.extra_noise = 0.0
        self.extras_in = True

    best: Tensor

    def _fields(self) -> LatentFields:
        made = LatentFields(self.flows, self.latent, self.hidden, rotational=self.hidden)
        with torch.no_grad():
            made.potentials.drift.normal_(0, 0.3)
            made.potentials.quadratic.normal_(0, 0.1)
            assert made.rotations is not None
            made.rotations.linear.normal_(0, 0.1)
        made.start_affine()
        return made

    def at(self, progress: float) -> None:
        share = progress / self.settle
        self.extra_noise = self.first_noise * (self.LAST_NOISE / self.first_noise) ** share if share < 1 else 0.0
        self.extras_in = share >= 1

    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        if after >= 1.0 and self.restarts > 1:
            self.choose(data)

    @torch.no_grad()
    def choose(self, data: Data) -> Tensor:
        """Keeps the restart with the best likelihood of the data; returns all of theirs ``[restarts]``, per datum."""
        self.at(1.0)
        flow = self.flow(every=True)
        total = sum(flow.log_prob(batch["frames"]).sum(-1) for batch in data.chunks(256))
        self.best.copy_(torch.as_tensor(total).argmax())
        return torch.as_tensor(total) / len(data)

    def columns(self, z: Float[Tensor, "*batch latent"], every: bool = False) -> Tensor:
        """The K velocities at z: ``[..., K, d]`` of the best restart, or of each, ``[restarts, ..., K, d]``."""
        weights = {name: self._let_in(name, self.weights[key]) for key, name in self.names.items()}
        points, formulas = z.unsqueeze(-2), self._formulas[0]
        if every:
            return vmap(lambda own: functional_call(formulas, own, (points,)))(weights)
        return functional_call(formulas, {name: w[self.best] for name, w in weights.items()}, (points,))

    def _let_in(self, name: str, weight: Tensor) -> Tensor:
        late = name.endswith(("outer", "direction"))
        return weight if self.extras_in or not late else weight * 0

    def velocities(self, z: Float[Tensor, "*batch latent"], step: int = 1) -> Float[Tensor, "*batch flow latent"]:
        """How far each flow carries z in any step, at speed 1; of the best restart."""
        return self.columns(z)

    def codes(self, frames: Tensor) -> Tensor:
        """Points are their own codes."""
        return frames

    def flow(self, every: bool = False) -> SparseFlow:
        """The distribution of trajectories; with ``every`` batched over restarts, ``[restarts, 1]``."""
        sigma = self.log_sigma if every else self.log_sigma[self.best]
        sigma = (sigma.mul(2).exp() + self.extra_noise**2).sqrt()
        return SparseFlow(
            lambda z: self.columns(z, every),
            self.chain,
            sigma.unsqueeze(-1) if every else sigma,
            self.tau,
            self.steps,
            self.latent,
            self.flows,
        )

    def model(self, frames: Tensor) -> None:
        every = self.training and self.restarts > 1
        with pyro.plate("data", len(frames), dim=-1):
            if every:
                with pyro.plate("restarts", self.restarts, dim=-2):
                    pyro.sample("frames", self.flow(every=True), obs=frames)
            else:
                pyro.sample("frames", self.flow(), obs=frames)

    def guide(self, frames: Tensor) -> None:
        """Nothing is left to guess."""

    @torch.no_grad()
    def activity(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """p(y_t^k = 1 | frames) and E[g_t^k | frames, on], both ``[B, T, K]``."""
        return activity(self.flow(), frames)


@torch.no_grad()
def activity(flow: SparseFlow, z: Float[Tensor, "batch time latent"]) -> tuple[Tensor, Tensor]:
    """Exact posterior of the spikes and mean speeds given that they are on: ``[batch, T, switches]``, ``[..., K]``."""
    step: StepDensity = flow.steps_of(z)
    states = flow.chain.smoothed(step.log_probs())
    spikes = states @ flow.chain.states
    driven = flow.selection.amax(1)  # [S, K]: does any column of this flow act?
    weights = states.unsqueeze(-1) * driven
    speeds = (weights * step.speeds()).sum(-2) / weights.sum(-2).clamp(min=1e-12)
    return spikes, speeds
