"""Expected calibration error against torchmetrics and by hand; the reliability table and figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.calibration import (
    class_probabilities,
    expected_calibration_error,
    reliability_figure,
    reliability_table,
)
from evaluation.clustering import cluster_to_class
from pyro_models.errors import MetricError
from tests.metrics.case import MetricTestCase


class TestExpectedCalibrationError(MetricTestCase):
    def example(self, random):
        return random.dirichlet(np.full(4, 0.5), 500), random.integers(4, size=500)

    def score(self, *arrays):
        return expected_calibration_error(*arrays)

    @pytest.mark.parametrize("bins", [1, 7, 15])
    def test_torchmetrics_agrees(self, bins):
        from pyro_models.vision import torchvision

        torchvision()
        from torchmetrics.functional.classification import multiclass_calibration_error

        probabilities, labels = self.arrays()
        theirs = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), 4, n_bins=bins)
        assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(float(theirs), abs=1e-6)

    def test_by_hand(self):
        # in (0.6, 0.8]: confidence 0.7, all of two right; in (0.8, 1]: confidence 0.9, one of two right
        probabilities = [[0.7, 0.3], [0.3, 0.7], [0.9, 0.1], [0.1, 0.9]]
        assert expected_calibration_error(probabilities, [0, 1, 0, 0], 5) == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)

    def test_honest_probabilities_are_near_zero_and_boasting_ones_are_not(self):
        random = np.random.default_rng(0)
        honest = random.dirichlet(np.ones(3), 20_000)
        labels = (random.random((20_000, 1)) > honest.cumsum(1)).sum(1)
        boasting = honest**4 / (honest**4).sum(1, keepdims=True)
        # per bin the gap has standard error below 0.5 / sqrt(count): their weighted sum stays below 0.02 (6 sd)
        assert expected_calibration_error(honest, labels) < 0.02
        assert expected_calibration_error(boasting, labels) > 0.15


def test_the_table():
    table = reliability_table([[0.7, 0.3], [1.0, 0.0], [0.5, 0.5]], [0, 1, 1], bins=4)
    assert table["count"].tolist() == [0, 1, 1, 1]
    assert np.isnan(table["accuracy"][0])
    assert table["accuracy"].tolist()[1:] == [0.0, 1.0, 0.0]
    assert table["confidence"].tolist()[1:] == [0.5, 0.7, 1.0]
    assert table["gap"].tolist()[1:] == pytest.approx([-0.5, 0.3, -1.0])


def test_the_figure_is_drawn_and_names_the_error(tmp_path):
    figure = reliability_figure([[0.7, 0.3], [1.0, 0.0]], [0, 1], bins=4)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert figure.axes[0].get_title() == "expected calibration error 0.650, 2 data"
    again = reliability_figure([[0.7, 0.3]], [0], axis=figure.axes[0])
    assert again is figure


def test_responsibilities_become_class_probabilities():
    soft = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]])
    mapping = cluster_to_class([1, 0, 1], soft.argmax(1), "majority")
    np.testing.assert_allclose(class_probabilities(soft, mapping, 2), [[0.2, 0.8], [0.8, 0.2], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_calibration_error([[0.5, 0.5]], [2]), r"go from 2 to 2.*2 columns"),
        (lambda: expected_calibration_error([[0.9, 0.5]], [0]), "no probabilities"),
        (lambda: expected_calibration_error([[0.5, 0.5]], [0], bins=0), "bins is 0"),
        (lambda: class_probabilities([[0.5, 0.5]], {0: 1}, 2), r"cluster 1 has no class.*majority"),
        (lambda: class_probabilities([[0.5, 0.5]], {0: 1, 1: 2}, 2), "maps to class 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MetricError, match=message):
        call()
