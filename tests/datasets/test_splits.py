"""Train, validation and test by seed; classes by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_models.datasets import Data, Parts, split
from pyro_models.datasets.splits import draw, select_classes
from pyro_models.errors import DataError, OptionError, UnknownName


def labelled(count: int, classes: int = 3, start: int = 0) -> Data:
    number = torch.arange(start, start + count)
    return Data({"x": number[:, None].float(), "label": number % classes}, "numbers", tuple("abc"[:classes]))


def members(*parts: Data) -> list[int]:
    return sorted(int(v) for part in parts for v in part["x"][:, 0])


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(10, 200),
    test=st.floats(0.1, 0.6),
    validation=st.floats(0.2, 0.6),
    seed=st.integers(0, 2**31),
)
def test_parts_are_disjoint_and_complete(count, test, validation, seed):
    parts = split(labelled(count), validation, test, seed=seed)
    assert members(*parts) == list(range(count))
    assert len(parts.test) == round(test * count)
    assert len(parts.validation) == round(validation * (count - len(parts.test)))


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=200), data=st.data(), seed=st.integers(0, 2**31))
def test_every_class_is_drawn_in_proportion(labels, data, seed):
    """Systematic sampling takes, of n_c data, floor or ceiling of n_c count / total, from any start: within one."""
    count = data.draw(st.integers(1, len(labels) - 1))
    label = torch.tensor(labels)
    chosen = draw(len(labels), count, seed, label)
    assert len(chosen.unique()) == count
    share = torch.bincount(label, minlength=6) * count / len(labels)
    assert bool(((torch.bincount(label[chosen], minlength=6) - share).abs() < 1).all())


def test_every_datum_is_drawn_equally_often():
    """2000 draws of 5 out of 20: each datum's count is binomial(2000, 1/4); 5.2 sigma is beyond 2e-5 for 20 of them."""
    label = torch.tensor([0] * 13 + [1] * 7)
    for strata in (None, label):
        counts = torch.zeros(20)
        for seed in range(2000):
            counts[draw(20, 5, seed, strata)] += 1
        assert float((counts - 500).abs().max()) < 5.2 * (2000 * 0.25 * 0.75) ** 0.5


def test_the_split_is_a_function_of_the_seed():
    one, same, other = (split(labelled(60), seed=seed) for seed in (1, 1, 2))
    assert members(one.test) == members(same.test)
    assert members(one.train) == members(same.train)
    assert members(one.test) != members(other.test)
    assert members(one.validation) != members(other.validation)


def test_defaults_are_a_fifth_and_a_tenth():
    parts = split(labelled(100))
    assert [len(part) for part in parts] == [72, 8, 20]
    assert parts.train.classes == ("a", "b", "c")


def test_numbers_of_data_instead_of_shares():
    assert [len(part) for part in split(labelled(100), validation=7, test=30)] == [63, 7, 30]
    assert [len(part) for part in split(labelled(100), validation=7.0, test=30.0)] == [63, 7, 30]


def test_official_parts_are_kept():
    official = Parts(train=labelled(50), test=labelled(20, start=50))
    parts = split(official)
    assert members(parts.test) == list(range(50, 70))
    assert members(parts.train, parts.validation) == list(range(50))
    with_validation = Parts(labelled(50), labelled(20, start=50), labelled(9, start=70))
    assert members(split(with_validation).validation) == list(range(70, 79))
    assert members(split(with_validation).train) == list(range(50))
    assert len(split(with_validation, validation=10).validation) == 10
    smaller = split(official, test=5).test
    assert len(smaller) == 5
    assert set(members(smaller)) <= set(range(50, 70))
    assert len(split(official, test=20).test) == 20


def test_size_leaves_the_test_part_alone():
    whole, small = split(labelled(100)), split(labelled(100), size=30)
    assert members(whole.test) == members(small.test)
    assert len(small.train) + len(small.validation) == 30
    assert set(members(small.train, small.validation)) <= set(members(whole.train, whole.validation))
    assert torch.bincount(torch.cat([small.train["label"], small.validation["label"]])).tolist() == [10, 10, 10]


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("share", [0, 0.0, 1e-9, 100, 5000])
def test_an_empty_split(part, share):
    with pytest.raises(DataError, match=f"{part}={share!r} leaves an empty split: .* of numbers .*; choose a share"):
        split(labelled(100), **{part: share})


@pytest.mark.parametrize("share", [-1, -0.1, 1.0, 1.5, True, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(OptionError, match="neither a share between 0 and 1 nor a number of data"):
        split(labelled(100), validation=share)


@pytest.mark.parametrize("size", [0, 1, 81, 2.5])
def test_a_size_the_set_does_not_have(size):
    with pytest.raises(OptionError, match=f"size={size} asks for data .* 80 are there .* choose a size from 2 to 80"):
        split(labelled(100), size=size)


@pytest.mark.parametrize("classes", [["c", "a"], ["C", "A"], [2, 0], ["2", "0"], "c, a"])
def test_classes_by_name_or_number(classes):
    chosen = select_classes(labelled(9), classes)
    assert chosen.classes == ("c", "a")
    assert members(chosen) == [0, 2, 3, 5, 6, 8]
    assert chosen["label"].tolist() == [1, 0, 1, 0, 1, 0]
    assert select_classes(labelled(9), 2).classes == ("c",)


def test_names_that_are_numbers_go_before_positions():
    data = Data({"x": torch.arange(3.0), "label": torch.arange(3)}, classes=("2", "6", "9"))
    assert select_classes(data, [2])["x"].tolist() == [0.0]
    assert select_classes(data, [9, 6])["label"].tolist() == [1, 0]


def test_names_that_differ_in_case_only():
    data = Data({"x": torch.arange(2.0), "label": torch.arange(2)}, classes=("a", "A"))
    assert select_classes(data, ["A"])["x"].tolist() == [1.0]


def test_classes_without_names_are_numbers():
    data = Data({"x": torch.arange(4.0), "label": torch.tensor([0, 3, 3, 1])})
    assert select_classes(data, [3, 0])["label"].tolist() == [1, 0, 0]
    with pytest.raises(DataError, match=r"no datum of the classes \[2\]"):
        select_classes(data, [2])


def test_unknown_class():
    with pytest.raises(UnknownName, match="no class of numbers is called 'd'"):
        select_classes(labelled(9), ["d"])
    data = Data({"x": torch.zeros(2), "label": torch.arange(2)}, "animals", ("horse", "cat"))
    with pytest.raises(UnknownName, match="did you mean 'horse'"):
        select_classes(data, ["hors"])


@pytest.mark.parametrize("classes", [[], "", ["a", "a"], ["a", 0]])
def test_classes_named_twice_or_not_at_all(classes):
    with pytest.raises(OptionError, match="at least one class, each once"):
        select_classes(labelled(9), classes)


def test_classes_of_an_unlabelled_set():
    with pytest.raises(DataError, match=r"faces is unlabelled, so classes=\['smile'\] cannot be selected"):
        select_classes(Data({"x": torch.zeros(3)}, "faces"), ["smile"])


def test_classes_of_continuous_labels():
    with pytest.raises(DataError, match="not whole numbers"):
        select_classes(Data({"x": torch.zeros(3), "label": torch.rand(3)}), [0])
