"""Flows of observed points: contract, recovery of known fields, restarts, posterior of spikes and speeds."""

from __future__ import annotations

import pytest
import torch

from evaluation.flows import field_cosines, speed_correlation, spike_f1
from inference import fit
from pyro_models.datasets.data import Data, Splits
from pyro_models.datasets.trajectories import trajectories, true_fields
from pyro_models.errors import OptionError
from pyro_models.flows.trajectories import TrajectoryFlow
from pyro_models.story import Activates
from tests.core.cases import StoryCase


class TestTrajectoryFlow(StoryCase):
    def make(self):
        return TrajectoryFlow((5, 2), flows=2)

    def data(self):
        return trajectories(12, steps=4)


class TestFlowWithHiddenUnits(StoryCase):
    def make(self):
        story = TrajectoryFlow((5, 2), flows=2, hidden=3)
        for parameter in story.weights.values():
            parameter.data += 0.1 * torch.randn_like(parameter)
        return story

    def data(self):
        return trajectories(12, steps=4)


def test_restarts_are_independent_runs():
    torch.manual_seed(0)
    story = TrajectoryFlow((5, 2), restarts=3)
    frames = trajectories(7, steps=4)["frames"]
    together = story.flow(every=True).log_prob(frames)
    assert together.shape == (3, 7)
    for restart in range(3):
        story.best.fill_(restart)
        torch.testing.assert_close(story.flow().log_prob(frames), together[restart])
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_three_known_fields_are_found():
    data = trajectories(160, seed=3)
    splits = Splits(data.take(slice(0, 96)), data.take(slice(96, 128)), data.take(slice(128, 160)))
    options = {"restarts": 4}
    run = fit(
        TrajectoryFlow((9, 2), **options),
        splits,
        steps=200,
        batch_size=96,
        learning_rate=4e-2,
        schedule="cosine",
        validate_every=0,
        progress=False,
    )
    test = splits.test
    points = test["frames"][:, :-1].flatten(0, 1)
    assert field_cosines(run.story.columns(points).detach(), true_fields(points)).min() > 0.99
    spikes, speeds = run.story.activity(test["frames"])
    assert spike_f1(spikes, test["spikes"]) > 0.97
    assert speed_correlation(speeds, test["speeds"], spikes, test["spikes"]) > 0.8


def test_the_best_restart_is_kept_at_the_end():
    data = trajectories(40, steps=4)
    run = fit(
        TrajectoryFlow((5, 2), restarts=5),
        Splits(data, data, data),
        steps=3,
        batch_size=40,
        validate_every=0,
        progress=False,
    )
    likelihoods = run.story.flow(every=True).log_prob(data["frames"]).mean(1)
    assert run.story.best == likelihoods.argmax()
    kept = run.story.flow().log_prob(data["frames"]).mean()
    torch.testing.assert_close(kept, likelihoods.max())


def test_the_recipe_lets_noise_go_and_units_in():
    story = TrajectoryFlow((5, 2), hidden=2, settle=0.5)
    noise = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        story.at(progress)
        noise.append(story.extra_noise)
        assert story.extras_in == (progress >= 0.5)
    assert noise[0] == 0.5
    assert noise[0] > noise[1] > noise[2] == noise[3] == 0


def test_the_story_tells_what_it_can():
    assert isinstance(TrajectoryFlow((5, 2)), Activates)
    with pytest.raises(OptionError, match="trajectories have the shape"):
        TrajectoryFlow((5, 3, 8, 8))
    with pytest.raises(OptionError, match="settle is 1"):
        TrajectoryFlow((5, 2), settle=1.0)
    with pytest.raises(OptionError, match="need 1 or more"):
        trajectories(0)


def test_speeds_of_flows_that_are_off_are_zero_and_others_near_one():
    data = trajectories(500)
    assert isinstance(data, Data)
    spikes, speeds = data["spikes"], data["speeds"]
    assert (speeds[spikes == 0] == 0).all()
    on = speeds[spikes == 1]
    assert on.mean().item() == pytest.approx(1.0, abs=0.02)
    assert on.std().item() == pytest.approx(0.141, abs=0.02)
