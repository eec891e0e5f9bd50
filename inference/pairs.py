"""Small model/guide pairs with every kind of dependence, and their bounds summed by hand.

Each pair runs in ``copies`` at once: an outermost plate whose elements have parameters of their own, so that one
backward pass gives one independent gradient per copy. ``table(p)`` is the independent truth: for every datum, the
probability and the log-weight log p - log q of every joint value (continuous sites at the nodes of a Gauss-Hermite
rule), written without Pyro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

Parameters = dict[str, Tensor]
X = torch.tensor([0.7, -0.9], dtype=torch.float64)
FAMILIES = ("one-hot", "index", "bits")
NODES = 24


def draw(name: str, logits: Tensor, family: str) -> Tensor:
    """A discrete site of K values by one of three distributions; returns its value as K numbers."""
    if family == "one-hot":
        return pyro.sample(name, dist.OneHotCategorical(logits=logits))
    if family == "index":
        return F.one_hot(pyro.sample(name, dist.Categorical(logits=logits)), logits.shape[-1]).to(logits.dtype)
    bit = pyro.sample(name, dist.Bernoulli(logits=logits[..., 1] - logits[..., 0]))
    return torch.stack([1 - bit, bit], -1)


def dot(values: Tensor, table: Tensor) -> Tensor:
    """values @ table with batch dimensions: [..., K], [..., K, L] -> [..., L]."""
    return (values.unsqueeze(-1) * table).sum(-2)


def normal(x: Tensor, loc: Tensor, log_scale: Tensor | float = 0.0) -> Tensor:
    """Log-density of a Gaussian."""
    log_scale = torch.as_tensor(log_scale, dtype=torch.float64)
    return -0.5 * ((x - loc) / log_scale.exp()) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)


def gauss_hermite(count: int = NODES) -> tuple[Tensor, Tensor]:
    """Nodes and weights with sum(w f(x)) = E f(x) for a standard Gaussian x."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.tensor(nodes), torch.tensor(weights / weights.sum())


Table = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """A pair: ``model(p, family)``, ``guide(p, family)`` inside the copies' plate; ``table(p)`` outside of it."""

    name: str
    sizes: dict[str, tuple[int, ...]]
    model: Callable[[Parameters, str], None]
    guide: Callable[[Parameters, str], None]
    table: Callable[[Parameters], Table]
    guide_names: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    def parameters(self, family: str, seed: int = 3) -> Parameters:
        """Numbers for one copy; K is 2 for bits and 3 otherwise (written as 0 in ``sizes``)."""
        generator = torch.Generator().manual_seed(seed)
        values = 2 if family == "bits" else 3
        shapes = {name: tuple(values if s == 0 else s for s in size) for name, size in self.sizes.items()}
        return {n: 0.8 * torch.randn(*shape, generator=generator, dtype=torch.float64) for n, shape in shapes.items()}

    def pair(self, leaves: Parameters, family: str) -> tuple[Callable[[], None], Callable[[], None]]:
        """The pair over the copies of ``leaves`` [copies, *size]."""
        copies = len(next(iter(leaves.values())))
        shaped = {name: leaf.unsqueeze(1) for name, leaf in leaves.items()}  # [copies, data, *size]

        def model() -> None:
            with pyro.plate("copies", copies, dim=-2):
                self.model(shaped, family)

        def guide() -> None:
            with pyro.plate("copies", copies, dim=-2):
                self.guide(shaped, family)

        return model, guide


def bound(case: Case, p: Parameters, particles: int = 1) -> Tensor:
    """The (multi-sample) bound by summing over everything."""
    total = torch.zeros((), dtype=torch.float64)
    for probability, log_w in case.table(p):
        weight, value = probability, log_w.unsqueeze(-1)
        for _ in range(particles - 1):
            weight = (weight.unsqueeze(-1) * probability).flatten()
            value = torch.cat([value.repeat_interleave(len(log_w), 0), log_w.repeat(len(value)).unsqueeze(-1)], -1)
        total = total + (weight * (value.logsumexp(-1) - np.log(particles))).sum()
    return total


# One site: d -> x.


def _one_model(p: Parameters, family: str) -> None:
    d = draw("d", p["prior"], family)
    pyro.sample("x", dist.Normal((d * p["mu"]).sum(-1), 1.0), obs=X[0])


def _one_guide(p: Parameters, family: str) -> None:
    draw("d", p["phi"], family)


def _one_table(p: Parameters) -> Table:
    log_q = p["phi"].log_softmax(-1)
    return [(log_q.exp(), p["prior"].log_softmax(-1) + normal(X[0], p["mu"]) - log_q)]


ONE = Case("one site", {"phi": (0,), "prior": (0,), "mu": (0,)}, _one_model, _one_guide, _one_table, ("phi",))


# A plate of sites: d_n -> x_n.


