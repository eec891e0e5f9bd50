"""AIR under interchangeable estimators: how noisy the gradients are, and how long it takes to count."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch

from evaluation.experiments.objects import SCENES
from evaluation.figures.canvas import COLOURS, blank, plain_axes
from evaluation.reproduce import Outcome, Setting
from inference import estimators
from inference.device import choose_device
from inference.study import gradient_study
from pyro_models.datasets.data import Data
from pyro_models.objects.air import AIR

#: how a row trains: guide, inference network, estimator; ``published`` is the design of Pyro's tutorial
ROWS: dict[str, tuple[str, str, str]] = {
    "exact": ("enumerated-count", "residual", "exact"),
    "rloo": ("sampled-count", "residual", "rloo"),
    "nvil": ("sampled-count", "residual", "nvil"),
    "reinforce": ("sampled-count", "residual", "reinforce"),
    "sequential-nvil": ("sequential", "residual", "nvil"),
    "published": ("sequential", "lstm", "nvil"),
}
#: share of images counted right that the clock stops at
GOAL = 0.95
#: steps and seconds at most, whichever is first
STEPS, SECONDS = 2500, 120.0
#: of the row that gets nowhere, and of the one the others are compared with
LIMITS = {"reinforce": 60.0, "published": 270.0}
#: a lower share at which times are compared as well
HALF_WAY = 0.8
#: steps between two looks, scenes looked at, batch, learning rate and gradient norm, the same for all
LOOK, SCENES_SEEN, BATCH, RATE, CLIP = 100, 500, 64, 1e-3, 50.0
#: exact steps before gradients are compared, and gradients drawn of each estimator
BEFORE, SAMPLES = 500, 60


def air_estimators(setting: Setting) -> Outcome:
    """``logvar/E``: log of the total gradient variance of one step at the same weights; ``seconds_to_95/E``: processor
    time of training until 95 % of the validation scenes are counted right (the whole run's where that is not reached,
    and ``reached/E`` is 0); ``seconds_to_80/E``: until 80 % for the first time; ``count_accuracy/E``: at the end of
    that time. ``air-estimators.png`` shows how it grew."""
    from pyro_models.datasets import load

    splits = load("multi-digits", **setting.data_options(**SCENES))
    device = choose_device(setting.device)
    metrics: dict[str, list[float]] = {}
    seconds, curves = [], []
    for seed in setting.seeds:
        began = time.perf_counter()
        times, ways = _times(splits, seed, device)
        found = {**_variances(splits.train, seed, device), **times}
        curves.append(ways)
        for key, value in found.items():
            metrics.setdefault(key, []).append(value)
        seconds.append(time.perf_counter() - began)
    _figure(curves).savefig(setting.folder / "air-estimators.png", dpi=120, bbox_inches="tight")
    notes = (
        f"batches of {BATCH} scenes; {STEPS} steps or {SECONDS:.0f} s at most (reinforce 60, published 270); "
        "processor seconds without the looks at the validation scenes, which a busy machine does not lengthen as it "
        "does wall seconds"
    )
    headline = [key for key in metrics if key.startswith("seconds_to_95/")]
    return Outcome(metrics, "validation", SCENES_SEEN, seconds, notes=notes, headline=headline)


air_estimators.seeds = (0, 1, 2)  # type: ignore[attr-defined]


#: processor seconds, and the share of scenes counted right by then
Curve = list[tuple[float, float]]


class Trainer:
    """The plain loop, timed: AIR with one guide, network and estimator."""

    def __init__(self, row: str, data: Data, seed: int, device: torch.device) -> None:
        guide, network, estimator = ROWS[row]
        torch.manual_seed(seed)
        self.story = AIR(data.shape(), guide=guide, network=network).to(device)
        self.estimator, self.steps = estimators.get(estimator)(), STEPS
        self.batches = data.to(device).batches(BATCH, seed)
        first = next(data.to(device).batches(BATCH, seed))["x"]
        self.estimator.prepare(self.story.model, self.story.guide, first)
        self.estimator.to(device)
        own = {"params": list(self.estimator.parameters()), "lr": self.estimator.learning_rate}
        groups: list[dict[str, Any]] = [{"params": list(self.story.parameters()), "lr": RATE}]
        self.optimiser = torch.optim.Adam(groups + ([own] if own["params"] else []))
        self.step, self.seconds = 0, 0.0

    def train(self, steps: int) -> None:
        began = self.clock()
        with pyro.validation_enabled(False):
            for _ in range(steps):
                x = next(self.batches)["x"]
                self.story.at(self.step / self.steps)
                self.estimator.at(self.step / self.steps)
                self.optimiser.zero_grad(set_to_none=True)
                loss = self.estimator.differentiable_loss(self.story.model, self.story.guide, x) / len(x)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.story.parameters(), CLIP)
                self.optimiser.step()
                self.step += 1
        self.seconds += self.clock() - began

    def clock(self) -> float:
        """Of the processor's work where it does the work, else of the wall."""
        return time.process_time() if next(self.story.parameters()).device.type == "cpu" else time.perf_counter()


