"""BibTeX for exactly what was used."""

from __future__ import annotations

from evaluation.metric import METRICS
from inference import estimators
from pyro_models.catalogue import STORIES
from pyro_models.errors import unknown_name

PYRO = """@article{bingham2019pyro,
  title={Pyro: Deep Universal Probabilistic Programming},
  author={Bingham, Eli and Chen, Jonathan P. and Jankowiak, Martin and others},
  journal={Journal of Machine Learning Research},
  volume={20},
  year={2019}
}"""


def cite(*names: str) -> str:
    """The entries for the named stories, estimators and metrics, and for Pyro; each once."""
    entries = []
    for name in names:
        for registry in (STORIES, estimators.REGISTRY, METRICS):
            if name in registry or ":" in name:
                citation = getattr(registry.get(name), "citation", "")
                break
        else:
            raise unknown_name("story, estimator or metric", name, [*STORIES, *estimators.REGISTRY, *METRICS])
        if citation and citation not in entries:
            entries.append(citation)
    return "\n\n".join([*entries, PYRO]) + "\n"
