"""Streamed data give the batches that data in memory give, resume exactly, and say what is wrong with a datum."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_models.datasets import Data, StreamedData, as_data, split, stream
from pyro_models.datasets.splits import select_classes
from pyro_models.errors import DataError, OptionError


class Numbers:
    """Items (x, label); counts what is read."""

    def __init__(self, count: int = 23, noise: bool = False) -> None:
        self.count, self.noise, self.reads = count, noise, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        self.reads += 1
        x = torch.tensor([float(index), 1.0])
        if self.noise:  # augmentation from all three random streams that users draw from
            x = x + torch.tensor([torch.rand(()).item(), np.random.rand() + random.random()])  # noqa: NPY002
        return x, index % 3


def streamed(count: int = 23, noise: bool = False, workers: int = 0) -> StreamedData:
    from pyro_models.datasets.convert import Items

    return StreamedData.over(Items(Numbers(count, noise)), "numbers", workers=workers)


def first(iterator, count):
    return list(itertools.islice(iterator, count))


def assert_same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_of_data_in_memory(workers):
    data = streamed(workers=workers)
    assert_same(first(data.batches(5, 3), 11), first(data.in_memory().batches(5, 3), 11))
    assert_same(list(data.chunks(10)), list(data.in_memory().chunks(10)))
    assert isinstance(data.in_memory(), Data)
    assert not isinstance(data.in_memory(), StreamedData)


@settings(deadline=None, max_examples=15)
@given(count=st.integers(1, 30), size=st.integers(1, 30), start=st.integers(0, 20), seed=st.integers(0, 2**31))
def test_resuming_is_exact_with_augmentation(count, size, start, seed):
    data = streamed(count, noise=True)
    size = min(size, count)
    assert_same(first(data.batches(size, seed), start + 2)[start:], first(data.batches(size, seed, start), 2))


def test_resuming_is_exact_with_workers_and_augmentation():
    alone, helped = streamed(noise=True), streamed(noise=True, workers=2)
    assert_same(first(alone.batches(5, 3), 9)[6:], first(helped.batches(5, 3, first_step=6), 3))


def test_augmentation_differs_between_steps_and_seeds():
    data = streamed(1, noise=True)
    values = [float(batch["x"][0, 0]) for seed in (0, 1) for batch in first(data.batches(1, seed), 3)]
    assert len(set(values)) == 6


def test_reading_leaves_the_random_streams_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first(streamed(noise=True).batches(5, 0), 3)
    first(streamed(noise=True, workers=1).batches(5, 0), 2)
    list(streamed(noise=True).chunks(4))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


def test_batches_are_read_when_their_turn_comes():
    data = streamed(1000)
    first(data.batches(10, 0), 3)
    assert data.source.source.reads <= 40


def test_parts_of_a_stream():
    data = streamed()
    part = data.take([4, 20, 2])
    assert isinstance(part, StreamedData)
    assert part.batch(slice(1, None))["x"][:, 0].tolist() == [20.0, 2.0]
    assert part.take([2]).batch(torch.tensor([0]))["x"][0, 0] == 2
    assert part["label"].tolist() == [1, 2, 2]
    assert part["x"].shape == (3, 2)
    assert (len(part), part.shape(), part.shape("label"), part.names()) == (3, (2,), (), ("x", "label"))
    assert "label" in part
    assert "mask" not in part
    assert part.to("meta").batch(slice(0, 2))["x"].device.type == "meta"
    assert select_classes(data, [2, 0]).batch(slice(0, 3))["label"].tolist() == [1, 0, 1]
    parts = split(data)
    assert sorted(torch.cat([p["x"][:, 0] for p in parts]).tolist()) == list(range(23))


def test_bytes_become_floats():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    data = as_data(Images(pixels), stream=True)
    assert data.shape() == (3, 2, 2)
    torch.testing.assert_close(data["x"], torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    assert data.in_memory().fields["x"].dtype == torch.uint8


class Images:
    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pixels[index]


class Sequence_:
    """Items given one by one."""

    def __init__(self, *items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_datum_that_is_not_finite_is_named(workers):
    items = [{"x": torch.zeros(2)} for _ in range(6)]
    items[4]["x"][1] = float("nan")
    data = StreamedData.over(Sequence_(*items), "numbers", workers=workers)
    with pytest.raises(DataError, match=r"^field 'x' of numbers has nan in datum 4 at position \(1,\)"):
        list(data.chunks(3))


@pytest.mark.parametrize("other", [{"x": torch.zeros(3)}, {"label": torch.zeros(2)}])
def test_a_datum_of_another_shape_is_named(other):
    data = StreamedData.over(Sequence_({"x": torch.zeros(2)}, {"x": torch.zeros(2)}, other), "numbers")
    with pytest.raises(DataError, match=r"field 'x' of numbers is .* in datum 2, but \(2,\) in datum 0"):
        list(data.chunks(3))


def test_fields_beside_a_stream():
    data = StreamedData.over(Sequence_(*({"x": torch.zeros(1)},) * 4), fields={"factors": torch.arange(4)})
    assert data.take([3, 1]).batch(torch.tensor([1, 0]))["factors"].tolist() == [1, 3]
    assert [chunk["factors"].tolist() for chunk in data.chunks(3)] == [[0, 1, 2], [3]]
    with pytest.raises(DataError, match="'factors' of data has 3 rows beside 4 data"):
        StreamedData.over(Sequence_(*({"x": torch.zeros(1)},) * 4), fields={"factors": torch.arange(3)})


def test_an_empty_stream():
    with pytest.raises(DataError, match="data is empty"):
        StreamedData.over(Sequence_())
    with pytest.raises(DataError, match="numbers is empty"):
        streamed().take([])


def test_a_batch_the_stream_cannot_fill():
    with pytest.raises(OptionError, match="a batch of 24 cannot be drawn from the 23 data of numbers"):
        next(streamed().batches(24, 0))


def test_more_than_fits_into_memory(monkeypatch):
    monkeypatch.setattr(stream, "MEMORY_LIMIT", 100)
    with pytest.raises(DataError, match=r"would take .* GiB at once; go through it by chunks"):
        streamed()["x"]
    with pytest.raises(DataError, match="leave it streamed"):
        streamed().in_memory()
    assert len(streamed().take(slice(0, 5))["x"]) == 5


def test_labels_of_an_unlabelled_stream():
    with pytest.raises(DataError, match=r"data has no field 'label' \(the set is unlabelled"):
        StreamedData.over(Sequence_({"x": torch.zeros(1)}))["label"]
