"""More pairs for :mod:`inference.pairs`, with the dependences that estimators most easily get wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from inference.pairs import NODES, PLATE, Case, Parameters, Table, X, dot, draw, gauss_hermite, normal

# A continuous site first: z -> d -> x, so that the discrete site's logits carry pathwise gradients.


def _upstream_model(p: Parameters, family: str) -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).mask(True))
    d = draw("d", p["prior"] * z.unsqueeze(-1), family)
    pyro.sample("x", dist.Normal((d * p["mu"]).sum(-1), 1.0), obs=X[0])


def _upstream_guide(p: Parameters, family: str) -> None:
    z = pyro.sample("z", dist.Normal(p["loc"].squeeze(-1), p["spread"].squeeze(-1).exp()))
    draw("d", p["phi"] * z.unsqueeze(-1), family)


def _upstream_table(p: Parameters) -> Table:
    # the logits are not polynomial in z: many nodes
    nodes, weights = gauss_hermite(60)
    z = p["loc"] + p["spread"].exp() * nodes
    log_d = (z.unsqueeze(-1) * p["phi"]).log_softmax(-1)  # [nodes, K]
    log_q = log_d + normal(z, p["loc"], p["spread"]).unsqueeze(-1)
    log_p = (z.unsqueeze(-1) * p["prior"]).log_softmax(-1) + normal(z, torch.zeros(())).unsqueeze(-1)
    log_p = log_p + normal(X[0], p["mu"])
    return [((log_d.exp() * weights.unsqueeze(-1)).flatten(), (log_p - log_q).flatten())]


UPSTREAM = Case(
    "continuous, then discrete",
    {"phi": (0,), "loc": (1,), "spread": (1,), "prior": (0,), "mu": (0,)},
    _upstream_model,
    _upstream_guide,
    _upstream_table,
    ("phi", "loc", "spread"),
)


# Opposite orders: the guide draws j, i, k and the model k, j, i. log p(j | k) depends on i through k.


def _opposite_model(p: Parameters, family: str) -> None:
    k = draw("k", p["prior"], family)
    j = draw("j", dot(k, p["kj"]), family)
    i = draw("i", dot(j, p["ji"]), family)
    pyro.sample("x", dist.Normal((dot(i, p["mu"]) * k).sum(-1), 1.0), obs=X[0])


def _opposite_guide(p: Parameters, family: str) -> None:
    j = draw("j", p["phi"], family)
    i = draw("i", dot(j, p["chi"]), family)
    draw("k", 3.0 * dot(i, p["psi"]), family)


def _opposite_table(p: Parameters) -> Table:
    # axes j, i, k
    log_q = p["phi"].log_softmax(-1)[:, None, None] + p["chi"].log_softmax(-1)[:, :, None]
    log_q = log_q + (3.0 * p["psi"]).log_softmax(-1)[None]
    log_p = p["prior"].log_softmax(-1)[None, None] + p["kj"].log_softmax(-1).T[:, None, :]
    log_p = log_p + p["ji"].log_softmax(-1)[:, :, None] + normal(X[0], p["mu"])[None]
    return [(log_q.exp().flatten(), (log_p - log_q).flatten())]


OPPOSITE = Case(
    "opposite orders",
    {"phi": (0,), "chi": (0, 0), "psi": (0, 0), "prior": (0,), "kj": (0, 0), "ji": (0, 0), "mu": (0, 0)},
    _opposite_model,
    _opposite_guide,
    _opposite_table,
    ("phi", "chi", "psi"),
)


# A term outside of the sites' plate: d_n -> y, a single observation of their sum.


def _shared_model(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        d = draw("d", p["prior"], family)
        pyro.sample("x", dist.Normal((d * p["mu"]).sum(-1), 1.0), obs=X)
    total = (d * p["nu"]).sum(-1).sum(-1, keepdim=True)
    pyro.sample("y", dist.Normal(total, 1.0), obs=X[0])


def _shared_table(p: Parameters) -> Table:
    log_q, log_p, nu = [], [], []
    for x in X:
        log_q.append((p["phi"] + p["slope"] * x).log_softmax(-1))
        log_p.append(p["prior"].log_softmax(-1) + normal(x, p["mu"]))
        nu.append(p["nu"])
    joint_q = log_q[0].unsqueeze(-1) + log_q[1]
    joint_p = log_p[0].unsqueeze(-1) + log_p[1] + normal(X[0], nu[0].unsqueeze(-1) + nu[1])
    return [(joint_q.exp().flatten(), (joint_p - joint_q).flatten())]


SHARED = Case(
    "a term outside the plate",
    {"phi": (0,), "slope": (0,), "prior": (0,), "mu": (0,), "nu": (0,)},
    _shared_model,
    PLATE.guide,
    _shared_table,
    ("phi", "slope"),
)


# Two continuous sites in sequence: u -> z -> x.


def _gaussian_model(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        u = pyro.sample("u", dist.Normal(p["prior"].squeeze(-1), 1.0))
        z = pyro.sample("z", dist.Normal(torch.tanh(u), 1.0))
        pyro.sample("x", dist.Normal(z * p["mu"].squeeze(-1), 1.0), obs=X)


def _gaussian_guide(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1):
        u = pyro.sample("u", dist.Normal(p["loc"].squeeze(-1) * X, p["spread"].squeeze(-1).exp()))
        pyro.sample("z", dist.Normal(p["phi"].squeeze(-1) * u, 1.0))


def _gaussian_table(p: Parameters) -> Table:
    nodes, weights = gauss_hermite(NODES)
    pairs = torch.tensor(list(itertools.product(range(NODES), repeat=2)))
    first, second = nodes[pairs[:, 0]], nodes[pairs[:, 1]]
    found = []
    for x in X:
        u = p["loc"] * x + p["spread"].exp() * first
        z = p["phi"] * u + second
        log_q = normal(u, p["loc"] * x, p["spread"]) + normal(z, p["phi"] * u)
        log_p = normal(u, p["prior"]) + normal(z, u.tanh()) + normal(x, z * p["mu"])
        found.append((weights[pairs[:, 0]] * weights[pairs[:, 1]], log_p - log_q))
    return found


GAUSSIAN = Case(
    "two continuous in sequence",
    {"loc": (1,), "spread": (1,), "phi": (1,), "prior": (1,), "mu": (1,)},
    _gaussian_model,
    _gaussian_guide,
    _gaussian_table,
    ("loc", "spread", "phi"),
)

# A mask: of two data only the first has its d and x; the second one's d is drawn and means nothing.

THERE: Any = torch.tensor([True, False])


def _masked_model(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1), poutine.mask(mask=THERE):
        d = draw("d", p["prior"], family)
        pyro.sample("x", dist.Normal((d * p["mu"]).sum(-1), 1.0), obs=X)


def _masked_guide(p: Parameters, family: str) -> None:
    with pyro.plate("data", len(X), dim=-1), poutine.mask(mask=THERE):
        draw("d", torch.cat([p["phi"], p["absent"]], 1), family)


def _masked_table(p: Parameters) -> Table:
    log_q = p["phi"].log_softmax(-1) + 0 * p["absent"]
    return [(log_q.exp(), p["prior"].log_softmax(-1) + normal(X[0], p["mu"]) - log_q)]


MASKED = Case(
    "a mask",
    {"phi": (0,), "absent": (0,), "prior": (0,), "mu": (0,)},
    _masked_model,
    _masked_guide,
    _masked_table,
    ("phi", "absent"),
)

HARD = (UPSTREAM, OPPOSITE, SHARED)
