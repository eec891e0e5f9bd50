"""Tests that every metric inherits: subclass, say what the metric is and give an example.

    class TestMine(MetricTestCase):
        bounds = (0.0, 1.0)

        def example(self, random):
            return random.random((50, 3)), random.integers(4, size=50)

        def score(self, *arrays):
            return mine(*arrays)

``CodesTestCase`` adds what a disentanglement score should do with perfect, mixed, constant and missing values.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from pyro_models.errors import MetricError

#: data in the examples of codes and factors
COUNT = 2000
#: rows of a Hadamard matrix: every code is made of all four factors to equal parts
MIXING = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


def grid(*levels: int, repeats: int = 1) -> np.ndarray:
    """Every combination of values, so that factors are exactly independent."""
    return np.array(list(itertools.product(*map(range, levels))) * repeats, float)


class MetricTestCase:
    """What holds for any function from arrays to a number."""

    #: least and largest possible value
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    #: the arrays describe the same data, row by row
    paired: ClassVar[bool] = True
    #: positions of the arrays that must not hold NaN
    finite: ClassVar[tuple[int, ...]] = (0,)
    #: how far the value may move when the data come in another order (sampling, training and test parts)
    order: ClassVar[float] = 1e-9

    def example(self, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Arrays that the metric is defined on."""
        raise NotImplementedError(f"{type(self).__name__} needs an example(random)")

    def score(self, *arrays: Any) -> float:
        """The metric."""
        raise NotImplementedError(f"{type(self).__name__} needs a score(*arrays)")

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.example(np.random.default_rng(0))

    def test_is_a_finite_float_within_bounds(self):
        value = self.score(*self.arrays())
        assert isinstance(value, float)
        assert np.isfinite(value)
        assert self.bounds[0] <= value <= self.bounds[1]

    def test_same_input_gives_same_number_whatever_the_global_seeds(self):
        first = self.score(*self.arrays())
        np.random.seed(7)  # noqa: NPY002 (the legacy global state is what must not matter)
        torch.manual_seed(7)
        assert self.score(*self.arrays()) == first

    def test_tensors_and_arrays_agree(self):
        arrays = self.arrays()
        tensors = [torch.from_numpy(array) for array in arrays]
        assert self.score(*tensors) == pytest.approx(self.score(*arrays), abs=1e-12)

    def test_inputs_and_random_state_are_left_alone(self):
        arrays = self.arrays()
        copies = [array.copy() for array in arrays]
        state = torch.get_rng_state()
        self.score(*arrays)
        for array, copy in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, copy)
        assert torch.equal(state, torch.get_rng_state())

    def test_order_of_the_data_does_not_matter(self):
        arrays = self.arrays()
        order = np.random.default_rng(1).permutation(min(len(array) for array in arrays))
        shuffled = [array[order] for array in arrays]
        assert self.score(*shuffled) == pytest.approx(self.score(*[a[: len(order)] for a in arrays]), abs=self.order)

    def test_unequal_lengths_are_refused(self):
        if not self.paired:
            return
        arrays = list(self.arrays())
        arrays[-1] = arrays[-1][:-3]
        with pytest.raises(MetricError, match=r"differ in length.*one row per datum"):
            self.score(*arrays)

    def test_nan_is_refused_with_its_place(self):
        for position in self.finite:
            arrays = [array.copy() for array in self.arrays()]
            arrays[position][5] = np.nan
            with pytest.raises(MetricError, match=r"nan in row 5|not whole \(or NaN\)"):
                self.score(*arrays)

    def test_no_data_are_refused(self):
        with pytest.raises(MetricError, match="shape"):
            self.score(*[array[:0] for array in self.arrays()])


def grid_factors(random: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """Four independent factors of five values."""
    return random.integers(5, size=(count, 4)).astype(float)


def perfect_codes(factors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One dimension per factor, with a little noise."""
    return (factors - 2) / np.sqrt(2) + 0.05 * random.standard_normal(factors.shape)


def mixed_codes(factors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every dimension made of all factors to equal parts: a rotation of the perfect codes."""
    return perfect_codes(factors, random) @ MIXING


class CodesTestCase(MetricTestCase):
    """What holds for scores of codes ``[N, D]`` against factors ``[N, F]``."""

    #: perfect codes reach at least, fully mixed codes and noise at most
    perfect: ClassVar[float] = 0.95
    mixed: ClassVar[float] = 0.1
    noise: ClassVar[float] = 0.1
    #: how far the value may move when dimensions are permuted or change their sign
    axes: ClassVar[float] = 1e-9
    #: how far a constant dimension may move the value
    constant: ClassVar[float] = 1e-9

    def example(self, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        factors = grid_factors(random)
        return perfect_codes(factors, random), factors

    def test_perfect_codes(self):
        assert self.score(*self.arrays()) >= self.perfect

    def test_fully_mixed_codes(self):
        random = np.random.default_rng(0)
        factors = grid_factors(random)
        assert self.score(mixed_codes(factors, random), factors) <= self.mixed

    def test_noise(self):
        random = np.random.default_rng(0)
        assert self.score(random.standard_normal((COUNT, 4)), grid_factors(random)) <= self.noise

    def test_order_and_sign_of_dimensions_do_not_matter(self):
        codes, factors = self.arrays()
        codes = codes + 0.3 * codes[:, ::-1]
        turned = codes[:, [2, 0, 3, 1]] * [1, -1, -1, 1]
        assert self.score(turned, factors) == pytest.approx(self.score(codes, factors), abs=self.axes)

    def test_a_constant_dimension_carries_nothing(self):
        codes, factors = self.arrays()
        wider = np.concatenate([codes, np.full((len(codes), 1), 3.7)], 1)
        assert self.score(wider, factors) == pytest.approx(self.score(codes, factors), abs=self.constant)

    def test_missing_values_concern_their_factor_only(self):
        codes, factors = self.arrays()
        factors[::10, 0] = np.nan
        assert self.score(codes, factors) >= self.perfect

    def test_continuous_factors(self):
        random = np.random.default_rng(3)
        factors = random.random((COUNT, 4))
        assert self.score(factors + 0.002 * random.standard_normal(factors.shape), factors) > self.noise
        assert self.score(random.standard_normal(factors.shape), factors) <= self.noise

    def test_a_factor_of_one_value_is_refused(self):
        codes, factors = self.arrays()
        factors[:, 2] = 1.0
        with pytest.raises(MetricError, match=r"factor 2 .* takes 1 value.*leave out"):
            self.score(codes, factors)
