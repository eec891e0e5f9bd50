"""What the metrics cost, and that the fast Frechet distance is the one of scipy's matrix root."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from evaluation import clustering
from evaluation.calibration import expected_calibration_error
from evaluation.disentanglement.suite import SCORES
from evaluation.disentanglement.tables import tables
from evaluation.frechet import frechet_distance, frechet_infinity, kernel_distance, real_floor
from evaluation.generation import density_coverage, precision_recall
from evaluation.reproduce import Outcome, Setting

DATA, CODES, FACTORS, LEVELS = 10_000, 10, 5, 6
#: the size of published FIDs: 10 000 images, Inception's 2048 features
FEATURES = 2048
#: features of the small classifier, at which neighbours are looked up
SMALL = 64
CLASSES = 10

HEADLINE = ("seconds/disentanglement_suite", "seconds/frechet_2048", "frechet_2048", "frechet_2048_relative_error")
NOTES = (
    f"CPU seconds of the process (run with one thread) for {DATA} data each: disentanglement scores on {CODES} codes "
    f"and {FACTORS} factors of {LEVELS} values; frechet on {FEATURES} features; frechet_infinity, kernel, "
    f"precision_recall and density_coverage on {SMALL}; clustering scores on {CLASSES} clusters. Random data: "
    "correlated features, codes of mixed factors."
)


def metrics_cost(setting: Setting) -> Outcome:
    """``seconds/METRIC`` per seed (each seed other data), the sum of the disentanglement suite, and FID's accuracy."""
    found: dict[str, list[float]] = {}
    totals = []
    for seed in setting.seeds:
        began = time.perf_counter()
        for name, value in one_seed(seed).items():
            found.setdefault(name, []).append(value)
        totals.append(time.perf_counter() - began)
    floor = found.pop("floor")
    beside = {"frechet_2048: real against real, halves": float(np.mean(floor))}
    return Outcome(found, "random", DATA, totals, beside, notes=NOTES, headline=HEADLINE)


def one_seed(seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    found: dict[str, float] = {}

    def clock(name: str, function: Callable[[], Any]) -> Any:
        began = time.process_time()  # another process on the same machine must not count
        result = function()
        found[f"seconds/{name}"] = time.process_time() - began
        return result

    factors = random.integers(LEVELS, size=(DATA, FACTORS)).astype(float)
    codes = factors @ random.standard_normal((FACTORS, CODES)) + random.standard_normal((DATA, CODES))
    kinds = tables(codes, factors).kinds
    for name, score in SCORES.items():
        clock(name, partial(score, codes, factors, kinds, seed))
    found["seconds/disentanglement_suite"] = sum(found[f"seconds/{name}"] for name in SCORES)

    a, b = correlated(random, FEATURES), correlated(random, FEATURES, shift=0.05)
    result = clock("frechet_2048", lambda: frechet_distance(a, b))
    reference = clock("frechet_2048_scipy_sqrtm", lambda: by_matrix_root(a, b))
    found["frechet_2048"] = result.value
    found["frechet_2048_relative_error"] = abs(result.value - reference) / reference
    found["floor"] = real_floor(a, repeats=1, seed=seed).value

    a, b = correlated(random, SMALL), correlated(random, SMALL, shift=0.05)
    clock("frechet_infinity", lambda: frechet_infinity(a, b))
    clock("kernel", lambda: kernel_distance(a, b))
    clock("precision_recall", lambda: precision_recall(a, b))
    clock("density_coverage", lambda: density_coverage(a, b))

    labels = random.integers(CLASSES, size=DATA)
    soft = random.dirichlet(np.ones(CLASSES), DATA)
    clock("clustering", lambda: clustering.clustering_scores(labels, soft))
    clock("silhouette", lambda: clustering.silhouette(codes, soft.argmax(1)))
    clock("calibration", lambda: expected_calibration_error(soft, labels))
    return found


def correlated(random: np.random.Generator, width: int, shift: float = 0.0) -> np.ndarray:
    """Features whose variances fall off like those of networks do."""
    scales = 1 / np.sqrt(1 + np.arange(width))
    turn = np.linalg.qr(random.standard_normal((width, width)))[0]
    return np.maximum((random.standard_normal((DATA, width)) * scales) @ turn + shift, 0)


def by_matrix_root(a: np.ndarray, b: np.ndarray) -> float:
    """The usual formula, with scipy's Schur-based square root of the product of covariances."""
    from scipy.linalg import sqrtm

    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(cov_a @ cov_b)
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root.real))
