"""How good it is: metrics on plain arrays, posteriors for ArviZ, figures, reports, experiments."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.measure import evaluate as evaluate
    from evaluation.reporting import report as report

_EXPORTS = {"evaluate": "evaluation.measure", "report": "evaluation.reporting"}
__all__ = ["evaluate", "report"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can list metrics without importing torch.
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'evaluation' has no attribute '{name}'")
