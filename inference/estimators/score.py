"""The score-function estimator: what REINFORCE, NVIL and leave-one-out share."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, score_sites, surrogate_loss
from inference.estimators.costs import bound, learning_signals, pathwise_part, plates_of, score, subsampling_scale
from inference.estimators.requirements import require_matching, require_sampled


class ScoreFunction(Estimator):
    r"""The likelihood-ratio gradient with a baseline per site.

    .. math:: \nabla E_q[f] = E_q\Big[\nabla f + \sum_i (f_i - b_i) \nabla \log q(z_i)\Big]

    with the pathwise gradient of everything reparameterised, f_i the terms of the bound downstream of site i
    (:mod:`inference.estimators.costs`), summed to its plates and freed of the factor of mini-batch scaling, and b_i
    anything that does not depend on :math:`z_i`. A subclass says what b_i is.
    """

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_sampled(self, guide_trace)
        require_matching(self, model_trace, guide_trace)

    def baselines(
        self, signals: dict[str, Tensor], model_trace: Trace, guide_trace: Trace
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """b_i by site for the (unscaled) signals f_i, and a loss by which the baselines learn, if they do."""
        raise NotImplementedError(f"{type(self).__name__} has no baselines(...)")

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        model_trace, guide_trace = self._get_vectorized_trace(model, guide, args, kwargs)
        elbo = bound(model_trace, guide_trace) / self.num_particles
        if not torch.is_grad_enabled():
            return -elbo
        sites = score_sites(guide_trace)
        scales = {name: subsampling_scale(plates_of(site)) for name, site in sites.items()}
        signals = {name: signal / scales[name] for name, signal in learning_signals(model_trace, guide_trace).items()}
        baselines, own_loss = self.baselines(signals, model_trace, guide_trace)
        surrogate = pathwise_part(model_trace, guide_trace)
        for name, site in sites.items():
            advantage = signals[name] - baselines[name].detach() if name in baselines else signals[name]
            surrogate = surrogate + scales[name] * (advantage * score(site)).sum()
        if own_loss is not None:
            surrogate = surrogate - own_loss
        return surrogate_loss(elbo, surrogate / self.num_particles)
