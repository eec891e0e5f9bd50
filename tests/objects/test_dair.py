"""DAIR: classes summed out in closed form, sampled classes, prototypes that start from pieces of ink."""

from __future__ import annotations

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from inference import estimators
from pyro_models.datasets import load
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.objects.counting import count_logits
from pyro_models.objects.dair import DAIR, pieces_of_ink
from pyro_models.objects.expected import ExpectedOneHot
from pyro_models.objects.window import paste, paste_weights
from tests.core.cases import StoryCase

SHAPE = (1, 16, 16)
SMALL = {"objects": 2, "clusters": 3, "patch": 8, "hidden": (12,)}


def noise_images(count: int = 8) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


class Case(StoryCase):
    options: dict = {}  # noqa: RUF012  (constant of a test class)

    def make(self):
        return DAIR(SHAPE, **SMALL, **self.options)

    def data(self):
        return Data({"x": noise_images()}, "noise")


class TestSummedClasses(Case):
    test_two_stories_train_side_by_side_under_svi = None  # stock Trace_ELBO does not enumerate


class TestNetworkClasses(Case):
    options = {"assign": "network"}  # noqa: RUF012
    test_two_stories_train_side_by_side_under_svi = None


class TestSequential(Case):
    options = {"guide": "sequential", "assign": "network"}  # noqa: RUF012

    def loss(self, story, batch):
        estimator = estimators.get("reinforce")()
        estimator.prepare(story.model, story.guide, *batch)
        return estimator.differentiable_loss(story.model, story.guide, *batch)


def test_the_closed_form_is_the_sum_over_all_classes():
    """K^T joint classes, each scored on its own, weighted by the product of their probabilities."""
    pyro.set_rng_seed(0)
    story = DAIR(SHAPE, **SMALL, assign="network")
    x = noise_images(4)
    torch.manual_seed(1)
    loss = estimators.get("exact")(max_plate_nesting=2).differentiable_loss(story.model, story.guide, x)
    torch.manual_seed(1)
    found = story.propose(x, torch.randn(2, 4, 9))
    where, transform, r = found.where, found.look["z_transform"], found.look["z_class"].value
    log_q, log_p = count_logits(found.go), story.prior_count(x)
    candidates = story.candidates(transform.value)
    layers = paste(candidates, where.value.unsqueeze(-2), 16)
    total = 0.0
    for n in range(3):
        shared = log_p[n] - log_q[:, n]
        for t in range(n):
            prior = dist.Normal(story.prior_where, story.spread_where).to_event(1)
            shared = shared + prior.log_prob(where.value[t]) - where.log_density[t]
            shared = shared + story.transformer.prior().log_prob(transform.value[t]) - transform.log_density[t]
        for classes in itertools.product(range(3), repeat=n):
            weight, score, mean = torch.ones(4), shared, torch.zeros(4, 16, 16)
            for t, k in enumerate(classes):
                weight = weight * r[t, :, k]
                score = score - r[t, :, k].log() - torch.tensor(3.0).log()
                mean = mean + layers[t, :, k]
            score = score + dist.Normal(mean.unsqueeze(1), story.scale).to_event(3).log_prob(x)
            total = total + (log_q[:, n].exp() * weight * score).sum()
    torch.testing.assert_close(loss, -total, rtol=1e-5, atol=2e-2)


def test_energies_are_those_of_the_pasted_pictures():
    story = DAIR(SHAPE, **SMALL)
    where = 0.3 * torch.randn(5, 3) + story.prior_where
    patches = torch.rand(5, 3, 8, 8)
    expected = paste(patches, where.unsqueeze(-2), 16).square().sum((-1, -2))
    torch.testing.assert_close(story.energy(patches, *paste_weights(where, 8, 16)), expected, rtol=1e-4, atol=1e-4)


def test_classes_by_energy_are_the_best_answer():
    """For a single object, softmax of the class logits is the exact posterior given place and transform."""
    story = DAIR(SHAPE, **SMALL)
    left, where = torch.rand(2, 16, 16), story.prior_where.expand(2, 3)
    candidates = story.candidates(story.transformer.identity.expand(2, 6))
    layers = paste(candidates, where.unsqueeze(-2), 16)
    scores = dist.Normal(layers, story.scale).to_event(2).log_prob(left.unsqueeze(1))
    found = story.class_logits(left, where, candidates).softmax(-1)
    torch.testing.assert_close(found, scores.softmax(-1), rtol=1e-3, atol=1e-4)


def test_a_class_may_be_given_by_its_probabilities():
    law = ExpectedOneHot(torch.tensor([0.3, -1.0, 2.0]))
    hard = torch.eye(3)
    torch.testing.assert_close(law.log_prob(hard), dist.OneHotCategorical(logits=law.logits).log_prob(hard))
    r = torch.tensor([0.2, 0.5, 0.3])
    torch.testing.assert_close(law.log_prob(r), (r * law.log_prob(hard)).sum())
    assert law.expand((4, 2)).sample().shape == (4, 2, 3)


def test_a_dream_has_one_class_per_object():
    story = DAIR(SHAPE, **SMALL)
    trace = poutine.trace(poutine.uncondition(story.model)).get_trace(noise_images(5))
    z = trace.nodes["z_class"]["value"]
    assert ((z == 0) | (z == 1)).all()
    assert (z.sum(-1) == 1).all()
    assert (trace.nodes["spread"]["fn"].log_factor.abs() < 1e-2).all()


def test_prototypes_start_from_pieces_of_ink():
    scenes = load("multi-digits", scenes=60, held_out=1).train
    pieces = pieces_of_ink(scenes["x"][:, 0], 28)
    assert len(pieces) > 30
    assert pieces.shape[1:] == (28, 28)
    story = DAIR((1, 64, 64), clusters=4)
    before = story.prototypes().clone()
    story.initialise(scenes)
    assert (story.prototypes() - before).abs().max() > 0.3
    assert pieces_of_ink(torch.zeros(2, 16, 16), 8).shape == (0, 8, 8)


def test_a_dead_prototype_is_revived():
    story = DAIR(SHAPE, **SMALL)
    with torch.no_grad():
        story.prototypes.pixels[:2] = torch.randn(2, 8, 8)
        story.prototypes.pixels[2] = 9.0  # far too bright for any object of these images
    x = 0.2 * noise_images()
    _, _, found = story.explain(x)
    assert found.look["z_class"].value[..., 2].max() < 0.05
    story.revive(x, torch.optim.Adam(story.parameters()))
    assert story.prototypes.pixels[2].max() < 9.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"clusters": 1}, "at least 2"), ({"assign": "guess"}, "'energy' or 'network'"), ({"anneal": 0.5}, "1 or more")],
)
def test_wrong_options(options, message):
    with pytest.raises(OptionError, match=message):
        DAIR(SHAPE, **options)
