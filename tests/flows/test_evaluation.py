"""Everything that applies is measured on every flow story; round trips of fields known by hand; codes and factors."""

from __future__ import annotations

import math

import pytest
import torch

from evaluation.answers import Answers
from evaluation.factors import codes_and_factors
from evaluation.figures import draw
from evaluation.flow_metrics import singular_values
from evaluation.measure import applicable, evaluate
from pyro_models.datasets.data import Data
from pyro_models.datasets.rooms import flow_shapes3d
from pyro_models.datasets.sequences import flow_digits
from pyro_models.datasets.trajectories import trajectories
from pyro_models.errors import MetricError
from pyro_models.flows.frame_codes import FrameCodes
from pyro_models.flows.rolled import RolledCodes
from pyro_models.flows.sparse import SparseFlowStory
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.flows.trajectories import TrajectoryFlow
from pyro_models.flows.weak import WeakFlow
from pyro_models.nn.potentials import LatentFields
from pyro_models.story import Activates, Drives, EncodesFrames, MovesCodes, Represents

FRAMES = [SupervisedFlow, WeakFlow, SparseFlowStory, FrameCodes, RolledCodes]
SMALL = {"latent": 3, "hidden": (16,)}


def small(kind, data, **options):
    rings = {"latent": 3 * data.shape("frames")[0]} if kind is RolledCodes else {}
    return kind.build(data, **{**SMALL, **rings, **options}).eval()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, "single") for kind in FRAMES] + [(kind, "sparse") for kind in FRAMES if "k" not in kind.fields],
)
def test_every_story_of_frames_is_evaluated_by_default(kind, mode):
    data = flow_digits(mode=mode, steps=3).take(slice(0, 24))
    story = small(kind, data, flows=3)
    found = evaluate(story, data)
    assert {"frame_iwae", "bits_per_dim"} < set(found["metrics"])
    assert ("cycle_error" in found["metrics"]) == isinstance(story, MovesCodes)
    assert isinstance(story, MovesCodes) == (kind not in (FrameCodes, RolledCodes))
    assert ("spike_f1" in found["metrics"]) == isinstance(story, Activates)
    assert all(math.isfinite(value) for value in found["metrics"].values())


def test_points_are_evaluated_by_default():
    data = trajectories(30, steps=4)
    found = evaluate(TrajectoryFlow.build(data).eval(), data)["metrics"]
    assert {"spike_f1", "smallest_singular_value"} < set(found)


@pytest.mark.parametrize("kind", [FrameCodes, RolledCodes])
def test_stories_without_fields_have_no_round_trips(kind):
    data = flow_digits(mode="single", steps=3).take(slice(0, 6))
    with pytest.raises(MetricError, match=f"{kind.__name__} is not MovesCodes"):
        evaluate(small(kind, data), data, metrics=["round-trips"])


@pytest.mark.parametrize("kind", [SupervisedFlow, SparseFlowStory])
@pytest.mark.parametrize("name", ["spikes", "composition", "extrapolation"])
def test_too_few_flows_are_said_to_be_too_few(kind, name):
    data = flow_digits(mode="sparse", steps=3).take(slice(0, 20))
    story = kind((3, 3, 16, 16), flows=2, **SMALL).eval()
    if name == "spikes" and kind is SupervisedFlow:
        message = "is not Activates"
    else:
        message = f"{kind.__name__} has 2 flows and flow-digits is moved by 3 factors; train it with the option flows=3"
    with pytest.raises(MetricError, match=message):
        evaluate(story, data, metrics=[name])
    assert name not in [metric.name for metric in applicable(story, data)]


class ByHand(torch.nn.Module):
    """Codes are the points themselves; ``matrices [K, d, d]`` and ``shifts [K, d]`` carry them; steps later than the
    first carry them ``later`` times as far."""

    fields = ("frames",)

    def __init__(self, matrices, shifts, later: float = 1.0) -> None:
        super().__init__()
        self.matrices, self.shifts, self.later, self.flows = matrices, shifts, later, len(matrices)

    def codes(self, frames):
        return frames

    def velocities(self, z, step=1):
        moved = torch.einsum("kde,...e->...kd", self.matrices, z) + self.shifts
        return moved if step == 1 else self.later * moved


def points(count: int = 40, steps: int = 4) -> Data:
    return Data({"frames": torch.randn(count, steps + 1, 2, generator=torch.Generator().manual_seed(0))}, "points")


def measured(story, data) -> dict[str, float]:
    return evaluate(story, data, metrics=["round-trips"])["metrics"]


def test_round_trips_of_known_fields():
    """Zoom by a, shift by b: forth and back loses a^2 and keeps b; the two orders differ by a times b."""
    a, b = 0.3, torch.tensor([0.6, 0.8])
    zoom, still = a * torch.eye(2), torch.zeros(2, 2)
    story = ByHand(torch.stack([zoom, still]), torch.stack([torch.zeros(2), b]))
    data = points()
    found = measured(story, data)
    # forth and back: z (1 + a)(1 - a) under the zoom, z under the shift; the error is a root mean square over both
    assert found["cycle_error"] == pytest.approx(a**2 / math.sqrt(2), rel=1e-5)
    # shifted first (z + b)(1 + a), zoomed first z (1 + a) + b: a b apart, beside the length of the latter
    zoomed_first = (1 + a) * data["frames"][:, 0] + b
    assert found["commutator_error"] == pytest.approx(a * math.sqrt(len(data)) / float(zoomed_first.norm()), rel=1e-4)
    assert found["smallest_singular_value"] == pytest.approx(1.0, rel=1e-5)
    assert "largest_divergence" not in found


