"""What estimators own: running averages, learned numbers and networks, each once per replica.

A *replica* is one of many independent runs that are advanced together in an outermost plate; ``replicas="name of that
plate"`` gives every run its own baselines and temperatures, so that one batched run equals many single ones. Without
it there is one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from pyro.poutine import Trace
from torch import Tensor, nn

from inference.estimators.base import Site, latent_sites, sample_sites
from inference.estimators.costs import Plates, dim_of, plate_shape, plates_of
from inference.estimators.discrete import family_of
from pyro_models.errors import EstimatorError


def key(name: str) -> str:
    """A site's name as the name of a sub-module or buffer, which may not hold dots."""
    return name.replace(".", "__")


class Replicas:
    """Where the replicas of an estimator's own numbers are among the plates of a site."""

    def __init__(self, plate: str | None) -> None:
        self.plate = plate

    def dim(self, site: Site) -> int | None:
        """The dimension of the replicas' plate (negative), None when there is a single replica."""
        if self.plate is None:
            return None
        for frame in plates_of(site):
            if frame.name == self.plate:
                return dim_of(frame)
        raise EstimatorError(
            f"replicas='{self.plate}' names no plate of the site '{site['name']}' (its plates: "
            f"{', '.join(frame.name for frame in plates_of(site)) or 'none'}); leave replicas out unless the runs "
            "are in a plate."
        )

    def plates(self, site: Site) -> Plates:
        """The replicas' plate alone, or no plate."""
        self.dim(site)
        return frozenset(frame for frame in plates_of(site) if frame.name == self.plate)

    def count(self, site: Site) -> int:
        """How many replicas there are."""
        dim = self.dim(site)
        return 1 if dim is None else plate_shape(plates_of(site))[dim]

    def spread(self, numbers: Float[Tensor, " replicas"], site: Site, event_dims: int = 0) -> Tensor:
        """One number per replica, shaped to broadcast against the site's plates followed by ``event_dims``."""
        dim = self.dim(site)
        if dim is None:
            return numbers.reshape(())
        return numbers.reshape((-1,) + (1,) * (-dim - 1 + event_dims))

    def gather(self, values: Tensor, site: Site) -> Float[Tensor, " replicas"]:
        """The mean of one number per plate element over everything but the replicas."""
        dim = self.dim(site)
        if dim is None:
            return values.mean().reshape(1)
        return values.movedim(dim, 0).flatten(1).mean(1) if values.dim() > 1 else values


class RunningAverage(nn.Module):
    """A decaying average as tensors in buffers: saved with the run, never waiting for the device.

    ``value`` is corrected for the start, 0 before the first update. ``update`` comes after ``value`` in a step, so
    that the baseline does not depend on the sample that it is subtracted from.
    """

    total: Tensor
    weight: Tensor

    def __init__(self, replicas: int, decay: float, like: Tensor) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("total", like.new_zeros(replicas))
        self.register_buffer("weight", like.new_zeros(()))

    def value(self) -> Float[Tensor, " replicas"]:
        return self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)

    @torch.no_grad()
    def update(self, values: Float[Tensor, " replicas"]) -> None:
        self.total.mul_(self.decay).add_(values, alpha=1 - self.decay)
        self.weight.mul_(self.decay).add_(1 - self.decay)


class ReplicaMLP(nn.Module):
    """ReLU networks with one output, one per replica, run as batched matrix products: ``[replicas, n, inputs] ->
    [replicas, n]``.

    The last layer starts at zero, so that an untrained network adds nothing.
    """

    def __init__(self, replicas: int, inputs: int, hidden: Sequence[int], like: Tensor) -> None:
        super().__init__()
        sizes = [inputs, *hidden, 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            last = fan_out == 1 and len(self.weights) == len(hidden)
            bound = 0.0 if last else math.sqrt(3.0 / max(fan_in, 1))
            self.weights.append(nn.Parameter((torch.rand(replicas, fan_in, fan_out).to(like) * 2 - 1) * bound))
            self.biases.append(nn.Parameter(like.new_zeros(replicas, 1, fan_out)))

    def forward(self, values: Float[Tensor, "replicas n inputs"]) -> Float[Tensor, "replicas n"]:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(bias, values if layer == 0 else values.relu(), weight)
        return values.squeeze(-1)


def run_network(network: nn.Module, features: Tensor, site: Site, replicas: Replicas) -> Tensor:
    """A network on features ``[*plates, inputs]``: exactly one number per plate element, ``[*plates]``."""
    dim = replicas.dim(site)
    first = features.unsqueeze(0) if dim is None else features.movedim(dim - 1, 0)
    shape = first.shape[:-1]
    outputs = network(first.reshape(shape[0], math.prod(shape[1:]), first.shape[-1])).reshape(shape)
    return outputs.squeeze(0) if dim is None else outputs.movedim(0, outputs.dim() + dim)


def context(site: Site, model_trace: Trace, guide_trace: Trace) -> Float[Tensor, "... features"]:
    """What a baseline for a site may look at: the data, and what the guide drew before the site; no gradient.

    Every tensor is laid along the site's plates. A plate that the site is not in becomes features when it is nested
    inside the site's plates (pixels, steps), and is averaged otherwise (data seen by a global site).
    """
    shape = plate_shape(plates_of(site))
    sources = [other for other in sample_sites(model_trace).values() if other["is_observed"]]
    for name, other in latent_sites(guide_trace).items():
        if name == site["name"]:
            break
        sources.append(other)
    columns = [_columns(source, site) for source in sources if source["value"].numel() > 0]
    if not columns:
        return site["unscaled_log_prob"].new_zeros((*shape, 0))
    like = site["unscaled_log_prob"]
    return torch.cat([column.to(like).expand(*shape, -1) for column in columns], -1)


def _columns(source: Site, site: Site) -> Tensor:
    value, event_dims = source["value"].detach(), source["fn"].event_dim
    family = family_of(source["fn"])
    if family is not None and family.kind == "index":
        value, event_dims = family.encode(value, source["fn"]), event_dims + 1
    value = value.float() if not value.is_floating_point() else value
    value = value.reshape((*value.shape[: value.dim() - event_dims], -1))  # [*batch, event]
    shared = {dim_of(frame) for frame in plates_of(source) & plates_of(site)}
    innermost = max(shared, default=0)
    foreign = [dim for dim in range(-value.dim() + 1, 0) if dim not in shared and value.shape[dim - 1] > 1]
    averaged = [dim - 1 for dim in foreign if dim < innermost or not shared]
    if averaged:
        value = value.mean(averaged, keepdim=True)
    nested = [dim - 1 for dim in foreign if dim > innermost and shared]
    if nested:
        kept = [dim for dim in range(value.dim() - 1) if dim - value.dim() not in nested]
        lengths = [value.shape[dim] for dim in kept]
        value = value.permute(*kept, *(dim + value.dim() for dim in nested), value.dim() - 1).reshape(*lengths, -1)
        value = value.reshape(*lengths, *(1 for _ in nested), -1)
    rank = len(plate_shape(plates_of(site)))
    return value.reshape(value.shape[max(value.dim() - 1 - rank, 0) :])
