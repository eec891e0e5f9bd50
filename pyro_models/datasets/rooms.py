"""The room of ``shapes3d`` in motion: hues that turn, an object that grows, a camera that walks around it.

    single   one factor runs through the values 0, 1, ..., T of its published grid, the others stay (as in the published
             experiments, T = 7)
    sparse   several move at once, switched by a Markov chain, with speeds; hues go round, growth and camera start low

Flows, in order: floor hue, wall hue, object hue (0.1 of a turn a step), scale (0.5/7), orientation (60/14 degrees).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.datasets.shapes3d import HIGH, LEVELS, LOW, random_factors, render
from pyro_models.datasets.trajectories import laplace_speeds
from pyro_models.errors import OptionError, unknown_name
from pyro_models.flows.spikes import SpikeChain

#: which factors of the room move
MOVING = (0, 1, 2, 3, 5)
NAMES = ("floor hue", "wall hue", "object hue", "scale", "orientation")


def step_sizes() -> Tensor:
    """One published grid step of each moving factor."""
    return torch.tensor([(HIGH[f] - LOW[f]) / (LEVELS[f] - 1) for f in MOVING])


def flow_shapes3d(count: int = 2000, mode: str = "single", steps: int = 7, side: int = 64, seed: int = 0) -> Data:
    """``frames [N, steps + 1, 3, side, side]`` bytes, ``spikes`` and ``speeds [N, steps, 5]``, ``factors`` of every
    frame ``[N, steps + 1, 6]``, and ``k`` (``label``) in single mode.

    Args:
        count: sequences, all rendered when loaded (about 6 ms a frame of 64 x 64).
        mode: ``single`` or ``sparse``.
        steps: of each sequence.
        side: pixels.
        seed: of everything drawn.
    """
    if mode not in ("single", "sparse"):
        raise unknown_name("mode of sequences", mode, ("single", "sparse"))
    if count < 1 or steps < 1:
        raise OptionError(f"count={count}, steps={steps}: both are at least 1.")
    generator = torch.Generator().manual_seed(seed)
    start = random_factors(count, generator)
    causes: dict[str, Tensor] = {}
    if mode == "single":
        k = torch.randint(len(MOVING), (count,), generator=generator)
        spikes = functional.one_hot(k, len(MOVING)).float().unsqueeze(1).repeat(1, steps, 1)
        speeds = spikes.clone()
        causes = {"k": k, "label": k}
        moved = torch.tensor(MOVING)[k]
        start[torch.arange(count), moved] = torch.tensor(LOW)[moved]
    else:
        chain = SpikeChain(len(MOVING))
        spikes = chain.switches_on(chain.sample((count,), steps, generator))
        speeds = spikes * laplace_speeds(spikes.shape, generator)
        start[:, 3], start[:, 5] = LOW[3], LOW[5]
    factors = start.unsqueeze(1).repeat(1, steps + 1, 1)
    factors[:, 1:, list(MOVING)] += speeds.cumsum(1) * step_sizes()
    frames = render(factors.flatten(0, 1), side).unflatten(0, (count, steps + 1))
    fields = {"frames": frames, "spikes": spikes, "speeds": speeds, "factors": factors, **causes}
    return Data(fields, "flow-shapes3d", NAMES, "a room whose hues turn, whose object grows, seen by a walking camera")


flow_shapes3d.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="flow-shapes3d",
    what="a room in motion: hues, size of the object, camera; one factor a sequence, or several (mode=sparse)",
    size="2000 sequences of 8 frames by default, any number; 3 x 64 x 64, bytes",
    licence="made by this library; free of rights",
    source="ray casting, in the manner of 3D Shapes (Burgess and Kim 2018)",
)
