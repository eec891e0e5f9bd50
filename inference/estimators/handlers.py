"""Effect handlers that put noise, relaxed values and second draws into a model and guide, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from inference.estimators.base import PyroCallable, Site
from inference.estimators.discrete import Family, Linear, family_of, logits_of


@dataclass
class Draw:
    """One discrete site of the first pass: its family, its logits, the noise, and the hard value that came of them.

    ``leaf`` is a copy of the logits cut from the graph, at which gradients are taken; ``conditional_noise`` is for
    the draw given the hard value.
    """

    family: Family
    logits: Tensor
    leaf: Tensor
    noise: Tensor
    hard: Tensor

    @classmethod
    def fresh(cls, family: Family, logits: Tensor) -> Draw:
        leaf = logits.detach().requires_grad_()
        noise = family.noise(leaf)
        return cls(family, logits, leaf, noise, family.harden(family.perturb(leaf.detach(), noise)))


RandomState = tuple[Tensor, Tensor | None]


def read_random_state() -> RandomState:
    """The state of the generators in use. They live on the host, CUDA's too: reading one waits for no device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


def write_random_state(state: RandomState) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


def _is_free_discrete(msg: Any) -> bool:
    return not msg["done"] and not msg["is_observed"] and family_of(msg["fn"]) is not None and not msg["fn"].has_rsample


class Choose(Messenger):
    """Hands every latent discrete site of a guide to ``choose(site, family, logits)``, which returns its value.

    ``choose`` may also replace ``site["fn"]``. It must be outside the guide's plates (wrap the guide), so that the
    distribution is already expanded by them.
    """

    def __init__(self, choose: Callable[[Site, Family, Tensor], Tensor]) -> None:
        super().__init__()
        self.choose = choose

    def _pyro_sample(self, msg: Any) -> None:
        if _is_free_discrete(msg):
            family = family_of(msg["fn"])
            assert family is not None
            msg["value"] = self.choose(msg, family, logits_of(msg["fn"]))
            msg["done"] = True


class Replace(Messenger):
    """Replaces the distribution of the named latent sites of a model by ``replace(site)``."""

    def __init__(self, names: set[str], replace: Callable[[Site], Any]) -> None:
        super().__init__()
        self.names, self.replace = names, replace

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and not msg["is_observed"] and family_of(msg["fn"]) is not None:
            msg["fn"] = self.replace(msg)


class Record(Messenger):
    """First pass: draws every discrete site of a guide from noise that is kept, and notes all that later passes repeat.

    Kept by site, in order: its value, and where the random stream stood before and after it. With common random numbers
    the difference between two passes is small: whatever is drawn at a reparameterised site, or inside a network
    (dropout), is the same function of the same numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws: dict[str, Draw] = {}
        self.values: dict[str, Any] = {}
        self.stream_before: dict[str, RandomState] = {}
        self.stream_after: dict[str, RandomState] = {}

    def __enter__(self) -> Any:
        self.stream_start = read_random_state()
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"]:
            return
        self.stream_before[msg["name"]] = read_random_state()
        if _is_free_discrete(msg):
            family = family_of(msg["fn"])
            assert family is not None
            draw = Draw.fresh(family, logits_of(msg["fn"]))
            self.draws[msg["name"]] = draw
            msg["value"], msg["done"] = family.decode(draw.hard), True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.stream_before:
            self.values[msg["name"]] = msg["value"]
            self.stream_after[msg["name"]] = read_random_state()


class Intervene(Messenger):
    """Later pass: one discrete site takes another value, and everything after it follows from the noise of the first
    pass.

    Sites that ran before it keep their values. Discrete sites after it are drawn from their noise under their new
    logits: hard, or relaxed by ``relax(name, family, z)``. Continuous ones are drawn again from the same numbers.
    """

    def __init__(
        self,
        record: Record,
        name: str,
        value: Tensor,
        relax: Callable[[str, Family, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.record, self.name, self.value, self.relax = record, name, value, relax
        order = list(record.values)
        self.before = set(order[: order.index(name)])
        self.relaxed: set[str] = set()

    def __enter__(self) -> Any:
        write_random_state(self.record.stream_start)
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if msg["done"] or msg["is_observed"]:
            return
        if name in self.before:
            value = self.record.values[name]
            msg["value"], msg["done"] = value.detach() if isinstance(value, Tensor) else value, True
        elif name == self.name:
            self._set(msg, self.value)
        elif _is_free_discrete(msg):
            family, logits = family_of(msg["fn"]), logits_of(msg["fn"])
            assert family is not None
            draw = self.record.draws.get(name)
            z = family.perturb(logits, family.noise(logits) if draw is None else draw.noise)
            self._set(msg, family.decode(family.harden(z)) if self.relax is None else self.relax(name, family, z))
        elif name in self.record.stream_before:
            write_random_state(self.record.stream_before[name])

    def _set(self, msg: Any, value: Tensor) -> None:
        if self.relax is not None:
            msg["fn"] = Linear(msg["fn"])
            self.relaxed.add(msg["name"])
        msg["value"], msg["done"] = value, True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.record.stream_after:
            write_random_state(self.record.stream_after[msg["name"]])


def second_pass(
    model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any, intervene: Intervene
) -> tuple[Trace, Trace]:
    """Runs the pair with one site changed, log-probabilities included; the random stream is left where it was."""
    end = read_random_state()
    guide_trace = poutine.trace(intervene(guide)).get_trace(*args, **kwargs)
    linear = Replace(intervene.relaxed, lambda site: Linear(site["fn"]))
    model_trace = poutine.trace(linear(poutine.replay(model, trace=guide_trace))).get_trace(*args, **kwargs)
    write_random_state(end)
    model_trace, guide_trace = map(poutine.util.prune_subsample_sites, (model_trace, guide_trace))
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    return model_trace, guide_trace
