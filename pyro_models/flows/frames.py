"""What the stories of image sequences share: one encoder and decoder for all frames, and which frames are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.nn import auto_encoder, make_likelihood, make_posterior
from pyro_models.nn.dense import keep_variance
from pyro_models.nn.painted import PaintedDecoder, PaintedEncoder
from pyro_models.nn.posed import PosedDecoder, PosedEncoder
from pyro_models.nn.potentials import check_sizes
from pyro_models.story import Story

#: the two works behind the stories of this folder
FFRL = (
    "@inproceedings{song2023flow,\n  title={Flow Factorized Representation Learning},\n  author={Song, Yue and Keller, "
    "Thomas Anderson and Sebe, Nicu and Welling, Max},\n  booktitle={Advances in Neural Information Processing "
    "Systems},\n  year={2023}\n}"
)
STA = (
    "@article{song2024sparse,\n  title={Unsupervised Representation Learning from Sparse Transformation Analysis},\n"
    "  author={Song, Yue and Keller, Thomas Anderson and Yue, Yisong and Perona, Pietro and Welling, Max},\n"
    "  journal={arXiv preprint arXiv:2410.05564},\n  year={2024}\n}"
)

#: networks that know how pictures are made: what reads a frame and what draws it
DRAWN: dict[str, tuple[Any, Any]] = {
    "posed": (PosedEncoder, PosedDecoder),
    "painted": (PaintedEncoder, PaintedDecoder),
}


class FrameStory(Story):
    """Sequences ``frames [B, T + 1, *frame]``, each frame seen through one decoder from a code z_t.

    ``decoded`` frames of each sequence, drawn afresh at every training step, stand for all of them (their
    log-likelihood is scaled up, so the bound's estimate is unbiased): decoding is most of the work. ``kl`` weighs what
    the codes cost while the story trains: below 1 they say more, and frames are sharper than the bound asks for. Bounds
    that are reported have full weight.
    """

    fields: ClassVar[tuple[str, ...]] = ("frames",)
    encoder: nn.Module
    decoder: nn.Module

    def __init__(
        self,
        shape: Sequence[int],
        flows: int,
        latent: int,
        hidden: Sequence[int],
        channels: Sequence[int],
        network: str,
        likelihood: str,
        scale: float | None,
        decoded: int | None,
        kl: float = 1.0,
    ) -> None:
        super().__init__()
        if len(shape) not in (2, 4) or shape[0] < 2:
            raise OptionError(
                f"sequences have the shape (steps + 1, channel, height, width) or (steps + 1, numbers), at least two "
                f"frames, but these have {tuple(shape)}."
            )
        check_sizes(flows=flows, latent=latent)
        if decoded is not None and not 1 <= decoded <= shape[0]:
            raise OptionError(f"decoded is {decoded}; a sequence has from 1 to {shape[0]} frames to decode.")
        self.shape, self.steps, self.flows, self.latent, self.decoded = (
            tuple(shape),
            shape[0] - 1,
            flows,
            latent,
            decoded,
        )
        if not kl > 0:
            raise OptionError(f"kl is {kl}; the weight of the codes' cost in training is positive.")
        self.kl = kl
        self.posterior = make_posterior("diagonal", latent)
        outputs = self.posterior.outputs
        if network in DRAWN:
            if likelihood != "bernoulli":
                raise OptionError(
                    f"network='{network}' gives logits; it goes with likelihood='bernoulli', not '{likelihood}'."
                )
            reads, draws = DRAWN[network]
            drawing, reading = draws(latent, hidden[::-1], shape[1:]), reads(shape[1:], hidden, outputs)
            self.encoder, self.decoder = reading, drawing
            for part in (*drawing.deep(), *reading.deep()):
                keep_variance(part, outputs=False)
        else:
            self.encoder, self.decoder = auto_encoder(network, shape[1:], hidden, channels, outputs, latent)
            if network == "mlp":
                keep_variance(self.decoder, outputs=False)
                keep_variance(self.encoder, outputs=False)
        self.likelihood = make_likelihood(likelihood, len(shape), scale)

    @classmethod
    def derive(cls, data: Data) -> dict[str, Any]:
        known = {"flows": int(data["k"].max()) + 1} if "k" in cls.fields else {}
        return {**super().derive(data), **known}

    def first_code(self, like: Tensor) -> Any:
        """p(z_0) = N(0, I), on the device and in the precision of ``like``."""
        return dist.Normal(like.new_zeros(self.latent), like.new_ones(self.latent)).to_event(1)

    @property
    def code_weight(self) -> float:
        """What the codes' densities weigh now."""
        return self.kl if self.training else 1.0

    def chosen_frames(self, frames: Tensor) -> Tensor | None:
        """Which frames of each sequence to decode in this step, ``[B, decoded]``; None for all."""
        if not self.training or self.decoded is None or self.decoded >= frames.shape[1]:
            return None
        return torch.rand(frames.shape[:2], device=frames.device).argsort(1)[:, : self.decoded]

    def weight(self, frames: Tensor, chosen: Tensor | None) -> float:
        """How many frames each decoded one stands for."""
        return 1.0 if chosen is None else frames.shape[1] / chosen.shape[1]

    @torch.no_grad()
    def codes(self, frames: Float[Tensor, "*batch *frame"]) -> Float[Tensor, "*batch latent"]:
        """Posterior means of the codes of any frames, each read by itself."""
        return self.posterior(self.encoder(frames)).mean

    @torch.no_grad()
    def features(self, *batch: Tensor) -> Float[Tensor, "batch latent"]:
        """Posterior mean of the first frame's code."""
        return self.codes(batch[0][:, 0])

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """Sequences dreamed up: expectations of the frames given fresh causes, ``[count, T + 1, *frame]``."""
        return self.likelihood.mean(self.decoder(self.dream_path(count)))

    def dream_path(self, count: int) -> Float[Tensor, "count time latent"]:
        """Codes of fresh sequences."""
        raise NotImplementedError(f"{type(self).__name__} has no dream_path(...)")


def check_not_negative(**numbers: float) -> None:
    """Refuses weights, variances and numbers of units below zero (and NaN)."""
    for name, number in numbers.items():
        if not number >= 0:
            raise OptionError(f"{name} is {number}; it is 0 or more.")


def pick(values: Float[Tensor, "*batch time *event"], chosen: Tensor | None, event_dims: int) -> Tensor:
    """The frames ``chosen [B, n]`` of ``values [..., B, T, *event]``; all of them for None."""
    if chosen is None:
        return values
    index = chosen.reshape(*chosen.shape, *(1,) * event_dims)
    leading = values.shape[: values.dim() - event_dims - 2]
    index = index.expand(*leading, *chosen.shape, *values.shape[values.dim() - event_dims :])
    return values.gather(values.dim() - event_dims - 1, index)
