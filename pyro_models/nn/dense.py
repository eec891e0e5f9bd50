"""Fully connected networks. All networks here accept any leading dimensions (particles, enumeration)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn


def mlp(
    inputs: int, hidden: Sequence[int], outputs: int, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """``Linear - ReLU - ... - Linear``: ``[..., inputs] -> [..., outputs]``."""
    layers: list[nn.Module] = []
    width = inputs
    for size in hidden:
        layers += [nn.Linear(width, size), activation()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def keep_variance(network: nn.Module, outputs: bool = True) -> None:
    """He's start values for every linear layer in front of a ReLU, biases zero: torch's own lose two thirds of the
    variance in each layer, and a code behind five of them starts unheard. ``outputs``: the last layer too."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    for layer in layers if outputs else layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)


class DenseEncoder(nn.Module):
    """Data of any shape to a vector: ``[..., *shape] -> [..., outputs]``."""

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.rank = len(shape)
        self.net = mlp(math.prod(shape), hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(-self.rank) if self.rank > 1 else x)


class DenseDecoder(nn.Module):
    """A vector to data of any shape: ``[..., inputs] -> [..., *shape]``."""

    def __init__(self, inputs: int, hidden: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.net = mlp(inputs, hidden, math.prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        y = self.net(z)
        return y.unflatten(-1, self.shape) if len(self.shape) > 1 else y
