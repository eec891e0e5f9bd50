"""The conditional VAE of images: any pixels given (quadrants, halves, rectangles), class and colour as conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn

from pyro_models.conditional.base import check_mask
from pyro_models.conditional.masks import MaskLaw, mask_law
from pyro_models.errors import DataError, OptionError, unknown_name
from pyro_models.nn import auto_encoder
from pyro_models.nn.dense import keep_variance
from pyro_models.nn.gaussians import DiagonalNormal
from pyro_models.nn.posterior import LOG_SCALE_RANGE
from pyro_models.story import Story

#: weight of the KL term at the start of a warm-up
FIRST_KL_WEIGHT = 0.01
#: log of the guide's standard deviation over the prior's at the start: a code is heard when it is not all noise
FIRST_STRETCH = -1.5
PRIORS = ("standard", "conditional")


class HiddenPixels(TorchDistribution):
    """Bernoulli pixels of which some are given: those are copied, the others drawn, the ``scored`` ones scored.

    Grey pixels are scored as expected bits, as is usual for images.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch reads it from the class
    support = constraints.independent(constraints.unit_interval, 3)

    def __init__(self, logits: Tensor, x: Tensor, given: Tensor) -> None:
        self.logits, self.x, self.given = logits, x, given
        batch = torch.broadcast_shapes(logits.shape[:-3], x.shape[:-3], given.shape[:-3])
        super().__init__(batch, logits.shape[-3:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HiddenPixels:
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        return HiddenPixels(self.logits.expand(*batch_shape, *self.event_shape), self.x, self.given)

    @property
    def mean(self) -> Tensor:
        return torch.where(self.given, self.x, self.logits.sigmoid())

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        lit = torch.rand(shape, device=self.logits.device) < self.logits.sigmoid()
        return torch.where(self.given, self.x, lit.to(self.x.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        each = value * self.logits - nn.functional.softplus(self.logits)
        return torch.where(self.given, torch.zeros_like(each), each).flatten(-3).sum(-1)


class ImageCVAE(Story):
    r"""Conditional VAE of images: pixels, class and colour may be given.

    .. code-block:: text

        +-- data (B) ------------------------+   m   ~ mask law                           [B, *shape]  (True: given)
        |  y ---------.                      |   z   ~ N(0, I)                            [B, K]
        |  x_o, m --> z --> x_u              |   x_u | z, x_o, m, y ~ Bernoulli(dec)      [B, *shape]
        +------------------------------------+   q(z | x, m, y) = N(mu', diag sigma'^2)

    Guide and decoder are networks; the decoder reads the code, features of (x_o, m), and y. Given pixels are copied and
    never scored. The code is what x_o leaves open, so its prior needs no x_o: ``prior="conditional"``,
    :math:`z | x_o, m, y \sim N(\mu, \mathrm{diag}\,\sigma^2)` as published, can say nothing more, but its mean is a
    second way from x_o to the pixels that gets better the less noise there is, and the code then ends unused.

    Args:
        shape: of an image, ``(channels, height, width)``.
        conditions: length of the vector y (one-hot class and colour, say), the data's field ``conditions``; 0 for none.
        latent: K.
        hidden: widths of the dense layers.
        channels: of the stride-2 stages when ``network="convolutional"``.
        network: ``convolutional`` or ``mlp``.
        features: length of the vector that tells the decoder what is given; 0 (with a conditional prior) for none.
        prior: ``standard`` or ``conditional``.
        masks: law of the given pixels: ``quadrants``, ``halves``, ``rectangles``, ``images`` (a mixture), ``nothing``.
        beta: weight of the KL term.
        warm_up: fraction of training in which that weight grows from nearly nothing.
    """

    citation = (
        "@inproceedings{sohn2015cvae,\n  title={Learning Structured Output Representation using Deep Conditional "
        "Generative Models},\n  author={Sohn, Kihyuk and Lee, Honglak and Yan, Xinchen},\n"
        "  booktitle={Advances in Neural Information Processing Systems},\n  year={2015}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        conditions: int = 0,
        latent: int = 50,
        hidden: Sequence[int] = (512, 512),
        channels: Sequence[int] = (32, 64),
        network: str = "convolutional",
        features: int = 128,
        prior: str = "standard",
        masks: str = "quadrants",
        beta: float = 1.0,
        warm_up: float = 0.0,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise OptionError(f"ImageCVAE reads images, not data of shape {tuple(shape)}; use the story 'cvae'.")
        for name, number in (("latent", latent), ("beta", beta)):
            if not number > 0:
                raise OptionError(f"{name} is {number}; it must be positive.")
        if prior not in PRIORS:
            raise unknown_name("prior", prior, PRIORS)
        if features < (prior == "standard"):
            raise OptionError(
                f"features is {features}; it is a length, and with prior='standard' the decoder is told what is given "
                "by them alone, so they must be 1 or more."
            )
        if not 0 <= warm_up <= 1:
            raise OptionError(f"warm_up is {warm_up}; it is a fraction of training, from 0 to 1.")
        self.warm_up, self.kl_weight = warm_up, 1.0
        self.shape, self.latent, self.beta, self.conditions = tuple(shape), latent, beta, conditions
        self.pixel_law, self.masks = mask_law(masks, shape), masks
        if conditions:
            self.fields = ("x", "conditions")  # type: ignore[misc]  # this story's own batch fields
        seen = (shape[0] + 1, *shape[1:])
        width = hidden[-1]
        self.given_encoder, _ = auto_encoder(network, seen, hidden, channels, width, 1)
        self.guide_encoder, _ = auto_encoder(network, seen, hidden, channels, width, 1)
        _, self.decoder = auto_encoder(network, shape, hidden, channels, 1, latent + features + conditions)
        self.standard = prior == "standard"
        self.given_head = nn.Linear(width + conditions, features + (0 if self.standard else 2 * latent))
        self.guide_head = nn.Linear(2 * width + conditions, 2 * latent)
        keep_variance(self)
        with torch.no_grad():
            self.guide_head.bias[latent:] = FIRST_STRETCH
        self.split = [features, latent, latent]

    def at(self, progress: float) -> None:
        self.kl_weight = min(1.0, max(FIRST_KL_WEIGHT, progress / self.warm_up)) if self.warm_up else 1.0

    @classmethod
    def derive(cls, data: Any) -> dict[str, Any]:
        found = super().derive(data)
        return {**found, "conditions": data.shape("conditions")[0]} if "conditions" in data else found

    def model(self, x: Tensor, conditions: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given = self._given(x, given)
            features, prior, _ = self._prior(x, conditions, given)
            with poutine.scale(scale=self.beta * self.kl_weight):
                z = pyro.sample("z", prior)
            pyro.sample("x", self._decoded(z, features, conditions, x, given), obs=x)

    def guide(self, x: Tensor, conditions: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given = self._given(x, given)
            with poutine.scale(scale=self.beta * self.kl_weight):
                pyro.sample("z", self._posterior(x, conditions, given))

    def _law(self, count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """All channels of a pixel are given together."""
        return self.pixel_law(count, (1, *shape[1:]), device).expand(count, *shape)

    def _given(self, x: Tensor, given: Tensor | None) -> Tensor:
        if is_validation_enabled() and not bool(torch.isfinite(x).all()):
            raise DataError("x holds NaN or infinity; an image's hidden pixels may hold anything finite.")
        if given is None:
            return pyro.sample("given", MaskLaw(self._law, self.shape, x))
        if is_validation_enabled():
            check_mask(given, x, "given")
        return given.bool()

    def _seen(self, x: Tensor, seen: Tensor, given: Tensor) -> Tensor:
        """The image where it may be seen, and the mask of what is given as one more channel."""
        mask = given[..., :1, :, :].to(x.dtype)
        shown = torch.where(seen, x, torch.zeros_like(x))
        return torch.cat([shown.expand(*mask.shape[:-3], *shown.shape[-3:]), mask], -3)

    def _joined(self, one: Tensor, conditions: Tensor | None) -> Tensor:
        if not self.conditions:
            return one
        if conditions is None:
            conditions = one.new_zeros(one.shape[-2], self.conditions)
        return torch.cat([one, conditions.expand(*one.shape[:-1], -1)], -1)

    def _prior(self, x: Tensor, conditions: Tensor | None, given: Tensor) -> tuple[Tensor, DiagonalNormal, Tensor]:
        hidden = self.given_encoder(self._seen(x, given, given)).relu()
        told = self.given_head(self._joined(hidden, conditions))
        if self.standard:
            zero = told.new_zeros(*told.shape[:-1], self.latent)
            return told, DiagonalNormal(zero, zero), hidden
        features, mean, log_scale = told.split(self.split, -1)
        return features, DiagonalNormal(mean, log_scale.clamp(*LOG_SCALE_RANGE)), hidden

    def _posterior(self, x: Tensor, conditions: Tensor | None, given: Tensor) -> DiagonalNormal:
        """The prior's moments plus what the hidden pixels add."""
        _, prior, of_given = self._prior(x, conditions, given)
        everything = torch.ones_like(given)
        hidden = self.guide_encoder(self._seen(x, everything, given)).relu()
        shift, stretch = self.guide_head(self._joined(torch.cat([hidden, of_given], -1), conditions)).chunk(2, -1)
        open_rows = (~given).flatten(-3).any(-1)[..., None]  # nothing is learned where nothing is hidden
        shift, stretch = torch.where(open_rows, shift, 0.0), torch.where(open_rows, stretch, 0.0)
        log_scale = (prior.log_scale + stretch).clamp(*LOG_SCALE_RANGE)
        return DiagonalNormal(prior.location + shift * prior.log_scale.exp(), log_scale)

    def _decoded(
        self, z: Tensor, features: Tensor, conditions: Tensor | None, x: Tensor, given: Tensor
    ) -> HiddenPixels:
        batch = torch.broadcast_shapes(z.shape[:-1], features.shape[:-1])
        both = torch.cat([z.expand(*batch, -1), features.expand(*batch, -1)], -1)
        return HiddenPixels(self.decoder(self._joined(both, conditions)), x, given)

    @torch.no_grad()
    def draw_conditions(
        self, x: Tensor, conditions: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Any, ...]:
        """``(x, conditions, given)`` with the masks drawn from the law where none are given."""
        return x, conditions, self._law(len(x), self.shape, x.device) if given is None else given.bool()

    @torch.no_grad()
    def features(self, x: Tensor, conditions: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Means of q(z | x, m, y), ``[B, K]``; nothing is given unless it is said."""
        given = torch.zeros_like(x, dtype=torch.bool) if given is None else given.bool()
        return self._posterior(x, conditions, given).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, conditions: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """E[x | z = posterior mean], given pixels as they are."""
        given = torch.zeros_like(x, dtype=torch.bool) if given is None else given.bool()
        features, _, _ = self._prior(x, conditions, given)
        return self._decoded(self._posterior(x, conditions, given).mean, features, conditions, x, given).mean

    @torch.no_grad()
    def generate(self, count: int, conditions: Tensor | None = None) -> Tensor:
        """E[x | z] for fresh z with no pixel given, ``[count, *shape]``."""
        x = torch.zeros(count, *self.shape, device=next(self.parameters()).device)
        nothing = torch.zeros_like(x, dtype=torch.bool)
        features, prior, _ = self._prior(x, conditions, nothing)
        return self._decoded(prior.rsample(), features, conditions, x, nothing).mean

    @torch.no_grad()
    def impute(self, x: Tensor, given: Tensor, draws: int = 1, conditions: Tensor | None = None) -> Tensor:
        """Completions ``[draws, B, *shape]``: expectations of the pixels under fresh codes, given pixels as they
        are."""
        check_mask(given, x, "given")
        given = given.bool()
        features, prior, _ = self._prior(x, conditions, given)
        return self._decoded(prior.rsample((draws,)), features, conditions, x, given).mean

    @torch.no_grad()
    def conditional_bound(self, x: Tensor, conditions: Tensor | None, given: Tensor, particles: int = 1) -> Tensor:
        """The importance-weighted bound on log p(x_u | x_o, y) per image, both encoders run once for all particles."""
        features, prior, _ = self._prior(x, conditions, given)
        q = self._posterior(x, conditions, given)
        weights = []
        for _ in range(particles):
            z = q.rsample()
            pixels = self._decoded(z, features, conditions, x, given)
            weights.append(pixels.log_prob(x) + prior.log_prob(z) - q.log_prob(z))
        return torch.stack(weights).logsumexp(0) - math.log(particles)
