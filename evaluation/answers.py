"""What a trained story says about a dataset, computed once and shared by all metrics and figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.traces import with_conditions
from pyro_models.datasets.data import Data
from pyro_models.story import Story, batch_arguments

#: data per forward pass
CHUNK = 500


class Answers:
    """A story's answers on data, each evaluated when first asked for, on the CPU.

    ``answers.responsibilities``, ``answers.features`` and ``answers.reconstructions`` exist for stories with that
    capability;
    ``answers.x`` and ``answers["label"]`` are the data; ``answers.train`` the training split where it is known (feature
    networks are trained on it), ``answers.network`` the feature network asked for, if any. Sampling uses ``seed`` and
    leaves the caller's random stream alone.
    """

    def __init__(
        self, story: Story, data: Data, seed: int = 0, train: Data | None = None, network: nn.Module | None = None
    ) -> None:
        self.story: Any = story  # its capabilities are checked by whoever asks
        self.data = data
        self.seed = seed
        self.train = train
        self.network = network
        self.device = next((p.device for p in story.parameters()), torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, field: str) -> Tensor:
        return self.data[field].cpu()

    @property
    def x(self) -> Tensor:
        """What the story explains: its first field."""
        return self[self.story.fields[0]]

    @property
    def explained(self) -> Tensor:
        """What reconstructions are to be like: x, or the field ``target`` of stories that read one thing and explain
        another."""
        return self["target"] if "target" in self.story.fields else self.x

    @cached_property
    def responsibilities(self) -> Tensor:
        """``[N, K]``; needs ``Clusters``."""
        return self.per_datum(self.story.responsibilities)

    @cached_property
    def features(self) -> Tensor:
        """``[N, D]``; needs ``Represents``."""
        return self.per_datum(self.story.features)

    @cached_property
    def reconstructions(self) -> Tensor:
        """Of the shape of x; needs ``Reconstructs``."""
        return self.per_datum(self.story.reconstruct)

    def generated(self, count: int) -> Tensor:
        """Fresh data; needs ``Generates``."""
        sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return torch.cat([self.story.generate(size).cpu() for size in sizes])

    def batches(self, limit: int | None = None, chunk: int = CHUNK) -> Any:
        """The story's own batch arguments, on its device, chunk by chunk; the same conditions at every call."""
        data = self.data if limit is None else self.data.take(slice(0, limit))
        for place, batch in enumerate(data.to(self.device).chunks(chunk)):
            arguments = batch_arguments(self.story, batch)
            yield with_conditions(self.story, arguments, self.seed + place)

    def per_datum(self, function: Callable[..., Tensor]) -> Tensor:
        """``function`` over all data in chunks, concatenated on the CPU."""
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return torch.cat([function(*batch).cpu() for batch in self.batches()])
