"""The direct form: hidden columns jointly Gaussian given the others, without a latent code."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor

from pyro_models.conditional.base import ConditionalStory
from pyro_models.conditional.cvae import LIKELIHOODS, smooth
from pyro_models.conditional.hidden import Hidden
from pyro_models.conditional.paths import LOG_SCALES
from pyro_models.errors import OptionError, unknown_name


class DirectConditional(ConditionalStory):
    r"""Structured Gaussian likelihood under arbitrary conditioning; the baseline without a code.

    .. code-block:: text

        +-- data (B) -----------------+     m         ~ mask law                                   [B, d]
        |   x_o, m --------> x_u      |     x_u | x_o ~ N(mu(x_o, m), Sigma(x_o, m)_uu)            [B, d]
        +-----------------------------+     Sigma     = diag s^2, plus F F^T of some or full rank

    A network of (x_o, m) gives mean, scales and factor; the likelihood under a mask is that of the hidden block. The
    loss is the exact negative log-likelihood, there is nothing to infer. Unimodal by construction.

    Args:
        shape: of one datum, ``(columns,)``.
        hidden: widths of the network.
        likelihood: ``diagonal``, ``low-rank`` or ``full`` covariance.
        rank: of the low-rank part.
        masks: the law of the conditions in training.
        columns: kinds, 0 for real, k for k categories (these independent of all else given x_o).
        incomplete: the data have a field ``mask`` (True: known).
    """

    citation = (
        "@inproceedings{dorta2018structured,\n  title={Structured Uncertainty Prediction Networks},\n"
        "  author={Dorta, Garoe and Vicente, Sara and Agapito, Lourdes and Campbell, Neill D. F. and Simpson, Ivor},\n"
        "  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},\n  year={2018}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        likelihood: str = "full",
        rank: int = 2,
        masks: str = "uniform",
        columns: Sequence[int] | None = None,
        incomplete: bool = False,
    ) -> None:
        super().__init__(shape, masks, columns, incomplete)
        if likelihood not in LIKELIHOODS:
            raise unknown_name("likelihood", likelihood, LIKELIHOODS)
        if rank < 1:
            raise OptionError(f"rank is {rank}; it must be positive.")
        places, real = self.columns.places, len(self.columns.real)
        self.rank = {"diagonal": 0, "low-rank": rank, "full": real}[likelihood]
        self.sizes = [places, real, real * self.rank]
        self.network = smooth(places + len(self.columns.kinds), hidden, sum(self.sizes))
        with torch.no_grad():  # a factor of zero would have no gradient
            self.network[-1].bias[places + real :].normal_(0.0, 0.1)  # type: ignore[index, union-attr]

    def model(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            pyro.sample("x", self.hidden_given(x, given, known), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            self.conditions(x, mask, given)

    def hidden_given(self, x: Tensor, given: Tensor, known: Tensor) -> Hidden:
        """p(x_u | x_o, m)."""
        e = self.columns.embed(torch.where(given, x, torch.zeros_like(x)))
        e = torch.where(self.columns.spread_mask(given), e, torch.zeros_like(e))
        mean, log_scale, factor = self.network(torch.cat([e, given.to(e.dtype)], -1)).split(self.sizes, -1)
        factor = factor.unflatten(-1, (-1, self.rank)) if self.rank else None
        return Hidden(self.columns, mean, log_scale.clamp(*LOG_SCALES), x, given, known & ~given, factor)

    @torch.no_grad()
    def conditional_bound(self, x: Tensor, known: Tensor, given: Tensor, particles: int = 1) -> Tensor:
        """log p(x_u | x_o), exactly."""
        return self.hidden_given(x, given, known).log_prob(x)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Conditional means, given values as they are."""
        given, known = self.ask(x, mask, given)
        return self.hidden_given(x, given, known).mean

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """Draws with nothing given (their mean would be one point), ``[count, d]``."""
        x = torch.zeros(count, *self.shape, device=self.columns.centre.device)
        return self.impute(x, torch.zeros_like(x, dtype=torch.bool))[0]

    @torch.no_grad()
    def impute(self, x: Tensor, given: Tensor, draws: int = 1) -> Tensor:
        """Draws of x with the given values as they are, ``[draws, B, d]``; hidden values of x are not read."""
        x, given = self.only_given(x, given)
        return self.hidden_given(x, given, given).sample((draws,))
