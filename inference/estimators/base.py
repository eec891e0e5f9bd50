"""What every gradient estimator shares: a ``pyro.infer.ELBO`` that is also a torch module.

As an ``ELBO`` it serves stock ``SVI`` (``loss_and_grads``) and the ELBO module (``differentiable_loss``); as a module
it owns its baselines, temperatures and surrogates, which have a learning rate of their own and are saved with the
run.

Conventions: losses are sums over the batch (Pyro's own), minus the ELBO; ``differentiable_loss`` has the value of the
estimate and the gradient of the surrogate. Nothing in the fast path waits for the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators import REGISTRY
from pyro_models.arguments import RemembersArguments
from pyro_models.errors import EstimatorError
from pyro_models.parameters import show_parameters

_PYRO_LOG = logging.getLogger("pyro.infer.elbo")

PyroCallable = Callable[..., Any]
#: one message of a trace: a site with its distribution, value, plates, scale and mask (Pyro types its distribution as
#: a bare callable, which would need a cast at every use)
Site = Any


class Estimator(RemembersArguments, ELBO, nn.Module):
    """A gradient estimator of the ELBO (or of another bound) for any Pyro ``model`` and ``guide``.

    ``num_particles`` estimates are averaged in one vectorised pass (estimators that compare particles say so).
    ``max_plate_nesting`` is found by a dry run when not given. A subclass writes :meth:`differentiable_loss`, says in
    :meth:`check` what it cannot do, and makes parameters of its own in :meth:`build`. One object serves one pair.
    """

    #: the gradient's expectation is the gradient of the bound
    unbiased: ClassVar[bool] = True
    #: the bound whose gradient it estimates; biases are measured only between estimators of the same one
    objective: ClassVar[str] = "elbo"
    #: BibTeX
    citation: ClassVar[str] = ""

    def __init__(
        self, num_particles: int = 1, max_plate_nesting: int | None = None, learning_rate: float = 1e-3
    ) -> None:
        if num_particles < 1:
            raise EstimatorError(f"num_particles is {num_particles}; it must be at least 1.")
        nn.Module.__init__(self)
        ELBO.__init__(
            self,
            num_particles=num_particles,
            max_plate_nesting=float("inf") if max_plate_nesting is None else max_plate_nesting,
            vectorize_particles=num_particles > 1,
        )
        self.learning_rate = learning_rate
        self._prepared = False

    @property
    def label(self) -> str:
        """The registered name, or the class's for an estimator that nobody registered."""
        return REGISTRY.name_of(type(self)) or type(self).__name__

    def prepare(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> None:
        """Looks at the pair once, with a batch: refuses what cannot be done and builds the estimator's own parameters.

        Idempotent, and the random stream is left where it was. The first loss calls it; whoever makes an optimiser
        over the estimator's parameters before that (``fit`` does) calls it first.
        """
        if self._prepared:
            return
        with torch.no_grad(), torch.random.fork_rng():
            if self.max_plate_nesting == float("inf"):
                self._guess_max_plate_nesting(model, guide, args, kwargs)
            self.examine(model, guide, args, kwargs)
        self._prepared = True

    def examine(self, model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> None:
        """Runs the pair once for :meth:`check` and :meth:`build`."""
        model_trace, guide_trace = self._get_vectorized_trace(model, guide, args, kwargs)
        self.check(model_trace, guide_trace)
        self.build(model_trace, guide_trace)

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Raises :class:`EstimatorError` when the pair has a site that this estimator cannot handle."""

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Makes the estimator's own parameters and buffers for the sites of the pair; none by default."""

    def at(self, progress: float) -> None:
        """Called with the progress in [0, 1] before every step: schedules of temperatures; nothing by default."""

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the bound, summed over the batch, with the estimator's gradient attached."""
        raise NotImplementedError(f"{type(self).__name__} has no differentiable_loss(...)")

    def loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> float:
        """The value alone."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> float:
        """The value, with gradients accumulated; what stock ``SVI`` calls."""
        self.prepare(model, guide, *args, **kwargs)
        show_parameters(self, type(self).__name__)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return float(loss.detach())

    def rates(self, options: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
        """Options of a ``pyro.optim`` optimiser by parameter name: the estimator's own learn at their own rate.

        SVI(model, guide, Adam(elbo.rates({"lr": 1e-3})), loss=elbo)
        """
        own = f"{type(self).__name__}@{id(self)}."  # as Pyro's optimisers spell the names of parameters
        return lambda name: {**options, "lr": self.learning_rate} if name.startswith(own) else dict(options)

    def _guess_max_plate_nesting(self, model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> None:
        # Pyro's own, without the line it logs for every estimator made.
        level = _PYRO_LOG.level
        _PYRO_LOG.setLevel(logging.WARNING)
        try:
            super()._guess_max_plate_nesting(model, guide, args, kwargs)
        finally:
            _PYRO_LOG.setLevel(level)

    def _get_trace(self, model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        return trace_pair(model, guide, args, kwargs)


def trace_pair(model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
    """The guide's trace and the model's replayed on it: ``(model_trace, guide_trace)``, subsampling sites pruned."""
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    return poutine.util.prune_subsample_sites(model_trace), poutine.util.prune_subsample_sites(guide_trace)


def is_discrete(site: Site) -> bool:
    """True for a latent site that can be enumerated (Categorical, OneHotCategorical, Bernoulli, ...)."""
    return bool(getattr(site["fn"], "has_enumerate_support", False))


def sample_sites(trace: Trace) -> dict[str, Site]:
    """The sample sites of a trace, observed or not, in execution order."""
    return {
        name: site for name, site in trace.nodes.items() if site["type"] == "sample" and not name.startswith("_INPUT")
    }


def latent_sites(trace: Trace) -> dict[str, Site]:
    """The unobserved sample sites of a trace, in execution order."""
    return {name: site for name, site in sample_sites(trace).items() if not site["is_observed"]}


def score_sites(trace: Trace) -> dict[str, Site]:
    """The latent sites without a reparameterisation: those that need an estimator."""
    return {name: site for name, site in latent_sites(trace).items() if not site["fn"].has_rsample}


def surrogate_loss(elbo: Tensor, surrogate: Tensor) -> Tensor:
    """The value of minus ``elbo`` with the gradient of minus ``surrogate``."""
    return -elbo.detach() - (surrogate - surrogate.detach())
