"""What a step of D-VAE-ST costs, by the number of clusters, and that prototypes are decoded once whatever the batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from evaluation.reproduce import Outcome, Setting
from inference import estimators
from inference.device import choose_device
from inference.study import clock
from pyro_models.prototypes.dvae_st import DVAEST

CLUSTERS, BATCH, IMAGE = (5, 10, 20, 50, 100), 128, (1, 28, 28)
#: sizes of batches for which prototypes are decoded
BATCHES = (32, 128, 512)
REPEATS, TRAINING_IMAGES = 15, 60_000


def dvae_st_cost(setting: Setting) -> Outcome:
    """``ms_step/K`` and ``epoch_seconds/K``, the exponent of K between 10 and 100, ``decode_ms/BATCH``."""
    device = choose_device(setting.device)
    metrics: dict[str, list[float]] = {}
    seconds = []
    for seed in setting.seeds:
        torch.manual_seed(seed)
        began = time.perf_counter()
        for clusters in CLUSTERS:
            step = step_seconds(clusters, device)
            metrics.setdefault(f"ms_step/K={clusters}", []).append(1000 * step)
            metrics.setdefault(f"epoch_seconds/K={clusters}", []).append(step * TRAINING_IMAGES / BATCH)
        large = [clusters for clusters in CLUSTERS if clusters >= 10]
        times = [metrics[f"ms_step/K={clusters}"][-1] for clusters in large]
        metrics.setdefault("exponent", []).append(float(np.polyfit(np.log(large), np.log(times), 1)[0]))
        for batch in BATCHES:
            metrics.setdefault(f"decode_ms/batch={batch}", []).append(1000 * decode_seconds(batch, device))
        seconds.append(time.perf_counter() - began)
    notes = (
        f"Milliseconds of loss and gradients, median of {REPEATS}, batch {BATCH}, images {IMAGE}, random pixels, the "
        "defaults of the story (affine and thin-plate, three candidates per image); epoch: of 60 000 images; exponent: "
        "slope of ln time over ln K for K of 10 and more; decode_ms: of a generator network's 10 prototypes within a "
        "step of that batch, forward and backward."
    )
    headline = ["ms_step/K=10", "ms_step/K=50", "exponent", *(f"decode_ms/batch={batch}" for batch in BATCHES)]
    return Outcome(metrics, "random", BATCH, seconds, notes=notes, headline=headline)


def step_seconds(clusters: int, device: torch.device) -> float:
    """Loss and gradients of one step, after the recipe's changes are over."""
    story = DVAEST(IMAGE, clusters=clusters, recipe="original", guide="collapsed").to(device).train()
    estimator = estimators.get("exact")(max_plate_nesting=story.max_plate_nesting)
    x = torch.rand(BATCH, *IMAGE, device=device)
    story.at(1.0)

    def step() -> None:
        story.zero_grad(set_to_none=True)
        estimator.differentiable_loss(story.model, story.guide, x).backward()

    return median_seconds(step, device)


def decode_seconds(batch: int, device: torch.device) -> float:
    """The generator network's share of a step: K images decoded, and their gradients from a whole batch."""
    story = DVAEST(IMAGE, prototypes="generator", recipe="original").to(device).train()
    seen: list[float] = []

    def step() -> None:
        story.zero_grad(set_to_none=True)
        start = clock(device)
        images = story.prototypes()
        forward = clock(device) - start
        apart = images.detach().requires_grad_()
        z = torch.arange(batch, device=device) % len(apart)
        apart[z].square().sum().backward()
        start = clock(device)
        images.backward(apart.grad)
        seen.append(forward + clock(device) - start)

    for _ in range(3 + REPEATS):
        step()
    return statistics.median(seen[3:])


def median_seconds(step: Callable[[], None], device: torch.device) -> float:
    """Of :data:`REPEATS` calls, after three to warm up."""
    times = []
    for _ in range(3 + REPEATS):
        start = clock(device)
        step()
        times.append(clock(device) - start)
    return statistics.median(times[3:])


dvae_st_cost.seeds = (0, 1, 2)  # type: ignore[attr-defined]
