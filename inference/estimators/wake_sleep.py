"""Reweighted wake-sleep, per datum."""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from inference.estimators.base import PyroCallable, latent_sites, sample_sites, surrogate_loss, trace_pair
from inference.estimators.costs import Terms, subsampling_scale
from inference.estimators.importance import ImportanceWeighted, common_plates, log_mean_exp, log_weights


class ReweightedWakeSleep(ImportanceWeighted):
    r"""The model climbs :math:`L_K`; the guide is fitted to the weighted samples (the wake phase for both).

    .. math:: \Delta\theta = \sum_k \bar w_k \nabla_\theta \log p_\theta(x, z_k), \qquad
              \Delta\phi = \sum_k \bar w_k \nabla_\phi \log q_\phi(z_k | x).

    No gradient passes through a sample, so discrete and continuous sites are treated alike and none has
    score-function noise. The guide's direction is that of KL(p || q) (up to the bias of self-normalised weights), not
    of the bound: flagged as biased.

    Args:
        num_particles: K, at least 2.
    """

    unbiased = False
    citation = (
        '@inproceedings{bornschein2015rws,\n  title={Reweighted Wake-Sleep},\n  author={Bornschein, J{\\"o}rg and '
        "Bengio, Yoshua},\n  booktitle={International Conference on Learning Representations},\n  year={2015}\n}"
    )

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        model, guide = self._vectorized_num_particles(model), self._vectorized_num_particles(guide)
        model_trace, guide_trace = trace_pair(model, _CutValues()(guide), args, kwargs)
        plates = common_plates(model_trace, guide_trace)
        log_w = log_weights(model_trace, guide_trace, plates)
        weights, scale = log_w.detach().softmax(0), subsampling_scale(plates)
        terms = Terms()
        for site in (*sample_sites(model_trace).values(), *latent_sites(guide_trace).values()):
            terms.add(site, site["log_prob"])
        surrogate = (weights * terms.sum_to(plates)).sum()
        return surrogate_loss(scale * log_mean_exp(log_w).sum(), surrogate)


class _CutValues(Messenger):
    """Cuts every latent value from the graph, so that log q(z) depends on the guide's parameters only by its own."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and isinstance(msg["value"], Tensor):
            msg["value"] = msg["value"].detach()
