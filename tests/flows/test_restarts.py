"""Fresh fields for settled codes: found from nothing, kept only if likelier, and told to the optimiser."""

from __future__ import annotations

import pytest
import torch

from evaluation.flows import field_cosines
from inference import fit
from pyro_models.datasets.data import Data
from pyro_models.datasets.trajectories import trajectories, true_fields
from pyro_models.errors import OptionError
from pyro_models.flows import restarts
from pyro_models.flows.sparse import SparseFlowStory


@pytest.fixture
def points(monkeypatch):
    """A story whose codes are points of three known fields, whatever its encoder says."""
    torch.manual_seed(0)
    data = trajectories(count=300, seed=0)
    steps = data["frames"].shape[1] - 1
    story = SparseFlowStory((steps + 1, 2), flows=3, latent=2, hidden=(8,), likelihood="gaussian")
    monkeypatch.setattr(restarts, "some_codes", lambda *_: data["frames"])
    return story, data


def test_three_known_fields_are_found_from_nothing(points, monkeypatch):
    story, data = points
    monkeypatch.setattr(restarts, "JUDGED", 100)
    optimiser = torch.optim.Adam(story.parameters())
    optimiser.state[story.log_sigma] = {"step": torch.ones(())}
    before = restarts.score(story, story.transport, story.log_sigma, data["frames"])
    assert restarts.restart_fields(story, data, 4, optimiser)
    assert restarts.score(story, story.transport, story.log_sigma, data["frames"]) > before + 10
    assert story.log_sigma not in optimiser.state
    assert story.training
    assert story.encoder is not None
    places = data["frames"][:, :-1].flatten(0, 1)
    learned = story.transport(places.unsqueeze(-2)).detach()
    assert field_cosines(learned, true_fields(places)).min() > 0.95


def test_worse_fields_are_not_taken(points, monkeypatch):
    story, data = points
    optimiser = torch.optim.Adam(story.parameters())
    restarts.restart_fields(story, data, 2, optimiser)
    kept = {name: value.clone() for name, value in story.state_dict().items()}
    monkeypatch.setattr(restarts, "STEPS", 1)
    assert not restarts.restart_fields(story, data, 1, optimiser)
    assert all(torch.equal(value, kept[name]) for name, value in story.state_dict().items())


def test_they_happen_once_in_training(monkeypatch):
    calls = []
    monkeypatch.setattr("pyro_models.flows.sparse.restart_fields", lambda *a: calls.append(a[2]))
    data = Data({"frames": torch.rand(12, 4, 3, 8, 8)}, "noise")
    options = {"flows": 2, "latent": 3, "hidden": [16], "restarts": 3}
    fit("flow-sparse", data, steps=10, batch_size=4, story_options=options, progress=False)
    assert calls == [3]


def test_a_small_set_is_enough(monkeypatch):
    monkeypatch.setattr(restarts, "STEPS", 2)
    data = Data({"frames": torch.rand(12, 4, 3, 8, 8)}, "noise")
    options = {"flows": 2, "latent": 3, "hidden": [16], "restarts": 2, "potential": 2}
    run = fit("flow-sparse", data, steps=4, batch_size=4, story_options=options, progress=False)
    assert all(p.isfinite().all() for p in run.story.parameters())


@pytest.mark.parametrize("wrong", [{"restarts": -1}, {"restart_at": 1.0}, {"restarts": 1, "guide": "relaxed"}])
def test_impossible_restarts_are_refused(wrong):
    with pytest.raises(OptionError, match="restart"):
        SparseFlowStory((4, 6), flows=2, latent=3, likelihood="gaussian", **wrong)