def _times(splits: Any, seed: int, device: torch.device) -> tuple[dict[str, float], dict[str, Curve]]:
    some = splits.validation.take(slice(0, SCENES_SEEN)).to(device)
    found: dict[str, float] = {}
    ways: dict[str, Curve] = {row: [] for row in ROWS}
    for row in ROWS:
        trainer, right = Trainer(row, splits.train, seed, device), 0.0
        while right < GOAL and trainer.step < STEPS and trainer.seconds < LIMITS.get(row, SECONDS):
            trainer.train(LOOK)
            right = float((trainer.story.count(some["x"]) == some["count"]).float().mean())
            ways[row].append((trainer.seconds, right))
        found[f"seconds_to_95/{row}"] = trainer.seconds
        found[f"seconds_to_80/{row}"] = next((s for s, share in ways[row] if share >= HALF_WAY), trainer.seconds)
        found[f"reached/{row}"], found[f"count_accuracy/{row}"] = float(right >= GOAL), right
        found[f"milliseconds_a_step/{row}"] = 1000 * trainer.seconds / trainer.step
    return found, ways


def _figure(curves: Sequence[Mapping[str, Curve]]) -> Any:
    """Counts right against processor time, a line per seed."""
    made, axes = blank(6.5, 3.6)
    axis = axes[0, 0]
    plain_axes(axis)
    for colour, row in zip(COLOURS, ROWS, strict=False):
        for number, ways in enumerate(curves):
            seconds, right = zip(*ways[row], strict=True)
            axis.plot(seconds, right, color=colour, linewidth=1.2, label=row if number == 0 else None)
    axis.axhline(GOAL, color="0.7", linewidth=0.8, zorder=0)
    axis.set_xlabel("processor seconds of training")
    axis.set_ylabel("share of scenes counted right")
    axis.set_ylim(0, 1)
    axis.legend(fontsize=7, frameon=False)
    return made


def _variances(data: Data, seed: int, device: torch.device) -> dict[str, float]:
    """Gradients of the inference network's parameters, at weights that 500 exact steps have led to."""
    trainer = Trainer("exact", data, seed, device)
    trainer.train(BEFORE)
    story, x = trainer.story, next(trainer.batches)["x"]
    story.guide_kind = "sampled-count"  # the same pair; estimator 'exact' enumerates it all the same
    table = gradient_study(
        story.model, story.guide, ("exact", "rloo", "nvil", "reinforce"), (x,), samples=SAMPLES, reference=None,
        parameters=dict(story.attention.named_parameters()), seed=seed,
    )  # fmt: skip
    return {f"logvar/{name}": math.log(row["variance"]) for name, row in table.iterrows()}
