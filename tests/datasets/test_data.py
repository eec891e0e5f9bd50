"""Data in memory: batches, order, conversion, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_models.datasets import Data
from pyro_models.datasets.data import check_finite
from pyro_models.errors import DataError, OptionError


def numbered(count: int) -> Data:
    return Data({"x": torch.arange(float(count))[:, None], "label": torch.arange(count)}, "numbers")


def first(iterator, count):
    return list(itertools.islice(iterator, count))


def test_bytes_become_floats_in_batches_only():
    pixels = torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8)
    data = Data({"x": pixels, "label": torch.tensor([200, 3], dtype=torch.uint8), "mask": pixels > 60})
    batch = data.batch(torch.tensor([1, 0]))
    assert batch["x"].dtype == torch.float32
    torch.testing.assert_close(batch["x"], torch.tensor([[1.0, 0.4], [0.0, 0.2]]))
    assert batch["label"].tolist() == [3, 200]
    assert batch["mask"].dtype == torch.bool
    assert data.fields["x"].dtype == torch.uint8
    torch.testing.assert_close(data["x"], batch["x"].flip(0))
    assert pixels[1, 0] == 255  # the stored bytes are not divided in place


def test_float_batches_are_not_changed():
    data = Data({"x": torch.tensor([[3.0], [300.0]])})
    assert data.batch(slice(0, 2))["x"].tolist() == [[3.0], [300.0]]


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), size=st.integers(1, 40), seed=st.integers(0, 2**31), start=st.integers(0, 60))
def test_resuming_gives_the_batches_of_an_uninterrupted_run(count, size, seed, start):
    data = numbered(count)
    size = min(size, count)
    whole = first(data.batches(size, seed), start + 3)
    resumed = first(data.batches(size, seed, first_step=start), 3)
    assert [b["label"].tolist() for b in whole[start:]] == [b["label"].tolist() for b in resumed]
    assert all(torch.equal(b["x"][:, 0], b["label"].float()) for b in resumed)


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 40), size=st.integers(1, 40))
def test_an_epoch_visits_no_datum_twice(count, size):
    data = numbered(count)
    size = min(size, count)
    per_epoch = data.steps_per_epoch(size)
    seen = torch.cat([batch["label"] for batch in first(data.batches(size, 7), per_epoch)])
    assert len(seen) == per_epoch * size
    assert len(seen.unique()) == len(seen)


def test_epochs_and_seeds_differ():
    data = numbered(30)
    one, two = ([b["label"].tolist() for b in first(data.batches(30, seed), 2)] for seed in (0, 1))
    assert len({tuple(order) for order in one + two}) == 4


def test_batch_order_is_uniform():
    """Chi-square of the place of datum 0 over 2000 epochs of 10; 9 degrees of freedom, 2e-5 quantile 37.5."""
    data, places = numbered(10), torch.zeros(10)
    for batch in first(data.batches(10, seed=3), 2000):
        places[batch["label"].tolist().index(0)] += 1
    assert float(((places - 200) ** 2 / 200).sum()) < 37.5


def test_drawing_batches_leaves_the_random_stream_alone():
    before = torch.get_rng_state()
    first(numbered(10).batches(3, 0), 7)
    assert torch.equal(before, torch.get_rng_state())


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 40), size=st.integers(1, 50))
def test_chunks_cover_everything_in_order(count, size):
    parts = list(numbered(count).chunks(size))
    assert torch.cat([part["label"] for part in parts]).tolist() == list(range(count))
    assert len(parts) == math.ceil(count / size)


def test_take_shape_names_and_device():
    data = numbered(5)
    assert data.take([4, 1])["label"].tolist() == [4, 1]
    assert data.take(slice(3, None))["label"].tolist() == [3, 4]
    assert data.take(torch.tensor([2]))["x"].tolist() == [[2.0]]
    assert data.shape() == (1,)
    assert data.shape("label") == ()
    assert data.names() == ("x", "label")
    assert "label" in data
    assert "factors" not in data
    assert data.device == torch.device("cpu")
    assert data.to("cpu").device == torch.device("cpu")
    assert data.to("meta").device == torch.device("meta")
    assert data.take([0]).name == "numbers"


@pytest.mark.parametrize("size", [0, -1, 6])
def test_a_batch_the_set_cannot_fill(size):
    with pytest.raises(OptionError, match=f"batch of {size} .* the 5 data of numbers; choose a batch size from 1 to 5"):
        next(numbered(5).batches(size, 0))


def test_a_chunk_of_nothing():
    with pytest.raises(OptionError, match="chunk size of 0"):
        next(numbered(5).chunks(0))


def test_unequal_fields():
    with pytest.raises(DataError, match=r"differ in length: \{'x': 3, 'label': 2\}"):
        Data({"x": torch.zeros(3), "label": torch.zeros(2)})


@pytest.mark.parametrize("fields", [{}, {"x": torch.zeros(0, 2)}])
def test_empty(fields):
    with pytest.raises(DataError, match="nothing is empty; check the split fractions"):
        Data(fields, "nothing")


def test_taking_nothing():
    with pytest.raises(DataError, match="numbers is empty"):
        numbered(3).take([])


def test_a_field_that_is_no_tensor():
    with pytest.raises(DataError, match="field 'x' of data is a list; every field is a tensor"):
        Data({"x": [1, 2]})


def test_labels_of_an_unlabelled_set():
    with pytest.raises(DataError, match=r"faces has no field 'label' \(the set is unlabelled; .*\); it has x\."):
        Data({"x": torch.zeros(2)}, "faces")["label"]


def test_a_field_that_is_not_there():
    with pytest.raises(DataError, match=r"data has no field 'mask'; it has x\."):
        Data({"x": torch.zeros(2)}).shape("mask")


@pytest.mark.parametrize(("bad", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_that_are_not_finite(bad, text, dtype):
    x = torch.zeros(4, 1, 2, 2, dtype=dtype)
    x[2, 0, 1, 0] = bad
    x[3, 0, 1, 1] = bad
    with pytest.raises(DataError, match=rf"has {text} in datum 2 at position \(0, 1, 0\) \(2 of 4 data") as caught:
        Data({"x": x}, "pictures")
    assert "field 'mask'" in str(caught.value)


def test_large_numbers_are_finite():
    check_finite(torch.tensor([3e38, 3e38, -3e38]), "x", "data")


def test_complex_numbers():
    with pytest.raises(DataError, match="datum 1"):
        Data({"x": torch.tensor([1 + 1j, complex(0, math.nan)])})
