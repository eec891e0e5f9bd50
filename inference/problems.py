"""A small prototype model, K images of which every datum is a noisy copy: the pair on which estimators are timed."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

#: variance of a pixel given its prototype, as in the original experiments
PIXEL_VARIANCE = 0.15


class SmallPrototypes(nn.Module):
    """The categorical VAE of the original experiments: z ~ Cat(1/K), x | z ~ N(dec(e_z), 0.15 I), q(z|x) =
    Cat(softmax enc(x)), with networks pixels-400-400-K and K-800-pixels.

    ``x`` is [B, pixels]; ``hidden`` is the width (400).
    """

    def __init__(self, pixels: int = 784, clusters: int = 10, hidden: int = 400) -> None:
        super().__init__()
        self.clusters = clusters
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, clusters)
        )
        self.decoder = nn.Sequential(nn.Linear(clusters, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, pixels))

    def model(self, x: Float[Tensor, "B pixels"]) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.OneHotCategorical(logits=x.new_zeros(self.clusters)))
            pyro.sample("x", dist.Normal(self.decoder(z), PIXEL_VARIANCE**0.5).to_event(1), obs=x)

    def guide(self, x: Float[Tensor, "B pixels"]) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.OneHotCategorical(logits=self.encoder(x)))


def noisy_copies(count: int, pixels: int, clusters: int, seed: int = 0) -> Float[Tensor, "count pixels"]:
    """Data of the model itself: ``clusters`` random images with noise."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(clusters, pixels, generator=generator)
    index = torch.randint(clusters, (count,), generator=generator)
    return means[index] + PIXEL_VARIANCE**0.5 * torch.randn(count, pixels, generator=generator)
