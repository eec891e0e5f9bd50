"""Disentanglement scores on plain arrays: ``codes [N, D]`` against ``factors [N, F]``, one score a file.

    from evaluation.disentanglement import bootstrap_intervals, disentanglement, mig

    mig(codes, factors).value
    disentanglement(codes, factors)                                   # all of them by name
    bootstrap_intervals(disentanglement, codes, factors)["mig"].low   # with intervals

Factors may be discrete, continuous, or missing (NaN) for some data; see ``tables``.
"""

from evaluation.disentanglement.beta_vae import FixedFactorScore, beta_vae
from evaluation.disentanglement.bootstrap import Interval, bootstrap_intervals
from evaluation.disentanglement.correlation import (
    Correlations,
    aggregate_total_correlation,
    correlations,
    total_correlation,
)
from evaluation.disentanglement.dci import DCI, dci, disentanglement_completeness
from evaluation.disentanglement.factor_vae import factor_vae
from evaluation.disentanglement.irs import IRS, irs
from evaluation.disentanglement.mig import MIG, mig
from evaluation.disentanglement.modularity import Modularity, modularity
from evaluation.disentanglement.sap import SAP, sap
from evaluation.disentanglement.suite import SCORES, disentanglement, random_codes
from evaluation.disentanglement.udr import UDR, udr
from evaluation.disentanglement.vp import VP, vp

__all__ = [
    "DCI",
    "IRS",
    "MIG",
    "SAP",
    "SCORES",
    "UDR",
    "VP",
    "Correlations",
    "FixedFactorScore",
    "Interval",
    "Modularity",
    "aggregate_total_correlation",
    "beta_vae",
    "bootstrap_intervals",
    "correlations",
    "dci",
    "disentanglement",
    "disentanglement_completeness",
    "factor_vae",
    "irs",
    "mig",
    "modularity",
    "random_codes",
    "sap",
    "total_correlation",
    "udr",
    "vp",
]
