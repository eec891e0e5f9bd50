"""DAIR: classes summed out in closed form, sampled classes, prototypes that start from pieces of ink."""

from __future__ import annotations

import itertools
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from evaluation.particles import Particles
from inference import estimators
from pyro_models.datasets import load
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.objects.counting import count_logits
from pyro_models.objects.dair import DAIR
from pyro_models.objects.expected import ExpectedOneHot
from pyro_models.objects.perclass import PerClassNormal
from pyro_models.objects.warm import pieces_of_ink
from pyro_models.objects.window import paste, paste_weights
from tests.core.cases import StoryCase

SHAPE = (1, 16, 16)
SMALL = {"objects": 2, "clusters": 3, "patch": 8, "transforms": ("affine",), "warm": 0}


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


def bent(story: DAIR, transform: torch.Tensor) -> torch.Tensor:
    """Every prototype under its own transform, written out: ``[..., K, patch, patch]``."""
    prototypes = story.looks.prototypes().squeeze(1)
    each = transform.unflatten(-1, (story.clusters, -1))
    return story.looks.transformer(prototypes.unsqueeze(-3), each).squeeze(-3)


@pytest.mark.parametrize("assign", ["energy", "network"])
def test_the_closed_form_is_the_sum_over_all_classes(assign):
    """K^T joint classes, each with its own transform, scored and weighted by the product of probabilities."""
    pyro.set_rng_seed(0)
    story = DAIR(SHAPE, **SMALL, assign=assign)
    story.looks.prior_log_scale.data.normal_()
    x = noise_images(4)
    torch.manual_seed(1)
    loss = estimators.get("exact")(max_plate_nesting=2).differentiable_loss(story.model, story.guide, x)
    torch.manual_seed(1)
    noise = torch.randn(2, 4, 9)
    found = story.propose(x, noise)
    where, transform, r = found.where, found.look["z_transform"].value, found.look["z_class"].value
    log_q, log_p = count_logits(found.go), story.prior_count(x)
    layers = paste(bent(story, transform), where.value.unsqueeze(-2), 16)
    centre, width = story.looks.prior_of_clusters()
    own, canvas = transform.unflatten(-1, (3, 6)), torch.zeros_like(x)
    total, seen = 0.0, []
    for t in range(2):
        seen.append(story.see((x - canvas).squeeze(1), where.value[t])[1:])
        canvas = canvas + (r[t][..., None, None] * layers[t]).sum(1, keepdim=True)
    for n in range(3):
        shared = log_p[n] - log_q[:, n]
        for t in range(n):
            prior = dist.Normal(story.prior_where, story.spread_where).to_event(1)
            shared = shared + prior.log_prob(where.value[t]) - where.log_density[t]
        for classes in itertools.product(range(3), repeat=n):
            weight, score, mean = torch.ones(4), shared, torch.zeros(4, 16, 16)
            for t, k in enumerate(classes):
                weight = weight * r[t, :, k]
                score = score - r[t, :, k].clamp_min(1e-30).log() - torch.tensor(3.0).log()
                chosen = own[t, :, k]
                score = score + dist.Normal(centre[k], width[k]).to_event(1).log_prob(chosen)
                score = score - dist.Normal(seen[t][0][:, k], seen[t][1][:, k]).to_event(1).log_prob(chosen)
                mean = mean + layers[t, :, k]
            score = score + dist.Normal(mean.unsqueeze(1), story.scale).to_event(3).log_prob(x)
            total = total + (log_q[:, n].exp() * weight * score).sum()
    torch.testing.assert_close(loss, -total, rtol=1e-5, atol=2e-2)


