"""Codes rolled along: a known transformation shifts its own part of the code by one place a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyro
import torch
from jaxtyping import Float, Int
from pyro import poutine
from torch import Tensor
from torch.nn import functional

from pyro_models.errors import OptionError
from pyro_models.flows.frames import FrameStory, pick

TVAE = (
    "@inproceedings{keller2021topographic,\n  title={Topographic VAEs learn Equivariant Capsules},\n"
    "  author={Keller, T. Anderson and Welling, Max},\n  booktitle={Advances in Neural Information Processing "
    "Systems},\n  year={2021}\n}"
)


class RolledCodes(FrameStory):
    r"""One code per sequence whose parts are rings; a known transformation turns its ring by one place a step.

    .. code-block:: text

        +-- data (B) -----------------------------------------+   k known: which transformation          [B]
        |      k ----------+-----------+--------...           |   z_0 ~ N(0, I)                          [B, d]
        |                  v           v                      |   z_t = R_k z_{t-1}                      [B, T, d]
        |  z_0 ---------> z_1 ------> z_2 ----> ... -> z_T    |   x_t | z_t ~ p(x | dec(z_t))     [B, T + 1, *frame]
        +-----------------------------------------------------+   q(z_0 | x_0) = N(mu(x_0), diag sigma(x_0)^2)

    The code has K rings of d / K numbers and R_k rolls the k-th by one: nothing about the motion is learned, everything
    about how to read the code is. This is the equivariance of the topographic VAE without its topographic prior. Rings
    need more places than steps, or a motion comes back to where it began.

    Args:
        shape: ``(T + 1, *frame)``.
        flows: K.
        latent: d, a multiple of K.
        hidden, channels, network, likelihood, scale: as for ``vae``; network ``posed`` draws a canvas and
            places it (``nn/posed.py``), ``painted`` draws surfaces and paints them (``nn/painted.py``).
        decoded: frames decoded per training step; None for all.
        kl: weight of the first code's divergence while training.
    """

    fields: ClassVar[tuple[str, ...]] = ("frames", "k")
    citation = TVAE

    def __init__(
        self,
        shape: Sequence[int],
        flows: int = 3,
        latent: int = 48,
        hidden: Sequence[int] = (512, 256),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        likelihood: str = "bernoulli",
        scale: float | None = None,
        decoded: int | None = None,
        kl: float = 1.0,
    ) -> None:
        super().__init__(shape, flows, latent, hidden, channels, network, likelihood, scale, decoded, kl)
        if latent % flows or latent // flows <= self.steps:
            raise OptionError(
                f"latent is {latent}; {flows} rings with more than {self.steps} places (the steps of a sequence) each "
                f"need a multiple of {flows} from {flows * (self.steps + 1)} on."
            )

    def path_of(
        self, z: Float[Tensor, "*batch latent"], turns: Float[Tensor, "*batch time flow"]
    ) -> Float[Tensor, "*batch time latent"]:
        """The code with every ring turned by so many places (between two places: in between)."""
        rings = z.unflatten(-1, (self.flows, -1)).unsqueeze(-3)
        places = rings.shape[-1]
        source = torch.arange(places, device=z.device) - turns.unsqueeze(-1)
        below = source.floor()
        share = source - below
        both = torch.broadcast_shapes(rings.shape, source.shape)  # z may come with particles, turns never do
        rings, below, share = rings.expand(both), below.expand(both), share.expand(both)
        low, high = (rings.gather(-1, (below + more).long() % places) for more in (0, 1))
        return ((1 - share) * low + share * high).flatten(-2)

    def turns_of(self, k: Int[Tensor, " batch"]) -> Float[Tensor, "batch time_1 flow"]:
        """How far each ring is turned at times 0, ..., T when transformation k acts."""
        times = torch.arange(self.steps + 1.0, device=k.device)
        return times[:, None] * functional.one_hot(k, self.flows).unsqueeze(-2)

    def model(self, frames: Tensor, k: Int[Tensor, " batch"]) -> None:
        with pyro.plate("data", len(frames), dim=-1):
            with poutine.scale(scale=self.code_weight):
                z = pyro.sample("z", self.first_code(frames))
            path = self.path_of(z, self.turns_of(k).to(z.dtype))
            chosen = self.chosen_frames(frames)
            with poutine.scale(scale=self.weight(frames, chosen)):
                seen = pick(frames, chosen, len(self.shape) - 1)
                pyro.sample("frames", self.likelihood(self.decoder(pick(path, chosen, 1))), obs=seen)

    def guide(self, frames: Tensor, k: Int[Tensor, " batch"]) -> None:
        with pyro.plate("data", len(frames), dim=-1), poutine.scale(scale=self.code_weight):
            pyro.sample("z", self.posterior(self.encoder(frames[:, 0])))

    @torch.no_grad()
    def drive(self, frame: Tensor, controls: Float[Tensor, "batch time flow"]) -> Float[Tensor, "batch time_1 *frame"]:
        """The frame with its rings turned, each as far as its control says."""
        turns = torch.cat([torch.zeros_like(controls[:, :1]), controls.cumsum(1)], 1)
        return self.likelihood.mean(self.decoder(self.path_of(self.codes(frame), turns)))

    @torch.no_grad()
    def traverse(self, frame: Tensor, steps: int) -> Float[Tensor, "batch flow time *frame"]:
        """The frame under every transformation."""
        far = torch.arange(steps + 1.0, device=frame.device)
        turns = far[None, :, None] * torch.eye(self.flows, device=frame.device).unsqueeze(1)
        path = self.path_of(self.codes(frame).unsqueeze(1), turns.expand(len(frame), -1, -1, -1))
        return self.likelihood.mean(self.decoder(path))

    @torch.no_grad()
    def reconstruct(self, frames: Tensor, k: Int[Tensor, " batch"]) -> Tensor:
        """All frames foretold from the first one and the transformation, ``[B, T + 1, *frame]``."""
        return self.likelihood.mean(self.decoder(self.path_of(self.features(frames), self.turns_of(k))))

    def dream_path(self, count: int) -> Tensor:
        device = next(self.parameters()).device
        k = torch.arange(count, device=device) % self.flows
        return self.path_of(torch.randn(count, self.latent, device=device), self.turns_of(k))
