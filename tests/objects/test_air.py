"""AIR: geometry, counting, agreement of its encodings, the story contract."""

from __future__ import annotations

import itertools
import math

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine

from inference import estimators
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError, UnknownName
from pyro_models.objects.air import AIR
from pyro_models.objects.attention import averages, running_averages
from pyro_models.objects.base import growing
from pyro_models.objects.counting import count_logits, pick
from pyro_models.objects.window import crop, paste, tight_boxes
from tests.core.cases import StoryCase

SHAPE = (1, 16, 16)
SMALL = {"objects": 2, "what": 3, "patch": 8, "hidden": 12}


def scenes(count: int = 8) -> Data:
    return Data({"x": torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))}, "noise")


class Case(StoryCase):
    options: dict = {}  # noqa: RUF012  (constant of a test class)

    def make(self):
        return AIR(SHAPE, **SMALL, **self.options)

    def data(self):
        return scenes()


class TestEnumeratedCount(Case):
    test_two_stories_train_side_by_side_under_svi = None  # stock Trace_ELBO does not enumerate


class TestConvolutionalBernoulli(Case):
    options = {"decoder": "convolutional", "likelihood": "bernoulli"}  # noqa: RUF012
    test_two_stories_train_side_by_side_under_svi = None


class TestSampledCount(Case):
    options = {"guide": "sampled-count"}  # noqa: RUF012

    def loss(self, story, batch):
        estimator = estimators.get("rloo")(num_particles=2)
        estimator.prepare(story.model, story.guide, *batch)
        return estimator.differentiable_loss(story.model, story.guide, *batch)


class TestSequential(Case):
    options = {"guide": "sequential", "network": "lstm"}  # noqa: RUF012

    def loss(self, story, batch):
        estimator = estimators.get("reinforce")()
        estimator.prepare(story.model, story.guide, *batch)
        return estimator.differentiable_loss(story.model, story.guide, *batch)


def test_pasting_and_cropping_are_grid_sample():
    torch.manual_seed(0)
    where, patches, images = 0.4 * torch.randn(6, 3), torch.rand(6, 9, 9), torch.rand(6, 20, 20)
    scale, x, y, none = where[:, 0].exp(), where[:, 1], where[:, 2], torch.zeros(6)

    def rows(*columns):
        return torch.stack(columns, -1)

    onto = torch.stack([rows(scale, none, -scale * x), rows(none, scale, -scale * y)], 1)
    back = torch.stack([rows(1 / scale, none, x), rows(none, 1 / scale, y)], 1)
    for theta, source, found in ((onto, patches, paste(patches, where, 20)), (back, images, crop(images, where, 9))):
        grid = F.affine_grid(theta, [6, 1, *found.shape[-2:]], align_corners=False)
        expected = F.grid_sample(source.unsqueeze(1), grid, align_corners=False).squeeze(1)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("pixels", "cells"), [(12, 4), (10, 4), (5, 5)])
def test_cells_are_averages(pixels, cells):
    """Against counting in a raster so fine that every cell's edge lies on it."""
    image = torch.randn(pixels)
    fine = image.repeat_interleave(cells).view(cells, pixels).mean(1)
    torch.testing.assert_close(averages(pixels, cells) @ image, fine)


def test_running_averages_are_pooling():
    row = torch.rand(1, 1, 9)
    expected = F.avg_pool1d(row, 5, stride=1, padding=2)
    torch.testing.assert_close((running_averages(9, 5) @ row.mT).mT, expected)


