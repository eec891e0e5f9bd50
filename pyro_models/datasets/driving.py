"""A street seen from a car, as label maps in the Cityscapes palette: a procedural set with known motion.

Four flows, switched by a chain, with speeds:

    closer     the car ahead comes nearer          away     it draws ahead
    turn       the road ahead swings to the left   drift    our car moves to the right in its lane
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.datasets.trajectories import laplace_speeds
from pyro_models.errors import OptionError
from pyro_models.flows.spikes import SpikeChain

FLOWS = ("closer", "away", "turn", "drift")
#: Cityscapes' colours of road, pavement, building, sky, car, vegetation
PALETTE = ((128, 64, 128), (244, 35, 232), (70, 70, 70), (70, 130, 180), (0, 0, 142), (107, 142, 35))
#: changes of one step: log distance of the car ahead, bend of the road, place in the lane (in lane widths)
CLOSER, TURN, DRIFT = 0.12, 0.10, 0.08
#: where sky meets street (share of the picture from above), half the road's and the pavement's width at the bottom
HORIZON, ROAD, PAVEMENT = 0.42, 0.75, 0.35
#: half width and height of a car at distance 1, in pictures
CAR = (0.22, 0.24)


def draw_street(state: Float[Tensor, "*batch 3"], side: int) -> Tensor:
    """Label maps ``[..., side, side]`` of states (log distance, bend, drift): 0 road to 5 vegetation."""
    line = (torch.arange(side) + 0.5) / side
    down, across = line[:, None], line[None] * 2 - 1
    distance, bend, drift = (part[..., None, None] for part in state.unbind(-1))
    depth = ((down - HORIZON) / (1 - HORIZON)).clamp(min=1e-3)  # 0 at the horizon, 1 at the bumper
    middle = -bend * (1 - depth).square() - drift * depth
    aside = (across - middle).abs() / depth
    ground = torch.where(aside < ROAD, 0, torch.where(aside < ROAD + PAVEMENT, 1, 5))
    wall = 0.18 + 0.2 * (across + bend).abs()
    above = torch.where(HORIZON - down < wall, 2, 3).expand(ground.shape)
    picture = torch.where(down < HORIZON, above, ground)
    near = torch.exp(-distance)  # 1 at distance 1, smaller further away
    foot = HORIZON + (1 - HORIZON) * 0.75 * near
    centre = -bend * (1 - 0.75 * near).square() - drift * 0.75 * near
    body = ((across - centre).abs() < CAR[0] * near * 2) & (down < foot) & (down > foot - CAR[1] * near * 1.5)
    return torch.where(body, 4, picture)


def paint(labels: Tensor) -> Tensor:
    """Label maps ``[..., H, W]`` as colours ``[..., 3, H, W]``, bytes."""
    return torch.tensor(PALETTE, dtype=torch.uint8)[labels].movedim(-1, -3)


def flow_driving(count: int = 2000, steps: int = 6, side: int = 32, seed: int = 0) -> Data:
    """``frames [N, steps + 1, 3, side, side]`` bytes, ``labels [N, steps + 1, side, side]`` bytes, ``spikes`` and
    ``speeds [N, steps, 4]``, ``states`` or ``factors [N, steps + 1, 3]``: log distance, bend, drift."""
    if count < 1 or steps < 1:
        raise OptionError(f"count={count}, steps={steps}: both are at least 1.")
    generator = torch.Generator().manual_seed(seed)
    chain = SpikeChain(len(FLOWS))
    spikes = chain.switches_on(chain.sample((count,), steps, generator))
    speeds = spikes * laplace_speeds(spikes.shape, generator)
    start = torch.stack(
        [
            0.2 + 0.8 * torch.rand(count, generator=generator),
            0.6 * torch.rand(count, generator=generator) - 0.3,
            0.4 * torch.rand(count, generator=generator) - 0.2,
        ],
        -1,
    )
    closer, away, turn, drift = speeds.unbind(-1)
    change = torch.stack([CLOSER * (away - closer), TURN * turn, DRIFT * drift], -1)
    states = torch.cat([start[:, None], start[:, None] + change.cumsum(1)], 1)
    labels = torch.cat([draw_street(part, side) for part in states.split(256)])
    fields = {"frames": paint(labels), "labels": labels.byte(), "spikes": spikes, "speeds": speeds}
    fields |= {"states": states, "factors": states}  # one tensor: metrics look for factors
    return Data(fields, "flow-driving", FLOWS, "label maps of a street; four motions with known spikes and speeds")


flow_driving.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="flow-driving",
    what="label maps of a street from a driving car: car ahead closer or away, road turning, drift in the lane",
    size="2000 sequences of 7 frames by default, any number; 3 x 32 x 32, bytes",
    licence="made by this library; free of rights",
    source="drawn by a formula, in the palette of Cityscapes (Cordts et al. 2016)",
)
