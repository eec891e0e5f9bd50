"""What a metric is: a function of a story's answers, and a registration that says what it needs and how to read it.

    @metric("edge-density", needs=(Reconstructs,), better="higher", summary="share of edge pixels")
    def edge_density(answers: Answers) -> dict[str, Score]:
        return {"edge_density": Score(..., baselines={"mean image": ...})}

``evaluate`` runs every registered metric whose needs the story and the data meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evaluation.answers import Answers
from pyro_models.registry import Registry

METRICS = Registry("metric", "pyro_models.metrics")
METRICS.add("clustering", "evaluation.metrics:clustering", "accuracy, purity, NMI, ARI, usage of the clusters")
METRICS.add("bound", "evaluation.metrics:bound", "ELBO and importance-weighted bound on log p(x)")
METRICS.add("reconstruction", "evaluation.metrics:reconstruction", "squared error of reconstructions")
METRICS.add("latents", "evaluation.metrics:latents", "active latent dimensions")

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Score:
    """One number, what trivial predictors and perfect ones reach on the same data, and the rule behind it.

    ``n``: on how many data, when it is not all of them.
    """

    value: float
    baselines: Mapping[str, float] = field(default_factory=dict)
    rule: str = ""
    better: Better = "higher"
    n: int | None = None


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    ``needs``: capability protocols of the story (all of them); ``fields``: data fields (``label``); ``function``: from
    answers to named scores.
    """

    name: str
    function: Callable[[Answers], Mapping[str, Score]]
    needs: tuple[type, ...] = ()
    fields: tuple[str, ...] = ()
    citation: str = ""

    def missing(self, story: Any, data: Any) -> str:
        """Why the metric does not apply; empty when it does."""
        lacks = [protocol.__name__ for protocol in self.needs if not isinstance(story, protocol)]
        if lacks:
            return f"{type(story).__name__} is not {', '.join(lacks)}"
        absent = [name for name in self.fields if name not in data]
        return f"{data.name} has no field {', '.join(absent)}" if absent else ""

    def __call__(self, answers: Answers) -> Mapping[str, Score]:
        return self.function(answers)


def metric(
    name: str, *, needs: tuple[type, ...] = (), fields: tuple[str, ...] = (), citation: str = "", summary: str = ""
) -> Callable[[Callable[[Answers], Mapping[str, Score]]], Metric]:
    """Registers a function as a metric under a name."""

    def decorate(function: Callable[[Answers], Mapping[str, Score]]) -> Metric:
        made = Metric(name, function, needs, fields, citation)
        text = summary or (function.__doc__ or "").strip().splitlines()[0] if function.__doc__ else summary
        return METRICS.register(name, text)(made)

    return decorate
