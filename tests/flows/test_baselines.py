"""What flows are compared with: codes of frames without flows, and codes whose rings are rolled."""

from __future__ import annotations

import pytest
import torch

from inference import fit
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import OptionError, UnknownName
from pyro_models.flows.frame_codes import FrameCodes
from pyro_models.flows.rolled import RolledCodes
from pyro_models.story import Drives, Transports
from tests.core.cases import StoryCase

SHAPE = (4, 3, 8, 8)


def noise(count: int = 12) -> Data:
    generator = torch.Generator().manual_seed(0)
    return Data({"frames": torch.rand(count, *SHAPE, generator=generator), "k": torch.arange(count) % 2}, "noise")


class TestFrameCodes(StoryCase):
    def make(self):
        return FrameCodes(SHAPE, flows=2, latent=3, hidden=(16,))

    def data(self):
        return noise()


class TestSlowFrameCodes(TestFrameCodes):
    def make(self):
        return FrameCodes(SHAPE, flows=2, latent=3, hidden=(16,), prior="slow")


class TestRolledCodes(StoryCase):
    def make(self):
        return RolledCodes(SHAPE, flows=2, latent=8, hidden=(16,))

    def data(self):
        return noise()


@pytest.mark.parametrize("prior", ["independent", "slow"])
def test_directions_are_the_mean_change_of_each_transformation(prior):
    """Points that move by one of two shifts: the directions foretell where they go."""
    generator = torch.Generator().manual_seed(0)
    k = torch.arange(400) % 2
    shift = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])[k]
    frames = torch.randn(400, 1, 3, generator=generator) + torch.arange(4.0)[:, None] * shift[:, None]
    data = Data({"frames": frames, "k": k})
    story = FrameCodes.build(data, latent=3, hidden=(), likelihood="gaussian", scale=0.1, prior=prior)
    training = {"steps": 500, "batch_size": 100, "learning_rate": 2e-2, "validate_every": 0, "progress": False}
    story = fit(story, Splits(data, data, data), seed=0, **training).story
    assert story.directions.abs().sum() > 0
    error = (story.reconstruct(frames, k) - frames)[:, -1].square().mean()
    wrong = (story.reconstruct(frames, 1 - k) - frames)[:, -1].square().mean()
    assert error < 0.1
    assert wrong > 5 * error


def test_a_ring_is_rolled_and_the_others_stay():
    story = RolledCodes(SHAPE, flows=2, latent=8, hidden=(16,))
    z = torch.arange(8.0)[None]
    path = story.path_of(z, story.turns_of(torch.tensor([1])))
    assert path[0, 0].tolist() == list(range(8))
    assert path[0, 1].tolist() == [0, 1, 2, 3, 7, 4, 5, 6]
    assert path[0, 3].tolist() == [0, 1, 2, 3, 5, 6, 7, 4]
    half = story.path_of(z, torch.tensor([[[0.5, 0.0]]]))[0, 0]
    assert half.tolist() == [1.5, 0.5, 1.5, 2.5, 4, 5, 6, 7]


@pytest.mark.parametrize("make", [FrameCodes, RolledCodes])
def test_pictures_and_predictions_agree(make):
    story, data = make(SHAPE, flows=2, latent=8, hidden=(16,)).eval(), noise()
    if isinstance(story, FrameCodes):
        story.directions.normal_()
    assert isinstance(story, Transports)
    assert isinstance(story, Drives)
    frames, k = data["frames"], data["k"]
    whole = story.reconstruct(frames, k)
    every = story.traverse(frames[:, 0], SHAPE[0] - 1)
    assert every.shape == (12, 2, *SHAPE)
    torch.testing.assert_close(every[torch.arange(12), k], whole)
    controls = torch.nn.functional.one_hot(k, 2).float()[:, None].expand(-1, SHAPE[0] - 1, -1)
    torch.testing.assert_close(story.drive(frames[:, 0], controls), whole)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (FrameCodes, {"prior": "quick"}, UnknownName, "quick"),
        (RolledCodes, {"latent": 6}, OptionError, "a multiple of 2 from 8 on"),
        (RolledCodes, {"latent": 9}, OptionError, "a multiple of 2 from 8 on"),
    ],
)
def test_wrong_options_are_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        make(SHAPE, flows=2, hidden=(16,), **options)


def test_several_draws_of_a_code_are_rolled_at_once():
    story, z = RolledCodes(SHAPE, flows=2, latent=8, hidden=(16,)), torch.randn(3, 1, 5, 8)
    turns = torch.rand(5, 4, 2) * 3
    together = story.path_of(z, turns)
    assert together.shape == (3, 1, 5, 4, 8)
    torch.testing.assert_close(together[2, 0], story.path_of(z[2, 0], turns))
