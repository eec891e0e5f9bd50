"""Handwritten digits that grow, turn and change colour: short sequences with known causes, rendered as they are needed.

    single   one of the three transformations per sequence, from the first frame in even steps
    sparse   several at once, switched on and off by a Markov chain, with a speed drawn at every step

Frame 0 is the upright digit in red. Factor 0 scale (times 1.1 a step), 1 rotation (10 degrees; 20 in sparse mode), 2
hue (20 degrees). Only the digits are kept in memory; a batch is rendered when it is made. Batches for training draw
fresh causes, a function of the seed and the step alone; evaluation (``chunks``, ``take``) sees the causes that each
sequence was given once. The pose of every frame is the field ``factors``, worked out from the speeds when it is asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data, batch_order, check_batch_size
from pyro_models.datasets.digits import digits
from pyro_models.datasets.idx import mnist
from pyro_models.datasets.splits import Parts
from pyro_models.datasets.trajectories import laplace_speeds
from pyro_models.datasets.warps import tint, warp
from pyro_models.errors import OptionError, unknown_name
from pyro_models.flows.spikes import SpikeChain

FACTORS = ("scale", "rotation", "hue")
MODES = ("single", "sparse")
#: fields that are made when they are asked for
MADE = ("frames", "factors")
#: growth, degrees and degrees of hue in one step
GROWTH, TURN, HUE = 0.1, {"single": 10.0, "sparse": 20.0}, 20.0
#: side to which scikit-learn's 8 x 8 digits are enlarged before they move
DIGITS_SIDE = 16
#: a float is rendered for every pixel of every frame; asked for a whole field, at most so many sequences at once
WHOLE = 20_000


@dataclass(frozen=True)
class Movement:
    """How the causes make poses. ``legacy``: all sequences of a training batch share their causes, as in the published
    code."""

    mode: str = "single"
    steps: int = 8
    growth: float = GROWTH
    turn: float = TURN["single"]
    hue: float = HUE
    legacy: bool = False

    def draw(self, count: int, generator: torch.Generator, shared: bool = False) -> dict[str, Tensor]:
        """Fresh causes: ``spikes`` and ``speeds [count, steps, 3]``, and ``k [count]`` in single mode; ``shared``: the
        same for all."""
        different = 1 if shared else count
        if self.mode == "single":
            k = torch.randint(len(FACTORS), (different,), generator=generator).expand(count)
            spikes = functional.one_hot(k, len(FACTORS)).float().unsqueeze(1).expand(-1, self.steps, -1)
            return {"k": k.contiguous(), "spikes": spikes.contiguous(), "speeds": spikes.contiguous()}
        chain = SpikeChain(len(FACTORS))
        spikes = chain.switches_on(chain.sample((different,), self.steps, generator)).expand(count, -1, -1)
        fresh = laplace_speeds((different, self.steps, len(FACTORS)), generator).expand(count, -1, -1)
        return {"spikes": spikes.contiguous(), "speeds": spikes * fresh}

    def poses(self, speeds: Float[Tensor, "batch time 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, angle in radians and hue in turns of every frame, ``[batch, time + 1]`` each."""
        start = torch.zeros_like(speeds[:, :1])
        moved = torch.cat([start, speeds.cumsum(1)], 1)
        if self.mode == "single":
            scale = 1 + self.growth * moved[..., 0]
        else:
            scale = torch.cat([start[..., 0], torch.log1p(self.growth * speeds[..., 0]).cumsum(1)], 1).exp()
        return scale, math.radians(self.turn) * moved[..., 1], self.hue / 360 * moved[..., 2]

    def factors(self, speeds: Float[Tensor, "batch time 3"]) -> Float[Tensor, "batch time_1 3"]:
        """The logarithm of the scale, the angle in radians and the hue in turns of every frame; none wraps around."""
        scale, angle, hue = self.poses(speeds)
        return torch.stack([scale.log(), angle, hue], -1)

    def render(self, images: Float[Tensor, "batch height width"], speeds: Float[Tensor, "batch time 3"]) -> Tensor:
        """``[batch, time + 1, 3, height, width]``."""
        scale, angle, hue = self.poses(speeds)
        return tint(warp(images, scale, angle), hue)


