"""Data-parallel training by torch's ``DistributedDataParallel``: ``torchrun --nproc-per-node 4 -m pyro_models ...``.

Every process draws the same batches, computes on its own rows of each, and torch averages the gradients: the same
mathematics as one process with the whole batch. Noise differs between processes; whatever must not differ (starting
weights, moves between steps) is drawn from a common stream. One process, the usual case, passes through all of this
untouched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pyro_models.errors import OptionError, RunError

#: far apart, so that no process walks into the stream of its neighbour's seed
SEED_STRIDE = 7919


class Processes:
    """The processes of one run: ``rank`` of ``count``; the first one writes."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")

    @property
    def first(self) -> bool:
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """A GPU for each process of a machine, where there are any."""
        if self.count > 1 and device.type == "cuda" and device.index is None:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return device

    def share(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """This process's rows of a batch."""
        if self.count == 1:
            return list(batch)
        if len(batch[0]) % self.count:
            raise OptionError(
                f"a batch of {len(batch[0])} cannot be shared equally by {self.count} processes; choose a batch size "
                f"that is a multiple of {self.count}."
            )
        return [field[self.rank :: self.count] for field in batch]

    def parallel(self, loss: nn.Module) -> nn.Module:
        """The loss as a module whose gradients are averaged over the processes."""
        if self.count == 1:
            return loss
        # A step may leave a head or a baseline out; torch must then not wait for its gradient.
        return DistributedDataParallel(loss, find_unused_parameters=True)

    def split_streams(self, seed: int) -> None:
        """From here on every process has noise of its own."""
        if self.count > 1:
            torch.manual_seed(seed + SEED_STRIDE * (self.rank + 1))

    @contextlib.contextmanager
    def together(self, seed: int) -> Iterator[None]:
        """Random numbers drawn inside are the same in every process."""
        if self.count == 1:
            yield
            return
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.count
        return values

    def agree(self, decision: bool) -> bool:
        """The first process's decision, told to all."""
        told = [decision]
        if self.count > 1:
            dist.broadcast_object_list(told)
        return told[0]

    def gather(self, value: Any) -> list[Any]:
        """One value per process, in every process."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def mine(self, values: Sequence[Any], path: Any) -> Any:
        """This process's part of what :meth:`gather` gave a run that is now resumed."""
        if len(values) != self.count:
            raise RunError(
                f"{path} was trained by {len(values)} processes and cannot go on with {self.count}: the noise would be "
                f"another; start as many (torchrun --nproc-per-node {len(values)} ...)."
            )
        return values[self.rank]
