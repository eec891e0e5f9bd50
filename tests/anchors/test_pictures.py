"""Figures of anchors, and the number behind the matrix of correlations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.answers import Answers
from evaluation.correlations import latent_correlations
from evaluation.figures import draw
from pyro_models.anchors.nebula import Nebula
from pyro_models.datasets.data import Data

NAMES = {"anchor-map", "anchor-samples", "anchor-paths", "anchor-usage", "latent-correlations"}


def test_every_picture_of_anchors_is_made():
    torch.manual_seed(0)
    data = Data({"x": torch.rand(40, 1, 8, 8), "label": torch.arange(40) % 3}, classes=("a", "b", "c"))
    story = Nebula((1, 8, 8), clusters=4, latent=3, hidden=(8,))
    with torch.no_grad():
        story.encoder.net[-1].weight[:3] *= 10  # codes that vary
    made = {maker.name for maker, _ in draw(Answers(story.eval(), data)) if maker.name in NAMES}
    assert made == NAMES


def test_around_anchors_is_where_the_anchors_are():
    torch.manual_seed(0)
    story = Nebula((1, 8, 8), clusters=4, latent=3, hidden=(8,))
    drawn = story.around_anchors(4000)
    # Standard deviation 1: five standard errors of a mean over 4000 draws.
    torch.testing.assert_close(drawn.mean(1), story.anchor_codes(), atol=5 / 4000**0.5, rtol=0)
    assert float(story.anchor_weights().sum()) == pytest.approx(1)


def test_correlations_of_known_codes():
    rng = np.random.default_rng(0)
    one, noise = rng.normal(size=20_000), rng.normal(size=20_000)
    codes = np.stack([one, 0.6 * one + 0.8 * noise, 1e-3 * noise], 1)
    found = latent_correlations(codes)
    assert found.active == 2
    assert found.mean_absolute == pytest.approx(0.6, abs=5 / 20_000**0.5)
    assert latent_correlations(codes[:, 2:]).mean_absolute == 0
