"""Flow factorised representation, supervised: the transformation of every sequence is known."""

from __future__ import annotations

from typing import ClassVar

import pyro
import torch
from jaxtyping import Float, Int
from pyro import poutine
from torch import Tensor
from torch.nn import functional

from pyro_models.flows.frames import FFRL, pick
from pyro_models.flows.transported import SHAPED, TransportedStory


class SupervisedFlow(TransportedStory):
    r"""One code per sequence, carried along by the gradient of the potential that belongs to the transformation.

    .. code-block:: text

        +-- data (B) -----------------------------------------+   k known: which transformation          [B]
        |      k ----------+-----------+--------...           |   z_0 ~ N(0, I)                          [B, d]
        |                  v           v                      |   z_t = z_{t-1} + grad u^k(z_{t-1}, t)   [B, T, d]
        |  z_0 ---------> z_1 ------> z_2 ----> ... -> z_T    |   x_t | z_t ~ p(x | dec(z_t))     [B, T + 1, *frame]
        |   |              |           |                |     |
        |   v              v           v                v     |   q(z_0 | x_0) = N(mu(x_0), diag sigma(x_0)^2)
        |  x_0            x_1         x_2              x_T    |
        +-----------------------------------------------------+

    The steps are deterministic, so the bound is exactly that of a VAE whose one code explains all frames:
    E log p(x_0..x_T | z_0) - KL(q(z_0|x_0) || p(z_0)). While the story trains (and only then: no bound, weight or
    metric ever contains them) three named factors shape the potentials:

    * ``hamilton_jacobi``: -pde times the squared residual of :math:`\partial_t u + |\nabla u|^2/2 + f^2`, per sequence
      and step: dynamic optimal transport, with a learned force f;
      With ``equation="wave"``, as in potential flows (Song et al., ICML 2023), ``wave`` takes its place:
      -pde times the squared residual of :math:`\partial_{tt} u - c^2 \nabla^2 u` with a learned speed c;
    * ``initial_condition``: -pde times :math:`|\nabla u(z_0, 0)|^2 + f(z_0, 0)^2` (without f for waves);
    * ``flow_prior``: the weight ``flow_prior`` times what the transported code gains under the heat equation's
      solution N(0, (1 + 2 D t) I), :math:`\log p_t(z_t) + \sum \log|\det(I + \nabla^2 u)| - \log p_0(z_0)`,
      with the exact log-determinant.

    Args:
        shape: ``(T + 1, *frame)``.
        flows: K.
        latent: d.
        potential: units of each potential.
        hidden, channels, network, likelihood, scale: as for ``vae``; network ``posed`` draws a canvas and
            places it (``nn/posed.py``), ``painted`` draws surfaces and paints them (``nn/painted.py``).
        pde: weight of the equation's residual and of the initial condition.
        flow_prior: weight of the flow prior.
        diffusion: D.
        decoded: frames decoded per training step; None for all.
        kl: weight of the first code's divergence while training.
        equation: what the potentials are made to solve, ``hamilton-jacobi`` or ``wave``.
    """

    fields: ClassVar[tuple[str, ...]] = ("frames", "k")
    citation = FFRL

    def model(self, frames: Tensor, k: Int[Tensor, " batch"]) -> None:
        with pyro.plate("data", len(frames), dim=-1):
            with poutine.scale(scale=self.code_weight):
                z = pyro.sample("z", self.first_code(frames))
            path = self.path_of(z, k)
            chosen = self.chosen_frames(frames)
            logits = self.decoder(pick(path, chosen, 1))
            with poutine.scale(scale=self.weight(frames, chosen)):
                seen = pick(frames, chosen, len(self.shape) - 1)
                pyro.sample("frames", self.likelihood(logits), obs=seen)
            if self.training:
                self.shape_potentials(path, k)

    def guide(self, frames: Tensor, k: Int[Tensor, " batch"]) -> None:
        with pyro.plate("data", len(frames), dim=-1), poutine.scale(scale=self.code_weight):
            pyro.sample("z", self.posterior(self.encoder(frames[:, 0])))

    def shape_potentials(self, path: Float[Tensor, "*batch time latent"], k: Int[Tensor, " batch"]) -> None:
        """The named training factors, on the flow of every sequence (of the first few)."""
        size, path, k = path.shape[-3], path[..., :SHAPED, :, :], k[:SHAPED]
        before, own = path[..., :-1, :].unsqueeze(-2), functional.one_hot(k, self.flows).to(path.dtype).unsqueeze(-2)
        if self.pde:
            residual, start = self.residual(before.detach())  # they shape the potentials, at the codes as they are
            self.add_term(self.equation.replace("-", "_"), -self.pde * (residual.square() * own).sum((-1, -2)), size)
            self.add_term("initial_condition", -self.pde * (start * own[..., 0, :]).sum(-1), size)
        if self.flow_prior:
            clock = self.transport.clock()
            assert clock is not None
            volume = self.transport.jacobian(before, clock[1:]).log_det_step(k.unsqueeze(-1)).cumsum(-1)
            gain = self.log_heat(path[..., 1:, :]) + volume - self.log_heat(path[..., :1, :], 0)
            self.add_term("flow_prior", self.flow_prior * gain.sum(-1), size)

    @torch.no_grad()
    def reconstruct(self, frames: Tensor, k: Tensor) -> Tensor:
        """All frames foretold from the first one and the flow: expectations, ``[B, T + 1, *frame]``."""
        return self.likelihood.mean(self.decoder(self.path_of(self.features(frames), k)))
