"""Documents as numbers: the corpora, a folder of one's own, and the known truth of the made-up one."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from pyro_models.datasets import Splits, describe, load
from pyro_models.datasets import topics as corpus
from pyro_models.datasets.docstrings import PACKAGES, collect, docstrings, docstrings_of
from pyro_models.datasets.text import END, UNKNOWN, TextData, as_numbers, in_words, vocabulary, words_of
from pyro_models.datasets.topics import LEXICON, SHARED, TOPICS, log_likelihoods, topics
from pyro_models.errors import DataError, OptionError, UnknownName

DOCUMENTS = [words_of(text) for text in ("red red blue", "blue green", "red blue sky", "the red and the blue")]


def test_words_fall_into_their_parts():
    assert words_of("readHTTPLine x snake_case, 3 CamelCase") == [
        "read",
        "http",
        "line",
        "snake",
        "case",
        "camel",
        "case",
    ]


def test_a_vocabulary_counts_documents_not_words():
    assert vocabulary(DOCUMENTS, 10, function_words=True) == ("blue", "red")
    many = [["the", "cat"], ["the", "cat"], ["the", "cat", "cat", "cat"], ["the", "dog"]]
    assert vocabulary(many, 10, function_words=True) == ("the", "cat")
    assert vocabulary(many, 10, function_words=False) == ("cat",)
    assert vocabulary(many, 1, function_words=True) == ("the",)


def test_a_bag_counts():
    data = as_numbers(DOCUMENTS, [0, 1, 0, 1], "colours", ("a", "b"))
    assert data.words == ("blue", "red")
    assert data["x"].tolist() == [[1, 2], [1, 0], [1, 1], [1, 1]]
    assert data["label"].tolist() == [0, 1, 0, 1]
    assert data.take([1]).words == data.words


def test_a_sequence_keeps_the_order_and_ends():
    data = as_numbers(DOCUMENTS, None, "colours", form="sequence", length=4)
    blue, red = data.words.index("blue"), data.words.index("red")
    assert data["x"][:2].tolist() == [[red, red, blue, END], [blue, UNKNOWN, END, END]]
    assert data["x"][2:].tolist() == [[red, blue, UNKNOWN, END], [UNKNOWN, red, UNKNOWN, END]]
    assert in_words(data["x"][:1], data.words) == ["red red blue"]
    assert data["counts"].shape == (4, 4)


def test_bad_options_are_refused():
    with pytest.raises(UnknownName, match="form of a text is called 'bags'; did you mean 'bag'"):
        topics(10, form="bags")
    with pytest.raises(OptionError, match="too few"):
        topics(10, vocabulary=1)
    with pytest.raises(OptionError, match="count is 0"):
        topics(0)
    with pytest.raises(DataError, match="next to no words"):
        as_numbers([["one"], ["two"]], None, "nothing")


def test_docstrings_are_of_this_python():
    data = docstrings()
    assert isinstance(data, TextData)
    assert set(data.classes) <= set(PACKAGES)
    assert len(data) > 1000
    assert "standard library" in data.description
    label = data.classes.index("email")
    mail = data["x"][data["label"] == label].mean(0)
    rest = data["x"][data["label"] != label].mean(0)
    assert mail[data.words.index("header")] > 5 * rest[data.words.index("header")]


def test_docstrings_come_from_parsing_only():
    source = (
        '"""Of the module."""\nraise SystemExit\nclass A:\n    "Of the class."\n    def f(self):\n        """Of f."""'
    )
    assert list(docstrings_of(source)) == ["Of the module.", "Of the class.", "Of f."]
    assert list(docstrings_of("print 'old'")) == []
    every = [text for texts in collect().values() for text in texts]
    assert len(set(every)) == len(every)


def test_the_corpus_is_a_function_of_its_seed():
    first, again, other = topics(20), topics(20), topics(20, corpus_seed=1)
    assert torch.equal(first["x"], again["x"])
    assert not torch.equal(first["label"], other["label"])
    ordered = topics(50, form="sequence")
    assert (ordered["x"][:, -1] == END).all()
    assert int(ordered["x"].max()) < len(ordered.words)


def test_no_word_of_the_corpus_is_of_two_kinds():
    """Else the likelihood of a sentence would not be the product of its words'."""
    kinds = [{w for lists in (*LEXICON.values(), SHARED) for w in lists[kind].split()} for kind in range(3)]
    for one, other in itertools.combinations(kinds, 2):
        assert not one & other


