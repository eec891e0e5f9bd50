"""Bias, variance and cost of gradient estimators, measured on any model and guide.

    table = gradient_study(model, guide, ["rloo", "rebar", "relax"], args=(x,))
    study_figure(table).savefig("gradients.png")

Every estimator draws many gradients at the same parameters, after its own parameters have learned there. The
reference is enumeration (whose own noise, from continuous sites, is counted).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
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
    standard error), ``max_abs_z`` (largest |mean - reference| / standard error over all entries), ``variance``
    (total, of one gradient), ``seconds`` (of one step, the median), ``variance_x_time`` (what a gradient of given
    precision costs), ``loss``, and ``refused`` (the reason, where an estimator cannot do the pair).

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
                gradients, losses, seconds = _draw(estimator, call, options, weights, samples)
        except EstimatorError as error:
            rows[label] = {"unbiased": estimator.unbiased, "refused": str(error)}
            continue
        comparable = truth if estimator.objective == objective else None
        rows[label] = {
            "unbiased": estimator.unbiased,
            **_summary(gradients, comparable),
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


def _draw(
    estimator: Estimator, call: tuple[Any, ...], options: dict[str, Any], weights: dict[str, Tensor], samples: int
) -> tuple[Tensor, float, float]:
    """Gradients [samples, entries] of all weights laid end to end, the mean loss, and the median seconds of a step."""
    leaves = list(weights.values())
    rows, losses, seconds = [], [], []
    for _ in range(samples):
        start = time.perf_counter()
        loss = estimator.differentiable_loss(*call, **options)
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        seconds.append(time.perf_counter() - start)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, leaves, strict=True)]
        rows.append(torch.cat([part.flatten() for part in parts]).double())
        losses.append(loss.detach())
    return torch.stack(rows), float(torch.stack(losses).mean()), sorted(seconds)[samples // 2]


def _reference(
    estimator: Estimator | None,
    call: tuple[Any, ...],
    options: dict[str, Any],
    weights: dict[str, Tensor],
    samples: int,
    seed: int,
) -> Tensor | None:
    if estimator is None:
        return None
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        estimator.prepare(*call, **options)
        return _draw(estimator, call, options, weights, samples)[0]


def _summary(gradients: Tensor, truth: Tensor | None) -> dict[str, float]:
    variance = float(gradients.var(0).sum())
    if truth is None:
        return {"bias": math.nan, "bias_error": math.nan, "max_abs_z": math.nan, "variance": variance}
    difference = gradients.mean(0) - truth.mean(0)
    squared_error = gradients.var(0) / len(gradients) + truth.var(0) / len(truth)
    noise = squared_error.sqrt() + ROUNDING * truth.mean(0).norm()
    return {
        "bias": float(difference.norm()),
        "bias_error": float(squared_error.sum().sqrt()),
        "max_abs_z": float((difference / noise).abs().max()),
        "variance": variance,
    }


def study_figure(table: Any) -> Any:
    """Variance, cost and their product by estimator, and the bias with two standard errors."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    done = table[table["refused"] == ""].reset_index()
    panels = {
        "variance": "variance of one gradient",
        "seconds": "seconds per step",
        "variance_x_time": "variance x time",
        "bias": "bias",
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 0.35 * len(done) + 1.8), sharey=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        sns.barplot(done, x=column, y="estimator", hue="unbiased", dodge=False, ax=axis, legend=axis is axes[-1])
        axis.set(title=title, xlabel="", ylabel="")
        if column == "bias":
            axis.errorbar(done["bias"], range(len(done)), xerr=2 * done["bias_error"], fmt="none", color="black")
        elif bool((done[column] > 0).all()):
            axis.set_xscale("log")
    figure.tight_layout()
    plt.close(figure)
    return figure
