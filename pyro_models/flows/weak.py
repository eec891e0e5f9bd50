"""Flow factorised representation, weakly supervised: every sequence has one transformation, nobody says which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from pyro_models.errors import OptionError
from pyro_models.flows.frames import FFRL, pick
from pyro_models.flows.transported import SHAPED, TransportedStory
from pyro_models.nn import mlp


class WeakFlow(TransportedStory):
    r"""The story of ``flow-supervised`` with a latent transformation, one per sequence.

    .. code-block:: text

        +-- data (B) -------------------------------------+    k ~ Categorical(1/K)                    [B]
        |      k ----------+-----------+------...         |    z_0 ~ N(0, I)                           [B, d]
        |                  v           v                  |    z_t = z_{t-1} + grad u^k(z_{t-1}, t)    [B, T, d]
        |  z_0 ---------> z_1 ------> z_2 ----> ...       |    x_t | z_t ~ p(x | dec(z_t))      [B, T + 1, *frame]
        |   |              |           |                  |
        |  x_0            x_1         x_2                 |    q(z_0 | x_0) = N(mu(x_0), diag sigma(x_0)^2)
        +-------------------------------------------------+

    Guides:

    * ``collapsed`` (default): k is summed out of the likelihood; q(k | x) is the exact posterior given z_0, and no
      network guesses it;
    * ``amortized``: q(k | x_0..x_T) from a network on all frames, for any estimator of discrete sites (``exact``, or
      ``concrete`` for the published relaxation).

    With ``decoded`` frames per step, the ``collapsed`` objective is a composite likelihood: the exact evidence of the
    frames drawn, scaled up.

    Args:
        flows: K.
        guide: one of the above.

    The other arguments are those of ``flow-supervised``.
    """

    fields: ClassVar[tuple[str, ...]] = ("frames",)
    guides = ("collapsed", "amortized")
    citation = FFRL

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
        guide: str = "collapsed",
    ) -> None:
        super().__init__(
            shape,
            flows,
            latent,
            potential,
            hidden,
            channels,
            network,
            likelihood,
            scale,
            pde,
            flow_prior,
            diffusion,
            decoded,
            kl,
            equation,
        )
        if guide == "amortized":
            if not hidden:
                raise OptionError(
                    "guide='amortized' reads all frames through a layer as wide as the last of hidden, and hidden is "
                    "empty; give one width or more, as hidden=[256]."
                )
            self.default_estimator = "exact"  # type: ignore[misc]  # k is a discrete site of this guide only
        inputs = int(torch.Size(shape).numel())
        self.index = mlp(inputs, (hidden[-1],), flows) if guide == "amortized" else None

    def model(self, frames: Tensor) -> None:
        with pyro.plate("data", len(frames), dim=-1):
            with poutine.scale(scale=self.code_weight):
                z = pyro.sample("z", self.first_code(frames))
            if self.index is not None:
                k = pyro.sample("k", dist.Categorical(logits=frames.new_zeros(self.flows)))
            paths = self.roll_out(z).movedim(-2, -3)
            chosen = self.chosen_frames(frames)
            seen = pick(frames, chosen, len(self.shape) - 1)
            with poutine.scale(scale=self.weight(frames, chosen)):
                if self.index is not None:
                    path = choose_flow(paths, k)
                    pyro.sample("frames", self.likelihood(self.decoder(pick(path, chosen, 1))), obs=seen)
                else:
                    pyro.sample("frames", self.mixture(paths, chosen), obs=seen)
            if self.training:
                self.shape_all_potentials(paths)

    def guide(self, frames: Tensor) -> None:
        with pyro.plate("data", len(frames), dim=-1):
            with poutine.scale(scale=self.code_weight):
                pyro.sample("z", self.posterior(self.encoder(frames[:, 0])))
            if self.index is not None:
                pyro.sample("k", dist.Categorical(logits=self.index(frames.flatten(1))))

    def mixture(self, paths: Float[Tensor, "*batch flow time latent"], chosen: Tensor | None) -> Any:
        """p(frames | z_0): the K roll-outs, each with weight 1/K."""
        if chosen is not None:
            index = chosen[:, None, :, None].expand(*paths.shape[:-2], -1, self.latent)
            paths = paths.gather(-2, index)
        uniform = dist.Categorical(logits=paths.new_zeros(paths.shape[:-2]))
        # grey pixels are no bits: their support is not checked, as in the likelihood itself
        return dist.MixtureSameFamily(uniform, self.likelihood(self.decoder(paths)), validate_args=False)

    def shape_all_potentials(self, paths: Float[Tensor, "*batch flow time latent"]) -> None:
        """The training terms of ``flow-supervised``, averaged over the flows: each along its own path."""
        size, paths = paths.shape[-4], paths[..., :SHAPED, :, :, :]
        before = paths[..., :-1, :].transpose(-2, -3)
        if self.pde:
            residual, start = self.residual(before.detach())
            self.add_term(self.equation.replace("-", "_"), -self.pde * residual.square().mean(-1).sum(-1), size)
            self.add_term("initial_condition", -self.pde * start.mean(-1), size)
        if self.flow_prior:
            clock = self.transport.clock()
            assert clock is not None
            volume = self.transport.jacobian(before, clock[1:]).log_det_step().cumsum(-2).mean(-1)
            gain = self.log_heat(paths[..., 1:, :]).mean(-2) + volume - self.log_heat(paths[..., 0, :1, :], 0)
            self.add_term("flow_prior", self.flow_prior * gain.sum(-1), size)

    @torch.no_grad()
    def responsibilities(self, frames: Tensor) -> Float[Tensor, "batch flow"]:
        """q(k | frames): exact at the posterior mean of z_0, or the network's."""
        if self.index is not None:
            return self.index(frames.flatten(1)).softmax(-1)
        components = self.mixture(self.roll_out(self.features(frames)).movedim(-2, -3), None).component_distribution
        return components.log_prob(frames.unsqueeze(1)).softmax(-1)

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """All frames foretold from the first one and the most probable flow, ``[B, T + 1, *frame]``."""
        k = self.responsibilities(frames).argmax(-1)
        return self.likelihood.mean(self.decoder(self.path_of(self.features(frames), k)))

    @torch.no_grad()
    def activity(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The responsibilities at every step and speeds of one, both ``[B, T, K]``."""
        spikes = self.responsibilities(frames).unsqueeze(1).expand(-1, self.steps, -1)
        return spikes, torch.ones_like(spikes)


def choose_flow(paths: Float[Tensor, "*batch flow time latent"], k: Tensor) -> Float[Tensor, "*out time latent"]:
    """The path of flow k; k may carry enumeration dimensions to the left."""
    own = torch.nn.functional.one_hot(k, paths.shape[-3]).to(paths.dtype)
    return torch.einsum("...k,...ktd->...td", own, paths)
