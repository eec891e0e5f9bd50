"""The flow metrics that ``evaluate`` knows: predicted sequences, spikes, speeds, round trips of the learned flows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from evaluation import flows as scores
from evaluation import likelihood
from evaluation.answers import Answers
from evaluation.metric import Score, metric
from pyro_models.story import Activates, Drives, EncodesFrames, MovesCodes, Reconstructs, Transports

#: sequences scored at once, and steps of a prediction (the published tables stop at 7 of 8)
CHUNK, STEPS = 250, 7
#: sequences and particles of the bound per frame
BOUND_DATA, PARTICLES = 100, 20
#: first codes whose paths are followed to find the least invertible step
PATHS = 32


def unpaired(story: Any, data: Any) -> str:
    """Why flows and factors cannot be paired; empty when they can."""
    factors = data.shape("spikes")[-1]
    flows = getattr(story, "flows", factors)
    # who says which flow acts when is matched with the factors; whoever cannot has them in the order of the data
    if flows < factors or (flows > factors and not isinstance(story, Activates)):
        return (
            f"this {type(story).__name__} has {flows} flows and {data.name} is moved by {factors} factors; train it "
            f"with the option flows={factors}{' or more' if isinstance(story, Activates) else ''}"
        )
    return ""


@metric(
    "equivariance",
    needs=(Reconstructs, Transports),
    fields=("frames", "k"),
    summary="error of predicted sequences per transformation, beside trivial predictors",
)
def equivariance(answers: Answers) -> dict[str, Score]:
    """Summed absolute error of frames 1..7 foretold from frame 0, averaged over the sequences of a transformation."""
    errors: dict[str, list[np.ndarray]] = {}
    steps = min(STEPS, answers.data.shape("frames")[0] - 1)
    with torch.no_grad():
        for batch, whole in zip(answers.batches(chunk=CHUNK), answers.data.chunks(CHUNK), strict=True):
            true = whole["frames"].cpu()
            every = {"model": answers.story.reconstruct(*batch).cpu().numpy(), **scores.trivial_predictions(true)}
            for name, predicted in every.items():
                errors.setdefault(name, []).append(scores.sequence_errors(predicted, true, steps))
    factor = answers["k"]
    means = {name: scores.means_by_factor(np.concatenate(found), factor) for name, found in errors.items()}
    rule = f"sum over {steps} frames, all pixels and channels; mean over the sequences of the transformation"
    return {
        f"equivariance/{factor_name(answers, k)}": Score(
            value,
            {name: found[k] for name, found in means.items() if name != "model"},
            rule,
            "lower",
            int((factor == k).sum()),
        )
        for k, value in means["model"].items()
    }


def factor_name(answers: Answers, k: int) -> str:
    """What the data call factor k; its number where they do not say."""
    return answers.data.classes[k] if k < len(answers.data.classes) else str(k)


@metric(
    "spikes",
    needs=(Activates,),
    fields=("spikes", "speeds"),
    why_not=unpaired,
    summary="which flows act when, and how fast, against the truth",
)
def spikes(answers: Answers) -> dict[str, Score]:
    """F1 of inferred switches, one-to-one matching of flows with factors, correlation of speeds."""
    both = answers.per_datum(lambda *batch: torch.stack(answers.story.activity(*batch), 1))
    found, speeds = both.unbind(1)
    truth, true_speeds = answers["spikes"], answers["speeds"]
    matching = scores.match_flows(found, truth)
    rule = "flows matched with factors one to one by correlation of their switches on the same split (Hungarian)"
    scored = {
        "spike_f1": Score(
            scores.spike_f1(found, truth, matching), {"always on": scores.always_on_f1(truth), "perfect": 1.0}, rule
        ),
        "flow_factor_match": Score(
            matching.mutual,
            {"perfect": 1.0},
            "share of factors with a flow of their own: each the other's best, r > 0.5",
        ),
    }
    alone = "correlation of the factor's switches with those of the flow matched with it"
    for k, flow in enumerate(matching.flow_of):
        scored[f"match/{factor_name(answers, k)}"] = Score(
            float(matching.correlation[k, flow]), {"perfect": 1.0}, alone
        )
    if float(true_speeds[truth > 0].std()) > 0:
        correlation = scores.speed_correlation(speeds, true_speeds, found, truth)
        scored["speed_correlation"] = Score(correlation, {"perfect": 1.0}, rule)
    return scored


def driven_errors(answers: Answers, first: int, last: int, rows: torch.Tensor) -> dict[str, float]:
    """Mean over ``rows`` of the summed absolute error of frames ``first`` to ``last`` under the true controls, by the
    model and by trivial predictions. Flows that nobody named are matched with factors first."""
    story: Any = answers.story
    controls = answers["spikes"] * answers["speeds"]
    known = min(story.steps, controls.shape[1])
    if isinstance(story, Activates):
        found = answers.per_datum(lambda frames: story.activity(frames[:, : known + 1])[0])
        flow_of = torch.from_numpy(scores.match_flows(found, answers["spikes"][:, :known]).flow_of)
        controls = torch.zeros(*controls.shape[:-1], found.shape[-1]).index_copy(-1, flow_of, controls)
    totals: dict[str, float] = {}
    for index in rows.nonzero().flatten().split(CHUNK):
        true = answers.data.batch(index)["frames"].cpu()
        moved = story.drive(true[:, 0].to(answers.device), controls[index].to(answers.device)).cpu()
        for name, predicted in {"model": moved.numpy(), **scores.trivial_predictions(true)}.items():
            error = scores.sequence_errors(predicted, true, last)
            if first > 1:
                error = error - scores.sequence_errors(predicted, true, first - 1)
            totals[name] = totals.get(name, 0.0) + float(error.sum())
    return {name: total / int(rows.sum()) for name, total in totals.items()}


@metric(
    "composition",
    needs=(Drives,),
    fields=("frames", "spikes", "speeds"),
    why_not=unpaired,
    summary="error of sequences in which several transformations act",
)
def composition(answers: Answers) -> dict[str, Score]:
    """The first frame carried along by the true controls, in sequences with two factors or more."""
    rows = (answers["spikes"].amax(1) > 0).sum(-1) > 1
    if not bool(rows.any()):
        return {}
    steps = min(STEPS, answers.story.steps, answers.data.shape("frames")[0] - 1)
    errors = driven_errors(answers, 1, steps, rows)
    rule = f"sum over {steps} frames, all pixels and channels, true controls; sequences with two factors or more"
    return {"composition_error": Score(errors.pop("model"), errors, rule, "lower", int(rows.sum()))}


@metric(
    "extrapolation",
    needs=(Drives,),
    fields=("frames", "spikes", "speeds"),
    why_not=unpaired,
    summary="error of frames later than any in training",
)
def extrapolation(answers: Answers) -> dict[str, Score]:
    """Frames beyond the trained time, per frame; asks for data with more steps than the story has."""
    trained, steps = answers.story.steps, answers.data.shape("frames")[0] - 1
    if steps <= trained:
        return {}
    errors = driven_errors(answers, trained + 1, steps, torch.ones(len(answers.data), dtype=torch.bool))
    errors = {name: error / (steps - trained) for name, error in errors.items()}
    rule = f"mean over frames {trained + 1} to {steps}, summed over pixels and channels; true controls"
    return {"extrapolation_error": Score(errors.pop("model"), errors, rule, "lower", len(answers.data))}


@metric(
    "frame-bound",
    needs=(Transports,),
    fields=("frames",),
    summary="importance-weighted bound per frame, bits per dimension",
)
def frame_bound(answers: Answers) -> dict[str, Score]:
    """Lower bound on log p(frames) per frame in nats, and in bits per pixel and channel."""
    story = answers.story
    total, count = 0.0, 0
    for batch in answers.batches(BOUND_DATA, chunk=20):
        bound = likelihood.iwae(story.model, story.guide, batch, PARTICLES)
        total, count = total + float(bound.sum()), count + len(bound)
    frames, *frame = answers.data.shape("frames")
    per_frame = total / count / frames
    rule = f"IWAE-{PARTICLES} of whole sequences over their {frames} frames, first {count} data"
    bits = -per_frame / (math.prod(frame) * math.log(2))
    kind = getattr(story.likelihood, "__class__", type(None)).__name__
    return {
        "frame_iwae": Score(per_frame, rule=f"{rule}; nats, {kind} likelihood", n=count),
        "bits_per_dim": Score(bits, rule=f"{rule}; {kind} likelihood", better="lower", n=count),
    }


@metric(
    "round-trips",
    needs=(EncodesFrames, MovesCodes),
    fields=("frames",),
    summary="there and back, one way or the other round, and whether steps can be undone",
)
def round_trips(answers: Answers) -> dict[str, Score]:
    """Cycle error (a flow forth and back) and commutator error (two flows in either order) of first codes, relative to
    the length of the codes; and how near to not invertible a step comes anywhere along each flow.

    A step back is z - v(z). Errors are of single steps at the first time of the clock.
    """
    story = answers.story
    z = answers.per_datum(lambda *batch: story.codes(batch[0][:, 0])).to(answers.device)
    flows = story.flows
    with torch.no_grad():

        def step(code: torch.Tensor, flow: int, sign: float = 1.0) -> torch.Tensor:
            return code + sign * story.velocities(code)[..., flow, :]

        back = torch.stack([step(step(z, k), k, -1.0) for k in range(flows)])
        cycle = scores.relative_change(back.cpu(), z.expand_as(back).cpu())
        found = {"cycle_error": Score(cycle, {"perfect": 0.0}, "relative; a step back is z - v(z)", "lower")}
        pairs = [(i, j) for i in range(flows) for j in range(i)]
        if pairs:
            one = torch.stack([step(step(z, i), j) for i, j in pairs]).cpu()
            other = torch.stack([step(step(z, j), i) for i, j in pairs]).cpu()
            found["commutator_error"] = Score(
                scores.relative_change(one, other), {"perfect": 0.0}, "relative; all pairs of flows", "lower"
            )
        rotations = getattr(getattr(story, "transport", None), "rotations", None)
        if rotations is not None:
            divergence = rotations.jacobian(z.unsqueeze(-2)).trace().abs().max()
            found["largest_divergence"] = Score(float(divergence), {"perfect": 0.0}, "of rotational fields", "lower")
    steps = answers.data.shape("frames")[0] - 1
    some = z[:PATHS]
    found["smallest_singular_value"] = Score(
        float(singular_values(story, some, steps).min()),
        {"no motion": 1.0},
        f"of I + J, over {steps} steps along the paths of {len(some)} first codes under each of {flows} flows, at "
        "speed 1; a step is invertible nearby when not 0",
        n=len(some),
    )
    return found


def singular_values(story: Any, z: torch.Tensor, steps: int) -> torch.Tensor:
    """The smallest singular value of every step's derivative by the code it starts from, ``[K, N, steps]``: each flow
    alone carries the codes ``z [N, d]`` from step to step."""
    eye, own = torch.eye(z.shape[-1], device=z.device), torch.arange(story.flows, device=z.device)
    path, found = z.expand(story.flows, *z.shape), []
    for t in range(1, steps + 1):

        def carried(code: torch.Tensor, flow: torch.Tensor, t: int = t) -> torch.Tensor:
            return story.velocities(code, t).index_select(-2, flow.reshape(1)).squeeze(-2)

        of_codes = torch.vmap(torch.func.jacfwd(carried), in_dims=(0, None))
        slopes = torch.stack([of_codes(codes, k) for codes, k in zip(path, own, strict=True)]).detach()
        found.append(torch.linalg.svdvals(eye + slopes)[..., -1])
        with torch.no_grad():
            path = torch.stack([codes + carried(codes, k) for codes, k in zip(path, own, strict=True)])
    return torch.stack(found, -1)
