"""Sequences of words: encoders, and laws of a sequence that spell it word by word given a code.

A sequence is a row of word numbers, 0 from its end on (see :mod:`pyro_models.datasets.text`). The decoder turns a code
into a *context*, which the law sees at every word; the law owns the network that reads the words so far. While training
it reads some words as unknown (word dropout), so that it cannot do without the context: otherwise a strong reader of
words explains everything by itself and the code says nothing (posterior collapse).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pyro.distributions import Distribution, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from pyro_models.errors import OptionError

#: word numbers with a meaning of their own (those of the text datasets)
END, UNKNOWN = 0, 1
#: widest position that a Transformer knows
LONGEST = 512


class Reader(nn.Module):
    """What all readers of words share: embeddings, the context at every word, and logits of the next word.

    Subclasses give ``read``: from ``[N, T, width]``, word embeddings moved on by one place plus context, to states
    ``[N, T, width]`` that know only words before them.
    """

    def __init__(self, words: int, width: int, context: int) -> None:
        super().__init__()
        self.words = words
        self.embedding = nn.Embedding(words, width)
        self.from_context = nn.Linear(context, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.next_word = nn.Linear(width, words)

    def read(self, embedded: Float[Tensor, "rows time width"]) -> Float[Tensor, "rows time width"]:
        raise NotImplementedError

    def forward(
        self, ids: Int[Tensor, "rows time"], context: Float[Tensor, "rows context"]
    ) -> Float[Tensor, "rows time words"]:
        """Logits of every word given those before it (the last word of ``ids`` is not read)."""
        before = self.embedding(ids[:, :-1])
        first = self.start.expand(len(ids), 1, -1)
        told = self.from_context(context).unsqueeze(1)
        states = self.read(torch.cat([first, before], 1) + told)
        # The context also speaks to the words directly: what a document is about shows at every place alike.
        return self.next_word(states + told)


class Recurrent(Reader):
    """Gated recurrent units read the words so far."""

    def __init__(self, words: int, width: int, context: int) -> None:
        super().__init__(words, width, context)
        self.memory = nn.GRU(width, width, batch_first=True)

    def read(self, embedded: Tensor) -> Tensor:
        return self.memory(embedded)[0]


class Attentive(Reader):
    """A small causal Transformer reads the words so far."""

    def __init__(self, words: int, width: int, context: int, layers: int = 2, heads: int = 4) -> None:
        super().__init__(words, width, context)
        if width % heads:
            raise OptionError(f"a width of {width} cannot be shared by {heads} heads; choose a multiple of {heads}.")
        self.position = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        # Dropout is zero: word dropout is the noise here, and draws of a trace must not depend on the mode.
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def read(self, embedded: Tensor) -> Tensor:
        time = embedded.shape[1]
        if time > LONGEST:
            raise OptionError(f"sequences of {time} words are longer than {LONGEST}; cut them (length={LONGEST}).")
        future = torch.ones(time, time, dtype=torch.bool, device=embedded.device).triu(1)
        return self.blocks(embedded + self.position[:time], mask=future)


READERS = {"gru": Recurrent, "transformer": Attentive}


class SequenceEncoder(nn.Module):
    """Word numbers to a vector, ``[..., T] -> [..., outputs]``: what words there are, and in which order.

    Two halves: the mean of the word embeddings (the document as a bag), and the mean of the states of gated recurrent
    units.
    """

    def __init__(self, words: int, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.memory = nn.GRU(width, width, batch_first=True)
        self.net = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, ids: Tensor) -> Tensor:
        leading, flat = ids.shape[:-1], ids.reshape(-1, ids.shape[-1]).long()
        here = (flat != END).unsqueeze(-1).to(self.embedding.weight.dtype)
        count = here.sum(1).clamp(min=1)
        embedded = self.embedding(flat) * here
        states = self.memory(embedded)[0] * here
        return self.net(torch.cat([embedded.sum(1) / count, states.sum(1) / count], -1)).reshape(*leading, -1)


class WordByWord(TorchDistribution):
    r"""A law of sequences: :math:`p(w_{1:T} | c) = \prod_t p(w_t | w_{<t}, c)` up to and including the first end.

    Nothing is drawn after the end, nor at place T, which is the end of every sequence that has not ended before: the
    probabilities of all sequences sum to one.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"context": constraints.real_vector}
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(
        self,
        reader: Reader,
        context: Float[Tensor, "*batch context"],
        length: int,
        dropout: float = 0.0,
        validate_args: Any = None,
    ) -> None:
        self.reader, self.context, self.length, self.dropout = reader, context, length, dropout
        super().__init__(context.shape[:-1], torch.Size((length,)), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> WordByWord:
        context = self.context.expand(*batch_shape, self.context.shape[-1])
        return WordByWord(self.reader, context, self.length, self.dropout, validate_args=False)

    def log_prob(self, ids: Int[Tensor, "*batch time"]) -> Tensor:
        shape = torch.broadcast_shapes(ids.shape[:-1], self.context.shape[:-1])
        flat = ids.expand(*shape, -1).reshape(-1, ids.shape[-1]).long()
        context = self.context.expand(*shape, -1).reshape(-1, self.context.shape[-1])
        read = flat
        if self.dropout > 0:
            gone = (torch.rand(flat.shape, device=flat.device) < self.dropout) & (flat != END)
            read = flat.masked_fill(gone, UNKNOWN)
        logits = self.reader(read, context)
        per_word = -functional.cross_entropy(logits.transpose(1, 2), flat, reduction="none")
        ended = (flat == END).cumsum(1) - (flat == END).long() > 0
        return per_word.masked_fill(ended, 0.0)[:, :-1].sum(1).reshape(shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.spell(sample_shape, likeliest=False)

    @torch.no_grad()
    def spell(self, sample_shape: Any = (), likeliest: bool = True) -> Tensor:
        """A sequence word by word: the likeliest next word that is known each time, or one drawn."""
        context = self.context.expand(*sample_shape, *self.context.shape)
        flat = context.reshape(-1, context.shape[-1])
        ids = torch.full((len(flat), self.length), END, dtype=torch.long, device=flat.device)
        running = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
        for t in range(self.length - 1):
            logits = self.reader(ids[:, : t + 1], flat)[:, -1]
            if likeliest:
                logits[:, UNKNOWN] = -torch.inf
                word = logits.argmax(-1)
            else:
                word = torch.distributions.Categorical(logits=logits).sample()
            ids[:, t] = torch.where(running, word, END)
            running = running & (word != END)
            if not bool(running.any()):
                break
        return ids.reshape(*context.shape[:-1], self.length)


class Spelling(nn.Module):
    """The likelihood of sequences: contexts ``[..., context]`` to :class:`WordByWord`.

    Args:
        reader: the network that reads the words so far.
        length: words of a sequence, its end included.
        dropout: share of words read as unknown while training.
    """

    def __init__(self, reader: Reader, length: int, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise OptionError(f"word dropout is {dropout}; it is a share of words, from 0 to below 1.")
        self.reader, self.length, self.dropout = reader, length, dropout

    def forward(self, output: Tensor) -> Distribution:
        dropout = self.dropout if self.training else 0.0
        return WordByWord(self.reader, output, self.length, dropout, validate_args=False)

    def mean(self, output: Tensor) -> Tensor:
        """The likeliest words, one after the other."""
        return WordByWord(self.reader, output, self.length, validate_args=False).spell()
