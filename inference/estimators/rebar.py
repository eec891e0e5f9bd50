"""REBAR: the model itself on relaxed values as control variate."""

from __future__ import annotations

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators.base import score_sites
from inference.estimators.control_variate import ControlVariate, Run
from inference.estimators.costs import plates_of, subsampling_scale
from inference.estimators.own import key
from inference.estimators.relaxed import NO_INDEX, require_same_families
from inference.estimators.requirements import require_families


class Rebar(ControlVariate):
    r"""Control variate :math:`c(z) = a + \eta\,(f(v_\tau(z)) - a)` with learned :math:`\eta` and :math:`\tau`.

    f(v) is the bound downstream of the site with the relaxed value in the place of the hard one; a is a decaying
    average of f, so that :math:`\eta = 1` is REBAR, and :math:`\eta = 0` REINFORCE with a baseline, for models whose
    relaxation says nothing about their vertices. A step runs the pair 2n + 1 times for n sites.

    Args:
        temperature: where :math:`\tau` starts.
        eta: where :math:`\eta` starts.
        decay: of the average.
        learning_rate: of :math:`\log\tau` and :math:`\eta`.
        replicas: name of an outermost plate of independent runs, each with its own parameters.
    """

    citation = (
        "@inproceedings{tucker2017rebar,\n  title={{REBAR}: Low-variance, Unbiased Gradient Estimates for Discrete "
        "Latent "
        "Variable Models},\n  author={Tucker, George and Mnih, Andriy and Maddison, Chris J. and Lawson, Dieterich and "
        "Sohl-Dickstein, Jascha},\n  booktitle={Advances in Neural Information Processing Systems},\n  year={2017}\n}"
    )

    def __init__(
        self,
        temperature: float = 0.5,
        eta: float = 1.0,
        decay: float = 0.9,
        learning_rate: float = 1e-2,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
        replicas: str | None = None,
    ) -> None:
        super().__init__(temperature, decay, learning_rate, num_particles, max_plate_nesting, replicas)
        self.start_eta, self.eta = eta, nn.ParameterDict()

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        super().check(model_trace, guide_trace)
        require_families(self, guide_trace, ("one-hot", "bits"), NO_INDEX)
        require_same_families(self, model_trace, guide_trace)

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        super().build(model_trace, guide_trace)
        for name, site in score_sites(guide_trace).items():
            start = torch.full((self.replicas.count(site),), self.start_eta)
            self.eta[key(name)] = nn.Parameter(start.to(site["log_prob"]))

    def control(self, name: str, z: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        return rebar_control(self, self.eta[key(name)], name, z, run)


def rebar_control(estimator: ControlVariate, eta: Tensor, name: str, z: Tensor, run: Run) -> tuple[Tensor, Tensor]:
    r""":math:`a + \eta (f(v) - a)` per plate element, and the part of it that gradients flow through."""
    site = run.guide_trace.nodes[name]
    relaxed, total = estimator.relaxed_bound(name, z, run)
    average = subsampling_scale(plates_of(site)) * run.averages[name]
    weight = estimator.replicas.spread(eta, site)
    return average + weight * (relaxed - average), weight * total
