"""What the supervised and the weakly supervised flow share: codes moved by the gradients of K potentials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pyro_models.errors import unknown_name
from pyro_models.flows.frames import FrameStory, check_not_negative
from pyro_models.nn.potentials import LatentFields, Potentials

#: the training terms are means over so many sequences of a batch: they are smooth in the codes, and cost per sequence
SHAPED = 16
#: what the potentials are made to solve while they are learned
EQUATIONS = ("hamilton-jacobi", "wave")


class TransportedStory(FrameStory):
    r"""z_t = z_{t-1} + grad u^k(z_{t-1}, t), and the equations that shape the potentials u^k while they are learned."""

    def __init__(
        self,
        shape: Sequence[int],
        flows: int = 3,
        latent: int = 32,
        potential: int = 16,
        hidden: Sequence[int] = (512, 256),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        likelihood: str = "bernoulli",
        scale: float | None = None,
        pde: float = 0.1,
        flow_prior: float = 0.01,
        diffusion: float = 0.1,
        decoded: int | None = None,
        kl: float = 1.0,
        equation: str = "hamilton-jacobi",
    ) -> None:
        super().__init__(shape, flows, latent, hidden, channels, network, likelihood, scale, decoded, kl)
        if equation not in EQUATIONS:
            raise unknown_name("equation", equation, EQUATIONS)
        check_not_negative(potential=potential, pde=pde, flow_prior=flow_prior, diffusion=diffusion)
        self.pde, self.flow_prior, self.diffusion = pde, flow_prior, diffusion
        self.transport = LatentFields(flows, latent, potential, steps=self.steps)
        self.force = self.log_wave_speed = None
        if pde and equation == "hamilton-jacobi":
            self.force = Potentials(flows, latent, potential, steps=self.steps, quadratic=False)
        elif pde:
            self.log_wave_speed = nn.Parameter(torch.zeros(flows))
        self.equation = equation

    def roll_out(self, z: Float[Tensor, "*batch latent"], steps: int | None = None) -> Tensor:
        """Codes under every flow, ``[..., T + 1, K, d]``, from z at time 0; the clock stops at the trained time."""
        clock = self.transport.clock()
        assert clock is not None
        now = z.unsqueeze(-2).expand(*z.shape[:-1], self.flows, self.latent)
        path = [now]
        for t in range(1, (self.steps if steps is None else steps) + 1):
            now = now + self.transport(now, clock[min(t, self.steps)])
            path.append(now)
        return torch.stack(path, -3)

    def path_of(
        self, z: Float[Tensor, "*batch latent"], k: Int[Tensor, " batch"]
    ) -> Float[Tensor, "*batch time latent"]:
        """Codes z_0, ..., z_T under each sequence's own flow."""
        clock = self.transport.clock()
        assert clock is not None
        own = functional.one_hot(k, self.flows).to(z.dtype).unsqueeze(-2)
        path = [z]
        for t in range(1, self.steps + 1):
            z = z + (own @ self.transport(z.unsqueeze(-2), clock[t])).squeeze(-2)
            path.append(z)
        return torch.stack(path, -2)

    def velocities(self, z: Float[Tensor, "*batch latent"], step: int = 1) -> Float[Tensor, "*batch flow latent"]:
        """How far each flow carries z in a step; beyond T the last field goes on."""
        clock = self.transport.clock()
        assert clock is not None
        return self.transport(z.unsqueeze(-2), clock[min(step, self.steps)])

    def residual(self, before: Float[Tensor, "*batch time _ latent"]) -> tuple[Tensor, Tensor]:
        """Residuals of the potentials' equation at steps 1..T ``[..., T, K]``, squares of its initial condition
        ``[..., K]``."""
        return self._hamilton_jacobi(before) if self.force is not None else self._wave(before)

    def _hamilton_jacobi(self, before: Tensor) -> tuple[Tensor, Tensor]:
        assert self.force is not None
        potentials, clock = self.transport.potentials, self.transport.potentials.clock
        force_clock = self.force.clock
        assert clock is not None
        assert force_clock is not None
        (value, change), forces = clock.with_derivative(), force_clock()
        speed = potentials(before, value[1:]).square().sum(-1)
        residual = potentials.time_derivative(before, value[1:], change[1:]) + speed / 2
        residual = residual + self.force.value(before, forces[1:]).square()
        first = before[..., 0, :, :]
        start = potentials(first, value[0]).square().sum(-1) + self.force.value(first, forces[0]).square()
        return residual, start

    def _wave(self, before: Tensor) -> tuple[Tensor, Tensor]:
        assert self.log_wave_speed is not None
        potentials, clock = self.transport.potentials, self.transport.potentials.clock
        assert clock is not None
        value, change, bend = clock.with_derivatives()
        spread = potentials.hessian(before, value[1:]).trace()
        residual = potentials.second_time_derivative(before, value[1:], change[1:], bend[1:])
        residual = residual - (2 * self.log_wave_speed).exp() * spread
        return residual, potentials(before[..., 0, :, :], value[0]).square().sum(-1)

    def log_heat(self, z: Float[Tensor, "*batch time latent"], first: int = 1) -> Float[Tensor, "*batch time"]:
        """log N(z_t; 0, (1 + 2 D t) I), the heat equation's solution from N(0, I), at times first, first + 1, ..."""
        times = torch.arange(first, first + z.shape[-2], device=z.device)
        variance = 1 + 2 * self.diffusion * times
        return -0.5 * (z.square().sum(-1) / variance + self.latent * (2 * math.pi * variance).log())

    def dream_path(self, count: int) -> Tensor:
        device = self.transport.potentials.drift.device
        k = torch.arange(count, device=device) % self.flows
        return self.path_of(torch.randn(count, self.latent, device=device), k)

    @torch.no_grad()
    def traverse(self, frame: Tensor, steps: int) -> Float[Tensor, "batch flow time *frame"]:
        """The frame under every flow, for pictures; beyond T the last field goes on."""
        path = self.roll_out(self.codes(frame), steps)
        return self.likelihood.mean(self.decoder(path.movedim(-2, -3)))

    @torch.no_grad()
    def drive(self, frame: Tensor, controls: Float[Tensor, "batch time flow"]) -> Float[Tensor, "batch time_1 *frame"]:
        """The frame carried along by several flows at once, each as far as its control says; beyond T the last field
        goes on."""
        path = [self.codes(frame)]
        for t, control in enumerate(controls.unbind(1), 1):
            path.append(path[-1] + (control.unsqueeze(-1) * self.velocities(path[-1], t)).sum(-2))
        return self.likelihood.mean(self.decoder(torch.stack(path, 1)))

    def add_term(self, name: str, values: Float[Tensor, "*batch"], size: int) -> None:
        """A named training term, known for the first sequences of a batch of ``size``: their mean stands for all."""
        pyro.factor(name, values.mean(-1, keepdim=True).expand(*values.shape[:-1], size), has_rsample=True)
