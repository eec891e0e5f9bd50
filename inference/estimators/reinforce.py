"""REINFORCE: the score-function gradient with no baseline, a constant, or a running average."""

from __future__ import annotations

from typing import Any

from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators.base import score_sites
from inference.estimators.own import Replicas, RunningAverage, key
from inference.estimators.score import ScoreFunction
from pyro_models.errors import EstimatorError


class Reinforce(ScoreFunction):
    r"""Score-function gradient :math:`(f_i - b_i) \nabla \log q(z_i)`.

    Args:
        baseline: ``"none"`` (b = 0), ``"average"`` (a decaying average of f_i per site, taken before the step), or a
            number.
        decay: of the average; 0.9 remembers about ten steps.
        replicas: name of an outermost plate of independent runs, each with its own average.
    """

    citation = (
        "@article{williams1992reinforce,\n  title={Simple Statistical Gradient-Following Algorithms for Connectionist "
        "Reinforcement Learning},\n  author={Williams, Ronald J.},\n  journal={Machine Learning},\n  volume={8},\n"
        "  pages={229--256},\n  year={1992}\n}"
    )

    def __init__(
        self,
        baseline: str | float = "none",
        decay: float = 0.9,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
        replicas: str | None = None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting)
        if isinstance(baseline, str) and baseline not in ("none", "average"):
            raise EstimatorError(f"baseline is '{baseline}'; it is 'none', 'average' or a number.")
        check_decay(decay)
        self.baseline, self.decay, self.replicas = baseline, decay, Replicas(replicas)
        self.averages = nn.ModuleDict()

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        if self.baseline == "average":
            build_averages(self.averages, self.decay, self.replicas, guide_trace)

    def baselines(
        self, signals: dict[str, Tensor], model_trace: Trace, guide_trace: Trace
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        if self.baseline == "none":
            return {}, None
        if self.baseline == "average":
            return average_baselines(self, signals, guide_trace), None
        return {name: signal.new_full((), float(self.baseline)) for name, signal in signals.items()}, None


def check_decay(decay: float) -> None:
    """Refuses a decay that forgets everything or nothing."""
    if not 0.0 <= decay < 1.0:
        raise EstimatorError(f"decay is {decay}; it must be at least 0 and below 1 (0.9 remembers about ten steps).")


def build_averages(averages: nn.ModuleDict, decay: float, replicas: Replicas, guide_trace: Trace) -> None:
    """A running average for every sampled site."""
    guide_trace.compute_log_prob()
    for name, site in score_sites(guide_trace).items():
        averages[key(name)] = RunningAverage(replicas.count(site), decay, site["log_prob"])


def average_baselines(estimator: Any, signals: dict[str, Tensor], guide_trace: Trace) -> dict[str, Tensor]:
    """The running averages as baselines, then updated (in training) by the signals of this step."""
    found: dict[str, Tensor] = {}
    for name, signal in signals.items():
        if key(name) not in estimator.averages:
            raise EstimatorError(
                f"the guide site '{name}' was not there in the first batch, so it has no baseline: estimator "
                f"'{estimator.label}' needs the same sites every step; use 'reinforce' without baseline, or 'rloo'."
            )
        site, average = guide_trace.nodes[name], estimator.averages[key(name)]
        found[name] = estimator.replicas.spread(average.value(), site)
        if estimator.training:
            average.update(estimator.replicas.gather(signal, site))
    return found
