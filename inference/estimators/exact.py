"""Exact gradient: every discrete site is summed over."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, Site, is_discrete, latent_sites
from inference.estimators.discrete import base_of
from inference.estimators.requirements import describe
from pyro_models.errors import EstimatorError


class Exact(Estimator):
    r"""Enumeration: :math:`\nabla \sum_z q(z|x) [\log p(x,z) - \log q(z|x)]` with every value of :math:`z` visited.

    Discrete guide sites are enumerated in parallel, discrete model sites that are absent from the guide are summed
    out of the likelihood; continuous sites keep their pathwise gradient. Runs on the enumeration of
    ``pyro.infer.TraceEnum_ELBO``.

    Args:
        max_states: how many joint values of the discrete sites are visited at most, per element of their plates.
            Networks run on all of them at once. Sites in a ``pyro.markov`` loop are summed out one after the other
            and do not count.
    """

    def __init__(self, num_particles: int = 1, max_plate_nesting: int | None = None, max_states: int = 10_000) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if max_states < 2:
            raise EstimatorError(f"max_states is {max_states}; a discrete site has at least 2 values.")
        self.max_states = max_states

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        latent = {**latent_sites(model_trace), **latent_sites(guide_trace)}
        sites = [site for site in latent.values() if is_discrete(site) and not site["fn"].has_rsample]
        if not sites:
            names = ", ".join(describe(site) for site in latent.values()) or "no latent site at all"
            raise EstimatorError(
                f"estimator 'exact' enumerates discrete sites, but there is none among {names}; use 'pathwise'."
            )
        for site in sites:
            if site["infer"].get("num_samples") is not None:
                raise EstimatorError(
                    f"the site {describe(site)} asks for both enumeration and {site['infer']['num_samples']} samples "
                    f"(infer={{'num_samples': ...}}); remove 'num_samples', or use a sampling estimator such as 'rloo'."
                )
            if base_of(site["fn"])[1]:
                raise EstimatorError(
                    f"the site {describe(site)} has its discrete values in event dimensions (.to_event), where they "
                    f"cannot be enumerated; put them into a pyro.plate, or use 'rloo' or another sampling estimator."
                )
        counts = {site["name"]: _values(site) for site in sites if "_markov_scope" not in site["infer"]}
        states = math.prod(counts.values())
        if states > self.max_states:
            product = " x ".join(f"'{name}' {count}" for name, count in counts.items())
            raise EstimatorError(
                f"estimator 'exact' would visit {states} joint states per datum ({product}), more than max_states="
                f"{self.max_states}; raise max_states, or use a sampling estimator such as 'rloo'."
            )

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        enumerator = _Enumeration(
            num_particles=self.num_particles,
            max_plate_nesting=self.max_plate_nesting - (1 if self.vectorize_particles else 0),
            vectorize_particles=self.vectorize_particles,
        )
        return enumerator.differentiable_loss(config_enumerate(model), config_enumerate(guide), *args, **kwargs)


class _Enumeration(TraceEnum_ELBO):
    """Pyro's enumeration without its checks for NaN, each of which waits for the device."""

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        parts = [_compute_dice_elbo(*traces) for traces in self._get_traces(model, guide, args, kwargs)]
        return -torch.as_tensor(sum(parts)) / self.num_particles


def _values(site: Site) -> int:
    """How many values one element of a discrete site has."""
    return int(site["fn"].enumerate_support(expand=False).shape[0])
