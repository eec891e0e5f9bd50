r"""Discrete distributions seen through their logits: noise, hard draws, relaxed draws and draws given the hard one.

Two families cover the three distributions. For ``Categorical`` and ``OneHotCategorical`` with normalised logits l and
uniform u,

.. math:: z = l - \log(-\log u), \qquad b = \mathrm{onehot}(\arg\max z), \qquad v_\tau = \mathrm{softmax}(z / \tau),

and for ``Bernoulli`` with log-odds l

.. math:: z = l + \log u - \log(1 - u), \qquad b = 1[z > 0], \qquad v_\tau = \sigma(z / \tau).

``conditional`` draws z again given b (Tucker et al. 2017, appendix C). Everything is in log-space and the logits are
clamped, so that saturated logits give finite values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.nn import functional as F

#: e^-50 is below the smallest step of a uniform draw in float32: the clamp changes no draw, and keeps log-space finite
LOGIT_LIMIT = 50.0


class Family:
    """A kind of discrete site; tensors are ``[*batch, *event]`` with the categories, if any, last."""

    #: ``one-hot``, ``index`` or ``bits``
    kind: ClassVar[str]
    #: dimensions at the right of ``encoded`` values that ``value`` of the site has too
    event_dims: ClassVar[int]

    def logits(self, fn: Any) -> Tensor:
        """Clamped logits of a distribution of this family, expanded to its whole shape."""
        raise NotImplementedError

    def noise(self, logits: Tensor) -> Tensor:
        """Uniform numbers in the open unit interval, in the shape of the logits."""
        tiny, almost_one = torch.finfo(logits.dtype).tiny, 1 - torch.finfo(logits.dtype).eps / 2
        return torch.rand_like(logits).clamp_(tiny, almost_one)

    def perturb(self, logits: Tensor, noise: Tensor) -> Tensor:
        """z, from which both the hard and the relaxed value follow."""
        raise NotImplementedError

    def harden(self, z: Tensor) -> Tensor:
        """b of z: one-hot rows, or zeros and ones."""
        raise NotImplementedError

    def conditional(self, logits: Tensor, hard: Tensor, noise: Tensor) -> Tensor:
        """z given b; differentiable in the logits with b and the noise fixed."""
        raise NotImplementedError

    def soften(self, z: Tensor, temperature: Tensor | float) -> Tensor:
        """The relaxed value of z."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """The mean of b."""
        raise NotImplementedError

    def linear_log_prob(self, logits: Tensor, weights: Tensor) -> Tensor:
        """log p extended linearly in b: exact at the vertices, the mean of log p(b) at the mean of b."""
        raise NotImplementedError

    def encode(self, value: Tensor, fn: Any) -> Tensor:
        """b of the site's value."""
        return value

    def decode(self, hard: Tensor) -> Tensor:
        """The site's value of b."""
        return hard


class OneHot(Family):
    """``OneHotCategorical``: values are rows of K numbers."""

    kind = "one-hot"

    def logits(self, fn: Any) -> Tensor:
        return fn.logits.clamp(min=-LOGIT_LIMIT)

    def perturb(self, logits: Tensor, noise: Tensor) -> Tensor:
        return logits - (-noise.log()).log()

    def harden(self, z: Tensor) -> Tensor:
        return F.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)

    def conditional(self, logits: Tensor, hard: Tensor, noise: Tensor) -> Tensor:
        exponential = -noise.log()
        # the winner's value is a Gumbel, whatever the logits; the others are Gumbels truncated at it
        winner = (hard * exponential).sum(-1, keepdim=True).log()
        others = -torch.logaddexp(exponential.log() - logits, winner)
        return torch.where(hard.bool(), -winner, others)

    def soften(self, z: Tensor, temperature: Tensor | float) -> Tensor:
        return (z / temperature).softmax(-1)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def linear_log_prob(self, logits: Tensor, weights: Tensor) -> Tensor:
        return (logits * weights).sum(-1)


