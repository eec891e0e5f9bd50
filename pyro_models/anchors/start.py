"""Where anchors start: mixtures fitted to codes, by restarts or around groups that are already known."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_models.datasets.data import Data

STARTS = ("codes", "neighbours", "words", "random")
#: codes that a mixture is fitted to; more would not move it
CODES = 10_000
#: restarts of the fit (k-means++ each); the best likelihood wins
RESTARTS = 10
#: added to variances: a component may not sit on a single code
FLOOR = 1e-4


class Components(NamedTuple):
    """``means [K, D]``, ``scales [K, D]`` (standard deviations), ``weights [K]``."""

    means: Tensor
    scales: Tensor
    weights: Tensor


def some(data: Data, count: int) -> Int[Tensor, " n"]:
    """Rows of at most ``count`` data, drawn without replacement."""
    return torch.randperm(len(data), device=data.device)[:count]


def from_codes(codes: Float[Tensor, "N D"], clusters: int, spherical: bool = False) -> Components:
    """A Gaussian mixture, the best of several k-means++ starts by its likelihood of the codes."""
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(
        clusters,
        covariance_type="spherical" if spherical else "diag",
        n_init=RESTARTS,
        init_params="kmeans",
        random_state=int(torch.randint(2**31, ())),
    ).fit(codes.double().cpu().numpy())
    variances = torch.as_tensor(fitted.covariances_).to(codes)
    if spherical:
        variances = variances.unsqueeze(1).expand(clusters, codes.shape[1])
    return Components(
        torch.as_tensor(fitted.means_).to(codes),
        (variances + FLOOR).sqrt(),
        torch.as_tensor(fitted.weights_).to(codes),
    )


def from_groups(codes: Float[Tensor, "N D"], groups: Int[Tensor, " N"], clusters: int) -> Components:
    """Mean, spread and share of each group; an empty one gets those of all codes."""
    member = torch.nn.functional.one_hot(groups, clusters).to(codes)
    return _moments(codes, member)


def em(codes: Float[Tensor, "N D"], begin: Components, steps: int) -> Components:
    """Steps of expectation maximisation from given components."""
    found = begin
    for _ in range(steps):
        found = _moments(codes, log_joint(codes, found).softmax(-1))
    return found


def log_joint(codes: Float[Tensor, "N D"], components: Components) -> Float[Tensor, "N K"]:
    """log weight + log density of each code at each component."""
    each = torch.distributions.Normal(components.means, components.scales)
    return components.weights.log() + each.log_prob(codes.unsqueeze(1)).sum(-1)


def _moments(codes: Tensor, member: Tensor) -> Components:
    mass = member.sum(0)
    empty = mass < 1
    safe = mass.clamp_min(1).unsqueeze(1)
    means = member.T @ codes / safe
    variances = (member.T @ codes.square() / safe - means.square()).clamp_min(0)
    means = torch.where(empty.unsqueeze(1), codes.mean(0), means)
    variances = torch.where(empty.unsqueeze(1), codes.var(0), variances)
    weights = mass.clamp_min(1) / mass.clamp_min(1).sum()
    return Components(means, (variances + FLOOR).sqrt(), weights)
