"""What the nebula can be asked for, and what cannot go together."""

from __future__ import annotations

from pyro_models.anchors.repulsion import REPULSIONS
from pyro_models.anchors.start import STARTS
from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn.sequence import READERS

ANCHORS = ("map", "parameters", "latent", "pseudo-inputs")
COVARIANCES = ("diagonal", "spherical", "fixed")
WEIGHTS = ("learned", "uniform", "tied")
ENCODINGS = ("mixture", "enumerate-model", "enumerate-guide")


def check_kinds(
    clusters: int,
    anchors: str,
    covariance: str,
    weights: str,
    encoding: str,
    repulsion: str,
    hard: bool,
    start_kind: str,
    spread: float,
    concentration: float,
) -> None:
    """Names are known, and fit each other."""
    for kind, name, allowed in (
        ("anchors", anchors, ANCHORS),
        ("covariance", covariance, COVARIANCES),
        ("weights", weights, WEIGHTS),
        ("encoding", encoding, ENCODINGS),
        ("repulsion", repulsion, REPULSIONS),
        ("start", start_kind, STARTS),
    ):
        if name not in allowed:
            raise unknown_name(kind, name, allowed)
    if clusters < 1:
        raise OptionError(f"clusters is {clusters}; it must be at least 1 (1 is a VAE).")
    if hard and encoding != "mixture":
        raise OptionError("hard=True has no index to enumerate; use encoding='mixture'.")
    if anchors in ("latent", "pseudo-inputs") and hard:
        raise OptionError(f"hard=True needs point anchors; anchors='{anchors}' are not.")
    if not spread > 0 or not concentration > 0:
        raise OptionError(f"spread and concentration must be positive, got {spread} and {concentration}.")
    if weights == "tied" and not (covariance == "fixed" and spread < 1 and anchors != "pseudo-inputs"):
        raise OptionError("weights='tied' needs covariance='fixed' with a spread below 1 (see log_weights).")
    if repulsion == "published" and anchors not in ("map", "parameters"):
        raise OptionError("repulsion='published' is an energy of point anchors; use anchors='map'.")


def check_recipe(
    warm_up: float,
    ramp: float,
    guess_until: float,
    view_weight: float,
    metric_weight: float,
    strength: float,
    free_bits: float,
) -> None:
    """Numbers that tell the course of training."""
    if min(warm_up, ramp) < 0 or warm_up + ramp > 1:
        raise OptionError(f"warm_up={warm_up} and ramp={ramp} are fractions of training whose sum is at most 1.")
    if not 0 <= guess_until <= 1:
        raise OptionError(f"guess_until is {guess_until}; it is a progress from 0 to 1.")
    for name, value in (
        ("view_weight", view_weight),
        ("metric_weight", metric_weight),
        ("repulsion_strength", strength),
        ("free_bits", free_bits),
    ):
        if value < 0:
            raise OptionError(f"{name} is {value}; it must not be negative.")


def check_together(
    network: str, anchors: str, start_kind: str, warm_up: float, metric_weight: float, trained: bool
) -> None:
    """What the anchors need of the rest; ``trained``: there are several, and they are no afterthought."""
    if trained and start_kind == "codes" and not warm_up and anchors != "pseudo-inputs":
        raise OptionError("start='codes' places anchors after a warm-up, but warm_up is 0; use start='random'.")
    if metric_weight and not trained:
        raise OptionError("metric_weight needs several anchors that are trained; variational=False only fits them.")
    if anchors == "pseudo-inputs" and network in READERS:
        raise OptionError("anchors='pseudo-inputs' learns data by their slopes, and words have none; use 'map'.")
