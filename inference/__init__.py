"""How a story is learned: estimators, the training loop, runs and sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.loop import fit as fit
    from inference.loop import resume as resume
    from inference.run import Run as Run

_EXPORTS = {"fit": "inference.loop", "resume": "inference.loop", "Run": "inference.run"}
__all__ = ["Run", "fit", "resume"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can list estimators without importing torch.
    if name in _EXPORTS:
        from importlib import import_module

        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'inference' has no attribute '{name}'")
