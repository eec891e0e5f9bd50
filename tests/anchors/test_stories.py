"""The nebula under its options: what every story must do."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine

from pyro_models.anchors.nebula import Nebula
from pyro_models.anchors.networks import kind_of
from pyro_models.datasets.data import Data
from pyro_models.datasets.solids import solids
from pyro_models.datasets.text import TextData
from pyro_models.errors import ModelsError, OptionError, UnknownName
from tests.core.cases import StoryCase

SHAPE = (1, 8, 8)
SMALL = {"clusters": 3, "latent": 2, "hidden": (16,)}


class TestNebula(StoryCase):
    def make(self):
        return Nebula(SHAPE, **SMALL, concentration=2.0, metric_weight=1.0)


class TestNebulaFromNeighbours(StoryCase):
    """Also that a resumed run finds the same groups and neighbours again."""

    def make(self):
        return Nebula(SHAPE, **SMALL, start="neighbours", views=("neighbours", "warps"))


class TestLatentAnchors(StoryCase):
    def make(self):
        return Nebula(SHAPE, **SMALL, anchors="latent", encoding="enumerate-model", covariance="spherical")


class TestPseudoInputs(StoryCase):
    def make(self):
        return Nebula(SHAPE, **SMALL, anchors="pseudo-inputs", encoding="enumerate-guide")

    def data(self):
        """Random images are all alike; the encoder must tell pseudo-inputs apart for the weights to matter."""
        generator = torch.Generator().manual_seed(0)
        return Data({"x": torch.rand(24, 1, 8, 8, generator=generator)}, "noise")


class TestFireNetwork(StoryCase):
    def make(self):
        torch.manual_seed(1)  # so few units may all be off
        return Nebula((1, 9, 7), **SMALL, network="fire", channels=(4, 6), repulsion="dpp", likelihood="gaussian")

    def data(self):
        return Data({"x": torch.rand(12, 1, 9, 7, generator=torch.Generator().manual_seed(0))})


def completions() -> Data:
    whole = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Data({"x": whole[:, :, :4], "target": whole})


def test_what_is_explained_may_differ_from_what_is_read():
    data = completions()
    story = Nebula.build(data, **SMALL)
    assert story.fields == ("x", "target")
    guide = poutine.trace(story.guide).get_trace(data["x"], data["target"])
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(data["x"], data["target"])
    assert model.nodes["target"]["is_observed"]
    assert "x" not in model.nodes
    assert story.reconstruct(data["x"], data["target"]).shape == (24, *SHAPE)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"anchors": "points"}, UnknownName, "no anchors is called 'points'"),
        ({"clusters": 0}, OptionError, "clusters is 0"),
        ({"hard": True, "encoding": "enumerate-model"}, OptionError, "use encoding='mixture'"),
        ({"hard": True, "anchors": "latent"}, OptionError, "needs point anchors"),
        ({"weights": "tied"}, OptionError, "needs covariance='fixed' with a spread below 1"),
        ({"repulsion": "published", "anchors": "latent"}, OptionError, "energy of point anchors"),
        ({"warm_up": 0.7, "ramp": 0.7}, OptionError, "whose sum is at most 1"),
        ({"warm_up": 0.0}, OptionError, "places anchors after a warm-up"),
        ({"variational": False, "metric_weight": 1.0}, OptionError, "needs several anchors that are trained"),
        ({"anchors": "pseudo-inputs", "network": "gru", "shape": (5,)}, OptionError, "words have none"),
        ({"views": ("warp",)}, UnknownName, "warps"),
        ({"views": ("warps",), "shape": (5,)}, OptionError, "use 'neighbours'"),
        ({"metric_weight": -1.0}, OptionError, "metric_weight is -1.0"),
        ({"spacing": -1.0}, OptionError, "spacing is -1.0"),
        ({"network": "dens"}, UnknownName, "dense"),
        ({"likelihood": "poisson"}, UnknownName, "bernoulli"),
        ({"network_options": {"depth": 3}}, UnknownName, "depth"),
        ({"hidden": (0,)}, OptionError, "must be positive"),
    ],
)
def test_bad_options_are_refused_with_words(options, error, words):
    with pytest.raises(error, match=words) as caught:
        Nebula(**{"shape": SHAPE, **SMALL, **options})
    assert isinstance(caught.value, ModelsError)


def test_pseudo_inputs_stay_where_their_kind_of_data_may_be():
    clouds = solids(24, points=8)
    story = Nebula.build(clouds, **SMALL, anchors="pseudo-inputs")
    story.initialise(clouds)
    assert float(story.pseudo_inputs.min()) < -0.1
    q = story.encode(story.pseudo_inputs).base_dist
    torch.testing.assert_close(story.mixture().anchors, q.loc)  # nothing was cut off
    images = Nebula(SHAPE, **SMALL, anchors="pseudo-inputs")
    with torch.no_grad():
        images.pseudo_inputs.fill_(1.5)
    torch.testing.assert_close(
        images.mixture().anchors, images.encode(torch.ones_like(images.pseudo_inputs)).base_dist.loc
    )


def test_kinds_of_data_are_told_apart():
    x = torch.zeros(6, 5)
    assert kind_of(Data({"x": x})) == "vector"
    assert kind_of(Data({"x": x + 2})) == "counts"
    assert kind_of(TextData({"x": x}, "few", words=("a", "b", "c", "d", "e"))) == "counts"
    assert kind_of(Data({"x": torch.zeros(6, 9, 3)})) == "points"
    grey = Data({"x": torch.zeros(6, 9, 9)})
    assert kind_of(grey) == "vector"
    assert Nebula.build(grey, **SMALL).reconstruct(grey["x"]).shape == (6, 9, 9)
