"""Fields revised on settled codes: found from nothing, split where one means two things, kept only if likelier."""

from __future__ import annotations

import math

import pytest
import torch

from evaluation.flows import field_cosines
from inference import fit
from pyro_models.datasets.data import Data
from pyro_models.datasets.trajectories import trajectories, true_fields
from pyro_models.errors import OptionError
from pyro_models.flows import revisions
from pyro_models.flows.revisions import Codes, Search, Tried, revise_fields, some_codes
from pyro_models.flows.sparse import SparseFlowStory

#: three directions in a code of five numbers
DIRECTIONS = torch.eye(5)[:3] * torch.tensor([[1.0], [0.5], [0.4]])
#: what gradients may come to: two flows for the first direction, one for either of the others
SHARED = torch.stack([DIRECTIONS[0], (DIRECTIONS[1] + DIRECTIONS[2]) / 2, 0.8 * DIRECTIONS[0]])


def story_on(frames: torch.Tensor, monkeypatch) -> SparseFlowStory:
    """A story whose codes are ``frames``, whatever its encoder says."""
    story = SparseFlowStory(frames.shape[1:], flows=3, latent=frames.shape[-1], hidden=(8,), likelihood="gaussian")
    monkeypatch.setattr(revisions, "some_codes", lambda *_: Codes(frames, torch.zeros_like(frames)))
    return story


def broken(search, fields, log_sigma, *_, **__):
    """A fit that ends in what is not a number."""
    with torch.no_grad():
        fields.potentials.drift.fill_(float("nan"))
    return Tried(fields, log_sigma, search.score(fields, log_sigma))


@pytest.fixture
def points(monkeypatch):
    """Codes are points of three known fields."""
    torch.manual_seed(0)
    data = trajectories(count=300, seed=0)
    return story_on(data["frames"], monkeypatch), data


@pytest.fixture
def straight(monkeypatch):
    """Codes that three directions drive; the story has the fields that share them out wrongly."""
    torch.manual_seed(0)
    story = story_on(torch.zeros(700, 9, 5), monkeypatch)
    with torch.no_grad():
        story.log_sigma.fill_(math.log(0.05))
        story.transport.potentials.drift.copy_(DIRECTIONS)
        frames = story.flow().sample((700,))
        story.transport.potentials.drift.copy_(SHARED)
        story.log_sigma.fill_(math.log(0.15))
    monkeypatch.setattr(revisions, "some_codes", lambda *_: Codes(frames, torch.full_like(frames, 0.02)))
    return story


