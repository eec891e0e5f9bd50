"""Data drawn anew for every batch from a law that can be drawn from: no set to memorise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyro_models.datasets.data import Data, check_batch_size

Draw = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class FreshData(Data):
    """A fixed sample in ``fields`` for looking at, and endless fresh batches for training.

    ``draw(count, generator)`` gives new values of ``x``. Step s of a run is a function of the seed and s alone, as with
    any other data; ``take`` gives data that are fixed.
    """

    draw: Draw = field(kw_only=True)

    def take(self, index: Tensor | list[int] | slice) -> Data:  # type: ignore[override]
        return Data(self.fields, self.name, self.classes, self.description).to(self.device).take(index)

    def batches(self, size: int, seed: int, first_step: int = 0) -> Iterator[dict[str, Tensor]]:
        check_batch_size(size, len(self), self.name)
        step = first_step
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            yield {"x": self.draw(size, generator).to(self.device)}
            step += 1
