"""Codes of frames that know nothing of flows, and the straight direction that each transformation happens to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from pyro import poutine
from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError, unknown_name
from pyro_models.flows.frames import FFRL, FrameStory, pick

SLOW = (
    "@inproceedings{klindt2021slowvae,\n  title={Towards Nonlinear Disentanglement in Natural Data with Temporal "
    "Sparse Coding},\n  author={Klindt, David and Schott, Lukas and Sharma, Yash and Ustyuzhaninov, Ivan and Brendel, "
    "Wieland and Bethge, Matthias and Paiton, Dylan},\n  booktitle={International Conference on Learning "
    "Representations},\n  year={2021}\n}"
)


class FrameCodes(FrameStory):
    r"""A VAE of single frames, or one whose codes change little and seldom: what flows are compared with.

    .. code-block:: text

        +-- data (B) ------------------------------+    prior="independent":  z_t ~ N(0, I)
        |  z_0 - - - > z_1 - - - > z_2 ... z_T     |    prior="slow":         z_0 ~ N(0, I)
        |   |           |           |       |      |                          z_t ~ Laplace(z_{t-1}, 1 / rate)
        |   v           v           v       v      |    x_t | z_t ~ p(x | dec(z_t))          [B, T + 1, *frame]
        |  x_0         x_1         x_2     x_T     |
        +------------------------------------------+    q(z_t | x_t) = N(mu(x_t), diag sigma(x_t)^2)

    Nothing in training sees the transformation k. So that frames can be foretold all the same, the mean change of the
    code in a step, :math:`v_k = E[\mu(x_t) - \mu(x_{t-1}) | k]`, is read off the training data when training ends; a
    frame is carried along by z_t = z_{t-1} + v_k.

    Args:
        shape: ``(T + 1, *frame)``.
        flows: K.
        latent: d.
        prior: ``independent`` (a VAE; with ``kl`` above 1 a beta-VAE) or ``slow`` (SlowVAE).
        rate: of the Laplace distribution of changes.
        hidden, channels, network, likelihood, scale: as for ``vae``; network ``posed`` draws a canvas and
            places it (``nn/posed.py``), ``painted`` draws surfaces and paints them (``nn/painted.py``).
        decoded: frames decoded per training step; None for all.
        kl: weight of the codes' divergence while training.
    """

    fields: ClassVar[tuple[str, ...]] = ("frames", "k")
    citation = FFRL + "\n\n" + SLOW
    #: sequences from which directions are read
    READ: ClassVar[int] = 2000

    directions: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        flows: int = 3,
        latent: int = 32,
        prior: str = "independent",
        rate: float = 6.0,
        hidden: Sequence[int] = (512, 256),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        likelihood: str = "bernoulli",
        scale: float | None = None,
        decoded: int | None = None,
        kl: float = 1.0,
    ) -> None:
        super().__init__(shape, flows, latent, hidden, channels, network, likelihood, scale, decoded, kl)
        if prior not in ("independent", "slow"):
            raise unknown_name("prior", prior, ("independent", "slow"))
        if not rate > 0:
            raise OptionError(f"rate is {rate}; the rate of a Laplace distribution is positive.")
        self.slow, self.rate = prior == "slow", rate
        self.register_buffer("directions", torch.zeros(flows, latent))

    def model(self, frames: Tensor, k: Int[Tensor, " batch"]) -> None:  # nothing here knows k
        with pyro.plate("data", len(frames), dim=-1):
            with poutine.scale(scale=self.code_weight):
                z = self._codes(frames)
            chosen = self.chosen_frames(frames)
            with poutine.scale(scale=self.weight(frames, chosen)):
                seen = pick(frames, chosen, len(self.shape) - 1)
                pyro.sample("frames", self.likelihood(self.decoder(pick(z, chosen, 1))), obs=seen)

    def _codes(self, like: Tensor) -> Float[Tensor, "*batch time_1 latent"]:
        if not self.slow:
            normal = dist.Normal(like.new_zeros(self.steps + 1, self.latent), 1.0)
            return pyro.sample("z", normal.to_event(2))
        first = pyro.sample("z_0", self.first_code(like))
        path = [first]
        for t in range(1, self.steps + 1):
            path.append(pyro.sample(f"z_{t}", dist.Laplace(path[-1], 1 / self.rate).to_event(1)))
        return torch.stack(path, -2)

    def guide(self, frames: Tensor, k: Int[Tensor, " batch"]) -> None:
        with pyro.plate("data", len(frames), dim=-1), poutine.scale(scale=self.code_weight):
            found = self.posterior(self.encoder(frames)).base_dist
            if not self.slow:
                pyro.sample("z", dist.Normal(found.loc, found.scale).to_event(2))
                return
            for t in range(self.steps + 1):
                pyro.sample(f"z_{t}", dist.Normal(found.loc[:, t], found.scale[:, t]).to_event(1))

    @torch.no_grad()
    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        """At the end of training: the mean change of the code in a step of each transformation."""
        if after < 1.0:
            return
        total, count = torch.zeros_like(self.directions), torch.zeros_like(self.directions[:, :1])
        for batch in data.take(slice(0, self.READ)).chunks(256):
            codes = self.codes(batch["frames"])
            total.index_add_(0, batch["k"], (codes[:, -1] - codes[:, 0]) / self.steps)
            count.index_add_(0, batch["k"], torch.ones_like(total[batch["k"], :1]))
        self.directions.copy_(total / count.clamp(min=1))

    @torch.no_grad()
    def drive(self, frame: Tensor, controls: Float[Tensor, "batch time flow"]) -> Float[Tensor, "batch time_1 *frame"]:
        """The frame carried along the directions, each as far as its control says."""
        first = self.codes(frame).unsqueeze(1)
        moved = (controls @ self.directions).cumsum(1)
        return self.likelihood.mean(self.decoder(torch.cat([first, first + moved], 1)))

    @torch.no_grad()
    def traverse(self, frame: Tensor, steps: int) -> Float[Tensor, "batch flow time *frame"]:
        """The frame under every transformation's direction."""
        far = torch.arange(steps + 1.0, device=frame.device)
        path = self.codes(frame)[:, None, None] + far[:, None] * self.directions[:, None]
        return self.likelihood.mean(self.decoder(path))

    @torch.no_grad()
    def reconstruct(self, frames: Tensor, k: Int[Tensor, " batch"]) -> Tensor:
        """All frames foretold from the first one and the transformation, ``[B, T + 1, *frame]``."""
        own = torch.nn.functional.one_hot(k, self.flows).to(frames.dtype)
        return self.drive(frames[:, 0], own.unsqueeze(1).expand(-1, self.steps, -1))

    def dream_path(self, count: int) -> Tensor:
        device = self.directions.device
        first = torch.randn(count, self.latent, device=device)
        if not self.slow:
            return torch.randn(count, self.steps + 1, self.latent, device=device)
        changes = dist.Laplace(0.0, 1 / self.rate).sample((count, self.steps, self.latent)).to(device)
        return torch.cat([first.unsqueeze(1), first.unsqueeze(1) + changes.cumsum(1)], 1)
