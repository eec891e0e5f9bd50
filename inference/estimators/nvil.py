"""NVIL: the score-function gradient with a learned baseline that looks at the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators.base import Site, score_sites
from inference.estimators.costs import plate_shape, plates_of
from inference.estimators.own import ReplicaMLP, Replicas, context, key, run_network
from inference.estimators.reinforce import average_baselines, build_averages, check_decay
from inference.estimators.score import ScoreFunction
from pyro_models.errors import EstimatorError


class NVIL(ScoreFunction):
    r"""Score-function gradient with :math:`b_i = a_i + r_i(x, z_{<i})`.

    a is a decaying average of the signal and r a network on the data and on what the guide drew before site i; it
    learns by :math:`(f_i - b_i)^2`, at its own rate. It returns exactly one number per element of the site's plates,
    built for the sizes of the first batch. A site with Pyro's own ``infer={"baseline": {"nn_baseline": net,
    "nn_baseline_input": x}}`` or ``{"baseline_value": b}`` uses that instead of r.

    Args:
        hidden: widths of the network's hidden layers; ``()`` is a linear map.
        decay: of the average.
        learning_rate: of the baselines.
        replicas: name of an outermost plate of independent runs, each with its own baseline.
    """

    citation = (
        "@inproceedings{mnih2014nvil,\n  title={Neural Variational Inference and Learning in Belief Networks},\n"
        "  author={Mnih, Andriy and Gregor, Karol},\n  booktitle={International Conference on Machine Learning},\n"
        "  year={2014}\n}"
    )

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        decay: float = 0.9,
        learning_rate: float = 1e-3,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
        replicas: str | None = None,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting, learning_rate)
        check_decay(decay)
        self.hidden, self.decay, self.replicas = tuple(hidden), decay, Replicas(replicas)
        self.averages, self.networks = nn.ModuleDict(), nn.ModuleDict()

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        super().check(model_trace, guide_trace)
        for site in score_sites(guide_trace).values():
            if _own_baseline(site):
                _users_baseline(site, plate_shape(plates_of(site)), self.num_particles)

    def build(self, model_trace: Trace, guide_trace: Trace) -> None:
        build_averages(self.averages, self.decay, self.replicas, guide_trace)
        for name, site in score_sites(guide_trace).items():
            if not _own_baseline(site):
                inputs = context(site, model_trace, guide_trace).shape[-1]
                like = site["unscaled_log_prob"]
                self.networks[key(name)] = ReplicaMLP(self.replicas.count(site), inputs, self.hidden, like)

    def baselines(
        self, signals: dict[str, Tensor], model_trace: Trace, guide_trace: Trace
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        averages = average_baselines(self, signals, guide_trace)
        found: dict[str, Tensor] = {}
        losses: list[Tensor] = []
        for name, signal in signals.items():
            site = guide_trace.nodes[name]
            if _own_baseline(site):
                found[name] = _users_baseline(site, tuple(signal.shape), self.num_particles)
            else:
                features = context(site, model_trace, guide_trace)
                found[name] = averages[name] + run_network(self.networks[key(name)], features, site, self.replicas)
            losses.append((signal - found[name]).square().sum())
        return found, torch.stack(losses).sum()


def _own_baseline(site: Site) -> dict[str, Any] | None:
    return site["infer"].get("baseline")


def _users_baseline(site: Site, shape: tuple[int, ...], particles: int) -> Tensor:
    options = site["infer"]["baseline"]
    if "nn_baseline" in options:
        values = options["nn_baseline"](options["nn_baseline_input"].detach())
    elif "baseline_value" in options:
        values = options["baseline_value"]
    else:
        raise EstimatorError(
            f"the guide site '{site['name']}' has a baseline with {', '.join(options) or 'no options'}; "
            f"'nvil' reads 'nn_baseline' with 'nn_baseline_input', or 'baseline_value'."
        )
    allowed = {shape} | ({shape[1:]} if particles > 1 else set())
    if tuple(values.shape) not in allowed:
        raise EstimatorError(
            f"the baseline of the guide site '{site['name']}' has the shape {tuple(values.shape)}, but the site's "
            f"plates have {shape}: one number per plate element, or it would silently broadcast; usually .squeeze(-1) "
            f"is missing."
        )
    return values
