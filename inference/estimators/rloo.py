"""Leave-one-out: several samples, each the others' baseline."""

from __future__ import annotations

from pyro.poutine import Trace
from torch import Tensor

from inference.estimators.score import ScoreFunction
from pyro_models.errors import EstimatorError


class RLOO(ScoreFunction):
    r"""Score-function gradient over n samples with :math:`b_i^{(s)} = \frac{1}{n-1} \sum_{t \ne s} f_i^{(t)}`.

    No parameters and nothing to tune; the samples are particles of one vectorised pass.

    Args:
        num_particles: n, at least 2.
    """

    citation = (
        "@inproceedings{kool2019rloo,\n  title={Buy 4 {REINFORCE} Samples, Get a Baseline for Free!},\n"
        "  author={Kool, Wouter and van Hoof, Herke and Welling, Max},\n  booktitle={ICLR Workshop on Deep RL Meets "
        "Structured Prediction},\n  year={2019}\n}"
    )

    def __init__(self, num_particles: int = 2, max_plate_nesting: int | None = None) -> None:
        require_particles("rloo", num_particles)
        super().__init__(num_particles, max_plate_nesting)

    def baselines(
        self, signals: dict[str, Tensor], model_trace: Trace, guide_trace: Trace
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        # The particles' plate is the outermost, hence the first dimension.
        others = self.num_particles - 1
        return {name: (signal.sum(0, keepdim=True) - signal) / others for name, signal in signals.items()}, None


def require_particles(label: str, num_particles: int) -> None:
    """Refuses a single particle where particles are compared with each other."""
    if num_particles < 2:
        raise EstimatorError(
            f"num_particles is {num_particles}; '{label}' compares particles and needs at least 2 "
            f"(use 'reinforce' for one)."
        )
