"""What every gradient estimator shares: a ``pyro.infer.ELBO`` that is also a torch module.

As an ``ELBO`` it serves stock ``SVI`` (``loss_and_grads``) and the ELBO module (``differentiable_loss``); as a module it owns
its baselines, temperatures and surrogates, which have a learning rate of their own and are saved with the run.

Conventions: losses are sums over the batch (Pyro's own), minus the ELBO; ``differentiable_loss`` has the value of the
estimate and the gradient of the surrogate. Nothing in the fast path waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_models.errors import EstimatorError
from pyro_models.parameters import show_parameters

PyroCallable = Callable[..., Any]


class Estimator(ELBO, nn.Module):
    """A gradient estimator of the ELBO (or of another bound) for any Pyro ``model`` and ``guide``.

    ``num_particles`` estimates are averaged in one vectorised pass. ``max_plate_nesting`` is found by a dry run when not
    given. A subclass writes :meth:`differentiable_loss`; one with parameters of its own builds them in :meth:`prepare`.
    """

    #: the gradient's expectation is the gradient of the bound
    unbiased: ClassVar[bool] = True
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

    def prepare(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> None:
        """Looks at the pair once, with a batch: refuses what cannot be done and builds the estimator's own parameters.

        Idempotent. ``fit`` calls it before the optimiser is made; under stock ``SVI`` the first loss calls it.
        """
        if self.max_plate_nesting == float("inf"):
            with torch.no_grad(), torch.random.fork_rng():
                self._guess_max_plate_nesting(model, guide, args, kwargs)

    def at(self, progress: float) -> None:
        """Called with the progress in [0, 1] before every step: schedules of temperatures; nothing by default."""

    def differentiable_loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the bound, summed over the batch, with the estimator's gradient attached."""
        raise NotImplementedError

    def loss(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> float:
        """The value alone."""
        self.prepare(model, guide, *args, **kwargs)
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: PyroCallable, guide: PyroCallable, *args: Any, **kwargs: Any) -> float:
        """The value, with gradients accumulated; what stock ``SVI`` calls."""
        self.prepare(model, guide, *args, **kwargs)
        show_parameters(self, type(self).__name__)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return float(loss.detach())

    def _get_trace(self, model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> Any:
        return trace_pair(model, guide, args, kwargs)


def trace_pair(model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
    """The guide's trace and the model's replayed on it: ``(model_trace, guide_trace)``, subsampling sites pruned."""
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    return poutine.util.prune_subsample_sites(model_trace), poutine.util.prune_subsample_sites(guide_trace)


def is_discrete(site: dict[str, Any]) -> bool:
    """True for a latent site with a finite support (Categorical, OneHotCategorical, Bernoulli, ...)."""
    return bool(getattr(site["fn"], "has_enumerate_support", False))


def latent_sites(trace: Trace) -> dict[str, dict[str, Any]]:
    """The unobserved sample sites of a trace, in execution order."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and not name.startswith("_INPUT")
    }
