"""RELAX: a learned function, beside or instead of the relaxed model, as control variate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators.base import Site, score_sites
from inference.estimators.control_variate import ControlVariate, Run
from inference.estimators.costs import plates_of, subsampling_scale
from inference.estimators.discrete import logits_of
from inference.estimators.own import ReplicaMLP, context, key, run_network
from inference.estimators.rebar import rebar_control
from inference.estimators.relaxed import NO_INDEX, require_same_families
from inference.estimators.requirements import require_families
from pyro_models.errors import EstimatorError

CONTROLS = ("model+network", "network")


class Relax(ControlVariate):
    r"""Control variate :math:`c(z) = a + \eta\,(f(v_\tau(z)) - a) + r_\rho(v_\tau(z), x, b_{<i})` with all of it
    learned.

    r is a network on the relaxed value, the data, and what the guide drew before the site. With ``control="network"``
    it is alone (no :math:`\eta` term): one run of the model per step instead of 2n + 1, and integer ``Categorical``
    sites are possible.

    Args:
        control: ``"model+network"`` or ``"network"``.
        hidden: widths of the network's hidden layers.
        temperature, eta, decay: as for ``rebar``.
        learning_rate: of everything learned here.
        replicas: name of an outermost plate of independent runs, each with its own parameters.
    """

    citation = (
        "@inproceedings{grathwohl2018relax,\n  title={Backpropagation through the Void: Optimizing Control "
        "Variates for "
        "Black-box Gradient Estimation},\n  author={Grathwohl, Will and Choi, Dami and Wu, Yuhuai and Roeder, "
        "Geoff and "
        "Duvenaud, David},\n  booktitle={International Conference on Learning Representations},\n  year={2018}\n}"
    )

    def __init__(
        self,
        control: str = "model+network",
        hidden: Sequence[int] = (100,),
        temperature: float = 0.5,
        eta: float = 1.0,
        decay: float = 0.9,
        learning_rate: float = 1e-3,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
        replicas: str | None = None,
    ) -> None:
        super().__init__(temperature, decay, learning_rate, num_particles, max_plate_nesting, replicas)
        if control not in CONTROLS:
            raise EstimatorError(f"control is '{control}'; it is one of {', '.join(map(repr, CONTROLS))}.")
        self.with_model, self.hidden, self.start_eta = control == CONTROLS[0], tuple(hidden), eta
        self.eta, self.networks = nn.ParameterDict(), nn.ModuleDict()

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        super().check(model_trace, guide_trace)
        if self.with_model:
            fix = f"use Relax(control='network'); {NO_INDEX}"
            require_families(self, guide_trace, ("one-hot", "bits"), fix)
            require_same_families(self, model_trace, guide_trace)
        else:
            require_families(self, guide_trace, ("one-hot", "index", "bits"), "use 'reinforce' or 'rloo'.")

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        super().build(model_trace, guide_trace)
        for name, site in score_sites(guide_trace).items():
            count, like = self.replicas.count(site), site["log_prob"]
            if self.with_model:
                self.eta[key(name)] = nn.Parameter(torch.full((count,), self.start_eta).to(like))
            inputs = context(site, model_trace, guide_trace).shape[-1] + _relaxed_size(site)
            self.networks[key(name)] = ReplicaMLP(count, inputs, self.hidden, like)

    def control(self, name: str, z: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        site: Site = run.guide_trace.nodes[name]
        plates = plates_of(site)
        scale = subsampling_scale(plates)
        soft = self.soften(name, run.record.draws[name].family, z, site)
        soft = soft.reshape((*site["fn"].batch_shape, -1))
        features = torch.cat([soft, context(site, run.model_trace, run.guide_trace)], -1)
        learned = scale * run_network(self.networks[key(name)], features, site, self.replicas)
        if not self.with_model:
            return scale * run.averages[name] + learned, learned
        control, total = rebar_control(self, self.eta[key(name)], name, z, run)
        return control + learned, total.sum() + learned.sum()


def _relaxed_size(site: Site) -> int:
    """How many numbers a relaxed value has per plate element."""
    shape = logits_of(site["fn"]).shape[len(site["fn"].batch_shape) :]
    return math.prod(shape)
