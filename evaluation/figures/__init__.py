"""Pictures of a run: each a function of a story's answers that returns a matplotlib figure, registered like a metric.

    @figure("prototypes", needs=(ShowsClusters,), title="Prototypes")
    def prototypes(answers, run): ...

``draw`` makes every figure that the story and the data allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from evaluation.answers import Answers
from evaluation.metric import is_image
from pyro_models.registry import Registry

FIGURES = Registry("figure", "pyro_models.figures")
for _name, _target, _summary in (
    ("scenes", "scenes:scenes", "objects found: boxes in the order of attention, with reconstructions"),
    ("object-prototypes", "scenes:object_prototypes", "prototypes of objects, with objects that each explains"),
    ("reconstructions", "images:reconstructions", "data above, their reconstructions below"),
    ("samples", "images:samples", "data dreamed up by the model"),
    ("cluster-means", "images:cluster_means", "what each cluster looks like, with its share of the data"),
    ("cluster-members", "images:cluster_members", "the data each cluster is most sure of"),
    ("shapes", "shapes:shapes", "clouds or voxels in space, their reconstructions below"),
    ("anchor-shapes", "shapes:anchor_shapes", "the shape at each anchor"),
    ("shape-completions", "shapes:shape_completions", "what is seen of shapes, and several wholes that fit"),
    ("top-words", "shapes:top_words", "the words of each anchor"),
    ("flow-strips", "flows:flow_strips", "frames carried along by each flow"),
    ("flow-predictions", "flows:flow_predictions", "sequences and what was foretold"),
    ("flow-switching", "flows:flow_switching", "a frame under two flows, in turns and together"),
    ("spikes-over-time", "flows:spikes_over_time", "which flows act when, against the truth"),
    ("vector-fields", "flows:vector_fields", "learned velocities of codes of two numbers"),
    ("anchor-map", "anchors:anchor_map", "codes and their anchors on the two main axes"),
    ("anchor-samples", "anchors:anchor_samples", "draws around each anchor"),
    ("anchor-paths", "anchors:anchor_paths", "codes on lines from anchor to anchor"),
    ("anchor-usage", "anchors:anchor_usage", "share of the data and weight of each anchor"),
    ("latent-correlations", "anchors:correlation_matrix", "how the code's dimensions hang together"),
    ("latent-map", "tables:latent_map", "codes on their two main axes, coloured by label or cluster"),
    ("explanations", "prototypes:explanations", "data, their prototype, and the prototype after its transform"),
    ("traversals", "prototypes:traversals", "what each parameter of the transforms does"),
    ("confusion", "tables:confusion", "clusters against labels"),
    ("reliability", "scores:reliability", "are responsibilities honest?"),
    ("factor-map", "scores:factor_map", "which code dimension knows which factor"),
    ("completions", "conditional:completions", "images with a part hidden, and what the story makes of it"),
    ("conditional-pairs", "conditional:conditional_pairs", "hidden values against given ones, data and draws"),
    ("information-plane", "conditional:information_plane", "rate and distortion by number of given columns"),
    ("latent-ranking", "conditional:latent_ranking", "nats per latent by number of given columns"),
    ("surest-errors", "prototypes:surest_errors", "data whose cluster is another class's, the most confident first"),
    ("learning-curve", "curves:learning_curve", "loss and validation bound over training"),
):
    FIGURES.add(_name, f"evaluation.figures.{_target}", _summary)

#: report order: pictures of what was learned first, how it was learned last
ORDER = tuple(FIGURES._entries)


@dataclass(frozen=True)
class FigureMaker:
    """A registered figure: its function, the capabilities and fields it needs, and the words under it."""

    name: str
    function: Callable[[Answers, Any], Any]
    title: str
    caption: str = ""
    needs: tuple[type, ...] = ()
    fields: tuple[str, ...] = ()
    images: bool = False

    def applies(self, answers: Answers) -> bool:
        return (
            all(isinstance(answers.story, protocol) for protocol in self.needs)
            and all(name in answers.data for name in self.fields)
            and (not self.images or is_image(answers.data.shape(answers.story.fields[0])))
        )


def figure(
    name: str,
    *,
    title: str,
    caption: str = "",
    needs: tuple[type, ...] = (),
    fields: tuple[str, ...] = (),
    images: bool = False,
) -> Callable[[Callable[[Answers, Any], Any]], FigureMaker]:
    """Registers ``function(answers, run) -> matplotlib figure`` (None for nothing to show) under a name."""

    def decorate(function: Callable[[Answers, Any], Any]) -> FigureMaker:
        made = FigureMaker(name, function, title, caption, needs, fields, images)
        return FIGURES.register(name, title)(made)

    return decorate


def draw(answers: Answers, run: Any = None) -> Iterator[tuple[FigureMaker, Any]]:
    """Every figure that applies, in report order: ``(maker, matplotlib figure)``."""
    names = [*ORDER, *(name for name in FIGURES.names() if name not in ORDER)]
    for name in names:
        maker = FIGURES.get(name)
        if maker.applies(answers):
            picture = maker.function(answers, run)
            if picture is not None:
                yield maker, picture
