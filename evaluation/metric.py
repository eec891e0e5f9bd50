"""What a metric is: a function of a story's answers, and a registration that says what it needs and how to read it.

    @metric("edge-density", needs=(Reconstructs,), better="higher", summary="share of edge pixels")
    def edge_density(answers: Answers) -> dict[str, Score]:
        return {"edge_density": Score(..., baselines={"mean image": ...})}

``evaluate`` runs every registered metric whose needs the story and the data meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evaluation.answers import Answers
from pyro_models.registry import Registry

METRICS = Registry("metric", "pyro_models.metrics")
METRICS.add("clustering", "evaluation.metrics:clustering", "accuracy, purity, NMI, ARI, usage of the clusters")
METRICS.add("bound", "evaluation.metrics:bound", "ELBO and importance-weighted bound on log p(x)")
METRICS.add("reconstruction", "evaluation.metrics:reconstruction", "squared error of reconstructions")
METRICS.add(
    "equivariance", "evaluation.flow_metrics:equivariance", "error of sequences foretold from their first frame"
)
METRICS.add("spikes", "evaluation.flow_metrics:spikes", "which flows act when, and how fast, against the truth")
METRICS.add("composition", "evaluation.flow_metrics:composition", "error where several transformations act at once")
METRICS.add("extrapolation", "evaluation.flow_metrics:extrapolation", "error of frames later than any in training")
METRICS.add("frame-bound", "evaluation.flow_metrics:frame_bound", "bound per frame, bits per dimension")
METRICS.add("round-trips", "evaluation.flow_metrics:round_trips", "cycle and commutator errors, invertibility")
METRICS.add("imputation", "evaluation.metrics:imputation", "error and coverage of imputed values")
METRICS.add("terms", "evaluation.metrics:terms", "the two halves of the bound: misfit of the data, KL of the causes")
METRICS.add("latents", "evaluation.metrics:latents", "active latent dimensions")
METRICS.add(
    "rate-distortion", "evaluation.metrics:rate_distortion", "what the code costs and what it leaves unexplained"
)
METRICS.add("guide-fit", "evaluation.metrics:guide_fit", "data whose posterior the guide misses (Pareto k-hat)")
METRICS.add("calibration", "evaluation.metrics:calibration", "are responsibilities honest probabilities?")
METRICS.add("silhouette", "evaluation.metrics:silhouette", "how well clusters are apart in the features; no labels")
METRICS.add("generation", "evaluation.generated:generation", "FID, KID, precision, recall, density, coverage")
METRICS.add("disentanglement", "evaluation.factors:disentanglement", "MIG, DCI, SAP, FactorVAE and eight more scores")
METRICS.add("shape", "evaluation.shape_metrics:shape", "Chamfer distance of clouds, overlap of voxels")
METRICS.add("words", "evaluation.shape_metrics:words", "perplexity per word, and what the code costs")
METRICS.add("count", "evaluation.object_metrics:count", "share of images counted right")
METRICS.add("objects", "evaluation.object_metrics:located", "boxes, pixels and classes of the objects found")

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Score:
    """One number, what trivial predictors and perfect ones reach on the same data, and the rule behind it.

    ``n``: on how many data, when it is not all of them; ``bounds``: least and largest possible value.
    """

    value: float
    baselines: Mapping[str, float] = field(default_factory=dict)
    rule: str = ""
    better: Better = "higher"
    n: int | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    ``needs``: capability protocols of the story (all of them); ``fields``: data fields (``label``); ``images``: for
    images only; ``least``: number of data below which it says nothing; ``why_not``: what else stands against it for a
    story and data that meet all this, in words, or nothing; ``function``: from answers to named scores.
    """

    name: str
    function: Callable[[Answers], Mapping[str, Score]]
    needs: tuple[type, ...] = ()
    fields: tuple[str, ...] = ()
    citation: str = ""
    images: bool = False
    least: int = 1
    why_not: Callable[[Any, Any], str] | None = None

    def missing(self, story: Any, data: Any) -> str:
        """Why the metric does not apply; empty when it does."""
        lacks = [protocol.__name__ for protocol in self.needs if not isinstance(story, protocol)]
        if lacks:
            return f"{type(story).__name__} is not {', '.join(lacks)}"
        absent = [name for name in self.fields if name not in data]
        if absent:
            return f"{data.name} has no field {', '.join(absent)}"
        shape = data.shape(story.fields[0])
        if self.images and not is_image(shape):
            return f"data of shape {shape} are no grey or colour images"
        if len(data) < self.least:
            return f"{len(data)} data are fewer than {self.least}"
        return self.why_not(story, data) if self.why_not is not None else ""

    def __call__(self, answers: Answers) -> Mapping[str, Score]:
        return self.function(answers)


def is_image(shape: tuple[int, ...]) -> bool:
    """Grey or colour images: ``(1 or 3, height, width)``."""
    return len(shape) == 3 and shape[0] in (1, 3)


def metric(
    name: str,
    *,
    needs: tuple[type, ...] = (),
    fields: tuple[str, ...] = (),
    citation: str = "",
    images: bool = False,
    least: int = 1,
    why_not: Callable[[Any, Any], str] | None = None,
    summary: str = "",
) -> Callable[[Callable[[Answers], Mapping[str, Score]]], Metric]:
    """Registers a function as a metric under a name."""

    def decorate(function: Callable[[Answers], Mapping[str, Score]]) -> Metric:
        made = Metric(name, function, needs, fields, citation, images, least, why_not)
        text = summary or ((function.__doc__ or "").strip().splitlines() or [""])[0]
        return METRICS.register(name, text)(made)

    return decorate
