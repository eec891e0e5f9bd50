"""Gradient estimators: the toy of the original experiments, bias against the truth, cost and variance on a D-VAE.

The figures of the original (StrImaDec) stand beside ours; its NVIL variance was inflated by a broadcasting mistake
(e^13.8), so the corrected number is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from evaluation.reproduce import Outcome, Setting
from inference import estimators
from inference.bias import FAILURE_PROBABILITY, estimate, limit
from inference.hard_pairs import GAUSSIAN, HARD, SHARED
from inference.pairs import MATRIX, Case
from inference.problems import SmallPrototypes, noisy_copies
from inference.study import clock, gradient_study
from inference.toy import ESTIMATORS, REPLICATION_TARGET, TARGET, ToyResult, toy_experiment, toy_figure

#: of the original: 1000 x (time average of the expected loss - optimum), and mean ln variance
ORIGINAL_TOY = {
    "exact": (0.103, None),
    "reinforce": (3.71, -3.56),
    "nvil": (1.17, -12.62),
    "concrete": (4.33, -4.53),
    "rebar": (3.80, -3.61),
    "relax": (0.85, -11.19),
}
ORIGINAL_REPLICATION = {
    "exact": (0.012, None),
    "reinforce": (0.87, -3.87),
    "rebar": (0.95, -3.90),
    "relax": (0.26, -12.6),
}
ORIGINAL_BATCH = {
    1: {"exact": 0.10, "reinforce": 3.59, "nvil": 1.08, "concrete": 4.33, "rebar": 4.16, "relax": 0.80},
    50: {"exact": 0.10, "reinforce": 1.12, "nvil": 0.35, "concrete": 4.33, "rebar": 1.10, "relax": 0.22},
}
ORIGINAL_TEMPERATURE = {0.2: (4.26, -3.12), 0.6: (4.33, -4.52), 2.0: (4.33, -7.18)}


def _toy_outcome(
    setting: Setting, result: ToyResult, original: Mapping[str, tuple[float, float | None]], name: str
) -> Outcome:
    """One value per repetition: 1000 x error, final loss, mean ln variance; the figure goes beside the results."""
    metrics: dict[str, list[float]] = {}
    for label, curves in result.curves.items():
        metrics[f"err1000/{label}"] = curves.err1000().tolist()
    for label, curves in result.curves.items():
        metrics[f"logvar/{label}"] = curves.mean_log_variance().tolist()
    for label, curves in result.curves.items():
        metrics[f"final/{label}"] = curves.final().tolist()
    baselines = {f"err1000/{label}: original": error for label, (error, _) in original.items()}
    baselines |= {f"logvar/{label}: original": value for label, (_, value) in original.items() if value is not None}
    baselines |= {f"final/{label}: optimum": curves.optimum for label, curves in result.curves.items()}
    toy_figure(result).savefig(setting.folder / f"{name}.png", dpi=120, bbox_inches="tight")
    steps = len(next(iter(result.curves.values())).loss) - 1
    seconds = sum(curves.seconds for curves in result.curves.values()) / len(setting.seeds)
    return Outcome(
        metrics,
        "exact expectation",
        steps,
        [seconds] * len(setting.seeds),
        baselines,
        notes=f"Seeds are repetitions; all of them advance together. n is the number of steps. CPU seconds in all: "
        f"{', '.join(f'{label} {curves.seconds:.1f}' for label, curves in result.curves.items())}.",
        headline=[key for key in metrics if key.startswith("err1000/")][:14],
    )


def toy_replication(setting: Setting) -> Outcome:
    result = toy_experiment(
        ["exact", "reinforce", "rebar", "relax", "rloo"],
        len(setting.seeds),
        steps=10_000,
        target=REPLICATION_TARGET,
        seed=setting.seeds[0],
    )
    return _toy_outcome(setting, result, ORIGINAL_REPLICATION, "toy-replication")


def toy(setting: Setting) -> Outcome:
    result = toy_experiment(tuple(ESTIMATORS), len(setting.seeds), steps=5000, target=TARGET, seed=setting.seeds[0])
    return _toy_outcome(setting, result, ORIGINAL_TOY, "toy")


def toy_hyperparameters(setting: Setting) -> Outcome:
    repetitions, seed = len(setting.seeds), setting.seeds[0]
    merged = ToyResult()
    original: dict[str, tuple[float, float | None]] = {}
    for batch in (1, 50):
        runs = {f"{name} batch={batch}": (name, options) for name, options in ESTIMATORS.items()}
        merged.curves |= toy_experiment(runs, repetitions, batch=batch, seed=seed).curves
        original |= {f"{name} batch={batch}": (error, None) for name, error in ORIGINAL_BATCH[batch].items()}
    for rate in (0.1, 0.01, 0.001):
        runs = {
            f"{name} lr={rate}": (name, {**ESTIMATORS[name], "learning_rate": rate})
            for name in ("nvil", "rebar", "relax")
        }
        merged.curves |= toy_experiment(runs, repetitions, seed=seed).curves
    for temperature, found in ORIGINAL_TEMPERATURE.items():
        label = f"concrete temperature={temperature}"
        runs = {label: ("concrete", {"temperature": temperature})}
        merged.curves |= toy_experiment(runs, repetitions, seed=seed).curves
        original[label] = found
    label = "concrete temperature=0.6 to 0.05"
    runs = {label: ("concrete", {"temperature": 0.6, "final_temperature": 0.05})}
    merged.curves |= toy_experiment(runs, repetitions, seed=seed).curves
    return _toy_outcome(setting, merged, original, "toy-hyperparameters")


def toy_speedup(setting: Setting, repetitions: int = 50, steps: int = 20) -> Outcome:
    """CPU time of a loop of single runs over that of the batched run of as many."""
    metrics: dict[str, list[float]] = {"speedup": []}
    metrics |= {f"speedup/{name}": [] for name in ESTIMATORS}
    seconds = []
    for seed in setting.seeds:
        alone, together = dict.fromkeys(ESTIMATORS, 0.0), dict.fromkeys(ESTIMATORS, 0.0)
        for name in ESTIMATORS:
            toy_experiment([name], 1, steps, seed=seed, variance_every=0)  # the first run pays for imports
            for one in range(repetitions):
                found = toy_experiment([name], 1, steps, seed=seed + one, variance_every=0)
                alone[name] += found.curves[name].seconds
            found = toy_experiment([name], repetitions, 10 * steps, seed=seed, variance_every=0)
            together[name] = found.curves[name].seconds / 10
            metrics[f"speedup/{name}"].append(alone[name] / together[name])
        metrics["speedup"].append(sum(alone.values()) / sum(together.values()))
        seconds.append(sum(alone.values()) + 10 * sum(together.values()))
    return Outcome(
        metrics,
        "training",
        repetitions,
        seconds,
        notes=f"{repetitions} repetitions of {steps} steps; n: repetitions.",
        headline=["speedup"],
    )


#: label: name, options, gradients drawn, steps that its own parameters learn for, particles of the bound
BIAS: dict[str, tuple[str, dict[str, Any], int, int, int]] = {
    "exact": ("exact", {}, 3_000, 0, 1),
    "reinforce": ("reinforce", {}, 40_000, 0, 1),
    "reinforce-average": ("reinforce", {"baseline": "average"}, 40_000, 5, 1),
    "nvil": ("nvil", {"hidden": (8,), "learning_rate": 0.05}, 20_000, 10, 1),
    "rloo": ("rloo", {"num_particles": 2}, 40_000, 0, 1),
    "rebar": ("rebar", {"learning_rate": 0.1}, 5_000, 5, 1),
    "relax": ("relax", {"hidden": (8,), "learning_rate": 0.05}, 5_000, 5, 1),
    "relax-network": ("relax", {"control": "network", "hidden": (8,), "learning_rate": 0.05}, 10_000, 5, 1),
    "arm": ("arm", {}, 40_000, 0, 1),
    "disarm": ("disarm", {}, 40_000, 0, 1),
    "vimco": ("vimco", {"num_particles": 2}, 40_000, 0, 2),
    "iwae": ("iwae", {"num_particles": 2}, 40_000, 0, 2),
    "dreg": ("dreg", {"num_particles": 2}, 40_000, 0, 2),
    "pathwise": ("pathwise", {}, 40_000, 0, 1),
    "concrete-1.0": ("concrete", {"temperature": 1.0}, 40_000, 0, 1),
    "concrete-0.1": ("concrete", {"temperature": 0.1}, 40_000, 0, 1),
    "straight-through-1.0": ("straight-through", {"temperature": 1.0}, 40_000, 0, 1),
    "straight-through-0.1": ("straight-through", {"temperature": 0.1}, 40_000, 0, 1),
    "gumbel-rao-1.0": ("gumbel-rao", {"temperature": 1.0}, 20_000, 0, 1),
    "gumbel-rao-0.1": ("gumbel-rao", {"temperature": 0.1}, 20_000, 0, 1),
    "reweighted-wake-sleep": ("reweighted-wake-sleep", {"num_particles": 2}, 40_000, 0, 2),
}


def _combinations(name: str) -> list[tuple[Case, str]]:
    if name in ("dreg", "pathwise"):
        return [(GAUSSIAN, "one-hot")]
    families = ("bits",) if name in ("arm", "disarm") else ("one-hot", "bits")
    cases = [case for case in (*MATRIX, *HARD) if not (name == "exact" and case is SHARED)]
    return [(case, family) for case in cases for family in families]


def estimator_bias(setting: Setting) -> Outcome:
    """Largest |mean - truth| / standard error over all entries of all pairs; relative bias beside it."""
    metrics: dict[str, list[float]] = {f"max_abs_z/{label}": [] for label in BIAS}
    metrics |= {f"relative_bias/{label}": [] for label in BIAS}
    seconds, comparisons = [], 0
    for seed in setting.seeds:
        start, comparisons = clock(torch.device("cpu")), 0
        for label, (name, options, copies, steps, particles) in BIAS.items():
            worst, relative = 0.0, 0.0
            for case, family in _combinations(name):
                torch.manual_seed(seed)
                estimator = estimators.get(name)(**options)
                found = estimate(case, family, estimator, copies, steps, particles, seed=3 + seed)
                scores = torch.cat([score.flatten() for score in found.z_scores().values()])
                comparisons += len(scores)
                worst = max(worst, float(scores.abs().max()))
                relative = max(relative, found.bias() / found.norm())
            metrics[f"max_abs_z/{label}"].append(worst)
            metrics[f"relative_bias/{label}"].append(relative)
        seconds.append(clock(torch.device("cpu")) - start)
    allowed = limit(comparisons * len(setting.seeds))
    unbiased = [label for label, (name, *_) in BIAS.items() if estimators.get(name).unbiased]
    return Outcome(
        metrics,
        "truth by hand",
        comparisons,
        seconds,
        {f"max_abs_z/{label}: allowed": allowed for label in unbiased},
        notes=f"n: entries compared. A correct estimator exceeds 'allowed' anywhere with probability "
        f"{FAILURE_PROBABILITY}. relative_bias is the worst |mean - truth| / |truth|, noise included.",
        headline=[f"max_abs_z/{label}" for label in unbiased],
    )


COST: dict[str, tuple[str, dict[str, Any]]] = {
    "exact": ("exact", {}),
    "reinforce": ("reinforce", {}),
    "reinforce-average": ("reinforce", {"baseline": "average"}),
    "nvil": ("nvil", {}),
    "rloo": ("rloo", {}),
    "rebar": ("rebar", {}),
    "relax": ("relax", {}),
    "relax-network": ("relax", {"control": "network"}),
    "vimco": ("vimco", {"num_particles": 2}),
    "reweighted-wake-sleep": ("reweighted-wake-sleep", {"num_particles": 2}),
    "concrete": ("concrete", {}),
    "straight-through": ("straight-through", {}),
    "gumbel-rao": ("gumbel-rao", {}),
}

#: of the README's table; all are in the JSON and on the page on estimators
HEADLINE = ("reinforce", "rloo", "rebar", "relax", "gumbel-rao")


def estimator_cost(setting: Setting, batch: int = 64, samples: int = 20) -> Outcome:
    """Seconds of a step relative to ``exact`` and ``reinforce``, and the variance of the encoder's gradient, on the
    D-VAE of the original with K = 10 and K = 50 at the start of training (later the posterior is sure of itself, and
    there is no variance to compare)."""
    metrics: dict[str, list[float]] = {}
    for quantity in ("relative_to_exact", "relative_to_reinforce", "variance"):
        for clusters in (10, 50):
            suffix = "" if clusters == 10 else f" K={clusters}"
            metrics |= {f"{quantity}/{label}{suffix}": [] for label in COST}
    seconds = []
    for seed in setting.seeds:
        start = clock(torch.device("cpu"))
        for clusters in (10, 50):
            suffix = "" if clusters == 10 else f" K={clusters}"
            torch.manual_seed(seed)
            vae, x = SmallPrototypes(clusters=clusters), noisy_copies(batch, 784, clusters, seed)
            kept = {label: estimators.get(name)(**options) for label, (name, options) in COST.items()}
            encoder = dict(vae.encoder.named_parameters())
            noise = gradient_study(
                vae.model, vae.guide, kept, (x,), samples=samples, own_steps=60, parameters=encoder, seed=seed
            )
            cost = gradient_study(
                vae.model, vae.guide, kept, (x,), samples=samples, own_steps=0, reference=None, seed=seed
            )
            for label in COST:
                step = cost["seconds"]
                metrics[f"relative_to_exact/{label}{suffix}"].append(step[label] / step["exact"])
                metrics[f"relative_to_reinforce/{label}{suffix}"].append(step[label] / step["reinforce"])
                metrics[f"variance/{label}{suffix}"].append(float(noise["variance"][label]))
        seconds.append(clock(torch.device("cpu")) - start)
    return Outcome(
        metrics,
        "train",
        batch,
        seconds,
        notes="Seconds of a step (loss and gradient of all parameters), median, one thread; variance: total, of the "
        f"encoder's gradient at the start, {samples} gradients.",
        headline=[f"relative_to_exact/{label}{s}" for s in ("", " K=50") for label in COST if label in HEADLINE],
    )


#: repetitions of the original; every seed is one
toy_replication.seeds = range(50)  # type: ignore[attr-defined]
toy.seeds = range(50)  # type: ignore[attr-defined]
toy_hyperparameters.seeds = range(25)  # type: ignore[attr-defined]
toy_speedup.seeds = (0, 1, 2)  # type: ignore[attr-defined]
estimator_bias.seeds = (0, 1, 2)  # type: ignore[attr-defined]
estimator_cost.seeds = range(5)  # type: ignore[attr-defined]
