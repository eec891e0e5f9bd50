"""Antithetic pairs for Bernoulli sites: ARM, and DisARM which averages ARM's noise out."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.base import Estimator, PyroCallable, Site, surrogate_loss, trace_pair
from inference.estimators.costs import bound, downstream, learning_signals, pathwise_part, plates_of, where_present
from inference.estimators.handlers import Draw, Intervene, Record, second_pass
from inference.estimators.requirements import require_families, require_matching, require_sampled


class DisARM(Estimator):
    r"""For a Bernoulli site with log-odds l, :math:`b = 1[l + \mathrm{logit}\, u > 0]` and its antithetic twin
    :math:`\tilde b = 1[l - \mathrm{logit}\, u > 0]`:

    .. math:: g = \tfrac12\,(f(b) - f(\tilde b))\,(-1)^{\tilde b}\, 1[b \ne \tilde b]\, \sigma(|l|).

    All bits of a site flip together. Sites are treated one at a time: earlier sites keep their values, later ones are
    drawn again from the same noise. A step runs the pair n + 1 times for n sites, once with gradients. Nothing to
    tune, no parameters.
    """

    citation = (
        "@inproceedings{dong2020disarm,\n  title={{DisARM}: An Antithetic Gradient Estimator for Binary Latent "
        "Variables},\n"
        "  author={Dong, Zhe and Mnih, Andriy and Tucker, George},\n  booktitle={Advances in Neural Information "
        "Processing "
        "Systems},\n  year={2020}\n}"
    )

    def __init__(self, num_particles: int = 1, max_plate_nesting: int | None = None) -> None:
        super().__init__(num_particles, max_plate_nesting)

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_sampled(self, guide_trace)
        require_families(self, guide_trace, ("bits",), "use 'rloo', 'relax' or 'exact' for sites with more values.")
        require_matching(self, model_trace, guide_trace)

    def direction(self, draw: Draw, twin: Tensor) -> Tensor:
        """What multiplies f(b) - f(b~) at every bit."""
        return 0.5 * (draw.hard - twin) * draw.leaf.detach().abs().sigmoid()

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        model, guide = self._vectorized_num_particles(model), self._vectorized_num_particles(guide)
        if not torch.is_grad_enabled():
            return -bound(*trace_pair(model, guide, args, kwargs)) / self.num_particles
        record = Record()
        model_trace, guide_trace = trace_pair(model, record(guide), args, kwargs)
        elbo = bound(model_trace, guide_trace)
        signals = learning_signals(model_trace, guide_trace)
        surrogate = pathwise_part(model_trace, guide_trace)
        for name, draw in record.draws.items():
            with torch.no_grad():
                site: Site = guide_trace.nodes[name]
                twin = draw.family.harden(draw.family.perturb(draw.leaf, 1 - draw.noise))
                other = second_pass(model, guide, args, kwargs, Intervene(record, name, draw.family.decode(twin)))
                difference = signals[name] - downstream(*other, [name])[name].sum_to(plates_of(site))
                event_dims = draw.leaf.dim() - len(site["fn"].batch_shape)
                difference = difference.reshape(difference.shape + (1,) * event_dims)
                gradient = where_present(difference * self.direction(draw, twin), site)
            surrogate = surrogate + (gradient * draw.logits).sum()
        return surrogate_loss(elbo / self.num_particles, surrogate / self.num_particles)


class ARM(DisARM):
    r"""The antithetic estimator before averaging: :math:`g = (f(b) - f(\tilde b))\,(u - \tfrac12)`.

    Never better than ``disarm``; here to compare with.
    """

    citation = (
        "@inproceedings{yin2019arm,\n  title={{ARM}: Augment-{REINFORCE}-Merge Gradient for Stochastic Binary "
        "Networks},\n"
        "  author={Yin, Mingzhang and Zhou, Mingyuan},\n  booktitle={International Conference on Learning "
        "Representations},\n"
        "  year={2019}\n}"
    )

    def direction(self, draw: Draw, twin: Tensor) -> Tensor:
        return draw.noise - 0.5
