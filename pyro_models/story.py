"""What a story is: one torch module with a ``model`` and a ``guide`` written in plain Pyro.

A story owns its networks and tells how data come about (``model``) and how causes are guessed from data (``guide``).
Both take the same batch fields, named once in ``fields``; everything else (training, checkpoints, metrics, figures) is
found through the small protocols below, so that nobody has to ask ``if story is ...``.

    class Coin(Story):
        fields = ("x",)

        def __init__(self, shape, hidden=10): ...

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", ...)
                pyro.sample("x", self.likelihood(z), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", ...)

The model scores the batch it is given (``obs=``); run under ``poutine.uncondition`` it dreams up a new one, and reads
from its argument only how many. That is all that prior predictive sampling needs (:func:`dream`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_models.arguments import RemembersArguments, option_names
from pyro_models.errors import OptionError, unknown_name
from pyro_models.parameters import show_parameters

Shape = tuple[int, ...]


class Story(RemembersArguments, nn.Module):
    """A generative story: ``model`` and ``guide`` over the batch fields named in ``fields``.

    The first constructor argument is ``shape``, the shape of one datum of the first field (``(1, 28, 28)``); all others
    are options with defaults. Constructor arguments are kept in ``arguments``, from which a run rebuilds the story.
    """

    #: batch fields handed to ``model`` and ``guide``, in this order
    fields: ClassVar[tuple[str, ...]] = ("x",)
    #: values allowed for the constructor's ``guide`` option, the default first; empty when there is one guide only
    guides: ClassVar[tuple[str, ...]] = ()
    #: the estimator that trains this story when none is named
    default_estimator: ClassVar[str] = "pathwise"
    #: number of nested plates, counted from the right; None lets the estimator find out by a dry run
    max_plate_nesting: ClassVar[int | None] = 1
    #: BibTeX of the work the story tells
    citation: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("model", "guide"):
            method = cls.__dict__.get(name)
            if inspect.isfunction(method):
                setattr(cls, name, _announcing(method))

    def model(self, *batch: Any, **others: Any) -> Any:
        """How the batch came about: ``pyro.sample`` sites, the data observed."""
        raise NotImplementedError(f"{type(self).__name__} has no model(...)")

    def guide(self, *batch: Any, **others: Any) -> Any:
        """How the causes are guessed from the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no guide(...)")

    @classmethod
    def derive(cls, data: Any) -> dict[str, Any]:
        """Constructor arguments that follow from the data (by default the shape of one datum)."""
        return {"shape": data.shape(cls.fields[0])}

    @classmethod
    def build(cls, data: Any, **options: Any) -> Story:
        """The story for a dataset: what the data decide, overridden by ``options``."""
        check_guide(cls, options.get("guide"))
        for name in options:
            if name not in option_names(cls):
                raise unknown_name(f"option of {cls.__name__}", name, option_names(cls))
        return cls(**{**cls.derive(data), **options})

    def initialise(self, data: Any) -> None:
        """Called once before training with the training data (start values taken from data); nothing by default."""

    def meet(self, data: Any) -> None:
        """Called with the training data (on the device) before the first step of a run, and again when it is resumed:
        for what the story looks up in them while it trains, which is no part of its state. Nothing by default."""

    def at(self, progress: float) -> None:
        """Called before every step with the progress in [0, 1]: the story's own annealing; nothing by default."""

    def revise(self, before: float, after: float, data: Any, optimiser: torch.optim.Optimizer) -> None:
        """Called after every step, which led from one progress to the next, with the training data: moves that
        gradients cannot make (placing anchors among codes, splitting and merging clusters). Nothing by default."""


def _announcing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``model``/``guide`` so that stock ``SVI`` sees the module's parameters (and cannot silently skip them)."""

    @functools.wraps(method)
    def announced(self: Story, *args: Any, **kwargs: Any) -> Any:
        show_parameters(self, type(self).__name__)
        return method(self, *args, **kwargs)

    return announced


def check_guide(cls: type[Story], guide: str | None) -> None:
    """Refuses a guide that the story does not have."""
    if guide is None or guide in cls.guides:
        return
    if not cls.guides:
        raise OptionError(f"{cls.__name__} has a single guide; leave out guide={guide!r}.")
    raise unknown_name(f"guide of {cls.__name__}", guide, cls.guides)


