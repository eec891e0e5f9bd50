"""The nebula: codes gather around anchors. One story whose special cases are NVC, VaDE and the VampPrior."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_models.anchors import factors, start
from pyro_models.anchors.anchored import Anchored
from pyro_models.anchors.moves import Moves
from pyro_models.anchors.networks import Plan, build_pair, kind_of, suited
from pyro_models.anchors.options import check_kinds, check_recipe, check_together
from pyro_models.anchors.presets import preset_options
from pyro_models.anchors.repulsion import median_distance, published_energy, refuse_runaway
from pyro_models.anchors.views import Views
from pyro_models.anchors.words import word_groups
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.nn import make_posterior
from pyro_models.story import Story

#: weight of the KL terms while the codes spread out: enough to keep them near the origin
FIRST_KL_WEIGHT = 1e-3
#: share of the newest batch in the running mean of what a code costs
RATE_MEMORY = 0.1
#: posteriors start narrow, or the first codes are noise: this is added to log standard deviations
FIRST_LOG_SCALE = -1.5
#: what learned pseudo-inputs may be, by network; images and grids of others are in [0, 1]
PSEUDO_RANGES = {"bag": (0.0, torch.inf), "pointnet": (-torch.inf, torch.inf)}


class Nebula(Anchored):
    r"""K anchors in the latent space; every code lies around one of them, every datum is decoded from its code.

    .. code-block:: text

        A ---------+                       A ~ p(A)                          [K, D]    repulsive, see `repulsion`
                   |                       pi ~ Dirichlet(alpha)             [K]
        +-- data --|-------------+         c ~ Categorical(pi)               [B]
        |          v             |         z | c ~ N(a_c, diag s_c^2)        [B, D]
        |  c ----> z ----> x     |         x | z ~ p(x | dec(z))             [B, *shape]
        |                        |
        +------------------------+         q(z | x) = N(mu(x), diag sigma(x)^2);   p(c | z) is exact

    The index c has K values and is summed over. Three encodings of the same bound, equal in value and gradients:

    * ``mixture`` (default): z has the mixture as its prior, no discrete site, any estimator;
    * ``enumerate-model``: c is a site of the model alone and is enumerated there;
    * ``enumerate-guide``: c is also in the guide, with its exact posterior :math:`q(c|z) = p(c|z)`, enumerated.

    With ``hard=True`` the nearest anchor takes all (:math:`\max_c` in place of :math:`\sum_c`). With
    ``anchors="pseudo-inputs"`` the components are :math:`q(z|u_k)` at K learned data :math:`u_k` (VampPrior).

    The recipe, told by the progress of training. Until ``warm_up`` the KL terms weigh next to nothing (an
    auto-encoder); then the anchors are placed; then the KL weight grows to 1 over ``ramp``. ``start`` says how they are
    placed: ``codes``, a Gaussian mixture fitted to the codes with restarts; ``neighbours``, the groups of the graph of
    nearest neighbours (see ``neighbours.py``), or ``words``, those of a mixture of multinomials (documents only, see
    ``words.py``), which the encoder learns during the warm-up and may leave later; ``random``, nowhere in particular.
    Factors beside the bound act in training only; the bound reported is the bound.

    Args:
        shape: of one datum.
        clusters: K; with 1 the anchor is the origin and the story is a VAE.
        latent: D.
        hidden, channels, network, likelihood, scale, network_options: the network pair, see ``networks.py``.
        target_shape: of what is explained when it is not what is read; the data then need a field ``target``.
        anchors: ``map`` (point estimate under p(A)), ``parameters`` (no prior), ``latent`` (a Gaussian guide: their
            uncertainty), ``pseudo-inputs``.
        covariance: of a component: ``diagonal``, ``spherical`` (one number shared by all), ``fixed`` to ``spread``.
        spread: start, or fixed value, of the components' standard deviation.
        weights: ``learned``, ``uniform``, or ``tied`` to the anchors' length as in the published code.
        concentration: alpha of the Dirichlet prior on learned weights; 1 is flat.
        repulsion: ``log-gas``, ``hinge``, ``dpp``, ``soft-core``, ``none`` or ``published`` (stops when it runs away).
        repulsion_strength: how much log p(A) counts, as a share of the data (the prior of latent anchors counts once).
        spacing: distance wanted between anchors; None for twice the spread of two codes at one anchor.
        encoding: one of the above.
        hard: the hard limit.
        variational: False for a plain auto-encoder, whose mixture is fitted but not trained.
        start: how anchors are placed.
        warm_up, ramp: fractions of training.
        guess_until: progress at which the start's groups lose their last influence (``neighbours`` and ``words``).
        views: what else comes from the same anchor: ``neighbours``, ``warps`` (images moved and bent), or both.
        view_weight: nats per datum.
        metric_weight: of self-supervised metric learning, grown to full size over ``ramp``.
        moves: reseed dead anchors, and split and merge, each kept only if the objective gains.
        free_bits: nats per datum that the code may cost for nothing: while it costs less (a running mean over batches),
            the KL terms weigh next to nothing. Against decoders that explain everything by themselves (sequences).
    """

    citation = (
        "@article{wang2024nebula,\n  title={Self-Supervised Latent Space Optimization With Nebula Variational "
        "Coding},\n  author={Wang, Yida and Tan, David Joseph and Navab, Nassir and Tombari, Federico},\n"
        "  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence},\n  volume={46},\n  number={3},\n"
        "  pages={1397--1411},\n  year={2024}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        clusters: int = 10,
        latent: int = 10,
        hidden: Sequence[int] = (500, 500),
        channels: Sequence[int] = (32, 64),
        network: str = "dense",
        likelihood: str | None = None,
        scale: float | None = None,
        network_options: dict[str, Any] | None = None,
        target_shape: Sequence[int] | None = None,
        anchors: str = "map",
        covariance: str = "diagonal",
        spread: float = 1.0,
        weights: str = "learned",
        concentration: float = 1.0,
        repulsion: str = "log-gas",
        repulsion_strength: float = 0.01,
        spacing: float | None = None,
        encoding: str = "mixture",
        hard: bool = False,
        variational: bool = True,
        start: str = "codes",
        warm_up: float = 0.25,
        ramp: float = 0.25,
        guess_until: float = 0.75,
        views: Sequence[str] = (),
        view_weight: float = 20.0,
        metric_weight: float = 0.0,
        moves: bool = True,
        free_bits: float = 0.0,
    ) -> None:
        super().__init__()
        check_kinds(clusters, anchors, covariance, weights, encoding, repulsion, hard, start, spread, concentration)
        check_recipe(warm_up, ramp, guess_until, view_weight, metric_weight, repulsion_strength, free_bits)
        check_together(network, anchors, start, warm_up, metric_weight, variational and clusters > 1)
        self.shape = tuple(shape)
        self.clusters, self.latent, self.anchor_kind, self.encoding = clusters, latent, anchors, encoding
        self.covariance, self.weight_kind, self.hard, self.variational = covariance, weights, hard, variational
        self.concentration, self.repulsion, self.repulsion_strength = concentration, repulsion, repulsion_strength
        self.pseudo_range = PSEUDO_RANGES.get(network, (0.0, 1.0) if len(self.shape) > 2 else (-torch.inf, torch.inf))
        self.spacing = spacing if spacing is not None else 2 * spread * (2 * latent) ** 0.5
        if not self.spacing > 0:
            raise OptionError(f"spacing is {spacing}; the distance wanted between anchors must be positive.")
        self.start, self.warm_up, self.ramp, self.guess_until = start, warm_up, ramp, guess_until
        self.view_weight, self.metric_weight, self.free_bits = view_weight, metric_weight, free_bits
        self.fields = ("x",) if target_shape is None else ("x", "target")  # type: ignore[misc]
        self.default_estimator = "pathwise" if encoding == "mixture" else "exact"  # type: ignore[misc]
        self.posterior = make_posterior("diagonal", latent)
        plan = Plan(
            self.shape,
            self.shape if target_shape is None else tuple(target_shape),
            self.posterior.outputs,
            latent,
            hidden,
            channels,
            likelihood,
            scale,
            network_options or {},
        )
        self.encoder, self.decoder, self.likelihood = build_pair(network, plan)
        self.register_buffer("first", torch.tensor([0.0, FIRST_LOG_SCALE]).repeat_interleave(latent), persistent=False)
        self.make_components(spread)
        self.views = Views(views, self.shape)
        self.moves = Moves(clusters) if moves and clusters > 1 and anchors != "pseudo-inputs" else None
        #: the seed of what the start looks up in the training data (nothing else of it is worth keeping)
        self.register_buffer("start_seed", torch.zeros((), dtype=torch.long))
        #: running mean of what a code costs, in nats
        self.register_buffer("rate", torch.zeros(()))
        #: data behind the anchors' own posterior, which counts once for all of them
        self.register_buffer("data_size", torch.ones((), dtype=torch.long))
        if repulsion == "published":
            #: the distance of anchors that their running away is measured by
            self.register_buffer("apart", torch.tensor(self.spacing))
        self.guesses: Tensor | None = None
        self.kl_weight, self.guess_weight, self.progress = 1.0, 0.0, 1.0

    first: Tensor
    start_seed: Tensor
    rate: Tensor
    data_size: Tensor
    apart: Tensor
    likelihood: Any

    @classmethod
    def derive(cls, data: Data) -> dict[str, Any]:
        found: dict[str, Any] = {"shape": data.shape("x"), "network": suited(data)}
        if "target" in data:
            found["target_shape"] = data.shape("target")
        kind = kind_of(data)
        if kind == "vector" and "target" not in data:
            found["likelihood"] = "gaussian"
        if kind == "tokens":
            words = getattr(data, "words", ())
            found["network_options"] = {"vocabulary": len(words) or int(data["x"].max()) + 1}
        return found

    @classmethod
    def build(cls, data: Data, preset: str | None = None, **options: Any) -> Story:
        """The story for a dataset; a ``preset`` gives the options of a published relative, which ``options``
        override. ``network_options`` add to those that the data decide."""
        chosen = {**(preset_options(preset) if preset is not None else {}), **options}
        if chosen.get("network_options"):
            chosen["network_options"] = {**cls.derive(data).get("network_options", {}), **chosen["network_options"]}
        return super().build(data, **chosen)

    # -- the story ------------------------------------------------------------------------------------------------

    def model(self, x: Tensor, target: Tensor | None = None) -> None:
        anchors = self._anchor_site(x)
        mixture = self.mixture(anchors)
        self._prior_factors(len(x))
        with pyro.plate("data", len(x), dim=-1):
            with _switched(self.variational), poutine.scale(scale=self.kl_weight):
                if self.encoding == "mixture":
                    z = pyro.sample("z", mixture)
                else:
                    c = pyro.sample("c", dist.Categorical(logits=mixture.log_weights))
                    z = pyro.sample("z", mixture.component(c))
            told, name = (x, "x") if target is None else (target, "target")
            pyro.sample(name, self.likelihood(self.decoder(z)), obs=told)

    def guide(self, x: Tensor, target: Tensor | None = None) -> None:
        anchors = None
        if self.anchor_kind == "latent":
            with poutine.scale(scale=len(x) / int(self.data_size)):
                q = dist.Normal(self.anchors, self.anchor_log_scales.exp()).to_event(2)
                anchors = pyro.sample("anchors", q)
        q = self.encode(x)
        self._training_factors(x, q.mean, anchors)
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=self.kl_weight):
            z = pyro.sample("z", q if self.variational else dist.Delta(q.mean, event_dim=1))
            if self.encoding == "enumerate-guide":
                with _switched(self.variational):
                    pyro.sample("c", dist.Categorical(logits=self.mixture(anchors).joint(z)))
        if self.training and self.free_bits and self.variational:
            with torch.no_grad():
                price = (q.log_prob(z) - self.mixture(anchors).log_prob(z)).mean()
                self.rate.lerp_(price, RATE_MEMORY)

    def encode(self, x: Tensor) -> TorchDistributionMixin:
        """q(z | x)."""
        return self.posterior(self.encoder(x) + self.first)

    def _anchor_site(self, x: Tensor) -> Tensor | None:
        if self.anchor_kind != "latent":
            return None
        with poutine.scale(scale=len(x) / int(self.data_size)):
            return pyro.sample("anchors", self.anchor_prior())

    def _prior_factors(self, size: int) -> None:
        """Point estimates under their priors, per batch."""
        if not self.training or not self.variational or self.clusters == 1 or self.progress < self.warm_up:
            return
        if self.anchor_kind == "map" and self.repulsion != "published":
            score = self.repulsion_strength * self.anchor_prior().log_prob(self.anchors)
            pyro.factor("anchor_prior", size * score)
        if self.weight_kind == "learned" and self.concentration != 1:
            score = (self.concentration - 1) * self.weight_logits.log_softmax(-1).sum()
            pyro.factor("weight_prior", size / int(self.data_size) * score)

    def _training_factors(self, x: Tensor, codes: Tensor, anchors: Tensor | None) -> None:
        """What acts beside the bound, in the guide, where the encoder's answers are at hand (so the sign is turned)."""
        if not self.training:
            return
        terms: list[Tensor] = []
        placed = min(1.0, max(0.0, (self.progress - self.warm_up) / self.ramp)) if self.ramp else 1.0
        mixture = self.mixture(anchors) if self.metric_weight or self.views or self.guesses is not None else None
        if mixture is not None and self.metric_weight and placed:
            logs = mixture.joint(codes).log_softmax(-1)
            softening = self.latent * mixture.scales.detach().square().mean()
            terms.append(self.metric_weight * placed * factors.metric(codes, logs, softening))
        if mixture is not None and (self.views or self.guess_weight) and self.views.ready:
            one, other, rows = self.views.draw(x)
            logs = mixture.joint(self.encode(torch.cat([one, other])).mean).log_softmax(-1)
            first, second = logs.chunk(2)
            if self.views and placed:
                terms.append(self.view_weight * factors.agreement(first, second))
            if self.guesses is not None and rows is not None and self.guess_weight:
                guessed = self.guesses[rows]
                both = 0.5 * (factors.guess(first, guessed) + factors.guess(second, guessed))
                terms.append(self.view_weight * self.guess_weight * both)
        if self.repulsion == "published" and placed:
            refuse_runaway(self.anchors, float(self.apart))
            terms.append(-self.repulsion_strength * published_energy(codes, self.anchors) / len(x))
        if terms:
            pyro.factor("training", -len(x) * torch.stack(terms).sum(), has_rsample=True)

    # -- the recipe -----------------------------------------------------------------------------------------------

    def at(self, progress: float) -> None:
        self.progress = progress
        grown = (progress - self.warm_up) / self.ramp if self.ramp else 1.0
        self.kl_weight = 1.0 if progress >= 1 else min(1.0, max(FIRST_KL_WEIGHT, grown))
        if self.free_bits and progress < 1 and float(self.rate) < self.free_bits:
            self.kl_weight = FIRST_KL_WEIGHT
        self.guess_weight = max(0.0, 1 - progress / self.guess_until) if self.guess_until else 0.0

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        self.start_seed.fill_(int(torch.randint(2**31, ())))
        self.data_size.fill_(len(data))
        meet = getattr(self.encoder, "meet", None)
        if meet is not None:
            meet(data["x"])
        if self.anchor_kind == "pseudo-inputs":
            self.pseudo_inputs.copy_(data.take(start.some(data, self.clusters))["x"])

    def meet(self, data: Data) -> None:
        if not self.variational:
            return
        wants = self.start in ("neighbours", "words")
        self.views.meet(data, neighbours=wants, look=getattr(self.encoder, "look", None))
        if self.start == "neighbours":
            self.guesses = self.views.groups(self.clusters, int(self.start_seed))
        elif self.start == "words":
            if kind_of(data) != "counts":
                raise OptionError("start='words' groups counts of words; for other data use 'neighbours' or 'codes'.")
            self.guesses = word_groups(data["x"].cpu(), self.clusters, seed=int(self.start_seed)).to(data.device)

    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        if not self.variational:
            if after >= 1:
                self._place(data)
            return
        if self.anchor_kind == "pseudo-inputs" or self.clusters == 1:
            return
        if self.warm_up and before < self.warm_up <= after:
            self._place(data)
        if self.moves is not None:
            self.moves.revise(self, before, after, data, optimiser)

    @torch.no_grad()
    def _place(self, data: Data) -> None:
        """The anchors, spreads and weights that suit the codes of the data now."""
        if self.start == "random" or self.clusters == 1:
            return
        rows = start.some(data, start.CODES)
        codes = torch.cat([self.features(batch["x"]) for batch in data.take(rows).chunks(1000)])
        if self.guesses is not None:
            found = start.from_groups(codes, self.guesses[rows], self.clusters)
        else:
            found = start.from_codes(codes, self.clusters, self.covariance != "diagonal")
        self.take_components(found)
        if self.repulsion == "published":
            self.apart.copy_(median_distance(self.anchors).clamp_min(self.spacing))


def _switched(on: bool) -> contextlib.AbstractContextManager[Any]:
    """Leaves sites alone, or takes their log-probability out (an auto-encoder's codes have no price)."""
    return contextlib.nullcontext() if on else poutine.mask(mask=False)
