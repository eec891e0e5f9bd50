"""Bias of an estimator on pairs (:mod:`inference.pairs`, :mod:`inference.hard_pairs`) whose true gradients are sums by
hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import norm
from torch import Tensor

from inference.estimators.base import Estimator
from inference.pairs import Case, bound

#: chance that a correct estimator fails one of the statistical tests of a file, over all comparisons made in it
FAILURE_PROBABILITY = 2e-5


@dataclass
class Estimate:
    """Gradients of minus the bound by parameter: one row per copy, and the true one."""

    rows: dict[str, Tensor]
    truth: dict[str, Tensor]

    def z_scores(self) -> dict[str, Tensor]:
        """(mean - truth) / standard error, by entry; 0 where an entry is exact without noise."""
        found = {}
        for name, rows in self.rows.items():
            difference = rows.mean(0) - self.truth[name]
            # rounding of the sums is no bias
            error = rows.std(0) / len(rows) ** 0.5 + 1e-9
            found[name] = difference / error
        return found

    def bias(self) -> float:
        """Norm of the mean minus the truth."""
        return float(sum(((r.mean(0) - self.truth[n]) ** 2).sum() for n, r in self.rows.items()) ** 0.5)

    def norm(self) -> float:
        """Norm of the truth."""
        return float(sum((t**2).sum() for t in self.truth.values()) ** 0.5)

    def variance(self, names: tuple[str, ...]) -> float:
        """Total variance of a single estimate in the named parameters."""
        return float(sum(self.rows[n].var(0).sum() for n in names))


def limit(comparisons: int) -> float:
    """The largest |z| allowed when so many comparisons are made in a file."""
    return float(norm.isf(FAILURE_PROBABILITY / comparisons / 2))


def estimate(
    case: Case,
    family: str,
    estimator: Estimator,
    copies: int = 20_000,
    own_steps: int = 20,
    particles: int = 1,
    learning_rate: float | None = None,
    seed: int = 3,
) -> Estimate:
    """One gradient per copy, after the estimator's own parameters have learned for a few steps."""
    values = case.parameters(family, seed)
    truth_leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    true_gradients = torch.autograd.grad(-bound(case, truth_leaves, particles), list(truth_leaves.values()))
    leaves = {name: v.expand(copies, *v.shape).clone().requires_grad_() for name, v in values.items()}
    pair = case.pair(leaves, family)
    estimator.prepare(*pair)
    learn(estimator, pair, own_steps, learning_rate)
    gradients = torch.autograd.grad(estimator.differentiable_loss(*pair), list(leaves.values()), allow_unused=True)
    rows = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    return Estimate(rows, dict(zip(values, true_gradients, strict=True)))


def learn(estimator: Estimator, pair: Any, steps: int, learning_rate: float | None = None) -> None:
    """Trains the estimator's own parameters, the pair fixed."""
    own: list[Tensor] = list(estimator.parameters())
    optimiser = torch.optim.Adam(own, lr=learning_rate or estimator.learning_rate) if own else None
    for _ in range(steps if own or list(estimator.buffers()) else 0):
        loss = estimator.differentiable_loss(*pair)
        if optimiser is not None:
            gradients = torch.autograd.grad(loss, own, allow_unused=True)
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
            optimiser.step()
