r"""The distribution of a datum of which part is given: hidden values are drawn and scored, given ones are copied.

``Hidden(columns, ...)`` is one event ``[columns]``. Given entries *are* the given values, whatever networks say,
and add nothing to the density; entries that are neither given nor known (missing in the data) are drawn but not scored.

A covariance among real columns is restricted to the scored ones by a block trick: with the residual r and the rows of
the factor F set to zero elsewhere and the noise there to one,

.. math:: \log N(r; 0, \mathrm{diag}\,s^2 + F F^\top) = \log N(r_u; 0, \Sigma_{uu}) - \tfrac12 (d - |u|) \ln 2\pi,

so that batches with different masks need no ragged shapes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyro_models.conditional.columns import Columns

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Hidden(TorchDistribution):
    """A datum with some values given.

    Args:
        columns: their kinds and units.
        mean: ``[..., places]``: means of real columns in standard units, logits of categories.
        log_scale: ``[..., real columns]``, in standard units.
        x: the datum; only its given entries are read.
        given, scored: boolean masks ``[..., columns]``.
        factor: ``[..., real columns, rank]``, covariance F F^T added to the diagonal; None for none.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch reads it from the class
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        columns: Columns,
        mean: Tensor,
        log_scale: Tensor,
        x: Tensor,
        given: Tensor,
        scored: Tensor,
        factor: Tensor | None = None,
    ) -> None:
        self.columns, self.location, self.log_scale, self.factor = columns, mean, log_scale, factor
        self.x, self.given, self.scored = x, given, scored
        batch = torch.broadcast_shapes(mean.shape[:-1], x.shape[:-1], given.shape[:-1])
        super().__init__(batch, torch.Size((len(columns.kinds),)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Hidden:
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        mean = self.location.expand(*batch_shape, -1)
        return Hidden(self.columns, mean, self.log_scale, self.x, self.given, self.scored, self.factor)

    @property
    def mean(self) -> Tensor:
        """Given values, means of the hidden real columns, the likeliest hidden categories: in the data's units."""
        best = {j: self._logits(j, k).argmax(-1) for j, k in self.columns.categorical}
        return self._assembled(self._real_location(), best)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        raise NotImplementedError("values are given by copying and categories drawn; use sample().")

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        leading = torch.Size(sample_shape) + self.batch_shape
        location = self._real_location()
        noise = torch.randn(*leading, location.shape[-1], device=location.device, dtype=location.dtype)
        standard = location + self.log_scale.exp() * noise
        if self.factor is not None:
            noise = torch.randn(*leading, self.factor.shape[-1], device=location.device, dtype=location.dtype)
            standard = standard + (self.factor @ noise[..., None])[..., 0]
        drawn = {}
        for j, k in self.columns.categorical:
            logits = self._logits(j, k).expand(*leading, k)
            drawn[j] = torch.distributions.Categorical(logits=logits, validate_args=False).sample()
        return self._assembled(standard, drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        scored = self.scored
        # Before any arithmetic: a NaN behind a mask would come back through the gradient.
        value = torch.where(scored, value, torch.zeros_like(value))
        total = self._log_real(value, scored)
        for j, k in self.columns.categorical:
            logits = self._logits(j, k).log_softmax(-1)
            index = value[..., j].long().clamp(0, k - 1)
            shape = torch.broadcast_shapes(index.shape, logits.shape[:-1])
            picked = logits.expand(*shape, k).gather(-1, index.expand(shape)[..., None])[..., 0]
            total = total + torch.where(scored[..., j], picked, torch.zeros_like(picked))
        return total

    def _log_real(self, value: Tensor, scored: Tensor) -> Tensor:
        columns = self.columns
        mask = scored if columns.all_real else scored[..., columns.real]
        residual = columns.scale_of(value) - self._real_location()
        unit = columns.spread.log() + HALF_LOG_TWO_PI
        if self.factor is None:
            each = -0.5 * (residual * (-self.log_scale).exp()).square() - self.log_scale - unit
            return torch.where(mask, each, torch.zeros_like(each)).sum(-1)
        on = mask.to(residual.dtype)
        # Woodbury: everything happens in the factor's rank.
        weight = (-2 * self.log_scale).exp() * on
        weighted = self.factor * weight[..., None]
        rank = self.factor.shape[-1]
        inner = torch.eye(rank, device=value.device, dtype=value.dtype) + self.factor.mT @ weighted
        root = torch.linalg.cholesky(inner)
        projected = torch.linalg.solve_triangular(root, (weighted.mT @ residual[..., None]), upper=False)[..., 0]
        square = (residual.square() * weight).sum(-1) - projected.square().sum(-1)
        log_det = (2 * self.log_scale * on).sum(-1) + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * (square + log_det) - (unit * on).sum(-1)

    def _real_location(self) -> Tensor:
        return self.location if self.columns.all_real else self.location[..., self.columns.real_places]

    def _logits(self, column: int, levels: int) -> Tensor:
        first = self.columns.start[column]
        return self.location[..., first : first + levels]

    def _assembled(self, standard: Tensor, categories: dict[int, Tensor]) -> Tensor:
        columns = self.columns
        values = standard * columns.spread + columns.centre
        if not columns.all_real:
            whole = values.new_zeros(*values.shape[:-1], len(columns.kinds))
            whole[..., columns.real] = values
            for j, category in categories.items():
                whole[..., j] = category.to(values.dtype)
            values = whole
        return torch.where(self.given, self.x, values)