def test_particles_are_drawn_together():
    """Also with a convolutional encoder, whose last digits depend on the size of the batch."""
    pyro.set_rng_seed(0)
    story = DAIR(SHAPE, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Particles(story.model, story.guide, noise_images(4)).vectorised


def test_less_likely_classes_are_left_out():
    """The bound with two candidates is that of a posterior that gives the others nothing."""
    pyro.set_rng_seed(0)
    story = DAIR(SHAPE, **{**SMALL, "clusters": 5}, candidates=2)
    found = story.propose(noise_images(4), torch.randn(2, 4, 9))
    r = found.look["z_class"].value
    assert ((r > 0).sum(-1) <= 2).all()
    torch.testing.assert_close(r.sum(-1), torch.ones(2, 4))
    look = {name: one.value for name, one in found.look.items()}
    expected = (r[..., None, None] * bent(story, look["z_transform"])).sum(-3)
    torch.testing.assert_close(story.pictures(look), expected, rtol=1e-4, atol=1e-5)


def test_energies_are_those_of_the_pasted_pictures():
    story = DAIR(SHAPE, **SMALL)
    where = 0.3 * torch.randn(5, 3) + story.prior_where
    patches = torch.rand(5, 3, 8, 8)
    expected = paste(patches, where.unsqueeze(-2), 16).square().sum((-1, -2))
    torch.testing.assert_close(story.energy(patches, *paste_weights(where, 8, 16)), expected, rtol=1e-4, atol=1e-4)


def test_the_spread_is_the_expected_variance_of_the_pasted_pictures():
    pyro.set_rng_seed(0)
    story = DAIR(SHAPE, **SMALL)
    where = 0.3 * torch.randn(2, 4, 3) + story.prior_where
    transform = story.looks.transformer.identity.repeat(3) + 0.1 * torch.randn(2, 4, 18)
    r = torch.rand(2, 4, 3).softmax(-1)
    layers = paste(bent(story, transform), where.unsqueeze(-2), 16)
    mean = (r[..., None, None] * layers).sum(-3, keepdim=True)
    expected = (r * (layers - mean).square().sum((-1, -2))).sum(-1)
    pictures, spread = story.painted({"z_class": r, "z_transform": transform}, where)
    torch.testing.assert_close(spread, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(paste(pictures, where, 16), mean.squeeze(-3), rtol=1e-4, atol=1e-5)


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


def test_a_transform_of_another_class_has_no_density():
    r = torch.eye(3)[[0, 2]]
    law = PerClassNormal(r, torch.randn(3, 4), torch.rand(3, 4) + 0.5)
    value = law.sample()
    assert value.shape == (2, 12)
    own = value.view(2, 3, 4)[[0, 1], [0, 2]]
    expected = dist.Normal(law.mean_[[0, 2]], law.scale_[[0, 2]]).to_event(1).log_prob(own)
    torch.testing.assert_close(law.log_prob(value), expected)
    mixed = PerClassNormal(torch.tensor([0.2, 0.5, 0.3]), law.mean_, law.scale_)
    each = [PerClassNormal(one, law.mean_, law.scale_).log_prob(value[0]) for one in torch.eye(3)]
    torch.testing.assert_close(mixed.log_prob(value[0]), sum(w * one for w, one in zip(mixed.r, each, strict=True)))


def test_prototypes_start_from_pieces_of_ink():
    scenes = load("multi-digits", scenes=60, held_out=1).train
    pieces = pieces_of_ink(scenes["x"][:, 0], 28)
    assert len(pieces) > 30
    assert pieces.shape[1:] == (28, 28)
    story = DAIR((1, 64, 64), clusters=4, patch=28, warm=0)
    before = story.looks.prototypes().clone()
    story.initialise(scenes)
    assert (story.looks.prototypes() - before).abs().max() > 0.3
    assert not story.warmed
    assert pieces_of_ink(torch.zeros(2, 16, 16), 8).shape == (0, 8, 8)


def test_looks_learn_from_pieces_of_ink():
    """A few steps of the prototypes' own recipe: pieces are explained better, and all of it is handed over."""
    torch.manual_seed(0)
    scenes = load("multi-digits", scenes=150, held_out=1).train
    story = DAIR((1, 64, 64), clusters=3, patch=24, transforms=("affine",), warm=40)
    story.initialise(scenes)
    assert story.warmed
    assert int(story.looks.active.sum()) == len(story.looks.prototypes()) == 3
    pieces = story.pieces(scenes, 150).unsqueeze(1)
    error = (story.looks.reconstruct(pieces) - pieces).square().sum((1, 2, 3)).mean()
    nearest = (pieces - pieces.mean(0)).square().sum((1, 2, 3)).mean()
    assert error < nearest


def test_looks_are_held_still_until_windows_are_found():
    story = DAIR(SHAPE, **SMALL)
    story.warmed.fill_(True)
    estimator = estimators.get("exact")(max_plate_nesting=2)
    for progress, moves in ((0.0, False), (0.5, True)):
        story.at(progress)
        story.zero_grad()
        estimator.differentiable_loss(story.model, story.guide, noise_images(4)).backward()
        found = [p.grad for p in story.looks.parameters() if p.grad is not None]
        assert any(bool((grad != 0).any()) for grad in found) == moves
        assert story.attention.head.weight.grad.abs().max() > 0


def test_a_dead_prototype_is_revived():
    story = DAIR(SHAPE, **SMALL)
    pixels = story.looks.prototypes.pixels
    with torch.no_grad():
        pixels[:2] = torch.randn(2, 1, 8, 8) - 1
        pixels[2] = 9.0  # far too bright for any object of these images
    x = 0.2 * noise_images()
    _, _, found = story.explain(x)
    assert found.look["z_class"].value[..., 2].max() < 0.05
    story.revive(x, torch.optim.Adam(story.parameters()))
    assert pixels[2].max() < 9.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"clusters": 1}, "at least 2"), ({"assign": "guess"}, "'energy' or 'network'"), ({"anneal": 0.5}, "1 or more")],
)
def test_wrong_options(options, message):
    with pytest.raises(OptionError, match=message):
        DAIR(SHAPE, **options)