@dataclass(frozen=True, eq=False)
class SequenceData(Data):
    """Sequences whose field ``frames`` is rendered from ``image`` and the causes when a batch is made."""

    movement: Movement = Movement()

    def __contains__(self, name: str) -> bool:
        return name in MADE or (name in self.fields and name != "image")

    def names(self) -> tuple[str, ...]:
        return (*MADE, *(name for name in self.fields if name != "image"))

    def shape(self, name: str = "frames") -> tuple[int, ...]:
        self._require(name)
        if name == "frames":
            return (self.movement.steps + 1, 3, *self.fields["image"].shape[1:])
        if name == "factors":
            return (self.movement.steps + 1, len(FACTORS))
        return tuple(self.fields[name].shape[1:])

    def __getitem__(self, name: str) -> Tensor:
        self._require(name)
        if name == "factors":
            return self.movement.factors(self.fields["speeds"])
        if name != "frames":
            return self.fields[name]
        if len(self) > WHOLE:
            raise OptionError(f"{len(self)} rendered sequences do not fit into memory; go through chunks or take some.")
        return torch.cat([batch["frames"] for batch in self.chunks(1000)])

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        found = {name: values[index] for name, values in self.fields.items()}
        return self._rendered(found)

    def batches(self, size: int, seed: int, first_step: int = 0) -> Iterator[dict[str, Tensor]]:
        check_batch_size(size, len(self), self.name)
        for step, order in enumerate(batch_order(len(self), size, seed, first_step, self.device), first_step):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
            causes = self.movement.draw(size, generator, shared=self.movement.legacy)
            found = {name: values[order] for name, values in self.fields.items()}
            found.update({name: values.to(self.device) for name, values in causes.items()})
            if "label" in found and "k" in found:
                found["label"] = found["k"]
            yield self._rendered(found)

    def _rendered(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        image = found.pop("image").float() / 255
        made = {"frames": self.movement.render(image, found["speeds"])}
        return {**made, "factors": self.movement.factors(found["speeds"]), **found}


def sequences(source: Data, movement: Movement, seed: int, name: str) -> SequenceData:
    """Grey images ``[N, 1, H, W]`` (bytes) as sequences; ``digit`` is what was ``label``, ``label`` the factor."""
    generator = torch.Generator().manual_seed(seed)
    causes = movement.draw(len(source), generator)
    fields = {"image": source.fields["x"][:, 0].contiguous(), **causes}
    if "label" in source.fields:
        fields["digit"] = source.fields["label"]
    if "k" in causes:
        fields["label"] = causes["k"]
    return SequenceData(fields, name, FACTORS, "digits that grow, turn and change colour", movement)


def make_movement(
    mode: str = "single",
    steps: int = 8,
    turn: float | None = None,
    growth: float = GROWTH,
    hue: float = HUE,
    legacy: bool = False,
) -> Movement:
    """Checked options; ``turn`` (degrees a step) follows from the mode when not given."""
    if mode not in MODES:
        raise unknown_name("mode of sequences", mode, MODES)
    if steps < 1:
        raise OptionError(f"steps is {steps}; a sequence has at least one step.")
    return Movement(mode, steps, growth, TURN[mode] if turn is None else turn, hue, legacy)


def flow_mnist(
    root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
    mode: str = "single",
    steps: int = 8,
    turn: float | None = None,
    legacy: bool = False,
) -> Parts:
    """MNIST digits in motion: ``frames [N, steps + 1, 3, 28, 28]``, ``k``, ``spikes``, ``speeds``, ``factors``,
    ``digit``.

    Args:
        root, download: where MNIST lies.
        seed: of the causes.
        mode: ``single`` or ``sparse``.
        steps: of each sequence.
        turn: degrees of rotation a step, 10 in single mode and 20 in sparse mode when not given.
        legacy: all sequences of a training batch share their causes; those of evaluation never do.
    """
    movement = make_movement(mode, steps, turn, legacy=legacy)
    parts = mnist(root, download)
    assert parts.test is not None
    return Parts(
        sequences(parts.train, movement, seed, "flow-mnist"), sequences(parts.test, movement, seed + 1, "flow-mnist")
    )


def flow_digits(
    seed: int = 0, mode: str = "single", steps: int = 8, turn: float | None = None, legacy: bool = False
) -> SequenceData:
    """scikit-learn's digits in motion, ``frames [1797, steps + 1, 3, 16, 16]``; options as for ``flow-mnist``."""
    source = digits()
    large = functional.interpolate(source.fields["x"], size=(DIGITS_SIDE, DIGITS_SIDE), mode="bilinear")
    stored = Data({**source.fields, "x": (large * 255).round().byte()}, "digits")
    return sequences(stored, make_movement(mode, steps, turn, legacy=legacy), seed, "flow-digits")


def _card(name: str, size: str, **more: Any) -> Card:
    what = "digits that grow, turn and change colour; one transformation a sequence, or several (mode=sparse)"
    return Card(name, what, size, source="rendered by this library", **more)


flow_mnist.card = _card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    "flow-mnist",
    "60000 training and 10000 test sequences of 9 frames, 3 x 28 x 28, rendered when needed",
    licence="that of MNIST, CC BY-SA 3.0",
    files="those of mnist",
    stand_in="flow-digits",
)
flow_digits.card = _card(  # type: ignore[attr-defined]
    "flow-digits", "1797 sequences of 9 frames, 3 x 16 x 16, rendered when needed", licence="that of digits, CC BY 4.0"
)
