"""Data that do not fit into memory, with the interface of data that do.

Only the order of the data is kept; a batch is read from a torch ``Dataset`` when its turn comes, by worker processes
ahead of time where there are any. The batches are those that :class:`Data` would give: the same order from the same
seed, and exactly resumable. Random augmentation inside the dataset is resumable too: before a batch is read, the
random numbers of torch, NumPy and Python are set from the seed and the step, and set back afterwards.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyro_models.datasets.data import (
    Data,
    as_floats,
    batch_order,
    check_batch_size,
    check_finite,
    chunk_slices,
)
from pyro_models.errors import DataError

#: bytes above which a set is streamed unless told otherwise, and above which a stream is not read into memory by
#: accident
MEMORY_LIMIT = 2 * 1024**3
#: data read at a time when a whole field is asked for
READ_CHUNK = 256


class Source(Protocol):
    """What a stream reads from: a map-style torch dataset with items ``{field: tensor}``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True, eq=False)
class StreamedData(Data):
    """Data read batch by batch from ``source``.

    ``fields`` are small fields kept in memory beside it (attributes, labels; may be empty). ``order``: which data of
    the source belong to this set; ``workers``: processes that read ahead (0 reads in this one); ``target``: the device
    of the batches.
    """

    source: Source = field(kw_only=True)
    order: Tensor = field(kw_only=True)
    workers: int = field(default=0, kw_only=True)
    target: torch.device = field(default_factory=lambda: torch.device("cpu"), kw_only=True)

    @classmethod
    def over(
        cls,
        source: Source,
        name: str = "data",
        classes: tuple[str, ...] = (),
        description: str = "",
        fields: Mapping[str, Tensor] | None = None,
        workers: int = 0,
    ) -> StreamedData:
        """All data of ``source``, in its order."""
        order = torch.arange(len(source))
        return cls(fields or {}, name, classes, description, source=source, order=order, workers=workers)

    def __post_init__(self) -> None:
        for name, values in self.fields.items():
            if len(values) != len(self.order):
                raise DataError(
                    f"field '{name}' of {self.name} has {len(values)} rows beside {len(self.order)} data; every field "
                    "needs one row per datum."
                )
            check_finite(values, name, self.name)
        self._refuse_empty()

    def _refuse_empty(self) -> None:
        if len(self.order) == 0:
            raise DataError(f"{self.name} is empty; check the folder, the split fractions and the class selection.")

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def _sample(self) -> Mapping[str, Tensor]:
        with _random_state(0):
            return self.source[int(self.order[0])]

    def __contains__(self, name: str) -> bool:
        return name in self.fields or name in self._sample

    def names(self) -> tuple[str, ...]:
        return (*self._sample, *(name for name in self.fields if name not in self._sample))

    @property
    def device(self) -> torch.device:
        return self.target

    def shape(self, name: str = "x") -> tuple[int, ...]:
        self._require(name)
        return tuple(self.fields[name].shape[1:] if name in self.fields else self._sample[name].shape)

    def bytes_per_datum(self) -> int:
        """Memory that one datum would take."""
        return sum(values.numel() * values.element_size() for values in self._sample.values())

    def __getitem__(self, name: str) -> Tensor:
        """A whole field, read through; refused when it would take more than 2 GiB (then use ``take`` or ``chunks``)."""
        self._require(name)
        if name in self.fields:
            return as_floats(self.fields[name], name).to(self.target)
        size = 4 * self._sample[name].numel() * len(self)
        if size > MEMORY_LIMIT:
            raise DataError(
                f"field '{name}' of {self.name} would take {size / 1024**3:.1f} GiB at once; go through it by "
                "chunks(...), or take(...) a part of it first."
            )
        return torch.cat([batch[name] for batch in self.chunks(READ_CHUNK)])

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The data at ``index``, read in this process."""
        rows = torch.arange(len(self))[index] if isinstance(index, slice) else index.cpu()
        return self._finish(self._reader((0, rows)))

    def take(self, index: Tensor | Sequence[int] | slice) -> StreamedData:
        chosen = index if isinstance(index, slice) else torch.as_tensor(index, dtype=torch.long).cpu()
        made = copy.copy(self)
        made.__dict__.pop("_sample", None)
        object.__setattr__(made, "fields", {name: values[chosen] for name, values in self.fields.items()})
        object.__setattr__(made, "order", self.order[chosen])
        made._refuse_empty()
        return made

    def to(self, device: torch.device | str) -> StreamedData:
        made = copy.copy(self)
        object.__setattr__(made, "target", torch.device(device))
        return made

    def chunks(self, size: int) -> Iterator[dict[str, Tensor]]:
        rows = torch.arange(len(self))
        yield from self._read((part.start, rows[part]) for part in chunk_slices(len(self), size))

    def batches(self, size: int, seed: int, first_step: int = 0) -> Iterator[dict[str, Tensor]]:
        check_batch_size(size, len(self), self.name)
        order = batch_order(len(self), size, seed, first_step)
        yield from self._read((seed * 1_000_003 + step, rows) for step, rows in enumerate(order, first_step))

    def in_memory(self) -> Data:
        """Everything read once into memory, bytes as bytes."""
        if len(self) * self.bytes_per_datum() > MEMORY_LIMIT:
            raise DataError(
                f"{self.name} would take {len(self) * self.bytes_per_datum() / 1024**3:.1f} GiB in memory; leave it "
                "streamed, or take(...) a part of it first."
            )
        rows = torch.arange(len(self))
        parts = [
            _unwrap(read)[1]
            for read in self._loader((part.start, rows[part]) for part in chunk_slices(len(self), READ_CHUNK))
        ]
        read = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        data = Data({**read, **self.fields}, self.name, self.classes, self.description)
        return data.to(self.target)

    def _read(self, plan: Iterable[tuple[int, Tensor]]) -> Iterator[dict[str, Tensor]]:
        for read in self._loader(plan):
            yield self._finish(read)

    def _loader(self, plan: Iterable[tuple[int, Tensor]]) -> DataLoader[Any]:
        # The loader draws a base seed for its workers; from a generator of its own, so that training's numbers stay
        # put.
        return DataLoader(
            self._reader,  # type: ignore[arg-type]  # a map from (key, rows) to a batch
            batch_size=None,
            sampler=_Plan(plan),
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(0),
            pin_memory=self.target.type == "cuda",
        )

    @property
    def _reader(self) -> _Reader:
        return _Reader(self.source, self.order, self.name)

    def _finish(self, read: Any) -> dict[str, Tensor]:
        rows, batch = _unwrap(read)
        found = {**batch, **{name: values[rows] for name, values in self.fields.items()}}
        return {name: as_floats(values.to(self.target, non_blocking=True), name) for name, values in found.items()}


class _Plan:
    """The batches still to come, handed to the loader in place of a sampler."""

    def __init__(self, plan: Iterable[tuple[int, Tensor]]) -> None:
        self.plan = plan

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        return iter(self.plan)


class _Reader:
    """Reads one batch: ``reader[(key, rows)] -> (rows, {field: tensor})``; runs in the worker processes."""

    def __init__(self, source: Source, order: Tensor, name: str) -> None:
        self.source, self.order, self.name = source, order, name

    def __getitem__(self, task: tuple[int, Tensor]) -> tuple[Tensor, dict[str, Tensor]] | DataError:
        key, rows = task
        # An error is returned, not raised: a worker would wrap it into a page of traceback.
        try:
            with _random_state(key):
                return rows, self._stack([self.source[row] for row in self.order[rows].tolist()], rows)
        except DataError as error:
            return error

    __call__ = __getitem__

    def _stack(self, items: list[Mapping[str, Tensor]], rows: Tensor) -> dict[str, Tensor]:
        batch = {}
        for name, first in items[0].items():
            for item, row in zip(items, rows.tolist(), strict=True):
                if name not in item or item[name].shape != first.shape:
                    found = tuple(item[name].shape) if name in item else "nothing"
                    raise DataError(
                        f"field '{name}' of {self.name} is {found} in datum {row}, but {tuple(first.shape)} in datum "
                        f"{int(rows[0])}; every datum needs the same shape (images: image_size=... resizes them)."
                    )
            batch[name] = torch.stack([item[name] for item in items])
            check_finite(batch[name], name, self.name, rows)
        return batch


def _unwrap(read: Any) -> tuple[Tensor, dict[str, Tensor]]:
    if isinstance(read, DataError):
        raise read
    return read


@contextmanager
def _random_state(key: int) -> Iterator[None]:
    """Random numbers that depend on ``key`` alone inside; outside everything goes on as if nothing had been drawn."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002  # the stream users draw from
    seed = key % 2**32
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])
