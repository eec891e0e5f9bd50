"""D-VAE and D-VAE-ST: what every story must do, under each guide."""

from __future__ import annotations

from pyro_models.prototypes.dvae import DVAE
from pyro_models.prototypes.dvae_st import DVAEST
from tests.core.cases import StoryCase

SHAPE = (1, 8, 8)
SMALL = {"clusters": 3, "spare": 1, "channels": (4, 4), "features": 8, "hidden": (8,)}


class TestAmortisedDVAE(StoryCase):
    def make(self):
        return DVAE(SHAPE, clusters=3, hidden=(16,), guide="amortized")


class TestDVAE(StoryCase):
    def make(self):
        return DVAE(SHAPE, clusters=3)


class TestBernoulliGeneratorDVAE(StoryCase):
    def make(self):
        return DVAE(SHAPE, clusters=3, hidden=(16,), likelihood="bernoulli", prototypes="generator", guide="amortized")


class TestDVAEST(StoryCase):
    def make(self):
        return DVAEST(SHAPE, **SMALL)


class TestPerClusterDVAEST(StoryCase):
    def make(self):
        return DVAEST(SHAPE, guide="per-cluster", transforms=("similarity", "morphological"), **SMALL)


class TestSharedDVAEST(StoryCase):
    def make(self):
        return DVAEST(
            SHAPE,
            guide="shared",
            prior="fixed",
            network="mlp",
            transforms=("colour", "affine"),
            padding="border",
            **SMALL,
        )


class TestBernoulliDVAEST(StoryCase):
    def make(self):
        return DVAEST(SHAPE, likelihood="bernoulli", prototypes="generator", candidates=0, **SMALL)
