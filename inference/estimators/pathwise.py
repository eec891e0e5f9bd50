"""Pathwise (reparameterised) gradient: for guides whose sites all have ``rsample``."""

from __future__ import annotations

from typing import Any

from pyro.infer.util import is_validation_enabled
from pyro.util import check_model_guide_match
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, latent_sites, trace_pair
from pyro_models.errors import EstimatorError


class Pathwise(Estimator):
    r"""The reparameterisation trick.

    With :math:`z = g_\phi(\epsilon, x)`,

    .. math:: \nabla E_{q_\phi(z|x)}[\log p(x,z) - \log q_\phi(z|x)]
              = E_\epsilon[\nabla (\log p(x,z) - \log q_\phi(z|x))|_{z=g_\phi(\epsilon,x)}].

    The same numbers as ``pyro.infer.Trace_ELBO`` on such guides, without its device synchronisations.
    """

    citation = (
        "@inproceedings{kingma2014vae, title={Auto-Encoding Variational {B}ayes}, "
        "author={Kingma, Diederik P. and Welling, Max}, booktitle={ICLR}, year={2014}}"
    )

    def prepare(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> None:
        if getattr(self, "_checked", None) is not None:
            return
        super().prepare(model, guide, *args, **kwargs)
        model_trace, guide_trace = trace_pair(model, guide, args, kwargs)
        for name, site in latent_sites(guide_trace).items():
            if not site["fn"].has_rsample:
                raise EstimatorError(
                    f"the pathwise estimator needs reparameterised guide sites, but '{name}' is "
                    f"{type(site['fn']).__name__} of shape {tuple(site['value'].shape)}; "
                    f"use estimator='exact' (enumeration) or another one for discrete sites."
                )
        for name, site in latent_sites(model_trace).items():
            if name not in guide_trace.nodes:
                raise EstimatorError(
                    f"the model site '{name}' ({type(site['fn']).__name__}) is not in the guide; sample it in the guide, "
                    f"or use estimator='exact', which sums over it if it is discrete."
                )
        self._checked = True

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        if self.num_particles > 1:
            model = self._vectorized_num_particles(model)
            guide = self._vectorized_num_particles(guide)
        model_trace, guide_trace = trace_pair(model, guide, args, kwargs)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
        loss = guide_trace.log_prob_sum() - model_trace.log_prob_sum()
        return loss / self.num_particles
