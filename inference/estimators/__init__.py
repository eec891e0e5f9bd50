"""Gradient estimators by name: each a ``pyro.infer.ELBO`` for any model and guide.

from inference import estimators
elbo = estimators.get("exact")()
SVI(model, guide, optimiser, loss=elbo)
"""

from __future__ import annotations

from typing import Any

from pyro_models.registry import Registry

REGISTRY = Registry("estimator", "pyro_models.estimators")
REGISTRY.add("pathwise", "inference.estimators.pathwise:Pathwise", "reparameterised sites only; the plain ELBO")
REGISTRY.add(
    "exact", "inference.estimators.exact:Exact", "discrete sites summed over by enumeration; no variance from them"
)

register = REGISTRY.register


def get(name: str) -> Any:
    """The estimator class registered under a name."""
    return REGISTRY.get(name)