class TestRevisions:
    def test_three_known_fields_are_found_from_nothing(self, points, monkeypatch):
        story, data = points
        monkeypatch.setattr(revisions, "JUDGED", 100)
        monkeypatch.setattr(revisions, "SPLITS", 1)
        optimiser = torch.optim.Adam(story.parameters())
        optimiser.state[story.log_sigma] = {"step": torch.ones(())}
        search = Search(story, Codes(data["frames"], torch.zeros_like(data["frames"])))
        before = search.present().score
        assert revise_fields(story, data, 3, optimiser)
        assert search.present().score > before + 10
        assert story.log_sigma not in optimiser.state
        assert story.training
        places = data["frames"][:, :-1].flatten(0, 1)
        learned = story.transport(places.unsqueeze(-2)).detach()
        assert field_cosines(learned, true_fields(places)).min() > 0.95

    def test_what_a_flow_for_two_causes_leaves_unexplained(self, straight):
        search = Search(straight, revisions.some_codes(straight, None))
        axes = search.unexplained(search.present())
        wide = int(axes.norm(dim=-1).argmax())
        difference = DIRECTIONS[1] - DIRECTIONS[2]
        assert wide == 1
        assert torch.cosine_similarity(axes[wide], difference, 0).abs() > 0.95
        assert float(axes[wide].norm()) == pytest.approx(float(difference.norm()) / 2, rel=0.4)

    def test_a_flow_for_two_causes_is_split(self, straight, monkeypatch):
        monkeypatch.setattr(revisions, "SPLITS", 1)
        assert revise_fields(straight, None, 0, torch.optim.Adam(straight.parameters()))
        drift = straight.transport(torch.zeros(1, 1, 5))[0].detach()
        cosines = torch.cosine_similarity(drift.unsqueeze(1), DIRECTIONS.unsqueeze(0), dim=-1)
        assert sorted(cosines.argmax(1).tolist()) == [0, 1, 2]
        assert cosines.amax(1).min() > 0.98

    def test_halves_hold_still(self, straight):
        search = Search(straight, revisions.some_codes(straight, None))
        before = straight.transport.potentials.drift.detach().clone()
        fields = straight.fresh_fields()
        fields.load_state_dict(straight.transport.state_dict())
        after = search.fit(fields, straight.log_sigma, 3, 1e-2, still=(0, 2)).fields.potentials.drift.detach()
        assert torch.equal(after[[0, 2]], before[[0, 2]])
        assert not torch.equal(after[1], before[1])

    def test_gradients_alone_leave_it_as_it_is(self, straight):
        search = Search(straight, revisions.some_codes(straight, None))
        fitted = search.further(search.further(search.further(search.present())))
        drift = fitted.fields(torch.zeros(1, 1, 5))[0].detach()
        cosines = torch.cosine_similarity(drift.unsqueeze(1), DIRECTIONS.unsqueeze(0), dim=-1)
        assert sorted(cosines.argmax(1).tolist()) != [0, 1, 2]

    def test_worse_fields_are_not_taken(self, points, monkeypatch):
        story, data = points
        kept = {name: value.clone() for name, value in story.state_dict().items()}
        monkeypatch.setattr(Search, "fit", broken)
        assert not revise_fields(story, data, 1, torch.optim.Adam(story.parameters()))
        assert all(torch.equal(value, kept[name]) for name, value in story.state_dict().items())

    def test_codes_are_drawn_from_their_posteriors(self):
        story = SparseFlowStory((4, 6), flows=2, latent=3, hidden=(8,), likelihood="gaussian")
        data = Data({"frames": torch.rand(20, 4, 6)}, "noise")
        codes = some_codes(story, data)
        assert codes.loc.shape == codes.scale.shape == (20, 4, 3)
        assert (codes.scale > 0).all()
        far = (codes.draw(slice(0, 5)) - codes.loc[:5]) / codes.scale[:5]
        assert 0.5 < float(far.std()) < 1.5

    def test_when_they_happen(self, monkeypatch):
        calls = []
        monkeypatch.setattr("pyro_models.flows.sparse.revise_fields", lambda *a: calls.append(a[2]))
        data = Data({"frames": torch.rand(12, 4, 3, 8, 8)}, "noise")
        options = {"flows": 2, "latent": 3, "hidden": [16], "restarts": 3, "revise_at": [0.7, 0.3]}
        fit("flow-sparse", data, steps=10, batch_size=4, story_options=options, progress=False)
        assert calls == [3, 0]

    @pytest.mark.parametrize("control", ["single", "double"])
    def test_a_small_set_is_enough(self, monkeypatch, control):
        monkeypatch.setattr(revisions, "STEPS", 2)
        monkeypatch.setattr(revisions, "TRIAL", 2)
        data = Data({"frames": torch.rand(12, 4, 3, 8, 8)}, "noise")
        options = {"flows": 2, "latent": 3, "hidden": [16], "restarts": 2, "revise_at": [0.5], "potential": 2}
        options["control"] = control
        run = fit("flow-sparse", data, steps=4, batch_size=4, story_options=options, progress=False)
        assert all(p.isfinite().all() for p in run.story.parameters())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"restarts": -1},
            {"revise_at": [1.0]},
            {"restarts": 1},
            {"revise_at": [0.5], "guide": "relaxed"},
        ],
    )
    def test_impossible_ones_are_refused(self, wrong):
        with pytest.raises(OptionError, match="revise_at"):
            SparseFlowStory((4, 6), flows=2, latent=3, likelihood="gaussian", **wrong)
