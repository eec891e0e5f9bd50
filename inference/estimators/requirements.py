"""What an estimator asks of the sites, and how it says no: the site, its distribution, its shape and the usual fix."""

from __future__ import annotations

from collections.abc import Iterable

from pyro.infer.util import is_validation_enabled
from pyro.poutine import Trace
from pyro.util import check_model_guide_match

from inference.estimators.base import Estimator, Site, is_discrete, latent_sites, score_sites
from inference.estimators.discrete import family_of
from pyro_models.errors import EstimatorError


def describe(site: Site) -> str:
    """``'z' (Categorical of shape (50,))``."""
    value = site["value"]
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"'{site['name']}' ({type(site['fn']).__name__}{shape})"


def _listed(sites: Iterable[Site]) -> str:
    return ", ".join(describe(site) for site in sites) or "no latent site at all"


def require_matching(estimator: Estimator, model_trace: Trace, guide_trace: Trace) -> None:
    """Every latent site of the model is sampled by the guide, in the same plates."""
    for name, site in latent_sites(model_trace).items():
        if name not in guide_trace.nodes:
            raise EstimatorError(
                f"the model site {describe(site)} is not in the guide, and estimator '{estimator.label}' samples from "
                f"the guide; sample it in the guide, or use estimator='exact', which sums over it if it is discrete."
            )
    if is_validation_enabled():
        check_model_guide_match(model_trace, guide_trace, estimator.max_plate_nesting)


def require_sampled(estimator: Estimator, guide_trace: Trace) -> None:
    """At least one site that is sampled without reparameterisation, and none that asks to be enumerated."""
    sites = score_sites(guide_trace)
    if not sites:
        raise EstimatorError(
            f"estimator '{estimator.label}' estimates gradients through discrete sites, but the guide has none among "
            f"{_listed(latent_sites(guide_trace).values())}; use estimator='pathwise'."
        )
    for site in sites.values():
        if site["infer"].get("enumerate") is not None:
            raise EstimatorError(
                f"the guide site {describe(site)} asks for enumeration (infer={{'enumerate': "
                f"'{site['infer']['enumerate']}'}}), but estimator '{estimator.label}' samples it; remove 'enumerate' "
                f"from its infer, or use estimator='exact'."
            )


def require_families(estimator: Estimator, guide_trace: Trace, allowed: tuple[str, ...], fix: str) -> None:
    """Sampled sites are of the allowed families only (``one-hot``, ``index``, ``bits``)."""
    for site in score_sites(guide_trace).values():
        family = family_of(site["fn"])
        if family is None or family.kind not in allowed:
            raise EstimatorError(
                f"estimator '{estimator.label}' cannot handle the guide site {describe(site)}: it works on "
                f"{' and '.join(_FAMILY_NAMES[kind] for kind in allowed)} sites; {fix}"
            )


def require_reparameterised(estimator: Estimator, guide_trace: Trace, fix: str) -> None:
    """Every guide site has a pathwise gradient."""
    for site in score_sites(guide_trace).values():
        kind = "discrete" if is_discrete(site) else "not reparameterised"
        raise EstimatorError(
            f"estimator '{estimator.label}' needs reparameterised guide sites, but {describe(site)} is {kind}; {fix}"
        )


_FAMILY_NAMES = {"one-hot": "OneHotCategorical", "index": "Categorical", "bits": "Bernoulli"}
