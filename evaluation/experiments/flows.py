"""Latent flows: fields recovered on a toy, equivariance errors on digits in motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from evaluation import flows as scores
from evaluation.measure import evaluate
from evaluation.reproduce import Outcome, Setting, columns, per_seed
from inference import fit
from inference.device import fast_precision
from pyro_models.datasets import load
from pyro_models.datasets.data import Data, Splits
from pyro_models.datasets.trajectories import trajectories, true_fields
from pyro_models.flows.trajectories import TrajectoryFlow

#: a field counts as found above this |cos| with the true one
FOUND = 0.99
#: optimiser steps of the toy
TOY_STEPS = 300


def toy_2d(setting: Setting) -> Outcome:
    """96 sequences of 8 steps, 24 restarts: in how many are all three fields found?"""
    restarts = 24

    def one(seed: int) -> dict[str, float]:
        data = trajectories(count=1128, seed=seed)
        splits = Splits(data.take(slice(0, 96)), data.take(slice(96, 128)), data.take(slice(128, 1128)))
        run = fit(
            "flow-trajectories",
            splits,
            story_options={"restarts": restarts},
            steps=TOY_STEPS,
            batch_size=96,
            learning_rate=2e-2,
            schedule="cosine",
            seed=seed,
            validate_every=0,
            threads=setting.threads,
            device=setting.device,
            progress=False,
        )
        story: Any = run.story.cpu()
        likelihood = story.choose(splits.train)
        found = recovered(story, splits.test)
        spikes, speeds = story.activity(splits.test["frames"])
        truth = splits.test["spikes"]
        return {
            "recovered_of_24": float((found.min(1).values > FOUND).sum()),
            "best_by_loss_cos": float(found[int(likelihood.argmax())].min()),
            "spike_f1": scores.spike_f1(spikes, truth),
            "speed_correlation": scores.speed_correlation(speeds, splits.test["speeds"], spikes, truth),
            "nll_per_sequence": -float(story.flow().log_prob(splits.test["frames"]).detach().mean()),
            "floor": -float(truth_flow(story).log_prob(splits.test["frames"]).mean()),
            "always_on": scores.always_on_f1(truth),
        }

    rows, seconds = setting.each_seed(one)
    values = columns(rows)
    floor, always = values.pop("floor"), values.pop("always_on")
    return Outcome(
        metrics=values,
        split="test",
        n=1000,
        wall_seconds=seconds,
        baselines={
            "nll_per_sequence: the true fields": sum(floor) / len(floor),
            "spike_f1: all flows always on": sum(always) / len(always),
        },
        notes=f"recovered: restarts of {restarts} in which the smallest matched |cos| with a true field, over held-out "
        f"points, exceeds {FOUND}; best_by_loss_cos: that cosine of the restart with the best training likelihood. "
        "Fields learned from 96 sequences; likelihood, spikes and speeds on 1000 fresh ones.",
    )


def recovered(story: TrajectoryFlow, data: Any) -> torch.Tensor:
    """|cos| of every true field with its match, for every restart: ``[restarts, 3]``."""
    points = data["frames"][:, :-1].flatten(0, 1)
    learned, truth = story.columns(points, every=True).detach(), true_fields(points)
    return torch.stack([torch.from_numpy(scores.field_cosines(one, truth)) for one in learned])


def truth_flow(story: TrajectoryFlow, noise: float = 0.01) -> Any:
    """The generating process with its true fields and noise, slab moments matched to the Laplace speeds."""
    flow = story.flow()
    flow.fields, flow.sigma = true_fields, torch.tensor(noise)
    return flow


#: steps, sequences a step, learning rate
Recipe = tuple[int, int, float]
#: networks of the digit experiments: the same for all three stories
NETWORK: dict[str, Any] = {"network": "posed", "latent": 128, "hidden": [1024], "decoded": 2, "kl": 0.1}
#: where nobody names the causes: fewer numbers for them to hide in, more weight of the prior that straightens their
#: ways, and hidden units for what stays bent
SPARSE_NETWORK: dict[str, Any] = {**NETWORK, "latent": 64, "kl": 0.3, "potential": 16}
#: steps, sequences a step and learning rate
SUPERVISED, WEAK, SPARSE = (4000, 256, 2e-3), (4000, 256, 2e-3), (26000, 128, 2e-3)
#: held-out sequences behind every number but the bound
MEASURED = 1000
#: the room: its networks, recipe, sequences (a tenth of them for the test) and those with one moving factor
ROOM_NETWORK: dict[str, Any] = {
    "network": "painted",
    "latent": 32,
    "flows": 5,
    "hidden": [128, 256],
    "decoded": 2,
    "kl": 0.1,
}
#: hues go round, which no code straightens: fields bend from the start, and are revised when the codes have settled
SPARSE_ROOM_NETWORK: dict[str, Any] = {
    **ROOM_NETWORK,
    "latent": 16,
    "kl": 0.3,
    "bend": 0.0,
    "potential": 16,
    "restarts": 2,
    "revise_at": [0.3, 0.5, 0.7],
}
ROOM, SPARSE_ROOM = (10000, 64, 1e-3), (6000, 64, 1e-3)
ROOMS, ROOM_TESTS = 5000, 200
#: what errors rest on beside frame 0, where nobody names the transformation
INFERRED = {
    "flow-weak": " and the flow inferred from the sequence",
    "flow-sparse": " and the spikes and speeds inferred from the sequence",
}
FLOW_METRICS = ("equivariance", "frame-bound", "round-trips")


def supervised_mnist(setting: Setting) -> Outcome:
    """Which transformation is known."""
    return on_mnist(setting, "flow-supervised", SUPERVISED)


def weak_mnist(setting: Setting) -> Outcome:
    """Every sequence has one transformation; which is latent."""
    return on_mnist(setting, "flow-weak", WEAK)


def sparse_mnist(setting: Setting) -> Outcome:
    """Several transformations at once, nothing labelled; errors on the test set of the other two."""
    return on_mnist(setting, "flow-sparse", SPARSE)


def supervised_shapes3d(setting: Setting) -> Outcome:
    """The room, with the factor that moves known."""
    return on_shapes3d(setting, "flow-supervised")


def sparse_shapes3d(setting: Setting) -> Outcome:
    """The room with several factors moving at once, nothing labelled."""
    return on_shapes3d(setting, "flow-sparse")


def on_mnist(setting: Setting, story: str, recipe: Recipe) -> Outcome:
    """MNIST in motion, measured on digits of the official test set."""
    turn = {"turn": 10.0}
    single = load("flow-mnist", **setting.data_options(**turn))
    several = load("flow-mnist", **setting.data_options(mode="sparse", **turn))
    longer = load("flow-mnist", **setting.data_options(steps=12, **turn)).test
    data = several if story == "flow-sparse" else single
    beyond = {"composition": several.test, "extrapolation": longer}
    network = SPARSE_NETWORK if story == "flow-sparse" else NETWORK
    notes = f"frames 3 x 28 x 28, held-out digits; decoder '{network['network']}', which draws a grey canvas and places"
    return in_motion(setting, story, recipe, network, data, single.test, notes + " and tints it", beyond)


def on_shapes3d(setting: Setting, story: str) -> Outcome:
    """The rendered room, measured on rooms of its own."""
    if story == "flow-sparse":
        # rooms of another seed, or some would have the colours of a room in training
        data, single = (
            load("flow-shapes3d", count=ROOMS, mode="sparse"),
            load("flow-shapes3d", count=10 * ROOM_TESTS, seed=1),
        )
    else:
        data = single = load("flow-shapes3d", count=ROOMS)
    notes = f"frames 3 x 64 x 64, decoder 'painted', {len(data.train)} rendered rooms for training, others for the test"
    recipe, network = (SPARSE_ROOM, SPARSE_ROOM_NETWORK) if story == "flow-sparse" else (ROOM, ROOM_NETWORK)
    return in_motion(setting, story, recipe, network, data, single.test.take(slice(0, ROOM_TESTS)), notes)


def in_motion(
    setting: Setting,
    story: str,
    recipe: Recipe,
    network: dict[str, Any],
    data: Splits,
    single: Data,
    notes: str,
    beyond: Mapping[str, Data] = MappingProxyType({}),
) -> Outcome:
    """Trains on sequences; errors of foretold frames, and spikes where they are latent. ``beyond``: metrics of
    what no training sequence shows, and the data for them."""
    steps, batch, rate = recipe
    precision = fast_precision(setting.device)
    sparse = story == "flow-sparse"
    single, several = single.take(slice(0, MEASURED)), data.test.take(slice(0, MEASURED))

    def one(seed: int) -> dict[str, Any]:
        run = fit(
            story,
            data,
            story_options=network,
            steps=steps,
            batch_size=batch,
            learning_rate=rate,
            schedule="cosine",
            seed=seed,
            device=setting.device,
            precision=precision,
            validate_every=0,
            threads=setting.threads,
            progress=False,
        )
        found = evaluate(run.story, single, metrics=FLOW_METRICS)
        found["split"] = "test"
        if story != "flow-supervised":
            add_result(found, evaluate(run.story, several if sparse else single, metrics=["spikes"]))
        for metric, data_of_it in beyond.items():
            add_result(found, evaluate(run.story, data_of_it.take(slice(0, MEASURED)), metrics=[metric]))
        found["metrics"] = {key: value for key, value in found["metrics"].items() if key.startswith(KEPT)}
        return found

    outcome = per_seed(setting, one)
    return replace(
        outcome,
        notes=f"equivariance: summed absolute error of frames 1 to 7 foretold from frame 0{INFERRED.get(story, '')}; "
        f"{notes}; "
        f"{steps} steps of {batch} sequences, {network['decoded']} frames of each decoded a step, the codes' "
        f"divergence weighed by {network.get('kl', 1)} while training, networks in "
        f"{precision}; bits_per_dim: IWAE-20 of whole sequences, Bernoulli score of grey values.",
    )


#: what the results file keeps
KEPT = (
    "equivariance/",
    "composition_error",
    "extrapolation_error",
    "bits_per_dim",
    "spike_f1",
    "flow_factor_match",
    "match/",
    "speed_correlation",
    "cycle_error",
    "commutator_error",
    "smallest_singular_value",
    "largest_divergence",
)


def add_result(found: dict[str, Any], more: dict[str, Any]) -> None:
    """Scores of a second evaluation among those of the first."""
    for part in ("metrics", "sizes", "baselines", "rules", "better"):
        found[part] = {**found[part], **more[part]}
