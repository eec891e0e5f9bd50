"""Published relatives of the nebula as options: ``--options.preset vade`` or ``Nebula.build(data, preset="vade")``."""

from __future__ import annotations

from typing import Any

from pyro_models.errors import unknown_name

#: what the published models have in common: trained from the start, nothing placed, nothing repaired
_AS_PUBLISHED: dict[str, Any] = {
    "start": "random",
    "warm_up": 0.0,
    "ramp": 0.0,
    "moves": False,
    "repulsion": "none",
    "anchors": "parameters",
}

PRESETS: dict[str, dict[str, Any]] = {
    # An auto-encoder without noise; a mixture is fitted to its codes when it is trained.
    "ae": {
        "variational": False,
        "anchors": "parameters",
        "repulsion": "none",
        "moves": False,
        "covariance": "diagonal",
    },
    # One anchor at the origin.
    "vae": {**_AS_PUBLISHED, "clusters": 1, "covariance": "fixed", "spread": 1.0, "weights": "uniform"},
    # The released code of NVC: KL to N(0, I) plus lambda times the squared distance to the nearest anchor is the hard
    # mixture with variance 1 / (1 + 2 lambda) and tied weights; lambda is 1, with metric learning 2.
    "nvc-published": {
        **_AS_PUBLISHED,
        "covariance": "fixed",
        "spread": 3**-0.5,
        "weights": "tied",
        "hard": True,
    },
    # The idea of NVC with a proper density: soft assignment, one shared variance, anchors kept apart by a log-gas.
    "nvc": {"covariance": "spherical", "weights": "uniform", "repulsion": "log-gas", "anchors": "map"},
    "nvc-sml": {
        "covariance": "spherical",
        "weights": "uniform",
        "repulsion": "log-gas",
        "anchors": "map",
        "metric_weight": 1.0,
    },
    "vade": {
        "covariance": "diagonal",
        "weights": "learned",
        "repulsion": "none",
        "anchors": "parameters",
        "start": "codes",
        "moves": False,
        "hidden": (500, 500, 2000),
    },
    "vamp": {
        **_AS_PUBLISHED,
        "clusters": 500,
        "latent": 40,
        "anchors": "pseudo-inputs",
        "weights": "uniform",
        "hidden": (300, 300),
    },
}


def preset_options(name: str) -> dict[str, Any]:
    """The options of a preset."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return dict(PRESETS[name])
