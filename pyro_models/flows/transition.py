r"""One step of the sparse flow with the speeds integrated out, and whole trajectories with the spikes summed out.

    y_t ~ chain of switches (spikes.py)                             which flows are on
    g_t ~ N(1, tau^2 I_K)                                           how fast each would run (the slab)
    z_t | z_{t-1}, y_t, g_t ~ N(z_{t-1} + V(z_{t-1}) (y_t o g_t), sigma^2 I_d)

Given y the step is linear in g, so that g integrates out: with C_y the columns of V that are on,

    z_t - z_{t-1} | y ~ N(C_y 1, sigma^2 I + tau^2 C_y C_y').

All 2^M - 1 densities follow from the inner products V'V, V'(z_t - z_{t-1}) and |z_t - z_{t-1}|^2 alone: the fields are
evaluated once per step, not once per state. Under double control two switches per flow choose its potential and its
rotational column, which share one speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_models.flows.spikes import SpikeChain

Fields = Callable[[Tensor], Tensor]


def selections(states: Float[Tensor, "state switch"], flows: int) -> Float[Tensor, "state switch flow"]:
    """Which of the ``switches`` columns are on in a state, and which of the K speeds drives each."""
    switches = states.shape[1]
    speed_of = torch.eye(flows, device=states.device).repeat(switches // flows, 1)
    return states.unsqueeze(-1) * speed_of


class StepDensity:
    """log p(z_t | z_{t-1}, y) for every state y, and the posterior of the speeds given it.

    Args:
        change: z_t - z_{t-1}, ``[..., d]``.
        columns: V(z_{t-1}), ``[..., M, d]``.
        sigma: noise, broadcastable against ``[...]``.
        tau: standard deviation of the speeds.
        selection: ``[S, M, K]`` from :func:`selections`.
    """

    def __init__(self, change: Tensor, columns: Tensor, sigma: Tensor, tau: float, selection: Tensor) -> None:
        precision = sigma.square().reciprocal()
        weighted = columns * precision[..., None, None]
        gram = weighted @ columns.mT
        overlap = (weighted @ change.unsqueeze(-1)).squeeze(-1)
        self.size = change.shape[-1]
        self.sigma, self.tau = sigma, tau
        self.length = change.square().sum(-1) * precision
        self.selection = selection
        #: C_y'C_y and C_y'(z_t - z_{t-1}), over sigma^2: [..., S, K, K] and [..., S, K]
        self.gram = selection.mT @ gram.unsqueeze(-3) @ selection
        self.overlap = torch.einsum("smk,...m->...sk", selection, overlap)
        #: C_y'(z_t - z_{t-1} - C_y 1) over sigma^2
        self.pull = self.overlap - self.gram.sum(-1)

    def log_probs(self) -> Float[Tensor, "*batch state"]:
        residual = self.length.unsqueeze(-1) - (self.overlap + self.pull).sum(-1)
        pivots, explained = eliminate(self.tau**2 * self.gram, self.pull)
        normaliser = self.size * (2 * math.pi * self.sigma.square()).log()
        return -0.5 * (normaliser.unsqueeze(-1) + pivots + residual - self.tau**2 * explained)

    def speeds(self) -> Float[Tensor, "*batch state flow"]:
        """E[g | z, y]; 1, the prior mean, for flows that are off."""
        eye = torch.eye(self.gram.shape[-1], device=self.gram.device, dtype=self.gram.dtype)
        return 1 + self.tau**2 * torch.linalg.solve(eye + self.tau**2 * self.gram, self.pull)


def eliminate(matrix: Float[Tensor, "*batch k k"], vector: Float[Tensor, "*batch k"]) -> tuple[Tensor, Tensor]:
    """log det(I + matrix) and vector'(I + matrix)^-1 vector of small symmetric positive semi-definite matrices.

    Gaussian elimination written out over the few columns: each operation runs over the whole batch of states and steps,
    where a batched LAPACK call would go through them one by one.
    """
    size = matrix.shape[-1]
    rows = [[matrix[..., i, j] + float(i == j) for j in range(i, size)] for i in range(size)]
    right = list(vector.unbind(-1))
    log_det, quadratic = torch.zeros_like(right[0]), torch.zeros_like(right[0])
    for i in range(size):
        pivot = rows[i][0]
        log_det = log_det + pivot.log()
        quadratic = quadratic + right[i].square() / pivot
        for j in range(i + 1, size):
            factor = rows[i][j - i] / pivot
            right[j] = right[j] - factor * right[i]
            rows[j] = [rows[j][m - j] - factor * rows[i][m - i] for m in range(j, size)]
    return log_det, quadratic


class SparseFlow(TorchDistribution):
    r"""Trajectories z_0, ..., z_T of the sparse flow, z_0 ~ N(0, I), spikes and speeds summed and integrated out.

    Args:
        fields: ``[..., d] -> [..., M, d]``, the columns V(z).
        chain: of the switches.
        sigma: noise of a step, a tensor that broadcasts against the batch.
        tau: standard deviation of the speeds.
        steps: T.
        latent: d.
        flows: K.
        start: whether z_0 is scored; False for a density given z_0.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = False

    def __init__(
        self,
        fields: Fields,
        chain: SpikeChain,
        sigma: Tensor,
        tau: float,
        steps: int,
        latent: int,
        flows: int,
        start: bool = True,
        batch_shape: torch.Size = torch.Size(),  # noqa: B008  # immutable
    ) -> None:
        self.fields, self.chain, self.sigma, self.tau = fields, chain, sigma, tau
        self.steps, self.latent, self.flows, self.start = steps, latent, flows, start
        self.selection = selections(chain.states, flows)
        super().__init__(batch_shape, torch.Size((steps + 1, latent)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SparseFlow:
        return SparseFlow(
            self.fields,
            self.chain,
            self.sigma,
            self.tau,
            self.steps,
            self.latent,
            self.flows,
            self.start,
            torch.Size(batch_shape),
        )

    def steps_of(self, z: Float[Tensor, "*batch time latent"]) -> StepDensity:
        """The T step densities of a trajectory, batched ``[..., T]``."""
        before, after = z[..., :-1, :], z[..., 1:, :]
        sigma = self.sigma.unsqueeze(-1) if self.sigma.dim() else self.sigma
        return StepDensity(after - before, self.fields(before), sigma, self.tau, self.selection)

    def log_prob(self, value: Float[Tensor, "*batch time latent"]) -> Float[Tensor, "*batch"]:
        found = self.chain.log_evidence(self.steps_of(value).log_probs())
        if self.start:
            first = value[..., 0, :]
            found = found - 0.5 * (first.square() + math.log(2 * math.pi)).sum(-1)
        return found

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008  # immutable
        shape = tuple(torch.Size(sample_shape) + self.batch_shape)
        z = torch.randn(*shape, self.latent, device=self.sigma.device)
        on = self.chain.switches_on(self.chain.sample(shape, self.steps))
        return torch.stack([z, *self.follow(z, on)], -2)

    @torch.no_grad()
    def follow(self, z: Tensor, on: Float[Tensor, "*batch time switch"]) -> list[Tensor]:
        """The steps from z on under given spikes, with fresh speeds and noise."""
        found = []
        for t in range(on.shape[-2]):
            speeds = 1 + self.tau * torch.randn(*z.shape[:-1], self.flows, device=z.device)
            weights = on[..., t, :] * speeds.tile(on.shape[-1] // self.flows)
            z = z + (weights.unsqueeze(-1) * self.fields(z)).sum(-2) + self.sigma * torch.randn_like(z)
            found.append(z)
        return found
