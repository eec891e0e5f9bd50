"""VIMCO: the multi-sample bound for discrete sites."""

from __future__ import annotations

from pyro.poutine import Trace

from inference.estimators.importance import ImportanceWeighted
from inference.estimators.requirements import require_sampled


class VIMCO(ImportanceWeighted):
    """The multi-sample bound for discrete sites, each particle's baseline computed from the others.

    Args:
        num_particles: K, at least 2.
    """

    citation = (
        "@inproceedings{mnih2016vimco,\n  title={Variational Inference for {M}onte {C}arlo Objectives},\n"
        "  author={Mnih, Andriy and Rezende, Danilo},\n  booktitle={International Conference on Machine Learning},\n"
        "  year={2016}\n}"
    )

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        require_sampled(self, guide_trace)
        super().check(model_trace, guide_trace)
