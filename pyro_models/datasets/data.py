"""The one form in which data travel: named tensors of equal length, resident in memory (and on the device).

A batch is a dictionary ``{field: tensor}`` made by indexing. ``x`` is what stories explain; ``label`` and ``factors`` ride along for
evaluation and never reach a model unless the story names them in its ``fields``. Images may be stored as bytes (a quarter of the
memory); they become floats in [0, 1] when a batch is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_models.errors import DataError, OptionError


@dataclass(frozen=True)
class Data:
    """Named tensors of equal length with a word on where they come from.

    ``fields``: ``{"x": [N, ...], "label": [N], ...}``; ``name``: what the dataset is called; ``classes``: names of the
    labels when they have any.
    """

    fields: Mapping[str, Tensor]
    name: str = "data"
    classes: tuple[str, ...] = ()
    description: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.fields.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the fields of {self.name} differ in length: {lengths}; every field needs one row per datum.")
        if not lengths or next(iter(lengths.values())) == 0:
            raise DataError(f"{self.name} is empty; check the split fractions, the class selection and the size asked for.")

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def __getitem__(self, name: str) -> Tensor:
        """A whole field, converted as in a batch."""
        if name not in self.fields:
            hint = " (the set is unlabelled)" if name == "label" else ""
            raise DataError(f"{self.name} has no field '{name}'{hint}; it has {', '.join(self.fields)}.")
        return _as_float(self.fields[name], name)

    def shape(self, name: str = "x") -> tuple[int, ...]:
        """The shape of one datum of a field."""
        if name not in self.fields:
            raise DataError(f"{self.name} has no field '{name}'; it has {', '.join(self.fields)}.")
        return tuple(self.fields[name].shape[1:])

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The data at ``index`` as ``{field: tensor}``."""
        return {name: _as_float(values[index], name) for name, values in self.fields.items()}

    def take(self, index: Tensor | Sequence[int] | slice) -> Data:
        """The data at ``index`` as a dataset."""
        chosen = index if isinstance(index, slice) else torch.as_tensor(index, dtype=torch.long)
        return replace(self, fields={name: values[chosen] for name, values in self.fields.items()})

    def to(self, device: torch.device | str) -> Data:
        device = torch.device(device)
        if device == self.device:
            return self
        return replace(self, fields={n: v.to(device) for n, v in self.fields.items()}, device=device)

    def chunks(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Every datum once, in order, at most ``size`` at a time: for evaluation."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def batches(self, size: int, seed: int, first_step: int = 0) -> Iterator[dict[str, Tensor]]:
        """Endless shuffled batches of exactly ``size``; the order is a function of ``seed`` and the step alone.

        Each epoch is a fresh permutation, its incomplete last batch dropped, so that step ``s`` is the same batch whether or not
        training was interrupted before it.
        """
        if not 1 <= size <= len(self):
            raise OptionError(
                f"a batch of {size} cannot be drawn from the {len(self)} data of {self.name}; "
                f"choose a batch size from 1 to {len(self)}."
            )
        per_epoch = len(self) // size
        epoch, position = divmod(first_step, per_epoch)
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(len(self), generator=generator).to(self.device)
            for step in range(position, per_epoch):
                yield self.batch(order[step * size : (step + 1) * size])
            epoch, position = epoch + 1, 0

    def steps_per_epoch(self, batch_size: int) -> int:
        return max(1, len(self) // batch_size)


class Splits(NamedTuple):
    """Three disjoint parts: gradients see ``train``, choices are made on ``validation``, numbers are reported on ``test``."""

    train: Data
    validation: Data
    test: Data


def _as_float(values: Tensor, name: str) -> Tensor:
    # Only x is stored as bytes for compactness; labels and masks keep their type.
    return values.float().div_(255.0) if name == "x" and values.dtype == torch.uint8 else values
