"""What the estimators with relaxed or straight-through values share: one pass on values that gradients flow through."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, Site, latent_sites, score_sites
from inference.estimators.costs import bound
from inference.estimators.discrete import Family, Linear, family_of
from inference.estimators.handlers import Choose, Replace
from inference.estimators.requirements import require_families, require_matching, require_sampled
from pyro_models.errors import EstimatorError

NO_INDEX = "an index has no values in between: sample a OneHotCategorical, or use 'rloo', 'relax' or 'exact'."


class Temperature(torch.nn.Module):
    """A temperature that may fall geometrically from ``start`` to ``end`` over training; saved with the run."""

    value: Tensor

    def __init__(self, start: float, end: float | None = None) -> None:
        super().__init__()
        self.start, self.end = check_temperature(start), check_temperature(start if end is None else end)
        self.register_buffer("value", torch.tensor(self.start))

    def at(self, progress: float) -> None:
        if self.end != self.start:
            self.value.fill_(self.start * (self.end / self.start) ** progress)


def check_temperature(temperature: float) -> float:
    """Refuses temperatures that are not positive."""
    if not 0 < temperature < math.inf:
        raise EstimatorError(
            f"temperature is {temperature}; it must be positive and finite (2/3 to 1 is usual; the smaller, the less "
            f"bias and the more variance)."
        )
    return float(temperature)


class Relaxed(Estimator):
    r"""The pathwise gradient through a stand-in for every discrete value.

    The log-probabilities of the discrete sites enter in expectation, :math:`\sum_k q_k (\log p_k - \log q_k)`: their
    KL term is exact, and only what depends on their values is relaxed. (Where the model draws a site from causes that
    the guide draws after it, log p is taken at the value instead, extended linearly.) A subclass says what a site's
    value is.

    Args:
        temperature: of the relaxation, positive.
        final_temperature: reached geometrically at the end of training; None keeps it.
    """

    unbiased = False

    def __init__(
        self,
        temperature: float = 2 / 3,
        final_temperature: float | None = None,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting)
        self.temperature = Temperature(temperature, final_temperature)
        self.in_expectation: frozenset[str] = frozenset()

    def at(self, progress: float) -> None:
        self.temperature.at(progress)

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_sampled(self, guide_trace)
        require_families(self, guide_trace, ("one-hot", "bits"), NO_INDEX)
        require_matching(self, model_trace, guide_trace)
        require_same_families(self, model_trace, guide_trace)

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        self.in_expectation = sites_in_expectation(model_trace, guide_trace)

    def stand_in(self, family: Family, logits: Tensor) -> Tensor:
        """The value of a discrete site, differentiable in its logits."""
        raise NotImplementedError(f"{type(self).__name__} has no stand_in(...)")

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        model, guide = self._vectorized_num_particles(model), self._vectorized_num_particles(guide)
        weights: dict[str, Tensor] = {}

        def choose(site: Site, family: Family, logits: Tensor) -> Tensor:
            weights[site["name"]] = family.probabilities(logits)
            site["fn"] = Linear(site["fn"], weights[site["name"]])
            return self.stand_in(family, logits)

        guide_trace = poutine.trace(Choose(choose)(guide)).get_trace(*args, **kwargs)

        def replace(site: Site) -> Linear:
            name = site["name"]
            return Linear(site["fn"], weights[name] if name in self.in_expectation else None)

        linear = Replace(set(weights), replace)
        model_trace = poutine.trace(linear(poutine.replay(model, trace=guide_trace))).get_trace(*args, **kwargs)
        model_trace, guide_trace = map(poutine.util.prune_subsample_sites, (model_trace, guide_trace))
        return -bound(model_trace, guide_trace) / self.num_particles


def sites_in_expectation(model_trace: Trace, guide_trace: Trace) -> frozenset[str]:
    """The sites whose log p may be averaged over q: all that the model drew before them, the guide drew before them
    too. Otherwise p may depend on the site's own value, by way of later sites of the guide."""
    told, drawn = list(latent_sites(model_trace)), list(latent_sites(guide_trace))
    both = [name for name in drawn if name in told]
    return frozenset(n for n in both if set(told[: told.index(n)]) <= set(drawn[: drawn.index(n)]))


def require_same_families(estimator: Estimator, model_trace: Trace, guide_trace: Trace) -> None:
    """A relaxed value is scored by the model's distribution, which must be of the same family as the guide's."""
    for name, site in score_sites(guide_trace).items():
        other = model_trace.nodes.get(name)
        if other is not None and family_of(other["fn"]) is not family_of(site["fn"]):
            raise EstimatorError(
                f"the site '{name}' is {type(site['fn']).__name__} in the guide and {type(other['fn']).__name__} in "
                f"the model; estimator '{estimator.label}' relaxes it and needs the same distribution in both."
            )
