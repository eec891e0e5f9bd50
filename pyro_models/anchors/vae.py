"""The variational auto-encoder: one Gaussian cause per datum. The baseline everything else is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyro_models.errors import OptionError
from pyro_models.nn import auto_encoder, make_likelihood, make_posterior
from pyro_models.story import Story


class VAE(Story):
    r"""Variational auto-encoder.

    .. code-block:: text

        +-- data (B) ----------------+        z ~ N(0, I)                [B, D]
        |                            |        x ~ p(x | dec(z))          [B, *shape]
        |     z --------> x          |
        |                            |        q(z | x) = N(mu(x), Sigma(x))
        +----------------------------+

    trained on :math:`E_{q(z|x)}[\log p(x|z)] - \beta\, KL(q(z|x) \| p(z))`; beta = 1 is the evidence lower bound.

    Args:
        shape: of one datum.
        latent: D, the number of causes.
        hidden: widths of the dense layers, encoder order.
        channels: of the stride-2 stages when ``network="convolutional"``.
        network: ``mlp`` or ``convolutional``.
        likelihood: ``bernoulli`` (grey pixels as expected bits) or ``gaussian``.
        scale: standard deviation of the Gaussian likelihood; None learns it.
        beta: weight of the KL term; above 1 trades likelihood for independence of the causes.
        guide: ``diagonal`` or ``full`` posterior covariance.
    """

    guides = ("diagonal", "full")
    citation = (
        "@inproceedings{kingma2014vae,\n  title={Auto-Encoding Variational {B}ayes},\n"
        "  author={Kingma, Diederik P. and Welling, Max},\n  booktitle={International Conference on Learning "
        "Representations},\n  year={2014}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        latent: int = 20,
        hidden: Sequence[int] = (400,),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        likelihood: str = "bernoulli",
        scale: float | None = None,
        beta: float = 1.0,
        guide: str = "diagonal",
    ) -> None:
        super().__init__()
        if latent < 1:
            raise OptionError(f"latent is {latent}; a VAE needs at least one latent dimension.")
        if not beta > 0:
            raise OptionError(f"beta is {beta}; it must be positive (1 is the evidence lower bound).")
        self.latent, self.beta = latent, beta
        self.posterior = make_posterior(guide, latent)
        self.encoder, self.decoder = auto_encoder(network, shape, hidden, channels, self.posterior.outputs, latent)
        self.likelihood = make_likelihood(likelihood, len(shape), scale)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            zero = x.new_zeros(len(x), self.latent)
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=self.beta):
            pyro.sample("z", self.posterior(self.encoder(x)))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Posterior means ``[B, D]``."""
        return self.posterior(self.encoder(x)).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """E[x | z = posterior mean], ``[B, *shape]``."""
        return self.likelihood.mean(self.decoder(self.features(x)))

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """E[x | z] for fresh z ~ N(0, I), ``[count, *shape]``."""
        z = torch.randn(count, self.latent, device=next(self.parameters()).device)
        return self.likelihood.mean(self.decoder(z))