@pytest.mark.parametrize(("later", "expected"), [(1.0, 0.4), (1.5, 0.1)])
def test_the_smallest_singular_value_is_that_of_the_worst_step(later, expected):
    """I + J has singular values 0.4 and 1.2 in the first step; J is 1.5 times as large later, so 0.1 and 1.3."""
    matrices = torch.stack([torch.diag(torch.tensor([-0.6, 0.2])), torch.zeros(2, 2)])
    story, data = ByHand(matrices, torch.zeros(2, 2), later), points()
    assert measured(story, data)["smallest_singular_value"] == pytest.approx(expected, rel=1e-5)
    every = singular_values(story, data["frames"][:5, 0], 3)
    torch.testing.assert_close(every[0], torch.tensor([0.4, expected, expected]).expand(5, 3))
    torch.testing.assert_close(every[1], torch.ones(5, 3))


def test_a_flow_is_followed_along_its_own_path():
    """v(z) = sin z on each axis: the slope 1 + cos z is nearly 0 at pi only, where a path from elsewhere comes."""

    class Sine(ByHand):
        def velocities(self, z, step=1):
            return torch.stack([z.sin(), 0 * z], -2)

    story = Sine(torch.zeros(2, 2, 2), torch.zeros(2, 2))
    start = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    found = singular_values(story, start, 3)
    z = start
    for t in range(3):
        torch.testing.assert_close(found[0, :, t], (1 + z.cos()).abs().amin(-1))
        z = z + z.sin()
    assert found[0, :, 0].min() > 0.5 > 0.05 > found.min()


def test_the_divergence_of_the_rotational_part_is_reported():
    data = points()
    fields = LatentFields(2, 2, 0, rotational=3)
    for parameter in fields.parameters():
        parameter.data.normal_()
    story = ByHand(torch.zeros(2, 2, 2), torch.zeros(2, 2))
    story.transport = fields
    assert measured(story, data)["largest_divergence"] < 1e-5

    class Leaking(torch.nn.Module):
        """Says it is free of divergence, and has 0.7."""

        def jacobian(self, z):
            return LatentFields(2, 2, 0).jacobian(z)._replace(affine=0.35 * torch.eye(2).expand(2, 2, 2))

    fields.rotations = Leaking()
    assert measured(story, data)["largest_divergence"] == pytest.approx(0.7)


@pytest.mark.parametrize("kind", [SupervisedFlow, SparseFlowStory])
def test_codes_and_factors_of_frames_go_together(kind):
    data = flow_shapes3d(30, side=8, steps=4)
    story = small(kind, data)
    codes, factors = codes_and_factors(Answers(story, data))
    assert codes.shape == (30, 3)
    assert factors.shape == (30, 6)
    found = []
    for row in range(30):
        (frame,) = (data["factors"][row] == torch.from_numpy(factors[row])).all(1).nonzero()[:1, 0]
        found.append(int(frame))
        expected = story.codes(data["frames"][row, frame][None])[0]
        torch.testing.assert_close(torch.from_numpy(codes[row]).float(), expected, atol=1e-4, rtol=1e-4)
    assert set(found) == set(range(5))
    again = codes_and_factors(Answers(story, data, seed=1))
    assert (again[1] == factors).all()


def test_sequences_have_disentanglement_scores():
    data = flow_shapes3d(200, side=8, steps=2)
    story = small(SupervisedFlow, data)
    found = evaluate(story, data, metrics=["disentanglement"])
    assert {"mig", "sap", "dci_disentanglement", "factor_vae", "modularity"} < set(found["metrics"])
    assert all(math.isfinite(value) for value in found["metrics"].values())
    assert found["rules"]["mig"].endswith("a frame drawn from each sequence")
    assert {"noise", "the factors themselves"} == set(found["baselines"]["mig"])
    assert "factor-map" in {maker.name for maker, _ in draw(Answers(story, data))}


class Oracle(SupervisedFlow):
    """Its code of a frame is the frame."""

    def codes(self, frames):
        return frames


def test_codes_that_are_the_factors_score_as_the_factors_do():
    """Constant factors are left out of both."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(300, 4, 3, generator=generator)
    k = torch.arange(300) % 2
    constant = torch.full((300, 4, 1), 2.0)
    data = Data({"frames": frames, "k": k, "factors": torch.cat([frames, constant], -1)}, "factors")
    story = Oracle.build(data, likelihood="gaussian", **SMALL).eval()
    found = evaluate(story, data, metrics=["disentanglement"])
    for name in ("mig", "sap", "dci_disentanglement", "modularity"):
        assert found["metrics"][name] == pytest.approx(found["baselines"][name]["the factors themselves"])
        assert found["metrics"][name] > found["baselines"][name]["noise"] + 0.2


def test_stories_without_codes_of_frames_have_no_factors():
    class Whole:
        fields = ("frames",)

        def parameters(self):
            return iter(())

        def features(self, frames):
            return frames.flatten(1)

    data = flow_shapes3d(200, side=8, steps=1)
    assert isinstance(Whole(), Represents)
    assert not isinstance(Whole(), EncodesFrames)
    assert evaluate(Whole(), data, metrics=["disentanglement"])["metrics"] == {}


def test_the_stories_tell_what_they_can():
    for kind in FRAMES:
        story = small(kind, flow_digits(mode="single", steps=3).take(slice(0, 6)), flows=3)
        assert isinstance(story, EncodesFrames)
        assert isinstance(story, Drives)
