"""Bias, variance and cost of gradient estimators, measured on any model and guide.

    from inference import gradient_study, study_figure

    table = gradient_study(model, guide, ["rloo", "rebar", "relax"], args=(x,))
    study_figure(table).savefig("gradients.png")

Every estimator draws many gradients at the same parameters, after its own parameters have learned there. The
reference is enumeration (whose own noise, from continuous sites, is counted).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from inference import estimators as catalogue
from inference.estimators.base import Estimator, PyroCallable
from pyro_models.errors import EstimatorError, OptionError

#: standard errors below this fraction of a gradient's norm are rounding, not noise
ROUNDING = 1e-6
#: random sums of entries that the z-score looks at: a single entry may be rare and large, and far from Gaussian
SUMS = 32


def gradient_study(
    model: PyroCallable,
    guide: PyroCallable,
    estimators: Sequence[str] | Mapping[str, str | Estimator],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    samples: int = 200,
    own_steps: int = 100,
    parameters: Mapping[str, Tensor] | None = None,
    reference: str | Estimator | None = "exact",
    seed: int = 0,
) -> Any:
    """One row per estimator, as a pandas table indexed by its label.

    Columns: ``unbiased`` (as declared), ``bias`` (norm of the mean gradient minus the reference), ``bias_error`` (its
    standard error), ``max_abs_z`` (largest |mean - reference| / standard error over :data:`SUMS` random sums of
    entries), ``variance`` (total, of one gradient), ``seconds`` (of one step, the median), ``variance_x_time`` (what a
    gradient of given precision costs), ``loss``, and ``refused`` (the reason, where an estimator cannot do the pair).

    Args:
        estimators: names, or ``{label: name or estimator}`` for other options.
        samples: gradients drawn.
        own_steps: steps that an estimator's own parameters learn for beforehand; model and guide stay fixed.
        parameters: whose gradients are studied; by default all that model and guide own or announce to Pyro.
        reference: the estimator taken for the truth; None leaves the bias columns empty, as does an estimator of
            another bound than the reference's (``vimco`` against ``exact``).
    """
    import pandas as pd

    if samples < 2:
        raise OptionError(f"samples is {samples}; a variance needs at least 2 gradients.")
    call = (model, guide, *args)
    options = dict(kwargs or {})
    weights = dict(parameters) if parameters is not None else find_parameters(*call, **options)
    judge = catalogue.get(reference)() if isinstance(reference, str) else reference
    objective = judge.objective if judge is not None else ""
    truth = _reference(judge, call, options, weights, samples, seed)
    rows: dict[str, dict[str, Any]] = {}
    named = estimators if isinstance(estimators, Mapping) else {name: name for name in estimators}
    for label, which in named.items():
        estimator = catalogue.get(which)() if isinstance(which, str) else which
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                estimator.prepare(*call, **options)
                _learn(estimator, call, options, own_steps)
                found, losses, seconds = _draw(estimator, call, options, weights, samples)
        except EstimatorError as error:
            rows[label] = {"unbiased": estimator.unbiased, "refused": str(error)}
            continue
        comparable = truth if estimator.objective == objective else None
        rows[label] = {
            "unbiased": estimator.unbiased,
            **_summary(found, comparable),
            "loss": losses,
            "seconds": seconds,
        }
        rows[label]["variance_x_time"] = rows[label]["variance"] * seconds
        rows[label]["refused"] = ""
    columns = ["unbiased", "bias", "bias_error", "max_abs_z"]
    columns += ["variance", "seconds", "variance_x_time", "loss", "refused"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "estimator"
    return table


def find_parameters(model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
    """The trainable tensors of a pair: of the modules that own it, and those it announces by ``pyro.param``."""
    found: dict[int, tuple[str, Tensor]] = {}
    for part in (model, guide):
        owner = part if isinstance(part, nn.Module) else getattr(part, "__self__", None)
        if isinstance(owner, nn.Module):
            for name, parameter in owner.named_parameters():
                found.setdefault(id(parameter), (name, parameter))
    with poutine.trace(param_only=True) as capture, torch.no_grad(), torch.random.fork_rng():
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        poutine.replay(model, trace=guide_trace)(*args, **kwargs)
    for name in capture.trace.param_nodes:
        leaf = pyro.get_param_store()._params[name]  # unconstrained, where the gradients arrive
        found.setdefault(id(leaf), (name, leaf))
    weights = {name: parameter for name, parameter in found.values() if parameter.requires_grad}
    if not weights:
        raise OptionError("model and guide have no trainable parameters; pass parameters={name: tensor}.")
    return weights


def _learn(estimator: Estimator, call: tuple[Any, ...], options: dict[str, Any], steps: int) -> None:
    own = [p for p in estimator.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(own, lr=estimator.learning_rate) if own else None
    for _ in range(steps if optimiser is not None or list(estimator.buffers()) else 0):
        loss = estimator.differentiable_loss(*call, **options)
        if optimiser is not None:
            for parameter, gradient in zip(own, torch.autograd.grad(loss, own, allow_unused=True), strict=True):
                parameter.grad = gradient
            optimiser.step()


@dataclass
class Moments:
    """Mean and variance of vectors by Welford's recursion: none of them is kept."""

    count: int = 0
    mean: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, vector: Tensor) -> None:
        self.count += 1
        difference = vector - self.mean
        self.mean = self.mean + difference / self.count
        self.squares = self.squares + difference * (vector - self.mean)

    @property
    def variance(self) -> Tensor:
        return torch.as_tensor(self.squares) / (self.count - 1)


