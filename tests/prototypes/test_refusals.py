"""Options and data that prototypes refuse."""

from __future__ import annotations

import pytest
import torch

from pyro_models.datasets.data import Data
from pyro_models.errors import ModelsError
from pyro_models.prototypes.dvae import DVAE
from pyro_models.prototypes.dvae_st import DVAEST
from tests.prototypes.made import bound


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DVAE((1, 8, 8), clusters=1), "clusters is 1"),
        (lambda: DVAEST((1, 8, 8), variance=-0.1), "variance is -0.1"),
        (lambda: DVAEST((1, 8, 8), transforms=("affine", "affine")), "named twice"),
        (lambda: DVAEST((1, 8, 8), transforms=()), "the story 'dvae'"),
        (lambda: DVAEST((1, 8, 8), candidates=1), "candidates is 1"),
        (lambda: DVAEST((64,)), "reads images of shape"),
        (lambda: DVAEST((1, 8, 8), network="resnet"), "no network is called 'resnet'"),
        (lambda: DVAEST((1, 8, 8), channels=(0,)), "layer sizes must be positive"),
        (lambda: DVAE((1, 8, 8), recipe="robst"), "did you mean 'robust'"),
        (lambda: DVAE((1, 8, 8), likelihood="poisson"), "no likelihood is called"),
        (lambda: DVAE((1, 8, 8), prototypes="images"), "no kind of prototypes"),
        (lambda: DVAE((1, 8, 8), anneal=0.5), "anneal is 0.5"),
        (lambda: DVAE((1, 8, 8), spare=-1), "spare is -1"),
        (lambda: DVAE((1, 8, 8), usage_floor=-1.0), "usage_floor is -1"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ModelsError, match=message):
        make()


def test_data_that_do_not_fit_are_refused():
    story = DVAE((1, 8, 8), clusters=3)
    with pytest.raises(ModelsError, match=r"prototypes live in \[0, 1\], but data has values from"):
        story.initialise(Data({"x": torch.randn(40, 1, 8, 8)}))
    with pytest.raises(ModelsError, match=r"13 prototypes .* cannot start from 7 data"):
        story.initialise(Data({"x": torch.rand(7, 1, 8, 8)}))


def test_more_clusters_than_a_batch_can_show_is_said():
    story = DVAE((1, 8, 8), clusters=30, spare=0)
    story.at(0.1)
    with pytest.warns(UserWarning, match="batches of 4 cannot show whether 30 clusters are in use"):
        bound(story, torch.rand(4, 1, 8, 8))
