"""Small stories whose posteriors and evidences are known in closed form."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn


class FactorAnalysis(nn.Module):
    """z ~ N(0, I_D), x | z ~ N(W z, s^2 I): p(x) = N(0, W W' + s^2 I), p(z | x) = N(V W' x / s^2, V).

    The guide is the exact posterior with its standard deviations (in V's eigenbasis) times ``width`` and its mean plus
    ``shift``. W has orthogonal columns, so that V is diagonal and the guide factorises.
    """

    fields = ("x",)
    max_plate_nesting = 1

    def __init__(self, width: float = 1.0, shift: float = 0.0, latent: int = 2, pixels: int = 4) -> None:
        super().__init__()
        orthogonal = torch.linalg.qr(torch.randn(pixels, latent, generator=torch.Generator().manual_seed(5)))[0]
        self.loading = nn.Parameter(orthogonal * torch.linspace(1.5, 0.8, latent))
        self.noise, self.width, self.shift, self.latent = 0.5, width, shift, latent

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        variance = 1 / (1 + (self.loading**2).sum(0) / self.noise**2)
        return variance * (x @ self.loading) / self.noise**2, variance.sqrt()

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.latent), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.loading.T, self.noise).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        mean, sd = self.posterior(x)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(mean + self.shift * sd, sd * self.width).to_event(1))

    @torch.no_grad()
    def evidence(self, x: Tensor) -> Tensor:
        covariance = self.loading @ self.loading.T + self.noise**2 * torch.eye(len(self.loading))
        return torch.distributions.MultivariateNormal(torch.zeros(len(covariance)), covariance).log_prob(x)

    @torch.no_grad()
    def dream(self, count: int, seed: int = 3) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.latent, generator=generator)
        return z @ self.loading.T + self.noise * torch.randn(count, len(self.loading), generator=generator)


class Stubborn(FactorAnalysis):
    """The same story with a network that cannot take a leading dimension."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.latent), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.einsum("bd,pd->bp", z, self.loading), self.noise).to_event(1), obs=x)


class Mixing(FactorAnalysis):
    """The same story with a network that takes a leading dimension and silently computes something else."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.latent), 1.0).to_event(1))
            centred = z - z.mean(0) if z.dim() > 2 else z
            pyro.sample("x", dist.Normal(centred @ self.loading.T, self.noise).to_event(1), obs=x)


class Mixture(nn.Module):
    """c ~ Categorical(weights), z | c ~ N(m_c, 1), x | z ~ N(z, s^2); the guide may sample c, or leave it to the model.

    p(x) = sum_c w_c N(x; m_c, 1 + s^2); with ``collapsed`` the guide is p(z | x)'s moment-free stand-in N(x, 1).
    """

    fields = ("x",)
    max_plate_nesting = 1

    def __init__(self, collapsed: bool = True) -> None:
        super().__init__()
        self.weights = torch.tensor([0.2, 0.5, 0.3])
        self.means = torch.tensor([-3.0, 0.0, 2.0])
        self.noise, self.collapsed = 0.7, collapsed

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Categorical(self.weights))
            z = pyro.sample("z", dist.Normal(self.means[c], 1.0))
            pyro.sample("x", dist.Normal(z, self.noise), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            if self.collapsed:
                pyro.sample("z", dist.Normal(x, 1.0))
                return
            c = pyro.sample("c", dist.Categorical(logits=self.index_logits(x)))
            variance = 1 / (1 + 1 / self.noise**2)
            pyro.sample("z", dist.Normal(variance * (self.means[c] + x / self.noise**2), math.sqrt(variance)))

    def index_logits(self, x: Tensor) -> Tensor:
        return self.weights.log() + dist.Normal(self.means, math.sqrt(1 + self.noise**2)).log_prob(x.unsqueeze(-1))

    def evidence(self, x: Tensor) -> Tensor:
        return self.index_logits(x).logsumexp(-1)

    def dream(self, count: int) -> Tensor:
        c = dist.Categorical(self.weights).sample((count,))
        return self.means[c] + math.sqrt(1 + self.noise**2) * torch.randn(count)
