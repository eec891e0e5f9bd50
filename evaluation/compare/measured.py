"""What one training gave: settings, numbers and where they were measured. All sources are read into this form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Place(NamedTuple):
    """What a number was measured on; ``data`` is empty where the source does not say (results files)."""

    data: str
    split: str
    n: int

    def __str__(self) -> str:
        return f"the {self.n} data of {self.data or 'an experiment'} ({self.split} split)"

    def fits(self, other: Place) -> bool:
        """The same data, as far as both say."""
        known = not self.data or not other.data or self.data == other.data
        return known and (self.split, self.n) == (other.split, other.n)


@dataclass(frozen=True)
class Measured:
    """One seed of one setting.

    ``settings``: what can tell groups apart, flat (``{"story": "vae", "latent": 10, "training steps": 3000}``);
    ``places``: per metric; ``seconds``: of training (of training and evaluation for results files);
    ``curve``: the lines of the log; ``origin``: commit, device and threads, which never make a group.
    """

    source: str
    kind: str
    settings: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, float]
    places: Mapping[str, Place]
    better: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    seconds: float = float("nan")
    curve: Sequence[Mapping[str, Any]] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
