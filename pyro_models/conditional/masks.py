"""Which coordinates are given: laws of masks, as Pyro distributions.

A mask is True where a value is given. A law is a distribution over masks that nothing is learned about: it stands in
model and guide alike, so that its probability cancels in every bound. ``log_prob`` is therefore zero, and a draw counts
as reparameterised (there is no parameter to differentiate by). All particles of a datum see the same mask: a bound made
of several samples is one on log p(x_u | x_o) for one mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyro_models.errors import OptionError, unknown_name

Draw = Callable[[int, tuple[int, ...], torch.device], Tensor]


class MaskLaw(TorchDistribution):
    """Masks of the shape of a datum, drawn by ``draw(count, shape, device) -> [count, *shape]`` booleans.

    One mask for each element of the last batch dimension (the plate over the data), the same in all others.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch reads it from the class
    has_rsample = True

    def __init__(self, draw: Draw, shape: Sequence[int], like: Tensor, batch_shape: Sequence[int] = ()) -> None:
        self.draw, self.like = draw, like
        super().__init__(torch.Size(batch_shape), torch.Size(shape), validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> MaskLaw:
        return MaskLaw(self.draw, self.event_shape, self.like, batch_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        drawn = self.draw(self.batch_shape[-1:].numel(), tuple(self.event_shape), self.like.device)
        drawn = drawn.reshape(self.batch_shape[-1:] + self.event_shape)
        return drawn.expand(torch.Size(sample_shape) + self.batch_shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.like.new_zeros(value.shape[: value.dim() - len(self.event_shape)])


def bernoulli(count: int, shape: tuple[int, ...], device: torch.device, share: float = 0.5) -> Tensor:
    """Every value is given with probability ``share``: hardly ever few or nearly all of many coordinates."""
    return torch.rand(count, *shape, device=device) < share


def uniform_count(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The number given is uniform on 0 .. d - 1, and so is the subset: every number of conditions is learned alike."""
    size = torch.Size(shape).numel()
    number = torch.randint(0, size, (count, 1), device=device)
    order = torch.rand(count, size, device=device).argsort(1).argsort(1)
    return (order < number).reshape(count, *shape)


def every_subset(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Every subset but the full one with the same probability: as evaluations over all masks weigh them."""
    size = torch.Size(shape).numel()
    if size > 62:
        raise OptionError(f"masks='subsets' numbers the 2^{size} subsets, which is too many; use masks='uniform'.")
    number = torch.randint(0, 2**size - 1, (count, 1), device=device)
    return ((number >> torch.arange(size, device=device)) % 2 == 1).reshape(count, *shape)


def chain(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Nested: nothing, the last coordinate, the last two, ... up to all but the first."""
    size = torch.Size(shape).numel()
    number = torch.randint(0, size, (count, 1), device=device)
    return (torch.arange(size, device=device) >= size - number).reshape(count, *shape)


def halves(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """One of the four half images is given."""
    *channels, height, width = shape
    row = torch.arange(height, device=device)[:, None] < height // 2
    column = torch.arange(width, device=device)[None] < width // 2
    four = torch.stack([row.expand(height, width), column.expand(height, width)])
    four = torch.cat([four, ~four])
    chosen = four[torch.randint(4, (count,), device=device)]
    return chosen.reshape(count, *(1 for _ in channels), height, width).expand(count, *shape)


def rectangles(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A rectangle that covers 30 % of the image or more is hidden, the rest given."""
    *channels, height, width = shape
    # Sides with a product of 0.3 or more: the first uniform on [0.3, 1], the second on [0.3 / first, 1].
    tall = 0.3 + 0.7 * torch.rand(count, device=device)
    wide = 0.3 / tall + (1 - 0.3 / tall) * torch.rand(count, device=device)

    def inside(size: int, share: Tensor) -> Tensor:
        length = (share * size).ceil()
        start = (torch.rand(count, device=device) * (size - length + 1)).floor()
        place = torch.arange(size, device=device)
        return (place >= start[:, None]) & (place < (start + length)[:, None])

    hidden = inside(height, tall)[:, :, None] & inside(width, wide)[:, None, :]
    return ~hidden.reshape(count, *(1 for _ in channels), height, width).expand(count, *shape)


def quadrant_masks(shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """``[3, *shape]``: one quadrant given (lower left), two (the left half), three (all but the upper right).

    The order of Sohn, Lee and Yan (2015) as used in Pyro's CVAE tutorial.
    """
    *channels, height, width = shape
    low = (torch.arange(height, device=device) >= height // 2)[:, None].expand(height, width)
    left = (torch.arange(width, device=device) < width // 2)[None].expand(height, width)
    three = torch.stack([low & left, left, low | left])
    return three.reshape(3, *(1 for _ in channels), height, width).expand(3, *shape)


def quadrants(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """One, two or three quadrants, each number with the same probability."""
    return quadrant_masks(shape, device)[torch.randint(3, (count,), device=device)]


def nothing(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Nothing is given: an ordinary, unconditional model."""
    return torch.zeros(count, *shape, dtype=torch.bool, device=device)


def images(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A mixture for completing images: scattered pixels, halves, rectangles, quadrants, and sometimes nothing."""
    laws = torch.stack([law(count, shape, device) for law in (bernoulli, halves, rectangles, quadrants, nothing)])
    chosen = torch.multinomial(torch.tensor([2.0, 2.0, 2.0, 2.0, 1.0], device=device), count, replacement=True)
    return laws[chosen, torch.arange(count, device=device)]


MASKS: dict[str, Draw] = {
    "uniform": uniform_count,
    "bernoulli": bernoulli,
    "subsets": every_subset,
    "chain": chain,
    "nothing": nothing,
    "halves": halves,
    "rectangles": rectangles,
    "quadrants": quadrants,
    "images": images,
}
IMAGE_MASKS = ("halves", "rectangles", "quadrants", "images")


def mask_law(name: str, shape: Sequence[int]) -> Draw:
    """The law called ``name``, refused where the data are no images and it needs them."""
    if name not in MASKS:
        raise unknown_name("mask law", name, MASKS)
    if name in IMAGE_MASKS and len(shape) < 2:
        raise OptionError(f"masks='{name}' is for images, but a datum has the shape {tuple(shape)}; use 'uniform'.")
    return MASKS[name]
