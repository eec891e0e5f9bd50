"""The prior over codes, and what can be asked of any story that has it: everything but how codes become data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_models.anchors import start
from pyro_models.anchors.mixture import AnchorMixture
from pyro_models.anchors.repulsion import AnchorPrior
from pyro_models.story import Story

#: starting uncertainty of latent anchors
FIRST_ANCHOR_SCALE = 0.05
#: log variances of anchors stay above this: a component on a single datum has no density
SMALLEST_LOG_SCALE = -4.0


class Anchored(Story):
    """K components ``N(a_c, diag s_c^2)`` with weights pi over codes ``[B, D]``, in one of four kinds.

    A subclass sets the options below, calls :meth:`make_components` and has an encoder, a decoder and a likelihood.
    """

    shape: tuple[int, ...]
    clusters: int
    latent: int
    #: ``map``, ``parameters``, ``latent`` or ``pseudo-inputs``
    anchor_kind: str
    covariance: str
    weight_kind: str
    repulsion: str
    spacing: float
    hard: bool
    #: False where the components are fitted but not trained
    variational: bool
    #: what pseudo-inputs may be: pixels from 0 to 1, counts at least 0, anything
    pseudo_range: tuple[float, float]
    decoder: nn.Module
    likelihood: Any
    #: q(z | x)
    encode: Callable[[Tensor], TorchDistributionMixin]

    def make_components(self, spread: float) -> None:
        """Their parameters, somewhere."""
        kind, trained = self.anchor_kind, self.variational
        first = self.spacing / (2 * self.latent) ** 0.5 * torch.randn(self.clusters, self.latent)
        if kind == "pseudo-inputs":
            self.pseudo_inputs = nn.Parameter(torch.rand(self.clusters, *self.shape))
        elif self.clusters == 1:
            self.register_buffer("anchors", torch.zeros(1, self.latent))
        else:
            self.anchors = nn.Parameter(first, requires_grad=trained)
        if kind == "latent":
            self.anchor_log_scales = nn.Parameter(torch.full_like(first, FIRST_ANCHOR_SCALE).log())
        if kind != "pseudo-inputs":
            shape = (self.clusters, self.latent) if self.covariance == "diagonal" else ()
            log_scales = torch.full(shape, spread).log()
            if self.covariance == "fixed":
                self.register_buffer("log_scales", log_scales)
            else:
                self.log_scales = nn.Parameter(log_scales, requires_grad=trained)
        if self.weight_kind == "learned" and self.clusters > 1:
            self.weight_logits = nn.Parameter(torch.zeros(self.clusters), requires_grad=trained)

    def log_weights(self, anchors: Tensor, scales: Tensor) -> Float[Tensor, " K"]:
        r"""log pi. Tied weights :math:`-|a|^2 / 2(1 - s^2)` are those under which a hard mixture is the published code:
        the KL to N(0, I) plus the squared distance to the nearest anchor."""
        if self.weight_kind == "tied":
            return -anchors.square().sum(-1) / (2 * (1 - scales.square()))
        if self.weight_kind == "learned" and self.clusters > 1:
            return self.weight_logits.log_softmax(-1)
        return anchors.new_full((self.clusters,), self.clusters).log().neg()

    def mixture(self, anchors: Tensor | None = None) -> AnchorMixture:
        """p(z), around the given anchors or the point estimate."""
        if self.anchor_kind == "pseudo-inputs":
            components = self.encode(self.pseudo_inputs.clamp(*self.pseudo_range)).base_dist
            return AnchorMixture(self.log_weights(components.loc, components.scale), components.loc, components.scale)
        anchors = self.anchors if anchors is None else anchors
        scales = self.log_scales.clamp_min(SMALLEST_LOG_SCALE).exp()
        return AnchorMixture(self.log_weights(anchors, scales), anchors, scales, self.hard)

    def anchor_prior(self) -> AnchorPrior:
        """p(A)."""
        return AnchorPrior(self.repulsion, self.clusters, self.latent, self.spacing, self.log_scales)

    @torch.no_grad()
    def take_components(self, found: start.Components) -> None:
        """Makes these components the prior, as far as its options let it be like them."""
        self.anchors.copy_(found.means)
        if self.covariance == "diagonal":
            self.log_scales.copy_(found.scales.log().clamp_min(SMALLEST_LOG_SCALE))
        elif self.covariance == "spherical":
            self.log_scales.copy_(found.scales.square().mean().sqrt().log())
        if self.weight_kind == "learned":
            self.weight_logits.copy_(found.weights.log())

    def component_parameters(self) -> list[nn.Parameter]:
        """The parameters of the prior over codes that have one row per anchor, or serve all of them."""
        names = ("anchors", "log_scales", "weight_logits")
        return [p for p in (getattr(self, name, None) for name in names) if isinstance(p, nn.Parameter)]

    # -- answers --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def responsibilities(self, x: Tensor, target: Tensor | None = None) -> Float[Tensor, "B K"]:
        """p(c | z) at the posterior mean of z."""
        return self.mixture().joint(self.encode(x).mean).softmax(-1)

    @torch.no_grad()
    def features(self, x: Tensor, target: Tensor | None = None) -> Float[Tensor, "B D"]:
        """Posterior means."""
        return self.encode(x).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """E[x | z = posterior mean]."""
        return self.decode(self.features(x))

    @torch.no_grad()
    def complete(self, x: Tensor, draws: int) -> Tensor:
        """E[x | z] for draws of z from q(z | x): several wholes that fit what is seen, ``[draws, B, *target]``."""
        return self.likelihood.mean(self.decoder(self.encode(x).sample((draws,))))

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """E[x | z] for fresh c and z."""
        return self.decode(self.mixture().sample((count,)))

    def decode(self, z: Float[Tensor, "*lead D"]) -> Tensor:
        """E[x | z]."""
        return self.likelihood.mean(self.decoder(z))

    @torch.no_grad()
    def cluster_means(self) -> Tensor:
        """E[x | z = a_c] for every anchor."""
        return self.decode(self.anchor_codes())

    @torch.no_grad()
    def anchor_codes(self) -> Float[Tensor, "K D"]:
        """The anchors."""
        return self.mixture().anchors

    @torch.no_grad()
    def anchor_weights(self) -> Float[Tensor, " K"]:
        """pi, normalised where the story's weights are not."""
        return self.mixture().log_weights.softmax(-1)

    @torch.no_grad()
    def around_anchors(self, count: int) -> Float[Tensor, "K count D"]:
        """Draws of z given each c."""
        mixture = self.mixture()
        every = torch.arange(self.clusters, device=mixture.anchors.device).unsqueeze(1).expand(self.clusters, count)
        return mixture.component(every).sample()
