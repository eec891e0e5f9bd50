"""The conditional VAE for arbitrary conditioning: any columns given, the others explained through a latent code."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_models.conditional.base import ConditionalStory, shrink_last
from pyro_models.conditional.gaussians import PrecisionNormal
from pyro_models.conditional.hidden import Hidden
from pyro_models.conditional.paths import LOG_SCALES, PATHS, Moments
from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn import mlp

#: the path learns alone up to the first, the corrections count fully from the second (progress of training): otherwise
#: networks explain what is linear, badly, before the path has found it
CORRECTIONS_FROM = (0.15, 0.3)
LIKELIHOODS = ("diagonal", "low-rank", "full")
#: latents unless told otherwise: any covariance needs one less than the columns, and more than this seldom pays
MOST_LATENTS = 32
#: corrections of log scales and of factors stay inside this range
CORRECTION = 3.0


class CVAE(ConditionalStory):
    r"""Conditional VAE under arbitrary conditioning, with a linear path that is exact for Gaussian data.

    .. code-block:: text

        +-- data (B) ------------------------+   m   ~ mask law                        [B, d]   (True: given)
        |                                    |   z   | x_o, m ~ N(mu_o, Lambda_o^-1)   [B, K]
        |  m --> z ------> x_u               |   x_u | z, x_o, m ~ p(x_u | dec)        [B, d]
        |   \   ^          ^                 |   x_o given: copied, never scored
        |    \--|--- x_o --|                 |
        +------------------------------------+   q(z | x, m) = N(mu, Lambda^-1), full or diagonal

    For every mask the bound :math:`E_q[\log p(x_u|z,x_o,m)] - \beta KL(q(z|x,m) \| p(z|x_o,m)) \le \log p(x_u|x_o)`
    (for beta = 1). Each of prior, guide and decoder is a linear-Gaussian answer (the *path*, see
    :mod:`pyro_models.conditional.paths`) plus a network's correction:

    * prior: path moments, mean shifted and precision factor multiplied by a network of (x_o, m)
    (``prior="conditional"``)
      or left (``"path"``; with ``path="none"`` that is N(0, I));
    * guide: the same with a network of (x, m, what is known);
    * decoder: path mean and scale plus a network of (x_o, m, z).

    A row in which nothing is hidden has the bound zero. Where nothing is known beyond what is given, the guide is the
    prior: posterior predictive draws of missing values are then honest.

    Args:
        shape: of one datum, ``(columns,)``.
        latent: K; None takes as many as there are places in the embedding, at most 32.
        hidden: widths of the correcting networks; empty for none (a linear model).
        path: ``tied`` (one factor analysis conditioned exactly for every mask), ``free`` (a map of its own for every
            mask, from a network of the mask; few columns), ``none``.
        prior: ``path`` or ``conditional``.
        likelihood: covariance of the hidden real columns given the code: ``diagonal``, ``low-rank`` or ``full``.
        rank: of the low-rank part.
        scale: fixed standard deviation of real columns in standard units; None learns one that depends on everything.
        beta: weight of the KL term.
        masks: the law of the conditions in training (``uniform``, ``bernoulli``, ``subsets``, ``chain``, ``nothing``).
        columns: kinds, 0 for real, k for k categories; None: all real.
        standardise: takes the units of real columns from the training data; False leaves them alone.
        incomplete: the data have a field ``mask`` (True: known).
        guide: ``full`` or ``diagonal`` posterior covariance.
    """

    guides = ("full", "diagonal")
    citation = (
        "@inproceedings{ivanov2019vaeac,\n  title={Variational Autoencoder with Arbitrary Conditioning},\n"
        "  author={Ivanov, Oleg and Figurnov, Michael and Vetrov, Dmitry},\n"
        "  booktitle={International Conference on Learning Representations},\n  year={2019}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        latent: int | None = None,
        hidden: Sequence[int] = (128, 128),
        path: str = "tied",
        prior: str = "path",
        likelihood: str = "diagonal",
        rank: int = 2,
        scale: float | None = None,
        beta: float = 1.0,
        masks: str = "uniform",
        columns: Sequence[int] | None = None,
        standardise: bool = True,
        incomplete: bool = False,
        guide: str = "full",
    ) -> None:
        super().__init__(shape, masks, columns, incomplete)
        for kind, value, allowed in (
            ("path", path, tuple(PATHS)),
            ("prior", prior, ("path", "conditional")),
            ("likelihood", likelihood, LIKELIHOODS),
            ("guide of CVAE", guide, self.guides),
        ):
            if value not in allowed:
                raise unknown_name(kind, value, allowed)
        for name, number in (("latent", latent), ("rank", rank), ("beta", beta), ("scale", scale)):
            if number is not None and not number > 0:
                raise OptionError(f"{name} is {number}; it must be positive.")
        if not hidden and (path == "none" or likelihood != "diagonal" or prior == "conditional"):
            raise OptionError("hidden is empty, so there is no network; that needs path='tied' or 'free', "
                              "likelihood='diagonal' and prior='path'.")  # fmt: skip
        places, real = self.columns.places, len(self.columns.real)
        self.latent = min(places, MOST_LATENTS) if latent is None else latent
        self.beta, self.guide_kind, self.standardised, self.fixed_scale = beta, guide, standardise, scale is not None
        self.path = PATHS[path](places, self.latent, scale)
        rank = {"diagonal": 0, "low-rank": rank, "full": real}[likelihood]
        self.decoder_sizes = [places, 0 if self.fixed_scale else real, real * rank]
        self.factor_rank = rank
        corrections = 2 * self.latent + (self.latent * (self.latent - 1) // 2 if guide == "full" else 0)
        columns_count = len(self.columns.kinds)
        self.decoder_network = self.guide_network = self.prior_network = None
        if hidden:
            inputs = places + columns_count
            self.decoder_network = smooth(inputs + self.latent, hidden, sum(self.decoder_sizes))
            self.guide_network = smooth(inputs + columns_count, hidden, corrections)
            if prior == "conditional":
                self.prior_network = smooth(inputs, hidden, corrections)
        self.has_path, self.weight = path != "none", 1.0
        row, column = torch.tril_indices(self.latent, self.latent, offset=-1)
        self.register_buffer("below", row * self.latent + column, persistent=False)

    below: Tensor

    def initialise(self, data: object) -> None:
        if self.standardised:
            super().initialise(data)

    def at(self, progress: float) -> None:
        first, last = CORRECTIONS_FROM
        self.weight = min(1.0, max(0.0, (progress - first) / (last - first))) if self.has_path else 1.0

    def model(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", self.prior(x, given))
            pyro.sample("x", self.decode(z, x, given, known), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            with poutine.scale(scale=self.beta):
                pyro.sample("z", self.posterior(x, given, known))

    def prior(self, x: Tensor, given: Tensor) -> PrecisionNormal:
        """p(z | x_o, m)."""
        return PrecisionNormal(*self._prior_moments(x, given))

    def posterior(self, x: Tensor, given: Tensor, known: Tensor) -> PrecisionNormal:
        """q(z | x, m); the prior itself in rows without anything known beyond the conditions."""
        e, inputs = self._inputs(x, known, given)
        mean, root = self.path.posterior(e, self.columns.spread_mask(given), self.columns.spread_mask(known))
        if self.guide_kind == "diagonal":
            root = root.square().sum(-1).sqrt().diag_embed()
        learns = (known & ~given).any(-1)[..., None]
        if self.guide_network is not None:
            known_too = torch.cat([inputs, known.to(e.dtype).expand(*inputs.shape[:-1], -1)], -1)
            correction = self.guide_network(known_too)
            correction = torch.where(learns, correction, torch.zeros_like(correction))
            mean, root = self._corrected(mean, root, correction, self.guide_kind == "full")
        if self.guide_kind == "full" and self.prior_network is None:
            return PrecisionNormal(mean, root)  # uncorrected, the path's posterior without news is its prior
        prior_mean, prior_root = self._prior_moments(x, given)
        return PrecisionNormal(torch.where(learns, mean, prior_mean), torch.where(learns[..., None], root, prior_root))

    def decode(self, z: Tensor, x: Tensor, given: Tensor, known: Tensor) -> Hidden:
        """p(x | z, x_o, m): hidden values drawn, given ones copied."""
        e, inputs = self._inputs(x, given, given)
        mean, log_scale = self.path.decode(e, self.columns.spread_mask(given), z)
        log_scale = log_scale if self.columns.all_real else log_scale[..., self.columns.real_places]
        factor = None
        if self.decoder_network is not None:
            batch = torch.broadcast_shapes(inputs.shape[:-1], z.shape[:-1])
            both = torch.cat([inputs.expand(*batch, -1), z.expand(*batch, -1)], -1)
            shift, stretch, entries = (self.weight * self.decoder_network(both)).split(self.decoder_sizes, -1)
            mean = mean + self._in_scale(shift, log_scale)
            if not self.fixed_scale:
                log_scale = (log_scale + stretch).clamp(*LOG_SCALES)
            if self.factor_rank:
                factor = entries.unflatten(-1, (-1, self.factor_rank))
        return Hidden(self.columns, mean, log_scale, x, given, known & ~given, factor)

    def _in_scale(self, shift: Tensor, log_scale: Tensor) -> Tensor:
        """Corrections of real columns count in units of the path's noise: where it is sharp, small errors are large."""
        if self.columns.all_real:
            return shift * log_scale.exp()
        factor = shift.new_ones(self.columns.places).index_copy(0, self.columns.real_places, log_scale.exp())
        return shift * factor

    def _prior_moments(self, x: Tensor, given: Tensor) -> Moments:
        e, inputs = self._inputs(x, given, given)
        mean, root = self.path.prior(e, self.columns.spread_mask(given))
        if self.prior_network is not None:
            return self._corrected(mean, root, self.prior_network(inputs), self.guide_kind == "full")
        return mean, root

    def _inputs(self, x: Tensor, seen: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding of what may be seen, zero elsewhere, and the same beside the mask of the conditions."""
        e = self.columns.embed(torch.where(seen, x, torch.zeros_like(x)))
        e = torch.where(self.columns.spread_mask(seen), e, torch.zeros_like(e))
        return e, torch.cat([e, given.to(e.dtype).expand(*e.shape[:-1], -1)], -1)

    def _corrected(self, mean: Tensor, root: Tensor, correction: Tensor, full: bool) -> Moments:
        """Shifts the mean, in units of the path's own uncertainty, and multiplies the precision's factor by a lower
        triangle near the identity."""
        shift, log_diagonal, below = (self.weight * correction).split(
            [self.latent, self.latent, len(self.below) if full else 0], -1
        )
        stretch = (CORRECTION * (log_diagonal / CORRECTION).tanh()).exp()
        moved = mean + torch.linalg.solve_triangular(root.mT, shift[..., None], upper=True)[..., 0]
        if not full:
            return moved, root * stretch[..., None, :]
        factor = torch.diag_embed(stretch).flatten(-2).index_copy(-1, self.below, below)
        return moved, root @ factor.unflatten(-1, (self.latent, self.latent))

    @torch.no_grad()
    def features(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Means of q(z | x, m), ``[B, K]``."""
        given, known = self.ask(x, mask, given)
        return self.posterior(x, given, known).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """E[x | z = posterior mean], given values as they are."""
        given, known = self.ask(x, mask, given)
        return self.decode(self.posterior(x, given, known).mean, x, given, known).mean

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """E[x | z] for fresh z with nothing given, ``[count, d]``."""
        x = torch.zeros(count, *self.shape, device=self.below.device)
        nothing = torch.zeros_like(x, dtype=torch.bool)
        return self.decode(self.prior(x, nothing).rsample(), x, nothing, nothing).mean

    @torch.no_grad()
    def impute(self, x: Tensor, given: Tensor, draws: int = 1) -> Tensor:
        """Draws of x with the given values as they are, ``[draws, B, d]``; hidden values of x are not read."""
        x, given = self.only_given(x, given)
        z = self.prior(x, given).rsample((draws,))
        return self.decode(z, x, given, given).sample()


def smooth(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """A correction: smooth, and small at the start."""
    return shrink_last(mlp(inputs, hidden, outputs, nn.SiLU))
