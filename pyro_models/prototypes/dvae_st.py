"""D-VAE-ST: every image is one of K prototypes, moved by a spatial transformer, plus noise."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn.gaussians import PrecisionNormal
from pyro_models.nn.spatial import SpatialTransformer
from pyro_models.prototypes.base import PrototypeStory
from pyro_models.prototypes.encoder import ImageFeatures
from pyro_models.prototypes.recipe import make_recipe

#: the posterior of a transform starts this much narrower than its prior
START_SCALE = 0.3
#: log standard deviations relative to the prior's: from one that is as good as a point to one wider than the prior
LOG_SCALE_RANGE = (-6.0, 2.0)
#: images transformed at a time where no gradient is kept
IN_CACHE = 512
PRIORS = ("correlated", "independent", "fixed")
#: of a learned prior: from a thirtieth of the given scale to three times it
PRIOR_LOG_SCALE_RANGE = (-3.5, 1.1)
#: size of the first weights of the heads: transforms start as good as at the identity, and the encoder gets a gradient
SMALL = 1e-3


class DVAEST(PrototypeStory):
    r"""Prototypes that come in every position, size, slant and bend.

    .. code-block:: text

        +-- data (B) -----------------+     z ~ Categorical(1/K)                          [B, K] one-hot
        |   z -----+                  |     t | z ~ N(identity + m_z, S_z)                [B, D]
        |          +----> x           |     x | z, t ~ N(T_t(mu_z), 0.15)                 [B, C, H, W]
        |   t -----+                  |
        +-----------------------------+     q(z, t | x) = q(z | x) q(t | x, z)

    ``T_t`` is a :class:`~pyro_models.nn.spatial.SpatialTransformer`: the named transforms in sequence, each with its
    own part of t and its own prior scale. From there every cluster learns its own prior (``prior="correlated"``: mean
    and full covariance), so what it takes to explain an image by a cluster is measured by how the members of that
    cluster vary (ones lean, but do not get wide). ``independent`` learns mean and scales only; ``fixed`` keeps m = 0
    and the scales as they are, the original. Guides:

    * ``collapsed`` (default): :math:`q(t|x,z)` has a head per cluster; :math:`q(z|x) \propto \exp(-E_z(x))` with
      :math:`E_z(x) = -\log p(x|z,\bar t_z) + KL(q(t|x,z) \| p(t|z))` at the posterior means :math:`\bar t_z`: whoever
      explains the image best gets it. No index network that would have to learn what the prototypes already say.
      Only the ``candidates`` most likely clusters of an image are summed over (see
      :class:`~pyro_models.prototypes.candidates.Candidates`), which makes many clusters affordable;
    * ``per-cluster``: the same :math:`q(t|x,z)`; :math:`q(z|x)` from a head on the encoder;
    * ``shared``: one :math:`q(t|x)` for all clusters and :math:`q(z|x)` from a head, the original.

    Args:
        shape: ``(channels, height, width)``; pixels lie in [0, 1].
        clusters: K.
        transforms: names of transforms, applied in this order.
        transform_scales: standard deviations of their priors; None takes each transform's own.
        prior: of the transforms, ``correlated`` or ``independent`` per cluster, or ``fixed``.
        padding: ``zeros`` or ``border``, what is outside a prototype.
        network, channels, hidden, features: of the encoder; ``hidden`` is for ``mlp``, ``channels`` for
            ``convolutional``, ``features`` the width of its last layer.
        prototypes: ``pixels`` or ``generator``.
        likelihood, variance: as for ``dvae``.
        candidates: clusters per image that ``collapsed`` sums over; 0 for all.
        recipe: ``robust`` or ``original`` (plain training); the rest change one ingredient of it, see
            :class:`pyro_models.prototypes.recipe.Recipe`.
        guide: one of the above.
    """

    guides = ("collapsed", "per-cluster", "shared")
    citation = (
        "@mastersthesis{strimadec,\n  title={Structured Image Decompositions (StrImaDec): discrete VAEs with "
        "prototypes and spatial transformers},\n  note={https://github.com/borea17/StrImaDec}\n}\n"
        "@inproceedings{monnier2020dti,\n  title={Deep Transformation-Invariant Clustering},\n  author={Monnier, Tom "
        "and Groueix, Thibault and Aubry, Mathieu},\n  booktitle={Advances in Neural Information Processing Systems},\n"
        "  year={2020}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        clusters: int = 10,
        transforms: Sequence[str] = ("thickness", "affine", "thin-plate"),
        transform_scales: Sequence[float] | None = None,
        prior: str = "correlated",
        padding: str = "zeros",
        network: str = "convolutional",
        channels: Sequence[int] = (16, 32, 64),
        hidden: Sequence[int] = (400,),
        features: int = 128,
        prototypes: str = "pixels",
        likelihood: str = "gaussian",
        variance: float = 0.15,
        candidates: int = 3,
        recipe: str = "robust",
        anneal: float | None = None,
        spare: int | None = None,
        moves: bool | None = None,
        curriculum: bool | None = None,
        usage_floor: float | None = None,
        placed: bool | None = None,
        guide: str = "collapsed",
    ) -> None:
        made = make_recipe(
            recipe,
            anneal=anneal,
            spare=spare,
            moves=moves,
            curriculum=curriculum,
            usage_floor=usage_floor,
            placed=placed,
        )
        super().__init__(shape, clusters, prototypes, likelihood, variance, made)
        if candidates < 0 or candidates == 1:
            raise OptionError(f"candidates is {candidates}; sum over 2 or more clusters per image, or 0 for all.")
        if not transforms:
            raise OptionError("no transforms are named; a D-VAE without them is the story 'dvae'.")
        self.guide_kind, self.candidates = guide, candidates or None
        self.transformer = SpatialTransformer(transforms, shape, transform_scales, padding)
        self.encoder = ImageFeatures(network, shape, hidden, channels, features)
        heads = 1 if guide == "shared" else self.slots
        size = self.transformer.size
        self.head_weights = nn.Parameter(SMALL * torch.randn(heads, features, 2 * size))
        self.head_biases = nn.Parameter(
            torch.cat((torch.zeros(heads, size), torch.full((heads, size), START_SCALE).log()), 1)
        )
        if prior not in PRIORS:
            raise unknown_name("prior", prior, PRIORS)
        learned = prior != "fixed"
        self.prior_shift = nn.Parameter(torch.zeros(self.slots, size)) if learned else None
        self.prior_log_scale = nn.Parameter(torch.zeros(self.slots, size)) if learned else None
        self.prior_below = nn.Parameter(torch.zeros(self.slots, size, size)) if prior == "correlated" else None
        self.index_head = None if guide == "collapsed" else nn.Linear(features, self.slots)
        self.keep_rows()

    def model(self, x: Float[Tensor, "B C H W"]) -> None:
        images = self.prototypes()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.index_prior())
            t = pyro.sample("t", self.transform_prior(z))
            with poutine.scale(scale=1 / self.temperature()):
                pyro.sample("x", self.likelihood(self.transformer(self.choose(z, images), t)), obs=x)

    def guide(self, x: Float[Tensor, "B C H W"]) -> None:
        features = self.encoder(x)
        mean, scale = self.transform_posterior(features)
        logits = self.index_logits(x, features)
        if self.index_head is not None:
            self.floor_usage(logits)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.index_posterior(logits, None if self.index_head else self.candidates))
            pyro.sample("t", dist.Normal(self.of_cluster(mean, z), self.of_cluster(scale, z)).to_event(1))

    def prior_of_clusters(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(t | z = k), ``[K, D]`` or ``[1, D]``. What is not switched on is at rest."""
        mean, scale = self.transformer.identity.unsqueeze(0), self.transformer.prior_scale.unsqueeze(0)
        if self.prior_shift is None or self.prior_log_scale is None:
            return mean, scale
        used = self.in_use()
        log_scale = self.prior_log_scale.clamp(*PRIOR_LOG_SCALE_RANGE) * used
        return mean + scale * self.prior_shift * used, scale * log_scale.exp()

    def transform_prior(self, z: Float[Tensor, "*lead K"]) -> TorchDistributionMixin:
        """p(t | z); for a relaxed z the mixture of means and scales."""
        mean, scale = self.prior_of_clusters()
        root = self.prior_root()
        if len(mean) == 1:
            return dist.Normal(mean[0], scale[0]).to_event(1)
        if root is None:
            return dist.Normal(z @ mean, z @ scale).to_event(1)
        return PrecisionNormal(z @ mean, (z @ (root / scale.unsqueeze(-1)).flatten(1)).unflatten(-1, root.shape[-2:]))

    def prior_root(self) -> Float[Tensor, "K D D"] | None:
        """Unit lower triangular L: the precision of p(t | z = k), in units of its scales, is L L^T."""
        if self.prior_below is None:
            return None
        used = self.in_use()
        below = (self.prior_below * used * used.unsqueeze(-1)).tril(-1)
        return below + torch.eye(len(used), device=used.device)

    def in_use(self) -> Float[Tensor, " D"]:
        """1 for the parameters of transforms that are switched on."""
        identity = self.transformer.identity
        return (torch.arange(len(identity), device=identity.device) < self.transformer.active_size).to(identity.dtype)

    def transform_posterior(self, features: Float[Tensor, "B F"]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(t | x, z = k): ``[B, K, D]`` each, or ``[B, 1, D]`` when clusters share it.

        Transforms that are not switched on yet keep their prior, so that they cost and change nothing.
        """
        size = self.transformer.size
        output = torch.einsum("bf,kfd->bkd", features, self.head_weights) + self.head_biases
        used = self.in_use()
        mean, log_scale = output[..., :size] * used, output[..., size:].clamp(*LOG_SCALE_RANGE) * used
        prior = self.transformer.prior_scale
        return self.transformer.identity + prior * mean, prior * log_scale.exp()

    def of_cluster(self, values: Float[Tensor, "B _ D"], z: Float[Tensor, "*lead K"]) -> Float[Tensor, "*_ D"]:
        """The row of each datum's cluster (a mixture of rows when z is relaxed), the same for all when shared."""
        if values.shape[1] == 1:
            return values[:, 0]
        z = z.expand(*z.shape[:-2], len(values), -1)
        return torch.einsum("...bk,bkd->...bd", z, values)

    def index_logits(self, x: Float[Tensor, "B C H W"], features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Logits of q(z | x)."""
        return -self._energies(x, features) if self.index_head is None else self.index_head(features)

    def energies(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        return self._energies(x, self.encoder(x))

    @torch.no_grad()
    def _energies(self, x: Tensor, features: Tensor) -> Float[Tensor, "B K"]:
        """Without gradient: where q(z | x) is the best one, the bound does not change with it to first order."""
        mean, scale = self.transform_posterior(features)
        active = self.active.nonzero().flatten()
        if mean.shape[1] > 1:
            mean, scale = mean[:, active], scale[:, active]
        cost = self.errors(x, self.prototypes()[active], mean) + self.transform_kl(mean, scale, active)
        return cost.new_full((len(x), self.slots), torch.inf).index_copy(1, active, cost)

    def errors(self, x: Tensor, images: Float[Tensor, "K C H W"], t: Float[Tensor, "B _ D"]) -> Float[Tensor, "B K"]:
        """Misfit of every image under its transform, few clusters at a time: what fits the cache is twice as fast."""
        t = t.movedim(1, 0)
        step = max(1, IN_CACHE // len(x))
        return torch.cat(
            [
                self.misfit(x, self.transformer(part.unsqueeze(1), t if len(t) == 1 else t[first : first + len(part)]))
                for first, part in zip(range(0, len(images), step), images.split(step), strict=True)
            ]
        ).T

    def transform_kl(
        self, mean: Float[Tensor, "B _ D"], scale: Float[Tensor, "B _ D"], clusters: Tensor
    ) -> Float[Tensor, "B _"]:
        """KL(q(t | x, z) || p(t | z)) in closed form for the given clusters."""
        centre, width = self.prior_of_clusters()
        if len(centre) > 1:
            centre, width = centre[clusters], width[clusters]
        ratio, shift = scale / width, (mean - centre) / width
        root = self.prior_root()
        if root is not None:
            root = root[clusters]
            spread = torch.einsum("bkd,kd->bk", ratio.square(), root.square().sum(-1))
            shift = torch.einsum("bkd,kde->bke", shift, root)
            return 0.5 * (spread + shift.square().sum(-1) - ratio.shape[-1]) - ratio.log().sum(-1)
        return (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)

    # -- the recipe -----------------------------------------------------------------------------------------------

    def at(self, progress: float) -> None:
        super().at(progress)
        self.transformer.active = self.recipe.transforms(progress, len(self.transformer.names))

    def rows(self) -> list[nn.Parameter]:
        found: list[nn.Parameter] = self.prototypes.rows()
        if self.guide_kind != "shared":
            found += [self.head_weights, self.head_biases]
        if self.index_head is not None:
            found += list(self.index_head.parameters())
        if self.prior_shift is not None and self.prior_log_scale is not None:
            found += [self.prior_shift, self.prior_log_scale]
        if self.prior_below is not None:
            found.append(self.prior_below)
        return found

    # -- answers --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def responsibilities(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """q(z | x) over the clusters in use."""
        return self.index_logits(x, self.encoder(x))[:, self.active].softmax(-1)

    @torch.no_grad()
    def explanation(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Most likely cluster (among those in use) and its mean transform: ``[B]``, ``[B, D]``."""
        features = self.encoder(x)
        mean, _ = self.transform_posterior(features)
        best = self.index_logits(x, features)[:, self.active].argmax(1)
        if mean.shape[1] == 1:
            return best, mean[:, 0]
        return best, mean[:, self.active][torch.arange(len(x), device=x.device), best]

    @torch.no_grad()
    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """The mean transform of the most likely cluster, in standard deviations of its prior."""
        return (self.explanation(x)[1] - self.transformer.identity) / self.transformer.prior_scale

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The most likely prototype under its mean transform."""
        cluster, t = self.explanation(x)
        return self.transformer(self.cluster_means()[cluster], t)

    @torch.no_grad()
    def generate(self, count: int) -> Float[Tensor, "N C H W"]:
        """Prototypes of random clusters under transforms from their priors."""
        z = self.index_prior().sample((count,))
        return self.transformer(self.choose(z, self.prototypes()), self.transform_prior(z).expand((count,)).sample())

    @torch.no_grad()
    def traversals(self, steps: int) -> tuple[list[str], Tensor]:
        """The first prototype in use while one parameter after the other goes from -2 to 2 standard deviations."""
        mean, scale = self.prior_of_clusters()
        first = int(self.active.nonzero()[0]) if len(mean) > 1 else 0
        offsets = torch.linspace(-2, 2, steps, device=mean.device)
        theta = mean[first] + torch.diag(scale[first]).unsqueeze(1) * offsets[:, None]
        return self.transformer.parameter_names(), self.transformer(self.cluster_means()[0], theta)

    @torch.no_grad()
    def bound_terms(self, x: Float[Tensor, "B C H W"]) -> dict[str, Float[Tensor, " B"]]:
        """``nll``: expected squared error / (2 variance) (Gaussian, without its constant, as in the original) or
        cross-entropy, over q(z | x) and one draw of t for every cluster; ``kl``: of index and transform."""
        features = self.encoder(x)
        q = self.index_logits(x, features)[:, self.active].softmax(-1)
        mean, scale = self.transform_posterior(features)
        if mean.shape[1] > 1:
            mean, scale = mean[:, self.active], scale[:, self.active]
        errors = self.errors(x, self.cluster_means(), torch.normal(mean, scale))
        index = (torch.special.xlogy(q, q) + q * torch.tensor(float(q.shape[1])).log()).sum(1)
        return {
            "nll": (q * errors).sum(1),
            "kl": index + (q * self.transform_kl(mean, scale, self.active.nonzero().flatten())).sum(1),
        }
