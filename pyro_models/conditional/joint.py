"""The joint form: one model of all columns, and a posterior of its code from any part of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_models.conditional.base import ConditionalStory
from pyro_models.conditional.cvae import MOST_LATENTS, smooth
from pyro_models.conditional.hidden import Hidden
from pyro_models.conditional.paths import LOG_SCALES, TiedPath
from pyro_models.errors import OptionError
from pyro_models.nn.gaussians import PrecisionNormal


class JointCVAE(ConditionalStory):
    r"""Joint model with a partial posterior: :math:`p(z)\, p(x|z)`, asked through :math:`q(z | x_o, m)` for every mask.

    .. code-block:: text

        +-- data (B) ---------------+     z     ~ N(0, I)                     [B, K]
        |                           |     x | z ~ N(W z + b + f(z), diag s^2)  [B, d]
        |   z --------> x_o         |     m     ~ mask law                    [B, d]
        |                           |
        +---------------------------+     q(z | x_o, m) = N(mu_o, Lambda_o^-1), full covariance

    For every mask the bound is one on :math:`\log p(x_o)`: only what is given is scored, so that data with holes need
    nothing special, and given values are copied in what it draws. Conditionals follow as :math:`\log p(x_u | x_o) =
    \log p(x) - \log p(x_o)`. Given different parts of x the exact posteriors of a linear model have differently
    rotated covariances, so that a diagonal guide is wrong by nats even then; the guide here starts from the linear
    model's exact posterior (see
    :class:`pyro_models.conditional.paths.TiedPath`) and a network corrects it.

    Args:
        shape: of one datum, ``(columns,)``.
        latent: K; None takes as many as columns, at most 32.
        hidden: widths of the networks f and of the guide's correction; empty for a factor analysis.
        masks: the law of what is given in training; the full datum is added for one row in two.
        columns: kinds; all real here.
        incomplete: the data have a field ``mask`` (True: known).
    """

    citation = (
        "@inproceedings{strauss2022posterior,\n  title={Posterior Matching for Arbitrary Conditioning},\n"
        "  author={Strauss, Ryan R. and Oliva, Junier B.},\n"
        "  booktitle={Advances in Neural Information Processing Systems},\n  year={2022}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        latent: int | None = None,
        hidden: Sequence[int] = (128, 128),
        masks: str = "uniform",
        columns: Sequence[int] | None = None,
        incomplete: bool = False,
    ) -> None:
        super().__init__(shape, masks, columns, incomplete)
        if not self.columns.all_real:
            raise OptionError("cvae-joint models real columns only; use the story 'cvae' for categories.")
        places = self.columns.places
        self.latent = min(places, MOST_LATENTS) if latent is None else latent
        if self.latent < 1:
            raise OptionError(f"latent is {latent}; it must be positive.")
        self.path = TiedPath(places, self.latent, None)
        self.decoder_network = smooth(self.latent, hidden, places) if hidden else None
        self.guide_network = smooth(2 * places, hidden, 2 * self.latent) if hidden else None

    def model(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given = self._seen(x, mask, given)
            zero = x.new_zeros(len(x), self.latent)
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("x", self.decode(z, x, given, given), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given = self._seen(x, mask, given)
            pyro.sample("z", self.posterior(x, given, given))

    def _seen(self, x: Tensor, mask: Tensor | None, given: Tensor | None) -> Tensor:
        """In training every second row shows all that is known: the bound on log p(x) is part of every conditional."""
        drawn = given is None
        given, known = self.conditions(x, mask, given)
        if drawn and self.training:
            whole = (torch.arange(len(x), device=x.device) % 2 == 0)[:, None]
            given = torch.where(whole, known, given)
        return given

    def posterior(self, x: Tensor, given: Tensor, known: Tensor) -> PrecisionNormal:
        """q(z | x_o, m), o being ``known`` here (what is given is part of it)."""
        e = self.columns.embed(torch.where(known, x, torch.zeros_like(x)))
        e = torch.where(known, e, torch.zeros_like(e))
        mean, root = self.path.prior(e, known)
        if self.guide_network is not None:
            inputs = torch.cat([e, known.to(e.dtype).expand(*e.shape[:-1], -1)], -1)
            shift, stretch = self.guide_network(inputs).chunk(2, -1)
            mean = mean + torch.linalg.solve_triangular(root.mT, shift[..., None], upper=True)[..., 0]
            root = root * stretch.clamp(-3.0, 3.0).exp()[..., None, :]
        return PrecisionNormal(mean, root)

    def prior(self, x: Tensor, given: Tensor) -> PrecisionNormal:
        """What is believed of z when only ``given`` is seen."""
        return self.posterior(x, given, given)

    def decode(self, z: Tensor, x: Tensor, given: Tensor, scored: Tensor) -> Hidden:
        """p(x | z) with given values copied and ``scored`` ones scored."""
        mean, log_scale = self.path.decode(z, given, z)
        if self.decoder_network is not None:
            mean = mean + self.decoder_network(z) * log_scale.clamp(*LOG_SCALES).exp()
        return Hidden(self.columns, mean, log_scale, x, given, scored)

    @torch.no_grad()
    def conditional_bound(self, x: Tensor, known: Tensor, given: Tensor, particles: int = 1) -> Tensor:
        """log p(x_known) - log p(x_o), both by the importance-weighted bound: exact where the guide is."""
        nothing = torch.zeros_like(given)
        total = x.new_zeros(len(x))
        for sign, seen in ((1.0, known), (-1.0, given)):
            q = self.posterior(x, seen, seen)
            z = q.rsample((particles,))
            log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
            weights = log_prior + self.decode(z, x, nothing, seen).log_prob(x) - q.log_prob(z)
            total = total + sign * (weights.logsumexp(0) - math.log(particles))
        return total

    @torch.no_grad()
    def features(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Means of q(z | everything known), ``[B, K]``."""
        _, known = self.ask(x, mask, given)
        return self.posterior(x, known, known).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """E[x | z = mean of q(z | everything known)]."""
        given, known = self.ask(x, mask, given)
        return self.decode(self.posterior(x, known, known).mean, x, given, known).mean

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """E[x | z] for fresh z, ``[count, d]``."""
        z = torch.randn(count, self.latent, device=self.path.offset.device)
        x = z.new_zeros(count, *self.shape)
        nothing = torch.zeros_like(x, dtype=torch.bool)
        return self.decode(z, x, nothing, nothing).mean

    @torch.no_grad()
    def impute(self, x: Tensor, given: Tensor, draws: int = 1) -> Tensor:
        """Draws of x with the given values as they are, ``[draws, B, d]``; hidden values of x are not read."""
        x, given = self.only_given(x, given)
        z = self.posterior(x, given, given).rsample((draws,))
        return self.decode(z, x, given, given).sample()
