"""Flow metrics against sums by hand, their registration, figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation import flows as scores
from evaluation.answers import Answers
from evaluation.figures import FIGURES, draw
from evaluation.figures.flows import write_gif
from evaluation.measure import evaluate
from evaluation.reporting import report
from inference import fit
from pyro_models.datasets.data import Splits
from pyro_models.datasets.sequences import flow_digits
from pyro_models.datasets.trajectories import trajectories
from pyro_models.errors import MetricError
from pyro_models.flows.sparse import SparseFlowStory
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.flows.trajectories import TrajectoryFlow
from pyro_models.flows.weak import WeakFlow


def test_sequence_errors_leave_out_the_first_frame_and_what_comes_after_the_steps():
    true = np.zeros((2, 4, 3, 2))
    predicted = np.ones_like(true)
    predicted[1] *= 2
    assert scores.sequence_errors(predicted, true, 2).tolist() == [12.0, 24.0]
    errors = scores.sequence_errors(predicted, true)
    assert scores.means_by_factor(errors, [0, 1]) == {0: 18.0, 1: 36.0}
    assert scores.means_by_factor(errors, [1, 1]) == {1: 27.0}
    with pytest.raises(MetricError, match="1 factors for 2 sequences"):
        scores.means_by_factor(errors, [1])


def test_trivial_predictions():
    true = torch.arange(4.0).reshape(1, 4, 1)
    found = scores.trivial_predictions(true)
    assert found["copy first"].ravel().tolist() == [0, 0, 0, 0]
    assert found["copy previous"].ravel().tolist() == [0, 0, 1, 2]
    assert not found["black"].any()


def test_flows_are_matched_whatever_their_order():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, (200, 5, 3)).astype(float)
    order = [2, 0, 1]  # flow f shows factor order[f]
    found = true[..., order] * 0.9
    matching = scores.match_flows(found, true)
    assert matching.flow_of.tolist() == [1, 2, 0]
    assert matching.mutual == 1.0
    assert scores.spike_f1(found, true) == 1.0
    noisy = found.copy()
    noisy[:100, :, 0] = 0  # half of factor 2 is missed
    hits, false_negatives = (noisy > 0.5).sum(), (true[:100, :, 2] > 0).sum()
    assert scores.spike_f1(noisy, true) == pytest.approx(2 * hits / (2 * hits + false_negatives))


def test_one_flow_for_two_factors_is_no_full_match():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, (200, 5, 2)).astype(float)
    found = np.stack([true.max(-1), rng.random((200, 5))], -1)
    assert scores.match_flows(found, true).mutual <= 0.5
    assert scores.match_flows(rng.random((200, 5, 2)), true).mutual == 0.0


def test_speeds_count_where_the_flow_acts_and_was_found():
    rng = np.random.default_rng(0)
    true = np.zeros((50, 4, 2))
    true[:, :2] = 1
    speeds = true * rng.normal(1, 0.1, true.shape)
    found = np.where(true > 0, 3 * speeds, rng.normal(size=true.shape))
    assert scores.speed_correlation(found, speeds, true, true) == pytest.approx(1.0)
    shuffled = rng.permutation(found.reshape(-1, 2)).reshape(found.shape)
    assert scores.speed_correlation(shuffled, speeds, true, true) < 0.5


def test_field_cosines_ignore_order_sign_and_length():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 3, 2))
    learned = true[:, [1, 2, 0]] * np.array([-2.0, 0.5, 3.0])[None, :, None]
    np.testing.assert_allclose(scores.field_cosines(learned, true), 1.0)
    assert scores.field_cosines(rng.normal(size=(40, 3, 2)), true).max() < 0.6


def test_relative_change():
    assert scores.relative_change(np.full(4, 3.0), np.full(4, 2.0)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.sequence_errors(np.zeros((2, 3, 4)), np.zeros((2, 3, 5))), "the same sequences"),
        (lambda: scores.sequence_errors(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), 3), "steps is 3"),
        (lambda: scores.match_flows(np.zeros((2, 3, 1)), np.zeros((2, 3, 2))), "cannot be matched"),
        (lambda: scores.match_flows(np.full((2, 3, 2), np.nan), np.zeros((2, 3, 2))), "NaN"),
        (lambda: scores.field_cosines(np.zeros((2, 3)), np.zeros((2, 3))), "points, fields, dimensions"),
    ],
)
def test_wrong_arrays_are_refused(call, message):
    with pytest.raises(MetricError, match=message):
        call()


SMALL = {"latent": 3, "hidden": (16,)}


@pytest.mark.parametrize("kind", [SupervisedFlow, WeakFlow, SparseFlowStory])
def test_every_story_is_measured_and_pictured(kind):
    data = flow_digits(mode="single").take(slice(0, 24))
    story = kind.build(data, **SMALL).eval()
    found = evaluate(story, data, metrics=["equivariance", "frame-bound", "round-trips"])
    errors = found["metrics"]
    assert {f"equivariance/{name}" for name in ("scale", "rotation", "hue")} < set(errors)
    frames, k = data["frames"], data["k"]
    predicted = story.reconstruct(*(data[name] for name in story.fields))
    by_hand = (predicted - frames)[k == 1][:, 1:8].abs().sum((1, 2, 3, 4)).mean()
    assert errors["equivariance/rotation"] == pytest.approx(by_hand.item(), rel=1e-4)
    assert errors["bits_per_dim"] == pytest.approx(-errors["frame_iwae"] / (768 * np.log(2)))
    names = {maker.name for maker, _ in draw(Answers(story, data))}
    assert {"flow-strips", "flow-predictions", "flow-switching"} <= names


def test_driving_by_one_flow_is_what_the_story_foretells():
    data = flow_digits(mode="single").take(slice(0, 12))
    story = SupervisedFlow.build(data, **SMALL).eval()
    driven = story.drive(data["frames"][:, 0], data["spikes"])
    torch.testing.assert_close(driven, story.reconstruct(data["frames"], data["k"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [SupervisedFlow, WeakFlow, SparseFlowStory])
def test_composition_and_extrapolation(kind):
    short = flow_digits(mode="single", steps=4).take(slice(0, 12))
    story = kind.build(short, **SMALL).eval()
    data = flow_digits(mode="sparse", steps=6).take(slice(0, 40))
    found = evaluate(story, data, metrics=["composition", "extrapolation"])
    several = (data["spikes"].amax(1).sum(-1) > 1).nonzero().flatten()
    assert 0 < len(several) < 40
    assert found["sizes"]["composition_error"] == len(several)
    trivial = found["baselines"]["extrapolation_error"]
    assert trivial["black"] == pytest.approx(data["frames"][:, 5:].sum((1, 2, 3, 4)).mean().item() / 2, rel=1e-4)
    if kind is SupervisedFlow:
        driven = story.drive(data["frames"][:, 0], data["spikes"] * data["speeds"])
        away = (driven - data["frames"]).abs().sum((2, 3, 4))
        assert found["metrics"]["composition_error"] == pytest.approx(away[several, 1:5].sum(1).mean().item(), rel=1e-4)
        assert found["metrics"]["extrapolation_error"] == pytest.approx(away[:, 5:].mean().item(), rel=1e-4)
    assert "composition_error" not in evaluate(story, short, metrics=["composition"])["metrics"]
    assert "extrapolation_error" not in evaluate(story, short, metrics=["extrapolation"])["metrics"]


def test_unnamed_flows_are_driven_by_the_factor_they_match():
    data = flow_digits(mode="sparse").take(slice(0, 40))

    class Renamed(SparseFlowStory):
        """Knows the truth; its flow f is factor ORDER[f]."""

        ORDER = (2, 0, 1)

        def activity(self, frames):
            rows = [int((data["frames"] - one).abs().sum((1, 2, 3, 4)).argmin()) for one in frames]
            return data["spikes"][rows][..., self.ORDER], data["speeds"][rows][..., self.ORDER]

        def drive(self, frame, controls):
            speeds = torch.empty_like(controls)
            speeds[..., list(self.ORDER)] = controls
            return data.movement.render(frame[:, 0], speeds)

    found = evaluate(Renamed.build(data, **SMALL).eval(), data, metrics=["composition"])
    assert found["metrics"]["composition_error"] < 0.05 * found["baselines"]["composition_error"]["copy previous"]


def test_spikes_of_the_weak_story_are_measured_with_one_flow_a_sequence():
    """One flow is claimed for each sequence, and one acts: F1 is the share of sequences given to the right one."""
    data = flow_digits(mode="single").take(slice(0, 60))
    renamed = torch.tensor([1, 2, 0])[data["k"]]
    given = torch.where(torch.arange(60) % 4 == 0, (renamed + 1) % 3, renamed)  # every fourth goes to the wrong flow

    class Knowing(WeakFlow):
        def responsibilities(self, frames):
            rows = [int((data["frames"] - one).abs().sum((1, 2, 3, 4)).argmin()) for one in frames]
            return torch.nn.functional.one_hot(given[rows], 3).float()

    found = evaluate(Knowing.build(data, flows=3, **SMALL).eval(), data, metrics=["spikes", "clustering"])["metrics"]
    assert found["spike_f1"] == pytest.approx(0.75)
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["flow_factor_match"] == 1.0
    assert {"match/scale", "match/rotation", "match/hue"} < set(found)
    assert "speed_correlation" not in found


def test_points_have_fields_and_switches_to_show():
    data = trajectories(20)
    story = TrajectoryFlow.build(data).eval()
    found = evaluate(story, data, metrics=["spikes"])["metrics"]
    own = {"match/rotation", "match/zoom", "match/shift"}
    assert {"spike_f1", "flow_factor_match", "speed_correlation"} | own == set(found)
    assert all(-1 <= found[name] <= 1 for name in own)
    assert {"spikes-over-time", "vector-fields"} <= {maker.name for maker, _ in draw(Answers(story, data))}


@pytest.mark.parametrize("kind", [SupervisedFlow, WeakFlow, SparseFlowStory])
@pytest.mark.parametrize("latent", [2, 3])
def test_fields_of_codes_of_two_numbers_are_shown(kind, latent):
    data = flow_digits(mode="single").take(slice(0, 12))
    story = kind.build(data, flows=3, latent=latent, hidden=(16,)).eval()
    picture = FIGURES.get("vector-fields").function(Answers(story, data), None)
    assert (picture is not None) == (latent == 2)
    if picture is not None:
        assert [axis.get_title() for axis in picture.axes] == ["flow 0", "flow 1", "flow 2"]
        arrows = picture.axes[1].collections[0]
        at = torch.as_tensor(arrows.get_offsets()).float()
        shown = torch.stack([torch.as_tensor(part) for part in (arrows.U, arrows.V)], -1)
        torch.testing.assert_close(shown.float(), story.velocities(at)[:, 1].detach())


def test_flows_in_turns_and_together_are_driven_as_the_caption_says():
    data = flow_digits(mode="single", steps=4).take(slice(0, 12))
    asked = []

    class Remembering(SupervisedFlow):
        def drive(self, frame, controls):
            asked.append((frame, controls))
            return super().drive(frame, controls)

    story = Remembering.build(data, **SMALL).eval()
    assert FIGURES.get("flow-switching").function(Answers(story, data), None) is not None
    ((frame, controls),) = asked
    torch.testing.assert_close(frame, data["frames"][:1, 0].expand(4, -1, -1, -1))
    on = {"A": [1, 0, 0], "B": [0, 1, 0], "both": [1, 1, 0]}
    expected = [["A"] * 4, ["B"] * 4, ["A", "A", "B", "B"], ["both"] * 4]
    assert controls.tolist() == [[on[word] for word in row] for row in expected]
    alone = SupervisedFlow.build(data, flows=1, **SMALL).eval()
    assert FIGURES.get("flow-switching").function(Answers(alone, data), None) is None


def test_a_report_has_an_animation_for_every_flow(tmp_path):
    data = flow_digits(mode="single", steps=4).take(slice(0, 12))
    story = SupervisedFlow.build(data, **SMALL)
    options = {"steps": 1, "batch_size": 4, "validate_every": 0, "progress": False}
    run = fit(story, Splits(data, data, data), **options).save(tmp_path / "run")
    evaluate(run, data, metrics=["round-trips"])
    report(run, data)
    pictures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"flow-0.gif", "flow-1.gif", "flow-2.gif", "flow-strips.png", "flow-switching.png"} <= pictures
    with Image.open(tmp_path / "run" / "figures" / "flow-1.gif") as picture:
        assert picture.size == (4 * 16 * 8, 16 * 8)  # four first frames of 16 x 16, enlarged
        assert picture.n_frames == 2 * 7 - 2  # two steps more than in training, there and back


def test_animations(tmp_path):
    path = write_gif(torch.rand(5, 3, 8, 6), tmp_path / "flow.gif", zoom=2)
    with Image.open(path) as picture:
        assert picture.size == (12, 16)
        assert picture.n_frames == 8