def _plate_model(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        d = draw("d", p["prior"], family)
        pyro.sample("x", dist.Normal((d * p["mu"]).sum(-1), 1.0), obs=X)


def _plate_guide(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        draw("d", p["phi"] + p["slope"] * X.unsqueeze(-1), family)


def _plate_table(p: Parameters) -> Table:
    found = []
    for x in X:
        log_q = (p["phi"] + p["slope"] * x).log_softmax(-1)
        found.append((log_q.exp(), p["prior"].log_softmax(-1) + normal(x, p["mu"]) - log_q))
    return found


PLATE = Case(
    "plate of sites",
    {"phi": (0,), "slope": (0,), "prior": (0,), "mu": (0,)},
    _plate_model,
    _plate_guide,
    _plate_table,
    ("phi", "slope"),
)


# Two independent sites: a, b -> x.


def _two_model(p: Parameters, family: str) -> None:
    a, b = draw("a", p["prior"], family), draw("b", 0.5 * p["prior"], family)
    pyro.sample("x", dist.Normal((dot(a, p["mu"]) * b).sum(-1), 1.0), obs=X[0])


def _two_guide(p: Parameters, family: str) -> None:
    draw("a", p["phi"], family)
    draw("b", p["chi"], family)


def _two_table(p: Parameters) -> Table:
    log_a, log_b = p["phi"].log_softmax(-1), p["chi"].log_softmax(-1)
    prior = p["prior"].log_softmax(-1).unsqueeze(-1) + (0.5 * p["prior"]).log_softmax(-1)
    log_q = log_a.unsqueeze(-1) + log_b
    return [(log_q.exp().flatten(), (prior + normal(X[0], p["mu"]) - log_q).flatten())]


TWO = Case(
    "two independent",
    {"phi": (0,), "chi": (0,), "prior": (0,), "mu": (0, 0)},
    _two_model,
    _two_guide,
    _two_table,
    ("phi", "chi"),
)


# Two sites in sequence: a -> b -> x in both.


def _sequence_model(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        a = draw("a", p["prior"], family)
        b = draw("b", dot(a, p["then"]), family)
        pyro.sample("x", dist.Normal((dot(a, p["mu"]) * b).sum(-1), 1.0), obs=X)


def _sequence_guide(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        a = draw("a", p["phi"] * X.unsqueeze(-1), family)
        draw("b", dot(a, p["chi"]), family)


def _sequence_table(p: Parameters) -> Table:
    found = []
    for x in X:
        log_q = (p["phi"] * x).log_softmax(-1).unsqueeze(-1) + p["chi"].log_softmax(-1)
        log_p = p["prior"].log_softmax(-1).unsqueeze(-1) + p["then"].log_softmax(-1) + normal(x, p["mu"])
        found.append((log_q.exp().flatten(), (log_p - log_q).flatten()))
    return found


SEQUENCE = Case(
    "two in sequence",
    {"phi": (0,), "chi": (0, 0), "prior": (0,), "then": (0, 0), "mu": (0, 0)},
    _sequence_model,
    _sequence_guide,
    _sequence_table,
    ("phi", "chi"),
)


# A discrete site and a continuous one that depends on it: d -> z -> x.


def _mixed_model(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        d = draw("d", p["prior"], family)
        z = pyro.sample("z", dist.Normal((d * p["at"]).sum(-1), 1.0))
        pyro.sample("x", dist.Normal(z + (d * p["mu"]).sum(-1), 1.0), obs=X)


def _mixed_guide(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        d = draw("d", p["phi"] + X.unsqueeze(-1), family)
        pyro.sample("z", dist.Normal((d * p["loc"]).sum(-1), (d * p["spread"]).sum(-1).exp()))


def _mixed_table(p: Parameters) -> Table:
    nodes, weights = gauss_hermite(64)  # multi-sample bounds have kinks
    z = p["loc"].unsqueeze(-1) + p["spread"].exp().unsqueeze(-1) * nodes  # [K, nodes]
    found = []
    for x in X:
        log_d = (p["phi"] + x).log_softmax(-1).unsqueeze(-1)
        log_q = log_d + normal(z, p["loc"].unsqueeze(-1), p["spread"].unsqueeze(-1))
        log_p = p["prior"].log_softmax(-1).unsqueeze(-1) + normal(z, p["at"].unsqueeze(-1))
        log_p = log_p + normal(x, z + p["mu"].unsqueeze(-1))
        found.append(((log_d.exp() * weights).flatten(), (log_p - log_q).flatten()))
    return found


MIXED = Case(
    "discrete and continuous",
    {"phi": (0,), "loc": (0,), "spread": (0,), "prior": (0,), "at": (0,), "mu": (0,)},
    _mixed_model,
    _mixed_guide,
    _mixed_table,
    ("phi", "loc", "spread"),
)


MATRIX = (ONE, PLATE, TWO, SEQUENCE, MIXED)
