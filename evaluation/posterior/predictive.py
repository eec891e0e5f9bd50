"""Would the fitted model have produced data like these? Posterior and prior predictive checks on any stored statistic.

PIT values and tail probabilities use each datum twice when it has a latent of its own (to infer the latent and to be
checked against its predictions), which pulls them towards the middle: a bad value is bad news, a good one is weak
news. Prior predictive checks (``kind="prior"``) do not have this fault.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.posterior.adapter import arviz, group, returns_trees, variable
from pyro_models.errors import MetricError, OptionError

KINDS = ("posterior", "prior")


def pit(idata: Any, name: str | None = None, kind: str = "posterior", seed: int = 0) -> np.ndarray:
    """Where each observation lies among its predictions: P(predicted < observed), ties broken at random, in [0, 1].

    Uniform if the predictions are calibrated: a U says they are too narrow, a hump too wide, a slope biased.

    Args:
        idata: from ``to_inference_data``.
        name: a variable of both groups: a statistic (``x_mean``, the default) or the data themselves (``x``).
        kind: ``posterior`` or ``prior`` predictive.
        seed: of the ties.
    """
    name = default_name(idata, name, kind)
    predicted = variable(idata, _group(kind), name).stack(sample=("chain", "draw"))
    observed = variable(idata, "observed_data", name)
    below, equal = (predicted < observed).mean("sample"), (predicted == observed).mean("sample")
    below, equal = below.transpose(*observed.dims), equal.transpose(*observed.dims)
    return below.values + np.random.default_rng(seed).random(below.shape) * equal.values


def tail_probabilities(idata: Any, kind: str = "posterior") -> dict[str, float]:
    """For every stored statistic, averaged over the data: P(predicted >= observed), half of the ties counted.

    Near 0 the model produces too little of it, near 1 too much (Gelman, Meng and Stern 1996).
    """
    found = {}
    for name in statistic_names(idata, kind):
        predicted = variable(idata, _group(kind), name).stack(sample=("chain", "draw"))
        observed = float(variable(idata, "observed_data", name).mean())
        average = predicted.mean([dim for dim in predicted.dims if dim != "sample"]).values
        found[name] = float((average > observed).mean() + 0.5 * (average == observed).mean())
    return found


def ppc(idata: Any, name: str | None = None, kind: str = "posterior", draws: int = 50, seed: int = 0) -> Any:
    """A matplotlib figure of predicted against observed: arviz's ``plot_ppc`` (0.x) or ``plot_ppc_dist`` (1.x).

    ``name`` is a statistic (``x_mean``, the default where images are stored) or the data; ``draws`` lines are drawn.
    """
    import matplotlib.pyplot as plt

    name = default_name(idata, name, kind)
    count = min(draws, variable(idata, _group(kind), name).sizes["draw"])
    az = arviz()
    if returns_trees():
        # Its plots make a figure of their own, which pyplot then holds as the current one.
        az.plot_ppc_dist(idata, var_names=name, group=_group(kind), num_samples=count, backend="matplotlib")
        return plt.gcf()
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    az.plot_ppc(idata, var_names=[name], group=kind, num_pp_samples=count, random_seed=seed, ax=axis)
    axis.set_xlabel(name)
    return figure


def statistic_names(idata: Any, kind: str = "posterior") -> list[str]:
    """Statistics stored beside the data, or the data themselves where a datum is one number."""
    predicted, observed = group(idata, _group(kind)), group(idata, "observed_data")
    both = [str(name) for name in predicted.data_vars if name in observed]
    smallest = min((observed[name].ndim for name in both), default=0)
    return [name for name in both if observed[name].ndim == smallest]


def default_name(idata: Any, name: str | None, kind: str) -> str:
    """``name`` if it is in both groups, the first statistic if it is None."""
    known = [str(found) for found in group(idata, _group(kind)).data_vars if found in group(idata, "observed_data")]
    if name is None:
        names = statistic_names(idata, kind)
        if not names:
            raise MetricError("no variable is both observed and predicted; make the posterior with summaries.")
        return names[0]
    if name not in known:
        raise MetricError(f"'{name}' is not both observed and predicted; there are {', '.join(known) or 'none'}.")
    return name


def _group(kind: str) -> str:
    if kind not in KINDS:
        raise OptionError(f"kind is {kind!r}; it is one of {', '.join(KINDS)}.")
    return f"{kind}_predictive"