class Index(OneHot):
    """``Categorical``: values are integers, encoded as rows of K numbers."""

    kind = "index"

    def encode(self, value: Tensor, fn: Any) -> Tensor:
        logits = base_of(fn)[0].logits
        return F.one_hot(value.long(), logits.shape[-1]).to(logits.dtype)

    def decode(self, hard: Tensor) -> Tensor:
        return hard.argmax(-1)


class Bits(Family):
    """``Bernoulli``: values are zeros and ones."""

    kind = "bits"

    def logits(self, fn: Any) -> Tensor:
        return fn.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)

    def perturb(self, logits: Tensor, noise: Tensor) -> Tensor:
        return logits + noise.log() - (-noise).log1p()

    def harden(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)

    def conditional(self, logits: Tensor, hard: Tensor, noise: Tensor) -> Tensor:
        log_noise, log_rest = noise.log(), (-noise).log1p()
        on = F.softplus(logits + log_noise) - log_rest
        off = log_noise - F.softplus(log_rest - logits)
        return torch.where(hard.bool(), on, off)

    def soften(self, z: Tensor, temperature: Tensor | float) -> Tensor:
        return (z / temperature).sigmoid()

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def linear_log_prob(self, logits: Tensor, weights: Tensor) -> Tensor:
        return weights * F.logsigmoid(logits) + (1 - weights) * F.logsigmoid(-logits)


_ONE_HOT, _INDEX, _BITS = OneHot(), Index(), Bits()


def base_of(fn: Any) -> tuple[Any, int]:
    """The distribution under ``Independent``, ``mask`` and ``expand``, and how many batch dimensions became event."""
    independent = 0
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        if isinstance(fn, dist.Independent):
            independent += fn.reinterpreted_batch_ndims
        fn = fn.base_dist
    return fn, independent


def family_of(fn: Any) -> Family | None:
    """The family of a discrete distribution, None for every other one."""
    base, _ = base_of(fn)
    if isinstance(base, torch.distributions.OneHotCategorical):
        return _ONE_HOT
    if isinstance(base, torch.distributions.Categorical):
        return _INDEX
    if isinstance(base, torch.distributions.Bernoulli):
        return _BITS
    return None


def logits_of(fn: Any) -> Tensor:
    """Clamped logits of a discrete distribution, ``[*batch_shape, *event]``, the categories last."""
    base, independent = base_of(fn)
    family = family_of(base)
    assert family is not None
    logits = family.logits(base)
    own = logits.dim() - len(base.batch_shape)  # 1 where the categories have a dimension
    event = logits.shape[len(base.batch_shape) - independent :] if independent + own else torch.Size()
    return logits.expand(fn.batch_shape + event)


def fold(fn: Any, at_base: Callable[[Any], Tensor]) -> Tensor:
    """A density of the base distribution through ``Independent``, ``mask`` and ``expand``: ``[*batch_shape]``."""
    if isinstance(fn, dist.Independent):
        return sum_rightmost(fold(fn.base_dist, at_base), fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.MaskedDistribution):
        return fold(fn.base_dist, at_base) * fn._mask
    if isinstance(fn, dist.ExpandedDistribution):
        return fold(fn.base_dist, at_base).expand(fn.batch_shape)
    return at_base(fn)


def linear_log_prob(fn: Any, weights: Tensor) -> Tensor:
    """The log-probability of a discrete distribution, extended linearly to relaxed values: ``[*batch_shape]``."""
    family = family_of(fn)
    assert family is not None
    return fold(fn, lambda base: family.linear_log_prob(family.logits(base), weights))


class Linear(dist.TorchDistribution):
    """A discrete distribution whose log-probability is that of :func:`linear_log_prob`, at its value or at fixed
    ``weights``.

    With the site's own probabilities as weights, the log-probability is an expectation: the KL term in closed form.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, base: Any, weights: Tensor | None = None) -> None:
        self.base, self.weights = base, weights
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.base.support

    def log_prob(self, value: Tensor) -> Tensor:
        return linear_log_prob(self.base, value if self.weights is None else self.weights)
