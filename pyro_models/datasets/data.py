"""The one form in which data travel: named tensors of equal length, resident in memory (and on the device).

A batch is a dictionary ``{field: tensor}`` made by indexing. ``x`` is what stories explain; ``label`` and ``factors``
ride along for evaluation and never reach a model unless the story names them in its ``fields``. Images may be stored
as bytes (a quarter of the memory); they become floats in [0, 1] when a batch is made.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_models.errors import DataError, OptionError

#: fields that hold pixels and may be stored as bytes; labels and masks of bytes stay what they are
PIXEL_FIELDS = ("x", "frames")


@dataclass(frozen=True, eq=False)
class Data:
    """Named tensors of equal length with a word on where they come from.

    ``fields``: ``{"x": [N, ...], "label": [N], ...}``; ``name``: what the dataset is called; ``classes``: names of the
    labels when they have any. Empty sets, fields of unequal length and numbers that are not finite are refused.
    """

    fields: Mapping[str, Tensor]
    name: str = "data"
    classes: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        for name, values in self.fields.items():
            if not isinstance(values, Tensor) or values.ndim == 0:
                raise DataError(
                    f"field '{name}' of {self.name} is {_what(values)}; every field is a tensor with one row per "
                    "datum (as_data converts arrays, dictionaries and torch datasets)."
                )
        lengths = {name: len(values) for name, values in self.fields.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"the fields of {self.name} differ in length: {lengths}; every field needs one row per datum."
            )
        self._refuse_empty()
        for name, values in self.fields.items():
            check_finite(values, name, self.name)

    def _refuse_empty(self) -> None:
        if not self.fields or len(self) == 0:
            raise DataError(
                f"{self.name} is empty; check the split fractions, the class selection and the size asked for."
            )

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def __getitem__(self, name: str) -> Tensor:
        """A whole field, converted as in a batch."""
        self._require(name)
        return as_floats(self.fields[name], name)

    def _require(self, name: str) -> None:
        if name not in self:
            hint = (
                " (the set is unlabelled; choose one with labels, or give a field 'label')" if name == "label" else ""
            )
            raise DataError(f"{self.name} has no field '{name}'{hint}; it has {', '.join(self.names())}.")

    def names(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(self.fields)

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return next(iter(self.fields.values())).device

    def shape(self, name: str = "x") -> tuple[int, ...]:
        """The shape of one datum of a field."""
        self._require(name)
        return tuple(self.fields[name].shape[1:])

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The data at ``index`` as ``{field: tensor}``."""
        return {name: as_floats(values[index], name) for name, values in self.fields.items()}

    def take(self, index: Tensor | Sequence[int] | slice) -> Data:
        """The data at ``index`` as a dataset."""
        chosen = index if isinstance(index, slice) else torch.as_tensor(index, dtype=torch.long, device=self.device)
        return self._with({name: values[chosen] for name, values in self.fields.items()})

    def to(self, device: torch.device | str) -> Data:
        """The data on a device, where batches are then made without copies from the host."""
        return self._with({name: values.to(device) for name, values in self.fields.items()})

    def _with(self, fields: Mapping[str, Tensor]) -> Data:
        # Not dataclasses.replace: parts of checked data need no second pass over their pixels.
        made = copy.copy(self)
        object.__setattr__(made, "fields", fields)
        made._refuse_empty()
        return made

    def chunks(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Every datum once, in order, at most ``size`` at a time: for evaluation."""
        for part in chunk_slices(len(self), size):
            yield self.batch(part)

    def batches(self, size: int, seed: int, first_step: int = 0) -> Iterator[dict[str, Tensor]]:
        """Endless shuffled batches of exactly ``size``; the order is a function of ``seed`` and the step alone.

        Each epoch is a fresh permutation, its incomplete last batch dropped, so that step ``s`` is the same batch
        whether or not training was interrupted before it.
        """
        check_batch_size(size, len(self), self.name)
        for order in batch_order(len(self), size, seed, first_step, self.device):
            yield self.batch(order)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches of this size in one pass, the incomplete last one dropped."""
        return max(1, len(self) // batch_size)


class Splits(NamedTuple):
    """Disjoint parts: gradients see ``train``, choices are made on ``validation``, numbers are reported on ``test``."""

    train: Data
    validation: Data
    test: Data


def batch_order(
    length: int, size: int, seed: int, first_step: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """The indices of batch ``first_step`` and of all that follow: slices of one permutation per epoch."""
    per_epoch = length // size
    epoch, position = divmod(first_step, per_epoch)
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(length, generator=generator).to(device)
        for step in range(position, per_epoch):
            yield order[step * size : (step + 1) * size]
        epoch, position = epoch + 1, 0


def chunk_slices(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` that cover ``length``."""
    if size < 1:
        raise OptionError(f"a chunk size of {size} reads nothing; choose 1 or more.")
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def check_batch_size(size: int, length: int, name: str) -> None:
    """Refuses a batch that the set cannot fill."""
    if not 1 <= size <= length:
        raise OptionError(
            f"a batch of {size} cannot be drawn from the {length} data of {name}; choose a batch size from 1 to "
            f"{length}."
        )


def check_finite(values: Tensor, field: str, name: str, rows: Tensor | None = None) -> None:
    """Refuses NaN and infinity, naming the first bad datum.

    ``rows``: the numbers of the data in the whole set where they are not 0, 1, ...
    """
    if not (values.is_floating_point() or values.is_complex()) or values.numel() == 0:
        return
    # Least and largest value carry every NaN and infinity: one pass and no mask, then a search only when there is one.
    real = torch.view_as_real(values) if values.is_complex() else values
    if bool(torch.isfinite(torch.stack(torch.aminmax(real.detach()))).all()):
        return
    bad = ~torch.isfinite(values)
    where = bad.nonzero()[0].tolist()
    count = int(bad.flatten(1).any(1).sum()) if values.ndim > 1 else int(bad.sum())
    datum = where[0] if rows is None else int(rows[where[0]])
    position = f" at position {tuple(where[1:])}" if where[1:] else ""
    raise DataError(
        f"field '{field}' of {name} has {values[tuple(where)].item()} in datum {datum}{position} ({count} of "
        f"{len(values)} data looked at have such numbers); drop these data, or fill them in and tell so by a field "
        "'mask'."
    )


def as_floats(values: Tensor, name: str) -> Tensor:
    """Pixels stored as bytes as floats in [0, 1]; everything else as it is."""
    return values.float().div_(255.0) if values.dtype == torch.uint8 and name in PIXEL_FIELDS else values


def _what(value: object) -> str:
    return "a single number" if isinstance(value, Tensor) else f"a {type(value).__name__}"
