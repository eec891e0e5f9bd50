"""Point clouds: a network that does not see their order, and a density of points around decoded centres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import Distribution, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.errors import OptionError
from pyro_models.nn.dense import mlp
from pyro_models.nn.voxels import keep_signal

#: a learned width of the density starts here (in units of the data) and never falls below the second number
FIRST_WIDTH, SMALLEST_WIDTH = 0.1, 0.005
#: distances of each point to so many others, and quantiles of them, describe a cloud to the graph of neighbours
SHIFTS, QUANTILES = 8, 64


class PointNet(nn.Module):
    """Cloud to vector, whatever the order of its points: ``[..., points, 3] -> [..., outputs]``.

    Each point, in units of the cloud's size, goes through the same layers of widths ``shared``; maximum and mean over
    points and the logarithm of the size go through ``hidden``. What a thing is and how large it is are told apart
    before anything is learned.
    """

    def __init__(self, coordinates: int, shared: Sequence[int], hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.each = mlp(coordinates, shared[:-1], shared[-1])
        self.whole = mlp(2 * shared[-1] + 1, hidden, outputs)
        keep_signal(self.each)
        keep_signal(self.whole)

    def forward(self, x: Float[Tensor, "*batch points coordinates"]) -> Float[Tensor, "*batch outputs"]:
        size = x.square().sum(-1, keepdim=True).mean(-2, keepdim=True).sqrt().clamp(min=SMALLEST_WIDTH)
        seen = self.each(x / size)
        return self.whole(torch.cat([seen.amax(-2), seen.mean(-2), size.log().squeeze(-2)], -1))

    @staticmethod
    def look(x: Float[Tensor, "*batch points coordinates"]) -> Float[Tensor, "*batch quantiles"]:
        """The measure in which clouds are near to each other: quantiles of the distances between their points, in
        units of the root of their mean square. It knows neither order, nor place, turn and size (Osada et al. 2002,
        shape distributions, with another scale)."""
        apart = [(x - x.roll(shift, -2)).norm(dim=-1) for shift in range(1, min(SHIFTS, x.shape[-2] // 2) + 1)]
        distance = torch.cat(apart, -1)
        distance = distance / distance.square().mean(-1, keepdim=True).sqrt().clamp(min=SMALLEST_WIDTH)
        chosen = torch.linspace(0, distance.shape[-1] - 1, QUANTILES, device=x.device).long()
        return distance.sort(-1).values[..., chosen]


class SoftChamfer(TorchDistribution):
    r"""Points drawn one by one around centres: :math:`p(x) = \prod_i \frac1M \sum_j N(x_i; y_j, \tau^2 I)`.

    A density over clouds, and a smooth Chamfer distance: for small :math:`\tau`, minus its logarithm is the squared
    distance of every point to its nearest centre over :math:`2\tau^2`, up to a constant.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "centres": constraints.independent(constraints.real, 2),
        "width": constraints.positive,
    }
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self, centres: Float[Tensor, "*batch centres 3"], width: Tensor, points: int, validate_args: Any = None
    ) -> None:
        self.centres, self.width, self.points = centres, width, points
        shape = torch.Size((points, centres.shape[-1]))
        super().__init__(centres.shape[:-2], shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SoftChamfer:
        centres = self.centres.expand(*batch_shape, *self.centres.shape[-2:])
        return SoftChamfer(centres, self.width, self.points, validate_args=False)

    def log_prob(self, x: Float[Tensor, "*batch points 3"]) -> Tensor:
        # |x - y|^2 by products: no array of differences is made
        squares = x.square().sum(-1).unsqueeze(-1) + self.centres.square().sum(-1).unsqueeze(-2)
        energy = (squares - 2 * x @ self.centres.transpose(-1, -2)).clamp(min=0) / (-2 * self.width.square())
        constant = -self.centres.shape[-1] * (self.width.log() + 0.5 * math.log(2 * math.pi))
        per_point = energy.logsumexp(-1) - math.log(self.centres.shape[-2]) + constant
        return per_point.sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            centres = self.centres.expand(*sample_shape, *self.centres.shape)
            chosen = torch.randint(centres.shape[-2], (*centres.shape[:-2], self.points), device=centres.device)
            around = centres.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, centres.shape[-1]))
            return around + self.width * torch.randn_like(around)


class Cloud(nn.Module):
    """The likelihood of clouds: centres ``[..., M, 3]`` to :class:`SoftChamfer`; one width, learned or fixed."""

    def __init__(self, points: int, width: float | None = None) -> None:
        super().__init__()
        if width is not None and not width > 0:
            raise OptionError(f"the width of the density is {width}; it must be positive, or None to be learned.")
        self.points = points
        self.floor = SMALLEST_WIDTH if width is None else 0.0
        start = torch.tensor(math.log(FIRST_WIDTH if width is None else width))
        if width is None:
            self.log_width = nn.Parameter(start)
        else:
            self.register_buffer("log_width", start)

    @property
    def width(self) -> Tensor:
        return self.log_width.exp() + self.floor

    def forward(self, output: Tensor) -> Distribution:
        return SoftChamfer(output, self.width, self.points, validate_args=False)

    def mean(self, output: Tensor) -> Tensor:
        """As many centres as a cloud has points: spread over those decoded, or repeated where they are fewer."""
        count = output.shape[-2]
        chosen = torch.arange(self.points, device=output.device) * count // self.points
        return output if count == self.points else output[..., chosen, :]
