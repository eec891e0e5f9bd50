"""All disentanglement scores of one set of codes, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.arrays import Array
from evaluation.disentanglement.beta_vae import beta_vae
from evaluation.disentanglement.correlation import correlations, total_correlation
from evaluation.disentanglement.dci import dci
from evaluation.disentanglement.factor_vae import factor_vae
from evaluation.disentanglement.irs import irs
from evaluation.disentanglement.mig import mig
from evaluation.disentanglement.modularity import modularity
from evaluation.disentanglement.sap import sap
from evaluation.disentanglement.tables import Kind, tables
from pyro_models.errors import unknown_name

Kinds = Sequence[Kind]


def _dci(codes: Array, factors: Array, kinds: Kinds, seed: int) -> dict[str, float]:
    found = dci(codes, factors, kinds, seed=seed)
    return {
        "dci_disentanglement": found.disentanglement,
        "dci_completeness": found.completeness,
        "dci_informativeness": found.informativeness,
    }


def _modularity(codes: Array, factors: Array, kinds: Kinds, seed: int) -> dict[str, float]:
    found = modularity(codes, factors, kinds, seed=seed)
    return {"modularity": found.modularity, "explicitness": found.explicitness}


def _correlation(codes: Array, factors: Array, kinds: Kinds, seed: int) -> dict[str, float]:
    return {
        "code_correlation": correlations(codes, factors, kinds).mean_off_diagonal,
        "total_correlation": total_correlation(codes),
    }


#: metric name to its scores; of ``correlation`` lower is better, of all others higher
SCORES: dict[str, Callable[[Array, Array, Kinds, int], dict[str, float]]] = {
    "beta_vae": lambda c, f, kinds, seed: {"beta_vae": beta_vae(c, f, kinds, seed=seed).value},
    "factor_vae": lambda c, f, kinds, seed: {"factor_vae": factor_vae(c, f, kinds, seed=seed).value},
    "mig": lambda c, f, kinds, seed: {"mig": mig(c, f, kinds).value},
    "dci": _dci,
    "sap": lambda c, f, kinds, seed: {"sap": sap(c, f, kinds, seed=seed).value},
    "modularity": _modularity,
    "irs": lambda c, f, kinds, seed: {"irs": irs(c, f, kinds).value},
    "correlation": _correlation,
}


def disentanglement(
    codes: Array,
    factors: Array,
    kinds: Kinds | None = None,
    *,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Every score of codes against known factors, each with its default arguments: ``{score: value}``.

    ``beta_vae``, ``factor_vae``, ``mig``, ``dci_disentanglement``, ``dci_completeness``, ``dci_informativeness``,
    ``sap``, ``modularity``, ``explicitness``, ``irs`` (higher is better, range [0, 1]) and ``code_correlation``,
    ``total_correlation`` (lower is better). What each means stands with the function of its name.

    Args:
        codes: ``[N, D]``, posterior means usually; two dimensions or more for ``mig`` and ``sap``.
        factors: ``[N, F]``, NaN where unknown; two or more for the scores that compare factors.
        kinds: ``"discrete"`` or ``"continuous"`` per factor; found out by default, once for all scores.
        metrics: names to compute, of ``SCORES``; all by default.
        seed: of everything that draws.
    """
    chosen = list(SCORES) if metrics is None else list(metrics)
    for name in chosen:
        if name not in SCORES:
            raise unknown_name("disentanglement metric", name, SCORES)
    data = tables(codes, factors, kinds)
    scores: dict[str, float] = {}
    for name in chosen:
        scores |= SCORES[name](data.codes, data.factors, data.kinds, seed)
    return scores


def random_codes(factors: Array, dimensions: int, seed: int = 0) -> np.ndarray:
    """Gaussian noise as codes ``[N, dimensions]``: the trivial baseline to print beside every score."""
    return np.random.default_rng(seed).standard_normal((len(factors), dimensions))
