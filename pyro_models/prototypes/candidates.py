"""A categorical posterior that is summed over its likely values only."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.nn import functional as F

#: logit of an impossible value: e^-10000 is zero, and finite numbers stay finite
IMPOSSIBLE = -1e4


class Candidates(dist.OneHotCategorical):
    r"""``OneHotCategorical`` over the ``count`` most probable of K values of each datum, the others left out.

    Enumerating it visits ``count`` values instead of K: a truncated posterior (Luecke and Eggert 2010). It is a
    posterior like any other, so the bound stays a bound; compared with the full posterior it loses
    :math:`-\log(1 - \epsilon)` nats for a datum whose left-out values had the probability :math:`\epsilon` together.
    """

    def __init__(self, logits: Float[Tensor, "B K"], count: int) -> None:
        kept = logits.topk(min(count, logits.shape[-1]), dim=-1).indices
        self.kept = kept
        mask = torch.full_like(logits, IMPOSSIBLE).scatter(-1, kept, 0.0)
        super().__init__(logits=logits.log_softmax(-1).clamp(min=IMPOSSIBLE) + mask, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TorchDistributionMixin:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        # Expanded over particles it is an ordinary categorical with the same probabilities.
        return dist.OneHotCategorical(logits=self.logits, validate_args=False).expand(batch_shape)

    def enumerate_support(self, expand: bool = True) -> Float[Tensor, "M B K"]:
        """The candidates of every datum, which differ from datum to datum: expanded in any case."""
        return F.one_hot(self.kept, self.logits.shape[-1]).to(self.logits.dtype).movedim(-2, 0)
