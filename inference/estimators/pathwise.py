"""Pathwise (reparameterised) gradient: for guides whose sites all have ``rsample``."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import kl_divergence

from inference.estimators.base import Estimator, PyroCallable, Site, latent_sites
from inference.estimators.requirements import require_matching, require_reparameterised


class Pathwise(Estimator):
    r"""The reparameterisation trick.

    With :math:`z = g_\phi(\epsilon, x)`,

    .. math:: \nabla E_{q_\phi(z|x)}[\log p(x,z) - \log q_\phi(z|x)]
              = E_\epsilon[\nabla (\log p(x,z) - \log q_\phi(z|x))|_{z=g_\phi(\epsilon,x)}].

    Where torch knows :math:`KL(q \| p)` of a site in closed form, and the model draws the site from causes that the
    guide has drawn before it, the closed form takes the place of the sampled difference: the same expectation, less
    noise. ``analytic_kl=False`` samples every term and gives the numbers of ``pyro.infer.Trace_ELBO``.
    """

    citation = (
        "@inproceedings{kingma2014vae, title={Auto-Encoding Variational {B}ayes}, "
        "author={Kingma, Diederik P. and Welling, Max}, booktitle={ICLR}, year={2014}}"
    )

    def __init__(self, num_particles: int = 1, max_plate_nesting: int | None = None, analytic_kl: bool = True) -> None:
        super().__init__(num_particles, max_plate_nesting)
        self.analytic_kl = analytic_kl
        self.closed_form: frozenset[str] = frozenset()

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_reparameterised(
            self, guide_trace, "use estimator='exact' (enumeration) or another one for discrete sites."
        )
        require_matching(self, model_trace, guide_trace)

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        drawn, causes = latent_sites(guide_trace), latent_sites(model_trace)
        if self.analytic_kl and _causes_come_first(list(causes), list(drawn)):
            both = [name for name in drawn if name in causes]
            self.closed_form = frozenset(name for name in both if _has_closed_form(drawn[name], causes[name]))

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        if self.num_particles > 1:
            model = self._vectorized_num_particles(model)
            guide = self._vectorized_num_particles(guide)
        drawn = Record()
        with drawn:
            guide(*args, **kwargs)
        told = Record(drawn.sites)
        with told:
            model(*args, **kwargs)
        loss: Any = 0.0
        for name, site in told.sites.items():
            if name in self.closed_form:
                loss = loss + scaled(kl_divergence(drawn.sites[name]["fn"], site["fn"]), site).sum()
            else:
                loss = loss - scaled(site["fn"].log_prob(site["value"]), site).sum()
        for name, site in drawn.sites.items():
            if name not in self.closed_form:
                loss = loss + scaled(site["fn"].log_prob(site["value"]), site).sum()
        return loss / self.num_particles


class Record(Messenger):
    """Keeps the sample sites of a program and replays the ``values`` it is given: a trace without its bookkeeping."""

    def __init__(self, values: dict[str, Site] | None = None) -> None:
        super().__init__()
        self.sites: dict[str, Site] = {}
        self.values = values or {}

    def _pyro_sample(self, message: Any) -> None:
        if not message["is_observed"] and message["name"] in self.values:
            message["value"] = self.values[message["name"]]["value"]
            message["done"] = True

    def _pyro_post_sample(self, message: Any) -> None:
        if not site_is_subsample(message):
            self.sites[message["name"]] = message


def scaled(terms: Tensor, site: Site) -> Tensor:
    """Log probabilities (or divergences) of a site with its ``poutine.scale`` and ``poutine.mask`` applied."""
    if site["mask"] is None and isinstance(site["scale"], float | int) and site["scale"] == 1.0:
        return terms
    return scale_and_mask(terms, site["scale"], site["mask"])


def _has_closed_form(drawn: Site, cause: Site) -> bool:
    """The divergence exists and both programs scale and mask the site alike."""
    try:
        kl_divergence(drawn["fn"], cause["fn"])
    except NotImplementedError:
        return False
    same_scale = bool(torch.as_tensor(drawn["scale"]).eq(torch.as_tensor(cause["scale"])).all())
    return same_scale and drawn["mask"] is cause["mask"]


def _causes_come_first(causes: list[str], drawn: list[str]) -> bool:
    """The model draws the guide's sites in the guide's order, so no prior looks at a later draw of the guide."""
    return [name for name in causes if name in drawn] == [name for name in drawn if name in causes]
