"""The weak flow: the index summed out against enumeration by Pyro, responsibilities, contract."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine

from inference import estimators
from pyro_models.datasets.data import Data
from pyro_models.flows.weak import WeakFlow
from tests.core.cases import StoryCase

SHAPE = (4, 3, 8, 8)
SMALL = {"latent": 3, "potential": 2, "hidden": (16,)}


def noise(count: int = 12) -> Data:
    generator = torch.Generator().manual_seed(0)
    return Data({"frames": torch.rand(count, *SHAPE, generator=generator)}, "noise")


def lively(**options) -> WeakFlow:
    story = WeakFlow(SHAPE, flows=3, **{**SMALL, **options})
    for module in (story.transport, story.force, story.decoder):
        if module is not None:
            for parameter in module.parameters():
                parameter.data += 0.3 * torch.randn_like(parameter)
    return story


class TestWeakFlow(StoryCase):
    def make(self):
        return WeakFlow(SHAPE, flows=2, **SMALL)

    def data(self):
        return noise()


class TestAmortizedWeakFlow(StoryCase):
    def make(self):
        return WeakFlow(SHAPE, flows=2, guide="amortized", **SMALL)

    def data(self):
        return noise()


def test_the_collapsed_likelihood_is_the_sum_over_flows():
    story, frames = lively().eval(), noise()["frames"]
    trace = poutine.trace(story.guide).get_trace(frames)
    z = trace.nodes["z"]["value"]
    found = poutine.trace(poutine.replay(story.model, trace=trace)).get_trace(frames).nodes["frames"]
    terms = []
    for k in range(3):
        path = story.path_of(z, torch.full((12,), k))
        terms.append(story.likelihood(story.decoder(path)).log_prob(frames) - torch.tensor(3.0).log())
    expected = torch.stack(terms).logsumexp(0)
    torch.testing.assert_close(found["fn"].log_prob(found["value"]), expected, atol=1e-2, rtol=1e-5)


def test_the_amortized_bound_is_below_the_collapsed_one_by_the_divergence_from_the_posterior():
    """Same codes: collapsed evidence - amortised bound = KL(q(k) || p(k | z_0, frames)), per sequence summed."""
    story, frames = lively(guide="amortized").eval(), noise()["frames"]
    estimator = estimators.get("exact")(max_plate_nesting=1)
    torch.manual_seed(3)
    amortized = -estimator.differentiable_loss(story.model, story.guide, frames).detach()
    torch.manual_seed(3)
    q = story.posterior(story.encoder(frames[:, 0]))
    z = q.rsample()
    joint = (
        torch.stack(
            [
                story.likelihood(story.decoder(story.path_of(z, torch.full((12,), k)))).log_prob(frames)
                for k in range(3)
            ],
            -1,
        )
        - torch.tensor(3.0).log()
    )
    base = (story.first_code(frames).log_prob(z) - q.log_prob(z)).sum()
    guess = story.index(frames.flatten(1)).log_softmax(-1)
    divergence = (guess.exp() * (guess - joint.log_softmax(-1))).sum()
    torch.testing.assert_close(joint.logsumexp(-1).sum() + base - divergence, amortized, atol=0.05, rtol=1e-5)


def test_prediction_uses_the_most_responsible_flow():
    story, frames = lively().eval(), noise()["frames"]
    k = story.responsibilities(frames).argmax(-1)
    shown = story.traverse(frames[:, 0], story.steps)
    torch.testing.assert_close(story.reconstruct(frames), shown[torch.arange(12), k])
    spikes, speeds = story.activity(frames)
    assert spikes.shape == speeds.shape == (12, 3, 3)


@pytest.mark.parametrize("decoded", [1, 4])
def test_some_frames_can_stand_for_all(decoded):
    story, frames = lively(decoded=decoded), noise()["frames"]
    site = poutine.trace(story.model).get_trace(frames).nodes["frames"]
    assert site["scale"] == 4 / decoded
    assert site["value"].shape == (12, decoded, 3, 8, 8)