def test_the_law_of_words_sums_to_one():
    for topic in TOPICS:
        for kind in range(3):
            words = {w for lists in (*LEXICON.values(), SHARED) for w in lists[kind].split()}
            assert sum(corpus._probability(word, topic) for word in words) == pytest.approx(1)


def test_the_best_answer_is_nearly_always_right_and_says_so():
    """The exact posterior: right as often as it says (300 documents, chance of failure below 1e-4)."""
    drawn, right, said = random.Random(3), 0, 0.0
    for _ in range(300):
        label = drawn.randrange(len(TOPICS))
        posterior = log_likelihoods(corpus.document(label, drawn)).softmax(0)
        right, said = right + int(posterior.argmax() == label), said + float(posterior.max())
    assert right / 300 > 0.95
    assert abs(right - said) < 4 * (300 * 0.05) ** 0.5


def test_the_nats_of_a_document_are_those_of_its_draws():
    """Lengths, articles, coins and prepositions by hand; the words by the test above."""
    words = ["one", "early", "road", "needs", "the", "house", "for", "every", "person"]
    told = log_likelihoods([words, words]).exp().sum().item()
    draws = math.log(5) + math.log(8) + 2 * (3 * math.log(3) + 4 * math.log(2) + math.log(4))
    assert corpus.nats([words, words]) == pytest.approx(draws - math.log(told))


def test_words_are_cut_into_the_sentences_they_came_from():
    drawn = random.Random(4)
    for topic in range(len(TOPICS)):
        sentences = corpus.document(topic, drawn)
        assert corpus.sentences_of([word for sentence in sentences for word in sentence]) == sentences


def test_one_law_for_all_topics_is_worse_than_the_law():
    drawn = random.Random(5)
    documents = [corpus.document(drawn.randrange(len(TOPICS)), drawn) for _ in range(100)]
    known = sum(corpus.nats(sentences) for sentences in documents) / 100
    wrong = sum(corpus.nats(sentences) + float(log_likelihoods(sentences).logsumexp(0) - log_likelihoods(sentences)[0])
                for sentences in documents) / 100  # fmt: skip
    assert known < wrong - math.log(8)


def write(folder, texts):
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_folder_of_texts(tmp_path):
    write(tmp_path, {f"{kind}/{n}.txt": f"{kind} words here {kind}" for kind in ("boat", "tree") for n in range(10)})
    write(tmp_path, {".hidden/a.txt": "secret", "boat/picture.png": "secret"})
    splits = load(f"text:{tmp_path}")
    assert isinstance(splits, Splits)
    assert splits.train.classes == ("boat", "tree")
    boat = splits.test.words.index("boat")
    assert ((splits.test["x"][:, boat] == 2) == (splits.test["label"] == 0)).all()


def test_a_folder_with_parts_has_the_vocabulary_of_the_training_part(tmp_path):
    write(tmp_path, {f"train/{n}.txt": "old words" for n in range(5)})
    write(tmp_path, {f"test/{n}.txt": "old new words" for n in range(5)})
    splits = load(f"text:{tmp_path}", validation=1)
    assert splits.test.words == splits.train.words == ("old", "words")
    assert len(splits.test) == 5
    assert "label" not in splits.test


def test_folders_of_texts_that_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        load(f"text:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="holds no texts"):
        load(f"text:{tmp_path}")
    write(tmp_path, {"a.txt": "one", "b/c.txt": "two"})
    with pytest.raises(DataError, match="texts beside class folders"):
        load(f"text:{tmp_path}")
    write(tmp_path / "parts", {"train/a/1.txt": "boat tree"} | {f"train/b/{n}.txt": "boat tree" for n in range(4)})
    write(tmp_path / "parts", {"test/a/1.txt": "boat tree"})
    with pytest.raises(DataError, match="has the class folders a, but"):
        load(f"text:{tmp_path / 'parts'}")


@pytest.mark.parametrize("name", ["docstrings", "topics", "text:PATH", "solids", "modelnet:PATH", "shapenet:PATH"])
def test_cards(name):
    assert describe(name).name == name
