"""How a story is learned: estimators, the training loop, runs and sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.loop import fit as fit
    from inference.loop import resume as resume
    from inference.run import Run as Run
    from inference.study import gradient_study as gradient_study
    from inference.study import study_figure as study_figure

_EXPORTS = {
    "fit": "inference.loop",
    "resume": "inference.loop",
    "Run": "inference.run",
    "gradient_study": "inference.study",
    "study_figure": "inference.study",
}
__all__ = ["Run", "fit", "gradient_study", "resume", "study_figure"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can list estimators without importing torch.
    if name in _EXPORTS:
        from importlib import import_module

        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'inference' has no attribute '{name}'")
