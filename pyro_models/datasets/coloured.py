"""MNIST in one colour channel: class and colour as conditions for generating and completing images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import one_hot

from pyro_models.datasets.data import Data
from pyro_models.datasets.idx import mnist
from pyro_models.datasets.splits import Parts

COLOURS = ("red", "green", "blue")


def coloured(data: Data, seed: int = 0) -> Data:
    """Grey bytes ``[N, 1, H, W]`` put into a random one of three channels; field ``conditions``: one-hot class,
    colour."""
    x, label = data.fields["x"], data.fields["label"]
    colour = torch.randint(len(COLOURS), (len(x),), generator=torch.Generator().manual_seed(seed))
    painted = x.new_zeros(len(x), len(COLOURS), *x.shape[2:])
    painted[torch.arange(len(x)), colour] = x[:, 0]
    conditions = torch.cat([one_hot(label, len(data.classes)), one_hot(colour, len(COLOURS))], 1).float()
    fields = {**data.fields, "x": painted, "colour": colour, "conditions": conditions}
    return replace(data, fields=fields, name="coloured-mnist")


def coloured_mnist(root: str | Path | None = None, download: bool = False) -> Parts:
    """MNIST, red, green or blue: ``x [N, 3, 28, 28]`` bytes, ``label``, ``colour``, ``conditions [N, 13]``."""
    return mnist(root, download).each(coloured)
