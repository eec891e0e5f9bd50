"""Pathwise (reparameterised) gradient: for guides whose sites all have ``rsample``."""

from __future__ import annotations

from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable
from inference.estimators.costs import bound
from inference.estimators.requirements import require_matching, require_reparameterised


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

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_reparameterised(
            self, guide_trace, "use estimator='exact' (enumeration) or another one for discrete sites."
        )
        require_matching(self, model_trace, guide_trace)

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        return -bound(*self._get_vectorized_trace(model, guide, args, kwargs)) / self.num_particles
