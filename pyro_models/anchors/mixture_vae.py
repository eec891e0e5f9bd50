"""The mixture VAE: a cluster index chooses where in the latent space a datum's code comes from."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_models.anchors import start
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.nn import auto_encoder, make_likelihood, make_posterior, mlp
from pyro_models.story import Story


class MixtureVAE(Story):
    r"""A VAE whose prior is a mixture of K Gaussians; the component index clusters the data.

    .. code-block:: text

        +-- data (B) ----------------+        c ~ Categorical(pi)              [B]
        |                            |        z | c ~ N(m_c, diag s_c^2)       [B, D]
        |  c ------> z ------> x     |        x | z ~ p(x | dec(z))            [B, *shape]
        |                            |
        +----------------------------+        q(z | x) = N(mu(x), diag sigma(x)^2)

    The index has few values and is summed over (``estimator="exact"``), or sampled by any other estimator. Guides:

    * ``bayes`` (default): :math:`q(c|z) = p(c|z)`, the exact posterior of the index given the code; no network needed;
    * ``amortized``: :math:`q(c|x)` from its own head on the encoder, independent of z given x;
    * ``collapsed``: c is absent from the guide and summed out of the model. The same bound as ``bayes`` when
      enumerated.

    The recipe has three parts, told by the progress of training: during ``warm_up`` the KL terms weigh next to
    nothing and the codes spread out; then a Gaussian mixture is fitted to the codes of the training data and becomes
    the prior; then the KL weight grows linearly to 1 over another ``warm_up``. Without it the codes are pulled into
    one blob before the decoder can use them, and half of the components die. The bound reported is always the full
    one.

    Args:
        shape: of one datum.
        clusters: K.
        latent: D.
        hidden, channels, network, likelihood, scale: as for ``vae``.
        warm_up: fraction of training before the mixture is placed; 0 trains everything from the start.
        guide: one of the above.
    """

    guides = ("bayes", "amortized", "collapsed")
    default_estimator = "exact"
    citation = (
        "@inproceedings{jiang2017vade,\n  title={Variational Deep Embedding: An Unsupervised and Generative "
        "Approach to Clustering},\n  author={Jiang, Zhuxi and Zheng, Yin and Tan, Huachun and Tang, Bangsheng and "
        "Zhou, Hanning},\n  booktitle={International Joint Conference on Artificial Intelligence},\n  year={2017}\n}"
    )
    #: weight of the KL terms while the codes spread out: enough to keep them near the origin
    FIRST_KL_WEIGHT = 1e-3

    def __init__(
        self,
        shape: Sequence[int],
        clusters: int = 10,
        latent: int = 10,
        hidden: Sequence[int] = (400, 200),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        likelihood: str = "bernoulli",
        scale: float | None = None,
        warm_up: float = 0.25,
        guide: str = "bayes",
    ) -> None:
        super().__init__()
        if clusters < 2:
            raise OptionError(f"clusters is {clusters}; a mixture needs at least 2 (use the story 'vae' for one).")
        if not 0 <= warm_up <= 0.5:
            raise OptionError(f"warm_up is {warm_up}; it is a fraction of training, from 0 to 0.5.")
        self.clusters, self.latent, self.warm_up, self.guide_kind = clusters, latent, warm_up, guide
        self.posterior = make_posterior("diagonal", latent)
        self.encoder, self.decoder = auto_encoder(network, shape, hidden, channels, self.posterior.outputs, latent)
        self.index_head = mlp(self.posterior.outputs, (hidden[-1],), clusters) if guide == "amortized" else None
        self.likelihood = make_likelihood(likelihood, len(shape), scale)
        self.weight_logits = nn.Parameter(torch.zeros(clusters))
        self.means = nn.Parameter(torch.randn(clusters, latent))
        self.log_scales = nn.Parameter(torch.zeros(clusters, latent))
        self.kl_weight = 1.0

    def at(self, progress: float) -> None:
        if self.warm_up == 0:
            self.kl_weight = 1.0
        else:
            self.kl_weight = min(1.0, max(self.FIRST_KL_WEIGHT, progress / self.warm_up - 1.0))

    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        if before < self.warm_up <= after:
            self.place_components(data)

    @torch.no_grad()
    def place_components(self, data: Data) -> None:
        """Fits a diagonal Gaussian mixture to the codes of the data and makes it the prior."""
        some = data.take(start.some(data, start.CODES))
        codes = torch.cat([self.features(batch["x"]) for batch in some.chunks(1000)])
        found = start.from_codes(codes, self.clusters)
        self.weight_logits.copy_(found.weights.log())
        self.means.copy_(found.means)
        self.log_scales.copy_(found.scales.log())

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            with poutine.scale(scale=self.kl_weight):
                c = pyro.sample("c", dist.Categorical(logits=self.weight_logits))
                z = pyro.sample("z", dist.Normal(self.means[c], self.log_scales[c].exp()).to_event(1))
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=self.kl_weight):
            encoded = self.encoder(x)
            z = pyro.sample("z", self.posterior(encoded))
            if self.guide_kind == "bayes":
                pyro.sample("c", dist.Categorical(logits=self.index_logits(z)))
            elif self.index_head is not None:
                pyro.sample("c", dist.Categorical(logits=self.index_head(encoded.relu())))

    def index_logits(self, z: Tensor) -> Tensor:
        r""":math:`\log \pi_c + \log N(z; m_c, s_c^2)`, unnormalised log p(c | z): ``[..., D] -> [..., K]``."""
        components = dist.Normal(self.means, self.log_scales.exp()).to_event(1)
        return self.weight_logits.log_softmax(-1) + components.log_prob(z.unsqueeze(-2))

    @torch.no_grad()
    def responsibilities(self, x: Tensor) -> Tensor:
        """q(c | x) at the posterior mean of z, ``[B, K]``."""
        encoded = self.encoder(x)
        if self.index_head is not None:
            return self.index_head(encoded.relu()).softmax(-1)
        return self.index_logits(self.posterior(encoded).mean).softmax(-1)

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
        """E[x | z] for fresh c and z, ``[count, *shape]``."""
        c = dist.Categorical(logits=self.weight_logits).sample((count,))
        z = dist.Normal(self.means[c], self.log_scales[c].exp()).sample()
        return self.likelihood.mean(self.decoder(z))

    @torch.no_grad()
    def cluster_means(self) -> Tensor:
        """E[x | z = m_c] for every component, ``[K, *shape]``."""
        return self.likelihood.mean(self.decoder(self.means))
