r"""Importance-weighted bounds, one set of weights per datum.

.. math:: L_K = \sum_n E\Big[\log \frac{1}{K} \sum_{k=1}^K w_{nk}\Big],
          \qquad w_{nk} = \frac{p(x_n, z_{nk})}{q(z_{nk} | x_n)}.

n runs over the plates that all sites have in common: weights are normalised within a datum, never over the batch,
where a single particle would take all the weight. The particles are those of one vectorised pass.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, sample_sites, score_sites, surrogate_loss
from inference.estimators.costs import Plates, Terms, plates_of, score, subsampling_scale
from inference.estimators.requirements import require_matching
from inference.estimators.rloo import require_particles


def common_plates(model_trace: Trace, guide_trace: Trace) -> Plates:
    """The plates that every site is in: the particles', and usually the data's."""
    sites = [*sample_sites(model_trace).values(), *sample_sites(guide_trace).values()]
    return frozenset.intersection(*(plates_of(site) for site in sites))


def log_weights(model_trace: Trace, guide_trace: Trace, plates: Plates) -> Float[Tensor, "particles ..."]:
    """log w, without the factor of mini-batch scaling."""
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    terms = Terms()
    for site in sample_sites(model_trace).values():
        terms.add(site, site["log_prob"])
    for site in sample_sites(guide_trace).values():
        terms.add(site, -site["log_prob"])
    return terms.sum_to(plates) / subsampling_scale(plates)


def log_mean_exp(values: Float[Tensor, "particles ..."]) -> Float[Tensor, "..."]:
    """log of the mean over particles."""
    return values.logsumexp(0) - math.log(values.shape[0])


def leave_one_out(log_w: Float[Tensor, "particles ..."]) -> Float[Tensor, "particles ..."]:
    r"""What :math:`L` would have been without particle k: its log-weight replaced by the mean of the others'."""
    particles = log_w.shape[0]
    stand_in = (log_w.sum(0, keepdim=True) - log_w) / (particles - 1)
    own = torch.eye(particles, dtype=torch.bool, device=log_w.device).reshape(
        particles, particles, *(1 for _ in log_w.shape[1:])
    )
    replaced = torch.where(own, stand_in.unsqueeze(0), log_w.unsqueeze(0))  # [left out, particle, *plates]
    return replaced.logsumexp(1) - math.log(particles)


class ImportanceWeighted(Estimator):
    r"""The gradient of :math:`L_K` for reparameterised and sampled sites alike.

    .. math:: \nabla L_K = E\Big[\sum_k \bar w_k \nabla \log w_k + \sum_k (L - L_{-k}) \nabla \log q(b_k)\Big]

    with normalised weights :math:`\bar w`, the pathwise gradient of reparameterised sites in the first term, and the
    sampled sites b in the second, each particle compared with the bound without it.
    """

    objective = "importance-weighted"

    def __init__(self, num_particles: int = 5, max_plate_nesting: int | None = None) -> None:
        require_particles(self.label, num_particles)
        super().__init__(num_particles, max_plate_nesting)

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_matching(self, model_trace, guide_trace)

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        model_trace, guide_trace = self._get_vectorized_trace(model, guide, args, kwargs)
        plates = common_plates(model_trace, guide_trace)
        log_w = log_weights(model_trace, guide_trace, plates)
        value, scale = log_mean_exp(log_w), subsampling_scale(plates)
        surrogate = value.sum()
        sampled = score_sites(guide_trace)
        if sampled and torch.is_grad_enabled():
            fixed = log_w.detach()
            advantage = value.detach() - leave_one_out(fixed)
            surrogate = surrogate + (advantage * sum(score(site, plates) for site in sampled.values())).sum()
        return surrogate_loss(scale * value.sum(), scale * surrogate)
