"""Effect handlers that put noise, relaxed values and second draws into a user's model and guide, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from inference.estimators.base import PyroCallable, Site, trace_pair
from inference.estimators.discrete import Family, Linear, family_of, logits_of


@dataclass
class Draw:
    """One discrete site of the first pass: its family, its logits, the noise, and the hard value that came of them.

    ``leaf`` is a copy of the logits cut from the graph, at which gradients are taken; ``conditional_noise`` is for the draw
    given the hard value.
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


@dataclass
class RandomStream:
    """Where the random stream stood around each site of the first pass, so that later passes meet the same noise.

    Common random numbers make the difference between two passes small: everything drawn from a reparameterised site,
    and everything that networks draw (dropout), is the same function of the same numbers.
    """

    start: Any = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def read() -> tuple[Tensor, Tensor | None]:
        # Generators live on the host, also CUDA's: reading one does not wait for the device.
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        return torch.get_rng_state(), cuda

    @staticmethod
    def write(state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1])


def _is_free_discrete(msg: Any) -> bool:
    return (
        not msg["done"] and not msg["is_observed"] and family_of(msg["fn"]) is not None and not msg["fn"].has_rsample
    )


class Choose(Messenger):
    """Hands every latent discrete site of a guide to ``choose(site, family, logits)``, which returns its value.

    ``choose`` may also replace ``site["fn"]``. It must be outside the guide's plates (wrap the guide), so that the distribution is
    already expanded by them.
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


class Linearise(Messenger):
    """Extends the log-probability of the named discrete sites linearly to relaxed values.

    ``weights`` holds, by name, where the log-probability is taken instead of at the value.
    """

    def __init__(self, names: set[str], weights: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.names, self.weights = names, weights or {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and not msg["is_observed"] and family_of(msg["fn"]) is not None:
            msg["fn"] = Linear(msg["fn"], self.weights.get(msg["name"]))


class Record(Messenger):
    """First pass: draws every discrete site from recorded noise, and notes the random stream around every site."""

    def __init__(self, stream: RandomStream) -> None:
        super().__init__()
        self.stream = stream
        self.draws: dict[str, Draw] = {}

    def __enter__(self) -> Any:
        self.stream.start = self.stream.read()
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"]:
            return
        self.stream.before[msg["name"]] = self.stream.read()
        if _is_free_discrete(msg):
            family = family_of(msg["fn"])
            assert family is not None
            draw = Draw.fresh(family, logits_of(msg["fn"]))
            self.draws[msg["name"]] = draw
            msg["value"], msg["done"] = family.decode(draw.hard), True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.stream.before:
            self.stream.after[msg["name"]] = self.stream.read()


class Intervene(Messenger):
    """Later pass: one discrete site takes another value, and everything after it follows from the same noise.

    Sites that ran before it keep their values. Discrete sites after it take ``follow(family, logits, noise)``, whose default is
    the hard value; continuous ones are drawn again with the noise of the first pass.
    """

    def __init__(
        self,
        name: str,
        value: Tensor,
        first: Trace,
        draws: dict[str, Draw],
        stream: RandomStream,
        relax: Callable[[str, Family, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.value, self.first, self.draws, self.stream, self.relax = name, value, first, draws, stream, relax
        order = list(first.nodes)
        self.before = set(order[: order.index(name)])
        self.relaxed: set[str] = set()

    def __enter__(self) -> Any:
        self.stream.write(self.stream.start)
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if msg["done"] or msg["is_observed"]:
            return
        if name in self.before and self.first.nodes[name]["type"] == "sample":
            msg["value"], msg["done"] = self.first.nodes[name]["value"].detach(), True
        elif name == self.name:
            self._set(msg, self.value)
        elif _is_free_discrete(msg):
            family, logits = family_of(msg["fn"]), logits_of(msg["fn"])
            assert family is not None
            noise = self.draws[name].noise if name in self.draws else family.noise(logits)
            z = family.perturb(logits, noise)
            self._set(msg, family.decode(family.harden(z)) if self.relax is None else self.relax(name, family, z))
        elif name in self.stream.before:
            self.stream.write(self.stream.before[name])

    def _set(self, msg: Any, value: Tensor) -> None:
        if self.relax is not None:
            msg["fn"] = Linear(msg["fn"])
            self.relaxed.add(msg["name"])
        msg["value"], msg["done"] = value, True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.stream.after:
            self.stream.write(self.stream.after[msg["name"]])


def first_pass(
    model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any
) -> tuple[Trace, Trace, dict[str, Draw], RandomStream]:
    """Runs the pair on hard values from recorded noise."""
    stream = RandomStream()
    record = Record(stream)
    model_trace, guide_trace = trace_pair(model, record(guide), args, kwargs)
    return model_trace, guide_trace, record.draws, stream


def second_pass(
    model: PyroCallable, guide: PyroCallable, args: Any, kwargs: Any, intervene: Intervene
) -> tuple[Trace, Trace]:
    """Runs the pair with one site changed; the random stream ends where it stood."""
    end = intervene.stream.read()
    guide_trace = poutine.trace(intervene(guide)).get_trace(*args, **kwargs)
    linear = Linearise(intervene.relaxed)
    model_trace = poutine.trace(linear(poutine.replay(model, trace=guide_trace))).get_trace(*args, **kwargs)
    intervene.stream.write(end)
    pruned = poutine.util.prune_subsample_sites
    model_trace, guide_trace = pruned(model_trace), pruned(guide_trace)
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    return model_trace, guide_trace
