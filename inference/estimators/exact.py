"""Exact gradient: every discrete site is summed over."""

from __future__ import annotations

from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, is_discrete, latent_sites, trace_pair
from pyro_models.errors import EstimatorError


class Exact(Estimator):
    r"""Enumeration: :math:`\nabla \sum_z q(z|x) [\log p(x,z) - \log q(z|x)]` with every value of :math:`z` visited.

    Discrete guide sites are enumerated in parallel, discrete model sites that are absent from the guide are summed out of
    the likelihood; continuous sites keep their pathwise gradient. Runs on ``pyro.infer.TraceEnum_ELBO``.
    """

    def prepare(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> None:
        if getattr(self, "_checked", None) is not None:
            return
        super().prepare(model, guide, *args, **kwargs)
        with torch.no_grad(), torch.random.fork_rng():
            sites = [site for trace in trace_pair(model, guide, args, kwargs) for site in latent_sites(trace).values()]
        if not any(is_discrete(site) for site in sites):
            names = ", ".join(f"'{site['name']}' ({type(site['fn']).__name__})" for site in sites)
            raise EstimatorError(
                f"estimator 'exact' enumerates discrete sites, but there is none among {names}; use 'pathwise'."
            )
        self._checked = True

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        return self._enumerator().differentiable_loss(config_enumerate(model), config_enumerate(guide), *args, **kwargs)

    def loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> float:
        self.prepare(model, guide, *args, **kwargs)
        with torch.no_grad():
            return self._enumerator().loss(config_enumerate(model), config_enumerate(guide), *args, **kwargs)

    def _enumerator(self) -> TraceEnum_ELBO:
        return TraceEnum_ELBO(
            num_particles=self.num_particles,
            max_plate_nesting=self.max_plate_nesting - (1 if self.vectorize_particles else 0),
            vectorize_particles=self.vectorize_particles,
        )
