"""Points in the plane moved by three known fields, several at once: the smallest set on which flows can be found out.

    rotation   v(z) = w (-z_2, z_1)         zoom   v(z) = s z         shift   v(z) = (h, 0)

Which fields act at a step is a Markov chain (``pyro_models.flows.spikes``), how fast is drawn anew at every step.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.flows.spikes import SpikeChain

NAMES = ("rotation", "zoom", "shift")
#: lengths of the fields: radians a step, growth a step, way a step
TURN, GROWTH, WAY = 0.3, 0.1, 0.3
#: scale of the Laplace distribution of speeds around 1
SPEED_SPREAD = 0.1


def true_fields(z: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3 2"]:
    """The three fields at points z."""
    turned = torch.stack([-z[..., 1], z[..., 0]], -1)
    shift = torch.tensor([WAY, 0.0], dtype=z.dtype).expand_as(z)
    return torch.stack([TURN * turned, GROWTH * z, shift], -2)


def trajectories(count: int = 160, steps: int = 8, noise: float = 0.01, seed: int = 0) -> Data:
    """``frames [N, steps + 1, 2]``, ``spikes`` and ``speeds [N, steps, 3]`` (the speed of a flow that is off is 0).

    Args:
        count: sequences.
        steps: of each.
        noise: standard deviation added at every step.
        seed: of everything drawn.
    """
    if count < 1 or steps < 1 or noise < 0:
        raise OptionError(f"count={count}, steps={steps}, noise={noise}: need 1 or more, 1 or more, 0 or more.")
    generator = torch.Generator().manual_seed(seed)
    chain = SpikeChain(len(NAMES))
    spikes = chain.switches_on(chain.sample((count,), steps, generator))
    speeds = spikes * laplace_speeds(spikes.shape, generator)
    z = torch.randn(count, 2, generator=generator)
    path = [z]
    for t in range(steps):
        z = z + (speeds[:, t, :, None] * true_fields(z)).sum(1) + noise * torch.randn(count, 2, generator=generator)
        path.append(z)
    fields = {"frames": torch.stack(path, 1), "spikes": spikes, "speeds": speeds}
    return Data(fields, "flow-toy-2d", NAMES, "points in the plane under rotation, zoom and shift")


def laplace_speeds(shape: torch.Size | tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """|Laplace(1, 0.1)|, the speeds of the published generator."""
    uniform = torch.rand(shape, generator=generator).clamp(1e-7, 1 - 1e-7) - 0.5
    return (1 - SPEED_SPREAD * uniform.sign() * torch.log1p(-2 * uniform.abs())).abs()


trajectories.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="flow-toy-2d",
    what="points in the plane moved by rotation, zoom and shift, several at once; spikes and speeds known",
    size="160 sequences of 9 points by default, any number",
    licence="made by this library; free of rights",
    source="drawn by a formula",
)
