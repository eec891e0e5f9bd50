"""Bags of words: an encoder that looks at which words a document has, and a multinomial law of its counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import Distribution, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.nn.dense import mlp

#: a document without a word of the vocabulary has the length zero
SMALLEST_LENGTH = 1e-6


class BagEncoder(nn.Module):
    r"""Counts to a vector: ``[..., V] -> [..., outputs]``.

    The first layer sees :math:`r_v \log(1 + n_v)` scaled to length :math:`\sqrt V`, so that long documents do not
    count more than short ones; :math:`r_v` says how rare a word is, once the encoder has seen the data (:meth:`meet`),
    and is one before.
    """

    rarity: Tensor

    def __init__(self, words: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.register_buffer("rarity", torch.ones(words))
        self.net = mlp(words, hidden, outputs)

    def forward(self, counts: Float[Tensor, "*batch words"]) -> Float[Tensor, "*batch outputs"]:
        return self.net(self.look(counts) * counts.shape[-1] ** 0.5)

    def look(self, counts: Float[Tensor, "*batch words"]) -> Float[Tensor, "*batch words"]:
        """What the first layer sees, of length one: the measure in which documents are near to each other."""
        weighted = counts.log1p() * self.rarity
        return weighted / weighted.norm(dim=-1, keepdim=True).clamp(min=SMALLEST_LENGTH)

    @torch.no_grad()
    def meet(self, counts: Float[Tensor, "data words"]) -> None:
        """Takes over how rare words are, as the logarithm of inverse document frequencies: rare words say more."""
        present = (counts > 0).to(self.rarity.dtype).sum(0)
        self.rarity.copy_(((1 + len(counts)) / (1 + present)).log() + 1)


class WordCounts(TorchDistribution):
    r"""Counts of words given how many words there are: multinomial with probabilities ``softmax(logits)``.

    :math:`\log p(n | N) = \log N! - \sum_v \log n_v! + \sum_v n_v \log p_v`. Unlike torch's multinomial it scores
    documents of different lengths in one batch; ``length`` is only how many words a drawn document has.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real_vector}
    support = constraints.nonnegative_integer

    def __init__(self, logits: Float[Tensor, "*batch words"], length: int, validate_args: Any = None) -> None:
        self.logits, self.length = logits, length
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> WordCounts:
        return WordCounts(self.logits.expand(*batch_shape, -1), self.length, validate_args=False)

    def log_prob(self, counts: Tensor) -> Tensor:
        words = (counts * self.logits.log_softmax(-1)).sum(-1)
        return words + (counts.sum(-1) + 1).lgamma() - (counts + 1).lgamma().sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            probabilities = self.logits.softmax(-1).expand(*sample_shape, *self.logits.shape)
            return torch.distributions.Multinomial(self.length, probabilities).sample()


class Multinomial(nn.Module):
    """The likelihood of bags: logits ``[..., V]`` to :class:`WordCounts`.

    ``length``: words of a document that is drawn or expected.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, output: Tensor) -> Distribution:
        return WordCounts(output, self.length, validate_args=False)

    def mean(self, output: Tensor) -> Tensor:
        """Expected counts of a document of the usual length."""
        return self.length * output.softmax(-1)
