"""Shows the parameters of a plain ``nn.Module`` to whoever traces parameters in Pyro.

Stories and estimators keep their parameters in the module (``state_dict`` is all there is to save). Stock
``pyro.infer.SVI`` finds what it trains by tracing ``pyro.param`` sites, so a plain module under it would train
nothing and say nothing. :func:`show_parameters` announces the module's own tensors to such a trace, and only then:
under our own loop it costs one look at Pyro's handler stack.
"""

from __future__ import annotations

import pyro
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import nn


def parameters_are_traced() -> bool:
    """True inside ``SVI.step`` (a trace that records parameters only)."""
    return any(isinstance(handler, TraceMessenger) and handler.param_only for handler in _PYRO_STACK)


def show_parameters(module: nn.Module, owner: str) -> None:
    """Announces every trainable parameter of ``module`` as a ``pyro.param`` site, if somebody is tracing them.

    Two modules never share a name here: the global store would then silently train only one of them. The module's
    identity is in the name, and a stale tensor under the same name (from a module that is gone) is replaced.
    """
    if not parameters_are_traced():
        return
    store = pyro.get_param_store()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        full_name = f"{owner}@{id(module)}$$${name}"
        if full_name in store and store._params[full_name] is not parameter:
            del store[full_name]
        pyro.param(full_name, parameter)
