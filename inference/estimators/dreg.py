"""Doubly reparameterised gradients of the importance-weighted bound."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import PyroCallable, latent_sites, sample_sites, surrogate_loss
from inference.estimators.costs import Terms, subsampling_scale
from inference.estimators.importance import ImportanceWeighted, common_plates, log_mean_exp, log_weights
from inference.estimators.requirements import require_reparameterised


class DReG(ImportanceWeighted):
    r"""The importance-weighted bound whose guide gradient does not vanish in noise as K grows.

    .. math:: \nabla_\phi L_K = E\Big[\sum_k \bar w_k^2 \,\frac{\partial \log w_k}{\partial z_k}
              \frac{d z_k}{d \phi}\Big], \qquad
              \nabla_\theta L_K = E\Big[\sum_k \bar w_k \nabla_\theta \log p_\theta(x, z_k)\Big].

    :math:`\partial \log w / \partial z` is taken with the guide run again on z cut from the graph, so that only z
    moves; sites that depend on earlier ones are handled (z is all of them together).

    Args:
        num_particles: K, at least 2.
    """

    citation = (
        "@inproceedings{tucker2019dreg,\n  title={Doubly Reparameterized Gradient Estimators for {M}onte {C}arlo "
        "Objectives},\n  author={Tucker, George and Lawson, Dieterich and Gu, Shixiang and Maddison, Chris J.},\n"
        "  booktitle={International Conference on Learning Representations},\n  year={2019}\n}"
    )

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_reparameterised(self, guide_trace, "use estimator='iwae', which handles both, or 'vimco'.")
        super().check(model_trace, guide_trace)

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        if not torch.is_grad_enabled():
            return super().differentiable_loss(model, guide, *args, **kwargs)
        model, guide = self._vectorized_num_particles(model), self._vectorized_num_particles(guide)
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        values = {
            name: site["value"]
            for name, site in latent_sites(drawn).items()
            if site["value"].is_floating_point()  # not the indices of a mini-batch drawn by a plate
        }
        cut = drawn.copy()
        for name, value in values.items():
            cut.nodes[name] = {**cut.nodes[name], "value": value.detach().requires_grad_()}
        guide_trace = poutine.trace(poutine.replay(guide, trace=cut)).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=cut)).get_trace(*args, **kwargs)
        guide_trace, model_trace = map(poutine.util.prune_subsample_sites, (guide_trace, model_trace))
        plates = common_plates(model_trace, guide_trace)
        log_w = log_weights(model_trace, guide_trace, plates)
        weights = log_w.detach().softmax(0)
        free = [name for name, value in values.items() if value.requires_grad]
        leaves: list[Any] = [cut.nodes[name]["value"] for name in free]
        objective = (weights.square() * log_w).sum()
        gradients = torch.autograd.grad(objective, leaves, retain_graph=True, allow_unused=True) if leaves else ()
        joint = Terms()
        for site in sample_sites(model_trace).values():
            joint.add(site, site["log_prob"])
        scale = subsampling_scale(plates)
        surrogate = (weights * joint.sum_to(plates)).sum() / scale
        for name, gradient in zip(free, gradients, strict=True):
            if gradient is not None:
                surrogate = surrogate + (gradient * values[name]).sum()
        return surrogate_loss(scale * log_mean_exp(log_w).sum(), scale * surrogate)
