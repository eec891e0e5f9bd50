"""Exact gradient: every discrete site is summed over."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, Site, latent_sites, sample_sites
from inference.estimators.costs import plates_of
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
        sites = [site for site in latent.values() if _is_finite(site)]
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

    def examine(self, model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> None:
        super().examine(model, guide, args, kwargs)
        pair = (config_enumerate(model), config_enumerate(guide))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what is refused here
            for traces in self._enumerator()._get_traces(*pair, args, kwargs):
                _require_independent_plates(*traces)

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        pair = (config_enumerate(model), config_enumerate(guide))
        return self._enumerator().differentiable_loss(*pair, *args, **kwargs)

    def _enumerator(self) -> _Enumeration:
        return _Enumeration(
            num_particles=self.num_particles,
            max_plate_nesting=self.max_plate_nesting - (1 if self.vectorize_particles else 0),
            vectorize_particles=self.vectorize_particles,
        )


class _Enumeration(TraceEnum_ELBO):
    """Pyro's enumeration without its checks for NaN, each of which waits for the device."""

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        parts = [_compute_dice_elbo(*traces) for traces in self._get_traces(model, guide, args, kwargs)]
        return -torch.as_tensor(sum(parts)) / self.num_particles


def _is_finite(site: Site) -> bool:
    """A discrete site that is not reparameterised, in event dimensions or not."""
    return not site["fn"].has_rsample and bool(getattr(base_of(site["fn"])[0], "has_enumerate_support", False))


def _values(site: Site) -> int:
    """How many values one element of a discrete site has."""
    return int(site["fn"].enumerate_support(expand=False).shape[0])


def _require_independent_plates(model_trace: Trace, guide_trace: Trace) -> None:
    """Refuses terms that depend on an enumerated value from outside of its plates: their sum over joint values does
    not factorise, and Pyro's enumeration would silently be wrong."""
    enumerated = {
        site["infer"]["_enumerate_dim"]: site
        for trace in (guide_trace, model_trace)
        for site in sample_sites(trace).values()
        if site["infer"].get("_enumerate_dim") is not None and "_markov_scope" not in site["infer"]
    }
    for trace in (guide_trace, model_trace):
        for site in sample_sites(trace).values():
            shape = site["log_prob"].shape
            for dim, cause in enumerated.items():
                outside = plates_of(cause) - plates_of(site)
                if outside and len(shape) >= -dim and shape[dim] > 1:
                    names = ", ".join(f"'{plate.name}'" for plate in outside)
                    raise EstimatorError(
                        f"the site '{site['name']}' depends on '{cause['name']}' from outside of its plate {names}: "
                        f"all its joint values would have to be enumerated together; put '{site['name']}' into "
                        f"the plate, or use a sampling estimator such as 'rloo'."
                    )
