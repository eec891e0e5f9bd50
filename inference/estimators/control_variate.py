"""Score-function gradients with a control variate that is differentiable in the noise: what REBAR and RELAX share."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators.base import Estimator, PyroCallable, Site, score_sites, surrogate_loss, trace_pair
from inference.estimators.costs import (
    bound,
    downstream,
    learning_signals,
    pathwise_part,
    plates_of,
    subsampling_scale,
    where_present,
)
from inference.estimators.discrete import Family
from inference.estimators.handlers import Draw, Intervene, Record, second_pass
from inference.estimators.own import Replicas, key
from inference.estimators.reinforce import average_baselines, build_averages, check_decay
from inference.estimators.relaxed import check_temperature
from inference.estimators.requirements import require_matching, require_sampled

#: a learned log-temperature stays within these, or the relaxation overflows
LOG_TEMPERATURE = (-4.0, 4.0)


class Run:
    """One step seen by a control variate: the pair, the first pass, and the signals and averages by site."""

    def __init__(self, pair: tuple[PyroCallable, PyroCallable, Any, Any], record: Record, traces: tuple[Trace, Trace]):
        self.pair, self.record, (self.model_trace, self.guide_trace) = pair, record, traces
        self.averages: dict[str, Tensor] = {}


class ControlVariate(Estimator):
    r"""For each discrete site, at its logits l (with b hard, z relaxed, :math:`\tilde z` drawn given b):

    .. math:: g = (f - c(\tilde z)) \nabla_l \log q(b) + \nabla_l c(z) - \nabla_l c(\tilde z)

    has the mean of the exact gradient whatever the function c, because :math:`\tilde z` given b, averaged over b, is
    z. Sites are treated one at a time: with earlier sites at their hard values and later ones following from the
    relaxed one by the same noise, so that sites in sequence stay unbiased.

    g is put in at the logits; model and guide receive nothing else from the relaxed passes. The parameters of c follow
    the gradient of :math:`\|g\|^2`, whose mean is the variance up to a constant. A decaying average a of f is part of
    every c.

    Attributes:
        log_temperatures: by site, learned.
        averages: a, by site.
    """

    def __init__(
        self,
        temperature: float,
        decay: float,
        learning_rate: float,
        num_particles: int,
        max_plate_nesting: int | None,
        replicas: str | None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting, learning_rate)
        check_decay(decay)
        self.start_temperature, self.decay = check_temperature(temperature), decay
        self.replicas = Replicas(replicas)
        self.averages, self.log_temperatures = nn.ModuleDict(), nn.ParameterDict()

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_sampled(self, guide_trace)
        require_matching(self, model_trace, guide_trace)

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        build_averages(self.averages, self.decay, self.replicas, guide_trace)
        for name, site in score_sites(guide_trace).items():
            start = torch.full((self.replicas.count(site),), self.start_temperature)
            self.log_temperatures[key(name)] = nn.Parameter(start.log().to(site["log_prob"]))

    def control(self, name: str, z: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """c at z: one number per element of the site's plates, and its terms, each counted once, summed per replica.

        The two differ where a term is outside the site's plates: every element's c has it, but it moves only once.
        """
        raise NotImplementedError(f"{type(self).__name__} has no control(...)")

    def soften(self, name: str, family: Family, z: Tensor, site: Site) -> Tensor:
        """The relaxed value of z at the site's learned temperature."""
        log_temperature = self.log_temperatures[key(name)].clamp(*LOG_TEMPERATURE)
        event_dims = z.dim() - len(site["fn"].batch_shape)
        return family.soften(z, self.replicas.spread(log_temperature.exp(), site, event_dims))

    def relaxed_bound(self, name: str, z: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The bound downstream of a site, with the site relaxed at z and all later ones following from it."""

        def relax(other: str, family: Family, other_z: Tensor) -> Tensor:
            return self.soften(other, family, other_z, run.guide_trace.nodes[other])

        value = relax(name, run.record.draws[name].family, z)
        model_trace, guide_trace = second_pass(*run.pair, Intervene(run.record, name, value, relax))
        terms = downstream(model_trace, guide_trace, [name])[name]
        site: Site = run.guide_trace.nodes[name]
        return terms.sum_to(plates_of(site)), terms.sum_to(self.replicas.plates(site))

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        self.prepare(model, guide, *args, **kwargs)
        model, guide = self._vectorized_num_particles(model), self._vectorized_num_particles(guide)
        if not torch.is_grad_enabled():
            return -bound(*trace_pair(model, guide, args, kwargs)) / self.num_particles
        record = Record()
        model_trace, guide_trace = trace_pair(model, record(guide), args, kwargs)
        elbo = bound(model_trace, guide_trace)
        signals = learning_signals(model_trace, guide_trace)
        unscaled = {name: f / subsampling_scale(plates_of(guide_trace.nodes[name])) for name, f in signals.items()}
        run = Run((model, guide, args, kwargs), record, (model_trace, guide_trace))
        run.averages = average_baselines(self, unscaled, guide_trace)
        surrogate = pathwise_part(model_trace, guide_trace)
        second_moment = elbo.new_zeros(())
        for name, draw in record.draws.items():
            gradient = self._gradient(name, draw, signals[name], run)
            surrogate = surrogate + (gradient.detach() * draw.logits).sum()
            second_moment = second_moment + gradient.square().sum()
        surrogate = surrogate - self._own(second_moment)
        return surrogate_loss(elbo / self.num_particles, surrogate / self.num_particles)

    def _gradient(self, name: str, draw: Draw, signal: Tensor, run: Run) -> Tensor:
        family, leaf = draw.family, draw.leaf
        site: Site = run.guide_trace.nodes[name]
        z = family.perturb(leaf, draw.noise)
        conditional = family.conditional(leaf, draw.hard, family.noise(leaf))
        _, total = self.control(name, z, run)
        control, conditional_total = self.control(name, conditional, run)
        (pathwise,) = torch.autograd.grad((total - conditional_total).sum(), leaf, create_graph=True)
        score = draw.hard - family.probabilities(leaf.detach())
        event_dims = leaf.dim() - len(site["fn"].batch_shape)
        advantage = signal - control
        return where_present(advantage.reshape(advantage.shape + (1,) * event_dims) * score + pathwise, site)

    def _own(self, second_moment: Tensor) -> Tensor:
        """A term whose gradient is that of the second moment in the estimator's own parameters, and in nothing else."""
        own = [p for p in self.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(second_moment, own, allow_unused=True)
        pairs = [(g * p).sum() for g, p in zip(gradients, own, strict=True) if g is not None]
        return torch.stack(pairs).sum() if pairs else second_moment.detach()