def test_the_place_follows_the_ink():
    """An untrained look is already at the ink, and at the other ink when the first is explained."""
    story = AIR((1, 64, 64), patch=20)
    x = torch.zeros(1, 1, 64, 64)
    x[..., 8:20, 40:52], x[..., 44:54, 10:22] = 1.0, 0.9
    first = torch.zeros_like(x)
    first[..., 8:20, 40:52] = 1.0
    places = []
    for canvas, previous in ((torch.zeros_like(x), None), (first, torch.zeros(1))):
        with torch.no_grad():
            places.append(story.attention.look(x, canvas, story.attention.begin(x), previous).mean[0, 1:])
    assert (places[0] - torch.tensor([46 / 32 - 1, 14 / 32 - 1])).abs().max() < 0.2
    assert (places[1] - torch.tensor([16 / 32 - 1, 49 / 32 - 1])).abs().max() < 0.2


def test_the_growing_canvas_is_a_running_sum():
    layers = torch.rand(2, 3, 4, 5, 5)
    expected = F.pad(layers.cumsum(-4), (0, 0) * 3 + (1, 0))
    torch.testing.assert_close(growing(layers), expected)


def test_boxes_are_tight():
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:7] = True
    masks[1, 5, 0] = True
    assert tight_boxes(masks).tolist() == [[2, 1, 7, 4], [0, 5, 1, 6], [0, 0, 0, 0]]


def test_counts_are_stop_or_go():
    go = torch.randn(3, 4, dtype=torch.float64)
    found = count_logits(go).exp()
    rho = go.sigmoid()
    expected = [1 - rho[0], rho[0] * (1 - rho[1]), rho[0] * rho[1] * (1 - rho[2]), rho[0] * rho[1] * rho[2]]
    torch.testing.assert_close(found, torch.stack(expected, -1))


def test_picking_a_canvas_along_any_plates():
    canvases = torch.arange(2 * 4 * 3).float().view(2, 4, 3, 1, 1)
    sampled = torch.tensor([[[0, 3, 1]], [[2, 2, 0]]])
    found = pick(canvases, sampled)
    assert found.shape == (2, 1, 3, 1, 1)
    for p, b in itertools.product(range(2), range(3)):
        assert found[p, 0, b] == canvases[p, sampled[p, 0, b], b]
    enumerated = torch.arange(4).view(4, 1, 1, 1)
    found = pick(canvases, enumerated)
    assert found.shape == (4, 2, 1, 3, 1, 1)
    assert torch.equal(found[:, :, 0], canvases.transpose(0, 1))


@pytest.mark.parametrize("objects", [1, 3])
def test_the_enumerated_bound_is_the_sum_over_counts(objects):
    """Written out: sum_n q(n) [log p(x, z_1..n, n) - log q(z_1..n) - log q(n)], on the very noise of the guide."""
    pyro.set_rng_seed(0)
    story = AIR(SHAPE, **{**SMALL, "objects": objects})
    x = scenes(5)["x"]
    estimator = estimators.get("exact")(max_plate_nesting=2)
    torch.manual_seed(1)
    loss = estimator.differentiable_loss(story.model, story.guide, x)
    torch.manual_seed(1)
    noise = torch.randn(objects, 5, 3 + story.what)
    found = story.propose(x, noise)
    log_q, log_p = count_logits(found.go), story.prior_count(x)
    where, what = found.where, found.look["z_what"]
    layers = paste(story.pictures({"z_what": what.value}), where.value, story.canvas)
    total = 0.0
    for n in range(objects + 1):
        mean = layers[:n].sum(0).unsqueeze(1)
        score = torch.distributions.Normal(mean, story.scale).log_prob(x).sum((1, 2, 3)) + log_p[n] - log_q[:, n]
        for t in range(n):
            prior_where = torch.distributions.Normal(story.prior_where, story.spread_where)
            score = score + prior_where.log_prob(where.value[t]).sum(-1) - where.log_density[t]
            score = score + torch.distributions.Normal(0, 1).log_prob(what.value[t]).sum(-1) - what.log_density[t]
        total = total + (log_q[:, n].exp() * score).sum()
    torch.testing.assert_close(loss, -total, rtol=1e-5, atol=1e-2)


