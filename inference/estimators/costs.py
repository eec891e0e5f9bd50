r"""Which terms of the bound can a sampled value have changed? Downstream costs from the order of execution.

For a guide site i that is sampled without reparameterisation,

.. math:: \nabla E_q[f] = E_q\Big[\nabla f + \sum_i f_i \nabla \log q(z_i)\Big],

where f_i may leave out every term of :math:`f = \sum_j \log p_j - \sum_j \log q_j` that was fixed before i was drawn:

* :math:`\log q_j` of guide sites that ran before i;
* :math:`\log p_j` of model sites that ran before the first model site whose value comes from i or from later in the
  guide. (It is not enough that j itself precedes i in both: when the two run in different orders, the parents of j
  may come after i.)

Only the order of the sites in the two traces is read, so Python control flow, in-place writes and indexing by samples
are all allowed. The terms are summed to the plates of i, because plates are independent.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from inference.estimators.base import Site, sample_sites, score_sites

Plates = frozenset[CondIndepStackFrame]


def plates_of(site: Site) -> Plates:
    """The vectorised plates of a site."""
    return frozenset(frame for frame in site["cond_indep_stack"] if frame.vectorized)


def dim_of(plate: CondIndepStackFrame) -> int:
    """The dimension of a vectorised plate, negative."""
    assert plate.dim is not None
    return plate.dim


def plate_shape(plates: Plates) -> tuple[int, ...]:
    """The shape of one number per plate element."""
    sizes = {dim_of(frame): frame.size for frame in plates}
    return tuple(sizes.get(dim, 1) for dim in range(min(sizes, default=0), 0))


def subsampling_scale(plates: Plates) -> float:
    """Full size over size, multiplied over the plates: by how much Pyro scaled the terms inside them."""
    scale = 1.0
    for frame in plates:
        if frame.full_size is not None and frame.full_size != frame.size:
            scale *= frame.full_size / frame.size
    return scale


def sum_to(value: Tensor, own: Plates, target: Plates) -> Tensor:
    """Sums every dimension that is not a plate of ``target``; the result broadcasts against :func:`plate_shape`."""
    kept = {dim_of(frame) for frame in own & target}
    summed = [dim for dim in range(-value.dim(), 0) if dim not in kept and value.shape[dim] != 1]
    if summed:
        value = value.sum(summed, keepdim=True)
    rank = max((-dim_of(frame) for frame in target), default=0)
    return value.reshape(value.shape[value.dim() - rank :]) if value.dim() > rank else value


class Terms:
    """A sum of terms that live in different plates."""

    def __init__(self, by_plates: dict[Plates, Tensor] | None = None) -> None:
        self._by_plates = dict(by_plates or {})

    def copy(self) -> Terms:
        return Terms(self._by_plates)

    def add(self, site: Site, value: Tensor) -> None:
        plates = plates_of(site)
        known = self._by_plates.get(plates)
        self._by_plates[plates] = value if known is None else known + value

    def sum_to(self, target: Plates) -> Tensor:
        """One number per element of the target plates."""
        parts = [sum_to(value, plates, target) for plates, value in self._by_plates.items()]
        return torch.as_tensor(sum(parts))


def downstream(model_trace: Trace, guide_trace: Trace, names: Iterable[str]) -> dict[str, Terms]:
    """The terms of the bound that each named guide site may have changed."""
    wanted = set(names)
    guide_sites = list(sample_sites(guide_trace).values())
    model_sites = list(sample_sites(model_trace).values())
    place_in_model = {site["name"]: place for place, site in enumerate(model_sites)}
    terms, kept = Terms(), len(model_sites)
    found: dict[str, Terms] = {}
    for site in reversed(guide_sites):
        name = site["name"]
        terms.add(site, -site["log_prob"])
        if not site["is_observed"]:
            for position in range(place_in_model.get(name, kept), kept):
                terms.add(model_sites[position], model_sites[position]["log_prob"])
            kept = min(kept, place_in_model.get(name, kept))
        if name in wanted:
            found[name] = terms.copy()
    return found


def learning_signals(model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
    """The bound downstream of every sampled site: one number per element of its plates, without gradient."""
    found = downstream(model_trace, guide_trace, score_sites(guide_trace))
    return {name: terms.sum_to(plates_of(guide_trace.nodes[name])).detach() for name, terms in found.items()}


def score(site: Site, target: Plates | None = None) -> Tensor:
    """log q of a site's value, unscaled, one number per element of its plates (or of ``target``).

    Where a mask says that a site is not there, nothing depends on it: its score would only add noise.
    """
    plates = plates_of(site)
    log_q = scale_and_mask(site["unscaled_log_prob"], 1.0, site["mask"])
    return sum_to(log_q, plates, plates if target is None else target)


def where_present(gradient: Tensor, site: Site) -> Tensor:
    """A gradient at the logits of a site ``[*batch, *event]``, zero where a mask says that the site is not there."""
    mask = site["mask"]
    if isinstance(mask, Tensor):
        event = gradient.dim() - len(site["fn"].batch_shape)
        return torch.where(mask.reshape(mask.shape + (1,) * event), gradient, 0.0)
    return gradient * 0.0 if mask is False else gradient


def bound(model_trace: Trace, guide_trace: Trace) -> Tensor:
    """log p - log q, every term once; leaves the log-probabilities in the traces."""
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    return torch.as_tensor(model_trace.log_prob_sum() - guide_trace.log_prob_sum())


def pathwise_part(model_trace: Trace, guide_trace: Trace) -> Tensor:
    """log p - log q without log q of the sampled sites, whose own gradient has mean zero."""
    total = torch.as_tensor(model_trace.log_prob_sum())
    sampled = score_sites(guide_trace)
    for name, site in sample_sites(guide_trace).items():
        if name not in sampled:
            total = total - site["log_prob_sum"]
    return total
