"""Reading traces and pairs: which sites, which plates, whose module, and whether model and guide belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from torch import Tensor, nn

from pyro_models.errors import EstimatorError, OptionError
from pyro_models.story import Conditions, batch_arguments

PyroCallable = Callable[..., Any]
#: a node of a trace (what pyro calls a message)
Site = Any

PARTICLE_PLATE = "_particles"


class Unscaled(Messenger):
    """Takes every ``poutine.scale`` and subsampling factor out of the densities."""

    def _pyro_sample(self, msg: Any) -> None:
        msg["scale"] = 1.0


class Dreaming(UnconditionMessenger):
    """``poutine.uncondition`` for data only: values computed by ``pyro.deterministic`` are computed, not drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["infer"].get("_deterministic", False):
            super()._pyro_sample(msg)


def as_arguments(batch_args: Tensor | Sequence[Any]) -> tuple[Any, ...]:
    """One tensor or a sequence of them as an argument tuple."""
    return (batch_args,) if isinstance(batch_args, Tensor) else tuple(batch_args)


def own_noise(args: Sequence[Any]) -> Any:
    """A context whose random numbers leave those outside as they were, on the CPU and where the arguments are."""
    devices = {a.device.index or 0 for a in args if isinstance(a, Tensor) and a.is_cuda}
    return torch.random.fork_rng(devices=sorted(devices))


def values_trace(values: Mapping[str, Tensor]) -> Trace:
    """A trace that ``poutine.replay`` takes these values from."""
    trace = Trace()
    for name, value in values.items():
        trace.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
    return trace


def owner_of(program: PyroCallable) -> nn.Module | None:
    """The torch module whose method (or self) a Pyro callable is."""
    owner = program if isinstance(program, nn.Module) else getattr(program, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def name_of(program: PyroCallable) -> str:
    """A word for errors."""
    owner = owner_of(program)
    return type(owner).__name__ if owner is not None else getattr(program, "__name__", type(program).__name__)


def sample_sites(trace: Trace) -> dict[str, Site]:
    return {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}


def plates_of(site: Site, particles: bool = False) -> list[Any]:
    return [f for f in site["cond_indep_stack"] if f.vectorized and (particles or f.name != PARTICLE_PLATE)]


def pruned(trace: Trace) -> Trace:
    return poutine.util.prune_subsample_sites(trace)


def check_match(model_trace: Trace, guide_trace: Trace) -> None:
    """Refuses pairs whose importance weights would silently mean something else."""
    model, guide = sample_sites(model_trace), sample_sites(guide_trace)
    for name, site in model.items():
        enumerable = getattr(site["fn"], "has_enumerate_support", False)
        if not site["is_observed"] and name not in guide and not enumerable:
            raise EstimatorError(
                f"the model site '{name}' ({kind_of(site)}) is not in the guide and cannot be summed out; "
                f"sample it in the guide (only few-valued discrete sites may be left to the model)."
            )
    for name, site in guide.items():
        auxiliary = site["infer"].get("is_auxiliary", False)
        if not site["is_observed"] and name not in model and not auxiliary:
            raise EstimatorError(
                f"the guide site '{name}' ({kind_of(site)}) is not in the model, whose latent sites are "
                f"{', '.join(n for n, s in model.items() if not s['is_observed']) or 'none'}; "
                f"use the same name in both, or mark it infer={{'is_auxiliary': True}}."
            )


def event_dim(site: Site, depth: int) -> int:
    """Rank of one value of a site that is inside ``depth`` plates.

    ``pyro.deterministic`` calls every dimension an event unless told otherwise; those that are plates are not.
    """
    return site["value"].dim() - depth if site["infer"].get("_deterministic", False) else site["fn"].event_dim


def kind_of(site: Site) -> str:
    fn = site["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__


def find_data_plate(sites: Mapping[str, Site], args: tuple[Any, ...]) -> tuple[Any, str]:
    """The plate that every site is in: of the batch's size if several are, then the outermost; else who is outside."""
    common: dict[str, Any] | None = None
    for site in sites.values():
        frames = {frame.name: frame for frame in plates_of(site)}
        common = frames if common is None else {n: f for n, f in common.items() if n in frames}
    if common:
        batch = next((len(a) for a in args if isinstance(a, Tensor) and a.dim() > 0), None)
        return min(common.values(), key=lambda frame: (frame.size != batch, frame.dim)), ""
    shallow = min(sites, key=lambda name: len(plates_of(sites[name])), default=None)
    plates = [] if shallow is None else [frame.name for frame in plates_of(sites[shallow])]
    return None, f"'{shallow}' is in {', '.join(plates) or 'no plate'}"


def split_pair(story_or_pair: Any) -> tuple[PyroCallable, PyroCallable]:
    """``(model, guide)`` of a story (anything with both methods) or of a pair of callables."""
    if callable(getattr(story_or_pair, "model", None)) and callable(getattr(story_or_pair, "guide", None)):
        return story_or_pair.model, story_or_pair.guide
    if isinstance(story_or_pair, Sequence) and len(story_or_pair) == 2 and all(map(callable, story_or_pair)):
        return story_or_pair[0], story_or_pair[1]
    raise OptionError(
        f"got {type(story_or_pair).__name__}; give a story (with model and guide methods) or a pair (model, guide)."
    )


def batch_for(story_or_pair: Any, batch: Tensor | Sequence[Any] | Mapping[str, Tensor]) -> tuple[Any, ...]:
    """The arguments of model and guide: picked by name from a mapping, or as given."""
    if not isinstance(batch, Mapping):
        return as_arguments(batch)
    if not hasattr(story_or_pair, "model"):
        raise OptionError(
            "a plain (model, guide) pair names no batch fields; give its arguments as a tuple of tensors."
        )
    return tuple(with_conditions(story_or_pair, batch_arguments(story_or_pair, batch)))


def with_conditions(story: Any, arguments: Sequence[Tensor], seed: int = 0) -> Sequence[Tensor]:
    """For a story under arbitrary conditioning the arguments with masks that stay, drawn from its law by seed: draws
    under different conditions are not draws from one posterior. Arguments of other stories are left alone."""
    if not isinstance(story, Conditions):
        return arguments
    with own_noise(arguments):
        torch.manual_seed(seed)
        return story.draw_conditions(*arguments)
