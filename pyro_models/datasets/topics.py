"""A made-up corpus with known truth: sentences of a small grammar, eight topics.

    document:  topic ~ uniform, some sentences (5 to 9), each about the document's topic with probability 0.75, else
               about one of the other seven
    sentence:  noun phrase, verb, noun phrase, and with probability 1/2 a preposition and a third noun phrase
    noun phrase: article, with probability 1/2 an adjective, noun
    word:      with probability 0.6 one of the topic's, else one that all topics share; within a list the k-th word has
               weight 1/k

Some words are in the lists of two topics (bass, key, net, pitch, root, scale, star, bank, ...). Since the law is known,
so is the best possible answer: :func:`log_likelihoods`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from pyro_models.datasets.cards import Card
from pyro_models.datasets.text import TextData, as_numbers
from pyro_models.errors import OptionError

#: nouns, verbs, adjectives of each topic, the commonest first
LEXICON: dict[str, tuple[str, str, str]] = {
    "music": (
        "song melody piano chord rhythm violin bass choir key scale concert note pitch drum tune",
        "plays sings tunes composes rehearses conducts hums",
        "loud harmonic acoustic sharp tonal live flat",
    ),
    "kitchen": (
        "soup oven pan recipe onion butter knife salt dough root bass spice kettle plate sauce",
        "cooks bakes stirs chops boils tastes fries",
        "hot sweet fresh salty raw crisp bitter",
    ),
    "astronomy": (
        "star planet orbit telescope galaxy comet moon light nebula scale eclipse crater field dust belt",
        "observes orbits shines rotates detects emits collapses",
        "bright distant massive stellar faint lunar cold",
    ),
    "sailing": (
        "sail harbour mast anchor wind tide deck rope keel crew bank net storm buoy rudder",
        "sails moors steers drifts hoists anchors capsizes",
        "windy calm deep coastal salty naval loose",
    ),
    "garden": (
        "flower soil seed root rose hedge lawn spade compost bed shoot bulb pot bush leaf",
        "plants waters prunes grows digs blooms weeds",
        "green fresh wild shady dry perennial ripe",
    ),
    "football": (
        "goal team match pitch player coach net referee penalty league season star ball shoot field",
        "scores kicks tackles passes defends wins trains",
        "offside fast live competitive injured strong home",
    ),
    "money": (
        "bank loan interest share price market account note bond tax budget coin fund credit debt",
        "invests pays lends sells buys saves borrows",
        "rich annual flat fiscal risky cheap gross",
    ),
    "computing": (
        "program file key server code memory network field compiler bug table loop shell string thread",
        "compiles runs stores loads crashes parses sorts",
        "binary parallel fast recursive secure remote static",
    ),
}
SHARED = (
    "day person place thing way year part group number side friend story morning house road",
    "makes finds takes keeps brings shows needs likes",
    "good new small old long large other early",
)
ARTICLES, PREPOSITIONS = ("the", "one", "every"), ("with", "near", "after", "for")
TOPICS = tuple(LEXICON)
#: chance that a sentence keeps to the document's topic, and that a word is of its sentence's topic
FAITHFUL, TOPICAL = 0.75, 0.6
SENTENCES = (5, 9)
NOUN, VERB, ADJECTIVE = range(3)


def topics(
    count: int = 3000, form: str = "bag", vocabulary: int = 2000, length: int = 96, corpus_seed: int = 0
) -> TextData:
    """``count`` documents, ``label`` the topic.

    Args:
        count: documents.
        form: ``bag``, ``x [N, V]`` counts of words, or ``sequence``, ``x [N, length]`` words in order.
        vocabulary: words, at most; the whole lexicon has some 240.
        length: words per document, for sequences; the longest has 90.
        corpus_seed: of everything drawn.
    """
    if count < 1:
        raise OptionError(f"count is {count}; give 1 document or more.")
    drawn = random.Random(corpus_seed)
    labels = [drawn.randrange(len(TOPICS)) for _ in range(count)]
    documents = [[word for sentence in document(label, drawn) for word in sentence] for label in labels]
    return as_numbers(
        documents,
        labels,
        "topics",
        TOPICS,
        form=form,
        size=vocabulary,
        length=length,
        description="documents of a small grammar about eight topics",
    )


def document(topic: int, drawn: random.Random) -> list[list[str]]:
    """The sentences of a document about a topic."""
    sentences = []
    for _ in range(drawn.randint(*SENTENCES)):
        others = [other for other in range(len(TOPICS)) if other != topic]
        about = topic if drawn.random() < FAITHFUL else drawn.choice(others)
        sentences.append(sentence(about, drawn))
    return sentences


def sentence(topic: int, drawn: random.Random) -> list[str]:
    """``article (adjective) noun verb article (adjective) noun (preposition article (adjective) noun)``."""

    def word(kind: int) -> str:
        lists = LEXICON[TOPICS[topic]] if drawn.random() < TOPICAL else SHARED
        return drawn.choices(*_weighted(lists[kind]))[0]

    def phrase() -> list[str]:
        adjective = [word(ADJECTIVE)] if drawn.random() < 0.5 else []
        return [drawn.choice(ARTICLES), *adjective, word(NOUN)]

    made = [*phrase(), word(VERB), *phrase()]
    return [*made, drawn.choice(PREPOSITIONS), *phrase()] if drawn.random() < 0.5 else made


@cache
def _weighted(listed: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    words = tuple(listed.split())
    return words, tuple(1 / (place + 1) for place in range(len(words)))


def log_likelihoods(sentences: Sequence[Sequence[str]]) -> Tensor:
    """log p(document | topic) up to what all topics share, ``[8]``: the topics of sentences summed out.

    A word says which list it is from (no word is a noun and a verb), so a sentence's likelihood under its topic is the
    product of its words'; articles and prepositions are the same in all topics and left out.
    """
    total = torch.zeros(len(TOPICS), dtype=torch.float64)
    for words in sentences:
        by_topic = torch.zeros(len(TOPICS), dtype=torch.float64)
        for word in words:
            if word not in (*ARTICLES, *PREPOSITIONS):
                by_topic += torch.tensor([_probability(word, topic) for topic in TOPICS], dtype=torch.float64).log()
        likelihood = by_topic.exp()
        others = (likelihood.sum() - likelihood) / (len(TOPICS) - 1)
        total += (FAITHFUL * likelihood + (1 - FAITHFUL) * others).log()
    return total


def nats(sentences: Sequence[Sequence[str]]) -> float:
    """-log p(document) under the law itself, topics summed out: no model of this corpus does better on average."""
    coins, articles, prepositions = 0, 0, 0
    for words in sentences:
        phrases = sum(word in ARTICLES for word in words)
        articles += phrases
        prepositions += sum(word in PREPOSITIONS for word in words)
        coins += phrases + 1  # an adjective in each noun phrase, and a preposition
    lengths = SENTENCES[1] - SENTENCES[0] + 1
    drawn = (len(ARTICLES), articles), (len(PREPOSITIONS), prepositions), (2, coins), (len(TOPICS), 1), (lengths, 1)
    return sum(times * math.log(choices) for choices, times in drawn) - float(log_likelihoods(sentences).logsumexp(0))


def sentences_of(words: Sequence[str]) -> list[list[str]]:
    """A document's words cut into its sentences: one begins at every article that is not due after a verb or a
    preposition."""
    verbs = {verb for lists in (*LEXICON.values(), SHARED) for verb in lists[VERB].split()}
    found: list[list[str]] = []
    for before, word in zip(("", *words), words, strict=False):
        if word in ARTICLES and before not in verbs and before not in PREPOSITIONS:
            found.append([])
        found[-1].append(word)
    return found


@cache
def _probability(word: str, topic: str) -> float:
    """Of a word among the words of its kind, in a sentence about the topic."""
    for own, shared in zip(LEXICON[topic], SHARED, strict=True):
        everywhere = {w for lists in (*LEXICON.values(), SHARED) for w in lists[_kind_of(own, topic)].split()}
        if word in everywhere:
            return TOPICAL * _share(word, own) + (1 - TOPICAL) * _share(word, shared)
    raise OptionError(f"'{word}' is no word of the corpus.")


def _kind_of(listed: str, topic: str) -> int:
    return LEXICON[topic].index(listed)


def _share(word: str, listed: str) -> float:
    words, weights = _weighted(listed)
    return weights[words.index(word)] / sum(weights) if word in words else 0.0


topics.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="topics",
    what="documents of a small grammar about eight topics that share words, as bags of words or sequences",
    size="3000 documents by default, any number; some 240 words; 8 topics",
    licence="made by this library; free of rights",
    source="drawn by a formula; the best possible accuracy is known",
)
