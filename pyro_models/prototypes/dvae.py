"""D-VAE: every datum is one of K prototypes plus noise."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from pyro_models.nn import auto_encoder
from pyro_models.prototypes.base import PrototypeStory
from pyro_models.prototypes.recipe import make_recipe


class DVAE(PrototypeStory):
    r"""A categorical VAE: the code is the index of a prototype.

    .. code-block:: text

        +-- data (B) -------+        z ~ Categorical(1/K)                          [B, K] one-hot
        |   z ------> x     |        x | z ~ N(mu_z, 0.15)  or Bernoulli(mu_z)     [B, *shape]
        +-------------------+        q(z | x) = Categorical(softmax(enc(x)))

    With Gaussian noise this is a mixture of K spherical Gaussians, whose hard limit is k-means: what it can reach is
    the optimum of k-means, and the point is to reach it from every start, under every estimator. Guides:

    * ``collapsed`` (default): the exact posterior :math:`q(z|x) \propto p(x|z)`; no network, the bound is log p(x);
    * ``amortized``: :math:`q(z|x)` from the encoder, the original. It has the same optimum, but the encoder must learn
      what the prototypes already say, and keeps an early partition longer.

    Args:
        shape: of one datum; data lie in [0, 1].
        clusters: K.
        hidden, channels, network: of the encoder, as for ``vae``.
        prototypes: ``pixels`` (free images) or ``generator`` (drawn by a network from K codes).
        likelihood: ``gaussian`` with ``variance``, or ``bernoulli``.
        variance: of a pixel.
        recipe: ``robust`` or ``original`` (plain training); the rest change one ingredient of it, see
            :class:`pyro_models.prototypes.recipe.Recipe`.
        guide: one of the above.
    """

    guides = ("collapsed", "amortized")
    citation = (
        "@mastersthesis{strimadec,\n  title={Structured Image Decompositions (StrImaDec): discrete VAEs with "
        "prototypes},\n  note={https://github.com/borea17/StrImaDec}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        clusters: int = 10,
        hidden: Sequence[int] = (400, 400),
        channels: Sequence[int] = (32, 64),
        network: str = "mlp",
        prototypes: str = "pixels",
        likelihood: str = "gaussian",
        variance: float = 0.15,
        recipe: str = "robust",
        anneal: float | None = None,
        spare: int | None = None,
        moves: bool | None = None,
        usage_floor: float | None = None,
        placed: bool | None = None,
        guide: str = "collapsed",
    ) -> None:
        made = make_recipe(
            recipe, anneal=anneal, spare=spare, moves=moves, usage_floor=usage_floor, placed=placed, curriculum=False
        )
        super().__init__(shape, clusters, prototypes, likelihood, variance, made)
        self.encoder = None
        if guide == "amortized":
            self.encoder, _ = auto_encoder(network, shape, hidden, channels, self.slots, 1)
        self.keep_rows()

    def model(self, x: Float[Tensor, "B ..."]) -> None:
        images = self.prototypes()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.index_prior())
            with poutine.scale(scale=1 / self.temperature()):
                pyro.sample("x", self.likelihood(self.choose(z, images)), obs=x)

    def guide(self, x: Float[Tensor, "B ..."]) -> None:
        logits = self.index_logits(x)
        self.floor_usage(logits)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.index_posterior(logits))

    def index_logits(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Logits of q(z | x). The exact posterior is where its own gradient vanishes, so that none is taken."""
        return -self.energies(x).detach() if self.encoder is None else self.encoder(x)

    def energies(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        return self.misfit(x, self.prototypes().unsqueeze(1)).T

    @torch.no_grad()
    def responsibilities(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """q(z | x) over the clusters in use."""
        return self.index_logits(x)[:, self.active].softmax(-1)

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """The prototype of the most likely cluster."""
        return self.cluster_means()[self.responsibilities(x).argmax(1)]

    @torch.no_grad()
    def generate(self, count: int) -> Float[Tensor, "N ..."]:
        """Prototypes of random clusters."""
        return self.cluster_means()[torch.randint(int(self.active.sum()), (count,))]

    @torch.no_grad()
    def bound_terms(self, x: Float[Tensor, "B ..."]) -> dict[str, Float[Tensor, " B"]]:
        """``nll``: expected squared error / (2 variance) (Gaussian, without its constant, as in the original) or
        cross-entropy; ``kl``: of the index."""
        q = self.responsibilities(x)
        errors = self.misfit(x, self.cluster_means().unsqueeze(1)).T
        kl = (torch.special.xlogy(q, q) + q * torch.tensor(float(q.shape[1])).log()).sum(1)
        return {"nll": (q * errors).sum(1), "kl": kl}
