"""The conditional VAE for arbitrary conditioning: any columns given, the others explained through a latent code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_models.conditional.base import ConditionalStory, shrink_last
from pyro_models.conditional.hidden import Hidden
from pyro_models.conditional.paths import LOG_SCALES, PATHS, Moments
from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn import mlp
from pyro_models.nn.dense import keep_variance
from pyro_models.nn.gaussians import PrecisionNormal

#: the path learns alone up to the first, the corrections count fully from the second (progress of training): otherwise
#: networks explain what is linear, badly, before the path has found it
CORRECTIONS_FROM = (0.15, 0.3)
#: weight of the KL term at the start of a warm-up
FIRST_KL_WEIGHT = 0.01
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

    With ``components=C`` above 1 the code has a part with few values, :math:`c | x_o, m \sim` Categorical, which prior,
    guide and decoder read as a one-hot vector: conditionals with several modes need no bent normal. It is summed out in
    training (estimator ``exact``).

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
        scale: fixed standard deviation of real columns, in the data's units; None learns one that depends on
        everything.
        components: C, values of the discrete part of the code; 1 for none.
        assign: q(c | x, m) from a ``network`` of its own, or from what each value explains (``energy``: log p(x_u |
            mean code) minus the KL term of z, the best posterior but for the spread of z). The second finds well
            separated groups at once; where z could say the same as c, it leaves values of c unused more often.
        beta: weight of the KL term.
        warm_up: fraction of training in which that weight grows from nearly nothing: codes are used before they are
        paid
            for. With several modes and ``path="none"`` the code is otherwise easily never used.
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
        components: int = 1,
        assign: str = "network",
        beta: float = 1.0,
        warm_up: float = 0.0,
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
            ("assign", assign, ("energy", "network")),
            ("guide of CVAE", guide, self.guides),
        ):
            if value not in allowed:
                raise unknown_name(kind, value, allowed)
        for name, number in (
            ("latent", latent),
            ("rank", rank),
            ("beta", beta),
            ("scale", scale),
            ("components", components),
        ):
            if number is not None and not number > 0:
                raise OptionError(f"{name} is {number}; it must be positive.")
        if not 0 <= warm_up <= 0.5:
            raise OptionError(f"warm_up is {warm_up}; it is a fraction of training, from 0 to 0.5.")
        if not hidden and (path == "none" or likelihood != "diagonal" or prior == "conditional" or components > 1):
            raise OptionError(
                "hidden is empty, so there is no network; that needs path='tied' or 'free', likelihood='diagonal', "
                "prior='path' and components=1."
            )
        places, real = self.columns.places, len(self.columns.real)
        self.latent = min(places, MOST_LATENTS) if latent is None else latent
        self.beta, self.guide_kind, self.standardised, self.scale = beta, guide, standardise, scale
        self.path = PATHS[path](places, self.latent, scale)
        rank = {"diagonal": 0, "low-rank": rank, "full": real}[likelihood]
        self.decoder_sizes = [places, real if scale is None else 0, real * rank]
        self.factor_rank = rank
        corrections = 2 * self.latent + (self.latent * (self.latent - 1) // 2 if guide == "full" else 0)
        columns_count = len(self.columns.kinds)
        self.decoder_network = self.guide_network = self.prior_network = None
        self.components, self.index_prior, self.index_guide = components, None, None
        if hidden:
            corrects = path != "none"
            inputs = places + columns_count
            if components > 1:
                self.default_estimator = "exact"  # type: ignore[misc]  # of this story, with its discrete site
                self.index_prior = smooth(inputs, hidden, components, corrects)
                if assign == "network":
                    self.index_guide = smooth(inputs + columns_count, hidden, components, corrects)
                inputs += components
            self.decoder_network = smooth(inputs + self.latent, hidden, sum(self.decoder_sizes), corrects)
            self.guide_network = smooth(inputs + columns_count, hidden, corrections, corrects)
            if prior == "conditional":
                self.prior_network = smooth(inputs, hidden, corrections, corrects)
        self.has_path, self.weight = path != "none", 1.0
        self.warm_up, self.kl_weight = warm_up, 1.0
        row, column = torch.tril_indices(self.latent, self.latent, offset=-1)
        self.register_buffer("below", row * self.latent + column, persistent=False)

    below: Tensor

    def initialise(self, data: object) -> None:
        if self.standardised:
            super().initialise(data)
        if self.scale is not None:
            self.fix_scale(self.scale)

    @torch.no_grad()
    def fix_scale(self, scale: float) -> None:
        """Fixes another standard deviation of the real columns; for stories that were made with a fixed one."""
        if self.scale is None:
            raise OptionError("this story learns its scale; make it with scale=... to fix one.")
        self.scale = scale
        self.path.log_scale.fill_(math.log(scale))
        self.path.log_scale[self.columns.real_places] -= self.columns.spread.log()

    def at(self, progress: float) -> None:
        self.kl_weight = min(1.0, max(FIRST_KL_WEIGHT, progress / self.warm_up)) if self.warm_up else 1.0
        first, last = CORRECTIONS_FROM
        self.weight = min(1.0, max(0.0, (progress - first) / (last - first))) if self.has_path else 1.0

    def model(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            with poutine.scale(scale=self.beta * self.kl_weight):
                c = None
                if self.components > 1:
                    c = pyro.sample("c", dist.Categorical(logits=self.index_logits(x, given)))
                z = pyro.sample("z", self.prior(x, given, c))
            pyro.sample("x", self.decode(z, x, given, known, c), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            with poutine.scale(scale=self.beta * self.kl_weight):
                c = None
                if self.components > 1:
                    c = pyro.sample("c", dist.Categorical(logits=self.index_logits(x, given, known)))
                pyro.sample("z", self.posterior(x, given, known, c))

    def index_logits(self, x: Tensor, given: Tensor, known: Tensor | None = None) -> Tensor:
        """Of p(c | x_o, m), or of q(c | x, m) when told what is known."""
        assert self.index_prior is not None
        prior = self.index_prior(self._inputs(x, given, given)[1])
        if known is None:
            return prior
        if self.index_guide is None:
            logits = prior.detach() + self._gains(x, given, known)
        else:
            _, inputs = self._inputs(x, known, given)
            logits = self.index_guide(torch.cat([inputs, known.to(x.dtype).expand(*inputs.shape[:-1], -1)], -1))
        return torch.where((known & ~given).any(-1)[..., None], logits, prior)

    @torch.no_grad()
    def _gains(self, x: Tensor, given: Tensor, known: Tensor) -> Tensor:
        """What every c says of the hidden values: log p(x | mean code) / beta - KL(q(z | c) || p(z | c)),
        ``[*batch, C]``. The warm-up is left out: it would make the choice hard when nothing is known yet.

        Without gradient: where q(c | x) is the best one, the bound does not change with it to first order.
        """
        c = torch.arange(self.components, device=x.device).reshape(-1, *(1,) * (x.dim() - 1))
        q, p = self.posterior(x, given, known, c), self.prior(x, given, c)
        gains = self.decode(q.mean, x, given, known, c).log_prob(x) / self.beta - q.kl(p)
        return gains.movedim(0, -1)

    def prior(self, x: Tensor, given: Tensor, c: Tensor | None = None) -> PrecisionNormal:
        """p(z | c, x_o, m)."""
        return PrecisionNormal(*self._prior_moments(x, given, c))

    def posterior(self, x: Tensor, given: Tensor, known: Tensor, c: Tensor | None = None) -> PrecisionNormal:
        """q(z | c, x, m); the prior itself in rows without anything known beyond the conditions."""
        e, inputs = self._inputs(x, known, given, c)
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
        prior_mean, prior_root = self._prior_moments(x, given, c)
        return PrecisionNormal(torch.where(learns, mean, prior_mean), torch.where(learns[..., None], root, prior_root))

    def decode(self, z: Tensor, x: Tensor, given: Tensor, known: Tensor, c: Tensor | None = None) -> Hidden:
        """p(x | z, c, x_o, m): hidden values drawn, given ones copied."""
        e, inputs = self._inputs(x, given, given, c)
        mean, log_scale = self.path.decode(e, self.columns.spread_mask(given), z)
        log_scale = log_scale if self.columns.all_real else log_scale[..., self.columns.real_places]
        factor = None
        if self.decoder_network is not None:
            batch = torch.broadcast_shapes(inputs.shape[:-1], z.shape[:-1])
            both = torch.cat([inputs.expand(*batch, -1), z.expand(*batch, -1)], -1)
            shift, stretch, entries = (self.weight * self.decoder_network(both)).split(self.decoder_sizes, -1)
            mean = mean + self._in_scale(shift, log_scale)
            if self.scale is None:
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

    def _prior_moments(self, x: Tensor, given: Tensor, c: Tensor | None) -> Moments:
        e, inputs = self._inputs(x, given, given, c)
        mean, root = self.path.prior(e, self.columns.spread_mask(given))
        if self.prior_network is not None:
            return self._corrected(mean, root, self.prior_network(inputs), self.guide_kind == "full")
        return mean, root

    def _inputs(self, x: Tensor, seen: Tensor, given: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The embedding of what may be seen, zero elsewhere; the same beside the mask of the conditions (and c)."""
        e = self.columns.embed(torch.where(seen, x, torch.zeros_like(x)))
        e = torch.where(self.columns.spread_mask(seen), e, torch.zeros_like(e))
        parts = [e, given.to(e.dtype)]
        if c is not None:
            # Not one_hot: c may be mapped over by torch.vmap.
            parts.append((c[..., None] == torch.arange(self.components, device=c.device)).to(e.dtype))
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        return e, torch.cat([part.expand(*batch, -1) for part in parts], -1)

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

    def draw_code(self, x: Tensor, given: Tensor, known: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """``(z, c, log q - log p)`` of one draw from the guide."""
        c, log_ratio = None, x.new_zeros(())
        if self.components > 1:
            q = dist.Categorical(logits=self.index_logits(x, given, known))
            c = q.sample()
            log_ratio = q.log_prob(c) - dist.Categorical(logits=self.index_logits(x, given)).log_prob(c)
        posterior = self.posterior(x, given, known, c)
        z = posterior.rsample()
        return z, c, log_ratio + posterior.log_prob(z) - self.prior(x, given, c).log_prob(z)

    def _likeliest(self, x: Tensor, given: Tensor, known: Tensor) -> Tensor | None:
        return self.index_logits(x, given, known).argmax(-1) if self.components > 1 else None

    def _drawn_index(self, x: Tensor, given: Tensor, draws: int) -> Tensor | None:
        return dist.Categorical(logits=self.index_logits(x, given)).sample((draws,)) if self.components > 1 else None

    @torch.no_grad()
    def features(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Means of q(z | c, x, m) at the likeliest c, ``[B, K]``."""
        given, known = self.ask(x, mask, given)
        return self.posterior(x, given, known, self._likeliest(x, given, known)).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """E[x | z = posterior mean], given values as they are."""
        given, known = self.ask(x, mask, given)
        c = self._likeliest(x, given, known)
        return self.decode(self.posterior(x, given, known, c).mean, x, given, known, c).mean

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """E[x | z, c] for fresh codes with nothing given, ``[count, d]``."""
        x = torch.zeros(1, *self.shape, device=self.below.device)
        nothing = torch.zeros_like(x, dtype=torch.bool)
        c = self._drawn_index(x, nothing, count)
        z = self.prior(x, nothing, c).expand((count, 1)).rsample()
        return self.decode(z, x, nothing, nothing, c).mean[:, 0]

    @torch.no_grad()
    def impute(self, x: Tensor, given: Tensor, draws: int = 1) -> Tensor:
        """Draws of x with the given values as they are, ``[draws, B, d]``; hidden values of x are not read."""
        x, given = self.only_given(x, given)
        c = self._drawn_index(x, given, draws)
        z = self.prior(x, given, c).expand((draws, len(x))).rsample()
        return self.decode(z, x, given, given, c).sample()


def smooth(inputs: int, hidden: Sequence[int], outputs: int, small: bool = True) -> nn.Module:
    """A smooth network; as a correction small at the start, on its own not (codes that say nothing would be a trap)."""
    network = mlp(inputs, hidden, outputs, nn.SiLU)
    return shrink_last(network) if small else WithLinear(network, inputs, outputs)


class WithLinear(nn.Module):
    """``f(x) + A x``: what is linear in the inputs (a group's centre, a plain coordinate) need not be bent together."""

    def __init__(self, network: nn.Sequential, inputs: int, outputs: int) -> None:
        super().__init__()
        keep_variance(network)
        last = network[-1]
        assert isinstance(last, nn.Linear)
        last.reset_parameters()  # moderate at the start: outputs are log scales too
        self.network, self.linear = network, nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) + self.linear(x)