def test_a_bernoulli_scores_what_objects_add_up_to():
    pyro.set_rng_seed(0)
    story = AIR(SHAPE, **SMALL, likelihood="bernoulli", decoder="convolutional")
    assert story.pictures({"z_what": torch.zeros(2, 3)}).shape == (2, 8, 8)
    x = (scenes(3)["x"] > 0.5).float()
    given = {"n": torch.tensor([0, 1, 2]), "z_where": 0.3 * torch.randn(2, 3, 3), "z_what": torch.randn(2, 3, 3)}
    site = poutine.trace(poutine.condition(story.model, given)).get_trace(x).nodes["x"]
    layers = paste(story.pictures(given), given["z_where"], story.canvas)
    mean = torch.stack([layers[:n, b].sum(0) for b, n in enumerate((0, 1, 2))]).clamp(1e-3, 1 - 1e-3).unsqueeze(1)
    expected = -F.binary_cross_entropy(mean, x, reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(site["fn"].log_prob(x).view(-1), expected, rtol=1e-4, atol=1e-3)


def test_the_encodings_are_one_joint_law():
    """log p(x, n, z) with a count and with presence bits, on the same values."""
    pyro.set_rng_seed(0)
    counted, bits = AIR(SHAPE, **SMALL), AIR(SHAPE, **SMALL, guide="sequential")
    bits.load_state_dict(counted.state_dict())
    x = scenes(3)["x"]
    n, where, what = torch.tensor([0, 1, 2]), 0.3 * torch.randn(2, 3, 3), torch.randn(2, 3, story_what := 3)
    assert story_what == counted.what
    given = {"n": n, "z_where": where, "z_what": what}
    first = poutine.trace(poutine.condition(counted.model, given)).get_trace(x)
    in_a_loop = {}
    for t in range(2):
        in_a_loop |= {f"z_pres_{t}": (n > t).float(), f"z_where_{t}": where[t], f"z_what_{t}": what[t]}
    second = poutine.trace(poutine.condition(bits.model, in_a_loop)).get_trace(x)
    torch.testing.assert_close(first.log_prob_sum(), second.log_prob_sum(), rtol=1e-5, atol=1e-2)


def test_particles_have_noise_of_their_own():
    story = AIR(SHAPE, **SMALL, guide="sampled-count")
    estimator = estimators.get("rloo")(num_particles=3, max_plate_nesting=2)
    x = scenes(4)["x"]
    _, guide_trace = estimator._get_vectorized_trace(story.model, story.guide, (x,), {})
    drawn = guide_trace.nodes["z_what"]["value"]
    assert drawn.shape == (3, 2, 4, 3)
    assert not torch.equal(drawn[0], drawn[1])


def test_the_prior_of_presence_falls_over_the_first_half():
    story = AIR(SHAPE, **SMALL, presence=0.01, first_presence=0.9)
    odds = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        story.at(progress)
        odds.append(story.prior_go)
    high, low = math.log(9), math.log(0.01 / 0.99)
    assert odds == pytest.approx([high, (high + low) / 2, low, low])


def test_what_is_located_is_what_is_reconstructed():
    story = AIR(SHAPE, **SMALL)
    x = scenes(4)["x"]
    found = story.locate(x)
    assert found.boxes.shape == (4, 2, 4)
    assert torch.equal(found.present.sum(1), story.count(x))
    assert found.segments.shape == (4, 16, 16)
    dark = story.reconstruct(x).squeeze(1) < 0.3
    assert (found.segments[dark] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objects": 0}, "at least one"),
        ({"presence": 1.0}, "between 0 and 1"),
        ({"scale": 0.0}, "must be positive"),
        ({"network": "lsmt"}, "did you mean 'lstm'"),
        ({"decoder": "conv"}, "convolutional"),
        ({"likelihood": "bernouli"}, "did you mean 'bernoulli'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises((OptionError, UnknownName), match=message):
        AIR(SHAPE, **options)


def test_images_that_are_not_square():
    with pytest.raises(OptionError, match="square grey images"):
        AIR((3, 16, 16))
