"""Concrete (Gumbel-softmax): discrete values replaced by points of the simplex."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
from pyro import poutine
from torch import Tensor
from torch.nn import functional as F

from inference.estimators.base import PyroCallable, Site
from inference.estimators.costs import bound
from inference.estimators.discrete import Family, family_of, fold
from inference.estimators.handlers import Choose, Replace
from inference.estimators.relaxed import Relaxed, check_temperature


class Concrete(Relaxed):
    r"""The pathwise gradient of a relaxed model, :math:`v = \mathrm{softmax}((l + g) / \tau)` in place of b.

    Without ``prior_temperature`` only the value is relaxed: the KL term is that of the discrete distributions (Jang
    et al.), and the gradient tends to the exact one as the temperature falls. With it, both guide and model have
    Concrete densities on the simplex, each with its own temperature (Maddison et al.): a bound of another, relaxed
    model. Densities are taken at log v, so that saturated logits stay finite.

    Args:
        temperature, final_temperature: of the guide's relaxation.
        prior_temperature: of the model's density; None for the discrete KL term.
    """

    citation = (
        "@inproceedings{maddison2017concrete,\n  title={The {C}oncrete Distribution: A Continuous Relaxation of "
        "Discrete Random "
        "Variables},\n  author={Maddison, Chris J. and Mnih, Andriy and Teh, Yee Whye},\n  booktitle={International "
        "Conference on Learning Representations},\n  year={2017}\n}"
    )

    def __init__(
        self,
        temperature: float = 2 / 3,
        final_temperature: float | None = None,
        prior_temperature: float | None = None,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
    ) -> None:
        super().__init__(temperature, final_temperature, num_particles, max_plate_nesting)
        self.prior_temperature = None if prior_temperature is None else check_temperature(prior_temperature)

    def stand_in(self, family: Family, logits: Tensor) -> Tensor:
        return family.soften(family.perturb(logits, family.noise(logits)), self.temperature.value)

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        if self.prior_temperature is None:
            return super().differentiable_loss(model, guide, *args, **kwargs)
        model, guide = self._vectorized_num_particles(model), self._vectorized_num_particles(guide)
        exponents: dict[str, Tensor] = {}
        prior_temperature = self.prior_temperature

        def choose(site: Site, family: Family, logits: Tensor) -> Tensor:
            y = family.perturb(logits, family.noise(logits)) / self.temperature.value
            exponents[site["name"]] = y
            site["fn"] = ConcreteDensity(site["fn"], self.temperature.value, y)
            return family.soften(y, 1.0)

        def replace(site: Site) -> Any:
            return ConcreteDensity(site["fn"], prior_temperature, exponents[site["name"]])

        guide_trace = poutine.trace(Choose(choose)(guide)).get_trace(*args, **kwargs)
        replaced = Replace(set(exponents), replace)
        model_trace = poutine.trace(replaced(poutine.replay(model, trace=guide_trace))).get_trace(*args, **kwargs)
        model_trace, guide_trace = map(poutine.util.prune_subsample_sites, (model_trace, guide_trace))
        return -bound(model_trace, guide_trace) / self.num_particles


class ConcreteDensity(dist.TorchDistribution):
    r"""The Concrete relaxation of a discrete distribution, scored at a given exponent y instead of at the value
    softmax(y).

    .. math:: \log p(y) = \log \Gamma(K) + (K - 1) \log \tau + \sum_k (l_k - \tau y_k)
              - K\, \mathrm{logsumexp}_k(l_k - \tau y_k)

    with y normalised, and for bits :math:`\log \tau + (l - \tau y) - 2\, \mathrm{softplus}(l - \tau y)`. The factor
    from y to the simplex is the same in guide and model and is left out of both.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, base: Any, temperature: Tensor | float, y: Tensor) -> None:
        self.base, self.temperature, self.y = base, temperature, y
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.base.support

    def log_prob(self, value: Tensor) -> Tensor:
        return fold(self.base, self._density)

    def _density(self, base: Any) -> Tensor:
        family = family_of(base)
        assert family is not None
        logits, temperature = family.logits(base), self.temperature
        log_temperature = temperature.log() if isinstance(temperature, Tensor) else math.log(temperature)
        if family.kind == "bits":
            difference = logits - temperature * self.y
            return log_temperature + difference - 2 * F.softplus(difference)
        count = logits.shape[-1]
        difference = logits - temperature * self.y.log_softmax(-1)
        spread = difference.sum(-1) - count * difference.logsumexp(-1)
        return math.lgamma(count) + (count - 1) * log_temperature + spread