@dataclass
class Gradients:
    """Moments of a gradient, all weights laid end to end, and of :data:`SUMS` random signed sums of its entries."""

    entries: Moments
    sums: Moments

    def add(self, gradient: Tensor) -> None:
        self.entries.add(gradient)
        generator = torch.Generator().manual_seed(0)  # the same sums for every gradient and estimator
        group = torch.randint(SUMS, gradient.shape, generator=generator).to(gradient.device)
        sign = (2 * torch.randint(2, gradient.shape, generator=generator) - 1).to(gradient)
        self.sums.add(gradient.new_zeros(SUMS).index_add(0, group, sign * gradient))


def _draw(
    estimator: Estimator, call: tuple[Any, ...], options: dict[str, Any], weights: dict[str, Tensor], samples: int
) -> tuple[Gradients, float, float]:
    """Moments of the gradient, the mean loss, and the median seconds of a step."""
    leaves = list(weights.values())
    found, losses, seconds = Gradients(Moments(), Moments()), [], []
    for _ in range(samples):
        start = clock(leaves[0].device)
        loss = estimator.differentiable_loss(*call, **options)
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        seconds.append(clock(leaves[0].device) - start)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, leaves, strict=True)]
        found.add(torch.cat([part.flatten() for part in parts]).double())
        losses.append(loss.detach())
    return found, float(torch.stack(losses).mean()), sorted(seconds)[samples // 2]


def clock(device: torch.device) -> float:
    """Seconds of this process where one thread does all the work, which other programs cannot lengthen; else of the
    clock on the wall."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def _reference(
    estimator: Estimator | None,
    call: tuple[Any, ...],
    options: dict[str, Any],
    weights: dict[str, Tensor],
    samples: int,
    seed: int,
) -> Gradients | None:
    if estimator is None:
        return None
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        estimator.prepare(*call, **options)
        return _draw(estimator, call, options, weights, samples)[0]


def _summary(found: Gradients, truth: Gradients | None) -> dict[str, float]:
    variance = float(found.entries.variance.sum())
    if truth is None:
        return {"bias": math.nan, "bias_error": math.nan, "max_abs_z": math.nan, "variance": variance}
    difference, squared_error = _compare(found.entries, truth.entries)
    sums, squared_noise = _compare(found.sums, truth.sums)
    rounding = ROUNDING * torch.as_tensor(truth.entries.mean).norm()
    return {
        "bias": float(difference.norm()),
        "bias_error": float(squared_error.sum().sqrt()),
        "max_abs_z": float((sums / (squared_noise.sqrt() + rounding)).abs().max()),
        "variance": variance,
    }


def _compare(one: Moments, other: Moments) -> tuple[Tensor, Tensor]:
    """The difference of two means and its squared standard error."""
    return torch.as_tensor(one.mean - other.mean), one.variance / one.count + other.variance / other.count


def study_figure(table: Any) -> Any:
    """Variance, cost and their product by estimator, and the bias beside what noise alone would show."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    done = table[table["refused"] == ""].reset_index()
    panels = {
        "variance": "variance of one gradient",
        "seconds": "seconds per step",
        "variance_x_time": "variance x time",
        "bias": "bias (bars: two standard errors)",
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 0.35 * len(done) + 1.8), sharey=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        shown = done.assign(row=range(len(done)))
        if column == "seconds":
            axis.set_xlim(0, 1.1 * done[column].max())
        elif bool((done[column] > 0).any()):
            shown = shown[shown[column] > 0]  # none at all has no place on a logarithmic axis
            axis.set_xscale("log")
        sns.scatterplot(shown, x=column, y="row", hue="unbiased", s=60, ax=axis, legend=axis is axes[0])
        if column == "bias":
            noise = 2 * shown["bias_error"]
            axis.hlines(shown["row"], noise.min() / 3, noise, color="0.7", linewidth=6, zorder=0)
        axis.set(title=title, xlabel="", ylabel="", yticks=range(len(done)), yticklabels=done["estimator"])
        axis.grid(axis="y", alpha=0.3)
    axes[0].invert_yaxis()
    figure.tight_layout()
    plt.close(figure)
    return figure
