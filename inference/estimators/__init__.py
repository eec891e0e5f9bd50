"""Gradient estimators by name: each a ``pyro.infer.ELBO`` for any model and guide.

from inference import estimators
elbo = estimators.get("exact")()
SVI(model, guide, optimiser, loss=elbo)
"""

from __future__ import annotations

from typing import Any

from pyro_models.registry import Registry

REGISTRY = Registry("estimator", "pyro_models.estimators")

_CATALOGUE = {
    "pathwise": ("pathwise:Pathwise", "reparameterised sites only; the plain ELBO"),
    "exact": ("exact:Exact", "discrete sites summed over by enumeration; no variance from them"),
    "reinforce": ("reinforce:Reinforce", "score function, with no, a constant or a running-average baseline"),
    "nvil": ("nvil:NVIL", "score function with a learned, data-dependent baseline"),
    "rloo": ("rloo:RLOO", "score function over n samples, each the others' baseline; nothing to tune"),
    "vimco": ("vimco:VIMCO", "multi-sample bound for discrete sites"),
    "iwae": ("iwae:IWAE", "multi-sample bound, pathwise where sites are reparameterised"),
    "dreg": ("dreg:DReG", "multi-sample bound for continuous sites with doubly reparameterised gradients"),
    "reweighted-wake-sleep": ("wake_sleep:ReweightedWakeSleep", "guide fitted to weighted samples, per datum (biased)"),
    "concrete": ("concrete:Concrete", "Gumbel-softmax relaxation (biased)"),
    "straight-through": ("straight_through:StraightThrough", "hard values forward, relaxed ones backward (biased)"),
    "gumbel-rao": ("gumbel_rao:GumbelRao", "straight-through with its spare noise averaged out (biased)"),
    "rebar": ("rebar:Rebar", "the relaxed model as control variate, its weight and temperature learned"),
    "relax": ("relax:Relax", "the relaxed model and a free network, or the network alone, as control variate"),
    "disarm": ("disarm:DisARM", "antithetic pairs for Bernoulli sites; nothing to tune"),
    "arm": ("disarm:ARM", "antithetic pairs for Bernoulli sites, as first published"),
}
for _name, (_target, _summary) in _CATALOGUE.items():
    REGISTRY.add(_name, f"inference.estimators.{_target}", _summary)

register = REGISTRY.register


def get(name: str) -> Any:
    """The estimator class registered under a name."""
    return REGISTRY.get(name)
