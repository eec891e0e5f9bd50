"""Grids of voxels: convolutions in space of stride 2, as :mod:`pyro_models.nn.convolutional` for images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyro_models.errors import OptionError
from pyro_models.nn.convolutional import halved
from pyro_models.nn.fire import FireDown, FireUp

#: root mean square distance from the centre to which grids are brought before they are compared (in half sides), and
#: the smallest that a grid may have (a single voxel has none)
STANDARD_SIZE, SMALLEST_SIZE = 0.5, 0.05


def grid_shape(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """``(channels, depth, height, width)``, or a clear refusal."""
    if len(shape) != 4:
        raise OptionError(
            f"a network for voxels reads grids of shape (channels, depth, height, width), but the data have shape "
            f"{tuple(shape)}; choose another network."
        )
    return (shape[0], shape[1], shape[2], shape[3])


def keep_signal(network: nn.Module) -> None:
    """Weights by the variance 2 / fan-in (He and others 2015), biases zero.

    torch's own start has a sixth of this variance: after five layers of rectified units next to nothing is left of the
    differences between sparse grids, and the first hundreds of steps are spent on growing them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv3d | nn.ConvTranspose3d):
            fan = layer.weight[0].numel()
            if isinstance(layer, nn.ConvTranspose3d):
                # every output voxel hears of an eighth of a kernel of stride 2, from all input channels
                fan = max(1, layer.weight.shape[0] * layer.weight[0, 0].numel() // 8)
            nn.init.normal_(layer.weight, 0.0, (2 / max(fan, 1)) ** 0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


class VoxelEncoder(nn.Module):
    """Grid to vector: ``[..., channel, depth, height, width] -> [..., outputs]``; 3x3x3 stages (``fire``: squeeze and
    expand), one hidden layer."""

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], hidden: int, outputs: int, fire: bool = False
    ) -> None:
        super().__init__()
        source, *sides = grid_shape(shape)
        layers: list[nn.Module] = []
        for target in channels:
            stage = FireDown(source, target, 3) if fire else nn.Conv3d(source, target, 3, stride=2, padding=1)
            layers += [stage, nn.ReLU()]
            source = target
        volume = 1
        for side in sides:
            volume *= halved(side, len(channels))[-1]
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(source * volume, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )
        keep_signal(self)

    def forward(self, x: Tensor) -> Tensor:
        leading = x.shape[:-4]
        return self.net(x.reshape(-1, *x.shape[-4:])).unflatten(0, leading)

    @staticmethod
    def look(x: Tensor) -> Tensor:
        """The measure in which grids are near to each other: their first channel, moved to the middle and brought to
        one size (the mean square distance of full voxels from their centre), ``[batch, voxels]``."""
        grid = x[:, :1]
        line = [torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype) for side in grid.shape[2:]]
        # grid_sample wants places as (width, height, depth)
        places = torch.stack(torch.meshgrid(*line, indexing="ij"), -1).flip(-1)
        weight = grid.flatten(1) / grid.flatten(1).sum(1, keepdim=True).clamp(min=1)
        flat = places.flatten(0, 2)
        centre = weight @ flat
        size = ((weight @ flat.square()).sum(1) - centre.square().sum(1)).clamp(min=SMALLEST_SIZE**2).sqrt()
        wanted = centre[:, None, None, None] + places * (size / STANDARD_SIZE)[:, None, None, None, None]
        return functional.grid_sample(grid, wanted, align_corners=True).flatten(1)


class VoxelDecoder(nn.Module):
    """Vector to grid, the encoder mirrored: ``[..., inputs] -> [..., channel, depth, height, width]``."""

    def __init__(
        self, inputs: int, hidden: int, channels: Sequence[int], shape: Sequence[int], fire: bool = False
    ) -> None:
        super().__init__()
        final, *sides = grid_shape(shape)
        stages = list(channels)
        levels = [halved(side, len(stages))[::-1] for side in sides]
        layers: list[nn.Module] = []
        for level, source in enumerate(reversed(stages)):
            target = stages[-level - 2] if level + 1 < len(stages) else final
            # A stride-2 stage doubles 2n-1 or 2n; the output padding chooses which, so every size is reached.
            extra = tuple(sizes[level + 1] - 2 * sizes[level] + 1 for sizes in levels)
            stage: nn.Module = FireUp(source, target, extra)
            if not fire:
                stage = nn.ConvTranspose3d(source, target, 3, stride=2, padding=1, output_padding=extra)  # type: ignore[arg-type]  # three sides
            layers += [stage, nn.ReLU()]
        start = tuple(sizes[0] for sizes in levels)
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, stages[-1] * start[0] * start[1] * start[2]),
            nn.ReLU(),
            nn.Unflatten(1, (stages[-1], *start)),
            *layers[:-1],
        )
        keep_signal(self)

    def forward(self, z: Tensor) -> Tensor:
        leading = z.shape[:-1]
        return self.net(z.reshape(-1, z.shape[-1])).unflatten(0, leading)