def batch_arguments(story: Any, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """The batch fields a story reads, in its order."""
    fields: Sequence[str] = getattr(story, "fields", ("x",))
    missing = [name for name in fields if name not in batch]
    if missing:
        raise OptionError(
            f"{type(story).__name__} reads the batch fields {', '.join(fields)}, but the data have only "
            f"{', '.join(batch)}; choose a dataset with '{missing[0]}'."
        )
    return [batch[name] for name in fields]


@torch.no_grad()
def dream(story: Story, batch: Sequence[Tensor]) -> dict[str, Tensor]:
    """One draw of everything from the model, observed sites included: ``{site: value}``.

    ``batch`` tells the model how many data to dream up; its values do not matter for fields that are only observed.
    """
    trace = poutine.trace(poutine.uncondition(story.model)).get_trace(*batch)
    return {
        name: site["value"]
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not name.startswith("_") and isinstance(site["value"], Tensor)
    }


@runtime_checkable
class Clusters(Protocol):
    """Soft assignments to ``clusters`` groups: ``responsibilities(x) -> [batch, K]``, rows summing to one."""

    def responsibilities(self, *batch: Tensor) -> Tensor: ...


@runtime_checkable
class Represents(Protocol):
    """A vector per datum: ``features(x) -> [batch, D]`` (posterior means, for instance)."""

    def features(self, *batch: Tensor) -> Tensor: ...


@runtime_checkable
class Reconstructs(Protocol):
    """The datum through its own explanation: ``reconstruct(x)`` of the shape of ``x``."""

    def reconstruct(self, *batch: Tensor) -> Tensor: ...


@runtime_checkable
class Transports(Protocol):
    """A frame under every flow: ``traverse(frame, steps) -> [B, K, steps + 1, *frame]``."""

    def traverse(self, frame: Tensor, steps: int) -> Tensor: ...


@runtime_checkable
class Drives(Protocol):
    """A frame under given controls: ``drive(frame, controls [B, T, K]) -> [B, T + 1, *frame]``, any T; a control is
    how far each flow goes in a step."""

    steps: int

    def drive(self, frame: Tensor, controls: Tensor) -> Tensor: ...


@runtime_checkable
class EncodesFrames(Protocol):
    """A code for every frame: ``codes(frames [..., *frame]) -> [..., d]``, posterior means."""

    def codes(self, frames: Tensor) -> Tensor: ...


@runtime_checkable
class MovesCodes(Protocol):
    """Codes carried along by K learned fields: ``velocities(z [..., d], step) -> [..., K, d]``, how far each flow alone
    carries z in step 1, 2, ...; differentiable by z."""

    flows: int

    def velocities(self, z: Tensor, step: int = 1) -> Tensor: ...


@runtime_checkable
class Activates(Protocol):
    """Which flows act when, and how fast: ``activity(frames) -> (probabilities, speeds)``, both ``[B, T, K]``."""

    def activity(self, *batch: Tensor) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Generates(Protocol):
    """New data: ``generate(count) -> [count, *shape]``, noise-free expectations under fresh causes."""

    def generate(self, count: int) -> Tensor: ...


class Located(NamedTuple):
    """Objects found in images.

    ``boxes [B, T, 4]``: left, top, right, bottom in pixels; ``present [B, T]``: which of them count; ``segments
    [B, height, width]``: 0 for background, t for the t-th object; ``classes [B, T]`` where the story has classes.
    """

    boxes: Tensor
    present: Tensor
    segments: Tensor
    classes: Tensor | None = None


@runtime_checkable
class Counts(Protocol):
    """How many objects: ``count(x) -> [B]``."""

    def count(self, *batch: Tensor) -> Tensor: ...


@runtime_checkable
class Locates(Protocol):
    """Where they are: ``locate(x) -> Located``."""

    def locate(self, *batch: Tensor) -> Located: ...


@runtime_checkable
class ShowsClusters(Protocol):
    """A picture per cluster: ``cluster_means() -> [K, *shape]``."""

    def cluster_means(self) -> Tensor: ...


@runtime_checkable
class Anchored(Protocol):
    """Codes around anchors: ``anchor_codes() -> [K, D]``, ``anchor_weights() -> [K]`` summing to one,
    ``around_anchors(count) -> [K, count, D]`` draws, ``decode(z)``: the expected datum of codes ``[N, D]``."""

    def anchor_codes(self) -> Tensor: ...

    def anchor_weights(self) -> Tensor: ...

    def around_anchors(self, count: int) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class Conditions(Protocol):
    """Any part of a datum may be given and the rest is explained.

    ``draw_conditions(*batch)`` gives the batch with the conditions filled in where the batch has none: ``(x, mask,
    given)``, the masks True where a value is known and where it is a condition. ``impute(x, given, draws)`` draws
    hidden values, ``[draws, *x.shape]``, given ones as they are.
    """

    def draw_conditions(self, *batch: Tensor) -> tuple[Tensor, ...]: ...

    def impute(self, x: Tensor, given: Tensor, draws: int = 1) -> Tensor: ...


@runtime_checkable
class Completes(Protocol):
    """Several wholes that fit what is seen: ``complete(x, draws) -> [draws, batch, *target]``, one per draw of the
    causes."""

    def complete(self, x: Tensor, draws: int) -> Tensor: ...


@runtime_checkable
class SplitsBound(Protocol):
    """The two halves of minus the bound for every datum: ``bound_terms(x) -> {"nll": [batch], "kl": [batch]}``."""

    def bound_terms(self, *batch: Tensor) -> dict[str, Tensor]: ...


@runtime_checkable
class Traverses(Protocol):
    """What single causes do: ``traversals(steps) -> names, [causes, steps, *shape]``, each cause moved through its
    prior while the others rest."""

    def traversals(self, steps: int) -> tuple[list[str], Tensor]: ...
