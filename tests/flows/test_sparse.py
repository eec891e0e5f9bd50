"""The sparse flow on frames: contract, exact density of paths, controls, recipe, learning on an easy problem."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine

from evaluation.flows import match_flows, spike_f1
from inference import fit
from pyro_models.datasets.data import Data, Splits
from pyro_models.datasets.trajectories import trajectories
from pyro_models.errors import OptionError
from pyro_models.flows.sparse import SparseFlowStory
from pyro_models.story import Activates, Transports
from tests.core.cases import StoryCase

SHAPE = (4, 3, 8, 8)
SMALL = {"latent": 3, "hidden": (16,)}


def noise(count: int = 12) -> Data:
    return Data({"frames": torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))}, "noise")


class TestSparseFlow(StoryCase):
    def make(self):
        return SparseFlowStory(SHAPE, flows=2, **SMALL)

    def data(self):
        return noise()


class TestDoubleControl(StoryCase):
    def make(self):
        return SparseFlowStory(SHAPE, flows=2, control="double", potential=2, rotational=2, **SMALL)

    def data(self):
        return noise()


class TestRelaxedSparseFlow(StoryCase):
    def make(self):
        return SparseFlowStory(SHAPE, flows=2, guide="relaxed", **SMALL)

    def data(self):
        return noise()


class TestRelaxedDoubleControlOfVectors(StoryCase):
    def make(self):
        return SparseFlowStory((4, 6), flows=2, latent=3, hidden=(16,), likelihood="gaussian", network="mlp",
                               control="double", guide="relaxed")  # fmt: skip

    def data(self):
        return Data({"frames": torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(0))})


class TestGradientFlowsOfVectors(StoryCase):
    def make(self):
        return SparseFlowStory(
            (4, 6), flows=2, latent=3, rotational=None, hidden=(16,), likelihood="gaussian", network="mlp"
        )

    def data(self):
        return Data({"frames": torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(0))})


def test_the_path_is_scored_by_the_exact_density():
    story, frames = SparseFlowStory(SHAPE, flows=2, **SMALL).eval(), noise()["frames"]
    guide = poutine.trace(story.guide).get_trace(frames)
    site = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(frames).nodes["z"]
    torch.testing.assert_close(site["fn"].log_prob(site["value"]), story.flow().log_prob(guide.nodes["z"]["value"]))
    assert site["value"].shape == (12, 4, 3)


def test_controls_inferred_from_known_codes_drive_the_same_codes():
    """Codes made by the model's own flows: spikes and speeds come back, and the roll-out follows the codes."""
    torch.manual_seed(0)
    story = SparseFlowStory((9, 2), flows=2, latent=2, hidden=(4,), likelihood="gaussian", tau=0.2).eval()
    story.transport.potentials.drift.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    story.transport.rotations.linear.data[1] = torch.tensor([[0.0, 0.2], [-0.2, 0.0]])
    story.log_sigma.data.fill_(-4.0)
    flow = story.flow()
    path = story.chain.sample((300,), 8)
    on = story.chain.switches_on(path)
    z0 = torch.randn(300, 2)
    codes = torch.stack([z0, *flow.follow(z0, on)], 1)
    story.codes = lambda frames: frames
    spikes, _ = story.activity(codes)
    assert spike_f1(spikes, on) > 0.99
    story.decoder = torch.nn.Identity()
    error = (story.reconstruct(codes) - codes).abs().mean()
    assert error < 0.1 < (codes[:, 1:] - codes[:, :-1]).abs().mean()


def test_double_control_reports_per_flow():
    story, frames = SparseFlowStory(SHAPE, flows=2, control="double", **SMALL).eval(), noise()["frames"]
    assert story.chain.switches == 4
    spikes, speeds = story.activity(frames)
    assert spikes.shape == speeds.shape == (12, 3, 2)
    assert story.reconstruct(frames).shape == frames.shape
    assert story.traverse(frames[:, 0], 5).shape == (12, 2, 6, 3, 8, 8)


def test_a_weight_below_one_is_for_training_alone():
    story = SparseFlowStory(SHAPE, kl=0.2, **SMALL)
    story.at(1.0)
    assert story.train().kl_weight == pytest.approx(0.2)
    assert story.eval().kl_weight == 1.0
    with pytest.raises(OptionError, match="kl is 0"):
        SparseFlowStory(SHAPE, kl=0, **SMALL)


def test_the_recipe_ends_at_the_full_bound():
    story = SparseFlowStory(SHAPE, settle=0.4, **SMALL)
    story.at(0.0)
    assert (story.kl_weight, story.extra_noise) == (0.1, 0.5)
    story.at(0.4)
    assert (story.kl_weight, story.extra_noise) == (1.0, 0.0)
    assert all(parameter.requires_grad for parameter in story.transport.parameters())
    story.at(0.1)
    moving = {name for name, parameter in story.transport.named_parameters() if parameter.requires_grad}
    assert moving == {"potentials.drift"}
    assert isinstance(story, Activates)
    assert isinstance(story, Transports)


def test_training_begins_with_the_first_steps_of_a_sequence():
    story, frames = SparseFlowStory(SHAPE, first_steps=1, settle=0.5, **SMALL), torch.rand(4, *SHAPE)
    for progress, steps in ((0.0, 1), (0.5, SHAPE[0] - 1)):
        story.at(progress)
        trace = poutine.trace(story.train().guide).get_trace(frames)
        assert trace.nodes["z"]["value"].shape[-2] == steps + 1
        poutine.trace(poutine.replay(story.model, trace=trace)).get_trace(frames).compute_log_prob()
    story.at(0.0)
    trace = poutine.trace(story.eval().guide).get_trace(frames)
    assert trace.nodes["z"]["value"].shape[-2] == SHAPE[0]
    with pytest.raises(OptionError, match="first_steps is 0"):
        SparseFlowStory(SHAPE, first_steps=0, **SMALL)


@pytest.mark.slow
def test_flows_are_found_through_a_decoder():
    """Points seen through a random non-linear map to 12 numbers: which of three fields acts is found without labels."""
    torch.manual_seed(0)
    data = trajectories(600, seed=1)
    lift = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 12)).requires_grad_(False)
    seen = Data({**data.fields, "frames": lift(data["frames"] / 2) * 3}, "lifted")
    splits = Splits(seen.take(slice(0, 500)), seen.take(slice(500, 550)), seen.take(slice(550, 600)))
    options = {"flows": 3, "latent": 2, "hidden": (64,), "likelihood": "gaussian", "settle": 0.5, "bend": 0.0}
    run = fit(
        SparseFlowStory.build(splits.train, **options),
        splits,
        steps=300,
        batch_size=125,
        learning_rate=1e-2,
        schedule="cosine",
        validate_every=0,
        progress=False,
    )
    spikes, _ = run.story.activity(splits.test["frames"])
    assert match_flows(spikes, splits.test["spikes"]).flow_of.shape == (3,)
    assert spike_f1(spikes, splits.test["spikes"]) > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "triple"}, "control is 'triple'"),
        ({"settle": 0.0}, "settle=0.0"),
        ({"flows": 11}, "11 switches have 2048 joint states"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        SparseFlowStory(SHAPE, **options)
