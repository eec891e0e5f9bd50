"""Documents as numbers: counts of words (``form="bag"``) or words in their order (``form="sequence"``).

A word is a run of letters in lower case; names of programs fall into their parts (``getNode`` and ``get_node`` are get,
node). The vocabulary is chosen by how many documents a word is in, without labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.errors import DataError, OptionError, unknown_name

Form = Literal["bag", "sequence"]
FORMS = ("bag", "sequence")

#: parts of an identifier: a run of capitals, or letters with at most one capital in front
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
#: in a sequence, 0 ends the document and fills up the rest, 1 stands for every word outside the vocabulary
END, UNKNOWN = 0, 1
MARKS = ("<end>", "<unknown>")
#: words in fewer documents say nothing about others
LEAST_DOCUMENTS = 3


@dataclass(frozen=True, eq=False)
class TextData(Data):
    """Documents as numbers and the words they stand for: ``words[k]`` is column k of a bag, word k of a sequence."""

    words: tuple[str, ...] = ()


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case; single letters are left out.

    >>> words_of("Return the HTTPResponse of get_node().")
    ['return', 'the', 'http', 'response', 'of', 'get', 'node']
    """
    return [word.lower() for word in WORD.findall(text) if len(word) > 1]


def vocabulary(documents: Iterable[Sequence[str]], size: int, function_words: bool) -> tuple[str, ...]:
    """The ``size`` words that are in most documents (ties by alphabet), none in fewer than three.

    ``function_words``: keep *the*, *of*, *which*, ... (scikit-learn's list of English stop words).
    """
    present = Counter(word for document in documents for word in set(document))
    if not function_words:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        present = Counter({word: n for word, n in present.items() if word not in ENGLISH_STOP_WORDS})
    frequent = [word for word, n in present.items() if n >= LEAST_DOCUMENTS]
    return tuple(sorted(frequent, key=lambda word: (-present[word], word))[:size])


def as_numbers(
    documents: Sequence[Sequence[str]],
    labels: Sequence[int] | None,
    name: str,
    classes: tuple[str, ...] = (),
    *,
    form: str = "bag",
    size: int = 2000,
    length: int = 40,
    description: str = "",
    words: tuple[str, ...] | None = None,
) -> TextData:
    """Documents given as lists of words, as data.

    ``bag``: ``x [N, V]``, how often each word is in each document, function words left out. ``sequence``: ``x [N,
    length]``, whole numbers: the words in order, those outside the vocabulary as 1, then zeros; later words are cut
    off; and ``counts [N, V]``, the same as a bag.

    Args:
        labels: one class number per document, where known.
        size: words in the vocabulary, at most.
        length: words per document, at most, for sequences.
        words: a vocabulary made before (that of the training part); by default one is made of these documents.
    """
    if form not in FORMS:
        raise unknown_name("form of a text", form, FORMS)
    if size < 2 or length < 2:
        raise OptionError(f"a vocabulary of {size} words and {length} words a document are too few; give 2 or more.")
    if words is None:
        chosen = vocabulary(documents, size, function_words=form == "sequence")
        words = chosen if form == "bag" else (*MARKS, *chosen)
    if len(words) < 2 + len(MARKS) * (form == "sequence"):
        raise DataError(
            f"{name} has {len(documents)} documents with next to no words that {LEAST_DOCUMENTS} of them share; give "
            "more documents."
        )
    place = {word: number for number, word in enumerate(words)}
    fields = {} if labels is None else {"label": torch.tensor(labels, dtype=torch.long)}
    counts = count_words(documents, place)
    fields = {"x": counts, **fields}
    if form == "sequence":
        fields = {**fields, "x": in_order(documents, place, length), "counts": counts}
    return TextData(fields, name, classes, description, words)


def count_words(documents: Sequence[Sequence[str]], place: dict[str, int]) -> Tensor:
    """``[N, V]``, how often each word is in each document."""
    counts = torch.zeros(len(documents), len(place))
    for row, document in zip(counts, documents, strict=True):
        for word in document:
            if word in place:
                row[place[word]] += 1
    return counts


def in_order(documents: Sequence[Sequence[str]], place: dict[str, int], length: int) -> Tensor:
    """``[N, length]``, the words in order, closed by at least one 0."""
    ids = torch.full((len(documents), length), END, dtype=torch.long)
    for row, document in zip(ids, documents, strict=True):
        numbers = [place.get(word, UNKNOWN) for word in document[: length - 1]]
        row[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
    return ids


def in_words(ids: Tensor, words: Sequence[str]) -> list[str]:
    """Sequences of word numbers as texts, up to their end."""
    texts = []
    for row in ids.tolist():
        end = row.index(END) if END in row else len(row)
        texts.append(" ".join(words[number] for number in row[:end]))
    return texts
