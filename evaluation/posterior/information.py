r"""LOO and WAIC through per-datum log-likelihoods, and the score that deep latent variable models need instead.

Read this before comparing models. Leave-one-out and WAIC estimate how well a datum would be predicted had it not been
seen, from :math:`\log p(x_i | z_i)` over posterior draws. With a latent of its own, datum i *has* been seen by its
:math:`z_i \sim q(z|x_i)`: the conditional likelihood is close to a reconstruction, the effective number of parameters
comes out near the number of data, and :math:`\hat k` is bad. :func:`loo` and :func:`waic` then warn. What compares
such models is the marginal :math:`\log p(x_i)` of held-out data, stored as ``log_evidence``: :func:`marginal_score`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from evaluation.posterior.adapter import arviz, group, variable
from evaluation.posterior.naming import OBSERVATION
from pyro_models.errors import MetricError

#: draws are independent, so that their relative efficiency is 1; left out, arviz would estimate it from several chains
INDEPENDENT = 1.0


class Score(NamedTuple):
    """An expected log predictive density in nats: sum over data, its standard error, and the terms per datum."""

    elpd: float
    se: float
    pointwise: np.ndarray


class Waic(NamedTuple):
    """WAIC in nats, larger is better: ``elpd``, its standard error, effective number of parameters, per datum."""

    elpd: float
    se: float
    p_waic: float
    pointwise: np.ndarray


class ConditionalLikelihood(UserWarning):
    """LOO or WAIC asked of log-likelihoods that are conditional on a latent of the same datum."""


def loo(idata: Any, name: str | None = None, pointwise: bool = True) -> Any:
    """``arviz.loo`` (PSIS leave-one-out) of the observed site ``name``; warns if each datum has a latent of its own."""
    name = _only_name(idata, name)
    _warn_if_local(idata, "LOO")
    return arviz().loo(idata, var_name=name, pointwise=pointwise, reff=INDEPENDENT)


def waic(idata: Any, name: str | None = None) -> Waic:
    """The widely applicable information criterion (Watanabe 2010); arviz 1.x has dropped it, so it is computed here.

    elpd_i = log mean_s p(x_i | z_s) - var_s log p(x_i | z_s), with the population variance, as arviz 0.x has it.
    """
    name = _only_name(idata, name)
    _warn_if_local(idata, "WAIC")
    values = variable(idata, "log_likelihood", name).stack(sample=("chain", "draw")).transpose("sample", ...).values
    values = values.reshape(len(values), -1).astype(float)
    if len(values) < 2:
        raise MetricError("WAIC needs the variance over draws; make the posterior with draws=100 or more.")
    penalty = values.var(0)
    terms = logsumexp(values, axis=0) - math.log(len(values)) - penalty
    return Waic(*_summed(terms)[:2], float(penalty.sum()), terms)


def marginal_score(idata: Any) -> Score:
    """Sum of the IWAE bounds log p(x_i), latents integrated out: compare models by it, on held-out data.

    A lower bound in expectation; make the posterior with more draws until it stops growing, and look at ``pareto_k``.
    """
    return _summed(variable(idata, "constant_data", "log_evidence").values.astype(float))


def _summed(terms: np.ndarray) -> Score:
    return Score(float(terms.sum()), float(math.sqrt(len(terms)) * terms.std()), terms)


def _only_name(idata: Any, name: str | None) -> str:
    names = [str(found) for found in group(idata, "log_likelihood").data_vars]
    if name is None and len(names) != 1:
        raise MetricError(f"there are log-likelihoods of {', '.join(names)}; say which one with name=...")
    variable(idata, "log_likelihood", name or names[0])
    return name or names[0]


def _warn_if_local(idata: Any, what: str) -> None:
    local = [str(name) for name, values in group(idata, "posterior").data_vars.items() if OBSERVATION in values.dims]
    if local:
        warnings.warn(
            f"{what} is computed from log-likelihoods conditional on {', '.join(local)}, of which every datum has its "
            f"own: it measures reconstruction, not prediction. Compare models by marginal_score on held-out data.",
            ConditionalLikelihood,
            stacklevel=3,
        )
