"""Draws from guide, posterior predictive, prior and prior predictive of a pair, as tensors with their plates named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.infer import infer_discrete
from pyro.poutine import Trace
from torch import Tensor

from evaluation.particles import Particles, Pass
from evaluation.traces import Dreaming, Site, plates_of, pruned, sample_sites, values_trace


@dataclass
class Block:
    """Some draws of every site: arrays ``[draw, *plates, *event]`` (densities without the event)."""

    latent: dict[str, Tensor] = field(default_factory=dict)
    predictive: dict[str, Tensor] = field(default_factory=dict)
    log_likelihood: dict[str, Tensor] = field(default_factory=dict)
    log_weight: Tensor | None = None


@torch.no_grad()
def posterior_blocks(pair: Particles, draws: int, chunk: int | None = None) -> Iterator[Block]:
    """Draws from q(z | x) with what each would predict, how well it explains the data, and its importance weight.

    Discrete sites that the guide lacks are drawn from their exact conditional p(c | z, x); the importance weight keeps
    them summed out.
    """
    for run in pair.passes(draws, chunk):
        block = Block()
        if pair.data_plate is not None:
            block.log_weight = pair.log_joint(run) - pair.log_guide(run)
        values = {n: s["value"] for n, s in sample_sites(run.guide).items() if not s["is_observed"]}
        with pair.evaluating():
            values |= _summed_out_values(pair, run, values)
            scored = _trace_model(pair, run.particles, run.together, values, uncondition=False)
            dreamt = _trace_model(pair, run.particles, run.together, values, uncondition=True)
        scored.compute_log_prob()
        shape = _shaper(pair, run.particles, run.together)
        for name, site in sample_sites(scored).items():
            if not is_data(site) and not _is_factor(site):
                block.latent[name] = shape(site, site["value"], pair.event_dim[name])
            elif is_data(site):
                block.log_likelihood[name] = shape(site, site["log_prob"], 0)
        for name, site in sample_sites(dreamt).items():
            if name in block.log_likelihood:
                block.predictive[name] = shape(site, site["value"], pair.event_dim[name])
        yield block


@torch.no_grad()
def prior_blocks(pair: Particles, draws: int, chunk: int) -> Iterator[Block]:
    """Draws of everything from the model alone, as many data as the batch has; its values are not read."""
    together = draws > 1 and pair.vectorised
    done = 0
    while done < draws:
        count = min(chunk, draws - done) if together else 1
        with pair.evaluating():
            trace = _trace_model(pair, count, together, {}, uncondition=True)
        shape, block = _shaper(pair, count, together), Block()
        for name, site in sample_sites(trace).items():
            if _is_factor(site):
                continue
            is_predicted = name in pair.observed and is_data(pair.observed[name])
            target = block.predictive if is_predicted else block.latent
            target[name] = shape(site, site["value"], pair.event_dim[name])
        yield block
        done += count


def _summed_out_values(pair: Particles, run: Pass, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Discrete sites that the guide lacks, drawn from p(c | z, x) by forward filtering and backward sampling."""
    if not pair.summed_out:
        return {}
    model = pair.together(pair.model, run.particles) if run.together else pair.model
    # Conditioned, not replayed: replayed sites inside the sampler's enumeration would not know the dimensions it adds.
    model = poutine.condition(pair.sums_out(model), data=values)
    sampler = infer_discrete(model, first_available_dim=pair.first_free_dim(run.together), temperature=1)
    trace = poutine.trace(sampler).get_trace(*pair.args)
    return {name: trace.nodes[name]["value"] for name in pair.summed_out}


def _trace_model(pair: Particles, count: int, together: bool, values: dict[str, Tensor], uncondition: bool) -> Trace:
    model = Dreaming()(pair.model) if uncondition else pair.model
    model = pair.together(model, count) if together else model
    return pruned(poutine.trace(poutine.replay(model, trace=values_trace(values))).get_trace(*pair.args))


def _shaper(pair: Particles, count: int, together: bool) -> Callable[[Site, Tensor, int], Tensor]:
    def shape(site: Site, value: Tensor, event_dim: int) -> Tensor:
        return pair.by_plate(site, value, count, together, event_dim)

    return shape


def is_data(site: Site) -> bool:
    """An observation, and not ``pyro.deterministic`` or ``pyro.factor``, which Pyro stores as observed sites too."""
    observed = site["is_observed"] or site["infer"].get("was_observed", False)
    return bool(observed) and not site["infer"].get("_deterministic", False) and not _is_factor(site)


def _is_factor(site: Site) -> bool:
    return isinstance(_innermost(site["fn"]), Unit)


def _innermost(fn: Any) -> Any:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn


def plate_names(site: Site) -> list[str]:
    """Names of a site's plates, left to right, the particle plate excepted."""
    return [frame.name for frame in sorted(plates_of(site), key=lambda frame: frame.dim)]


def concatenate(blocks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Blocks of draws end to end."""
    return {name: torch.cat([block[name] for block in blocks]) for name in (blocks[0] if blocks else {})}
