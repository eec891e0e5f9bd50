"""Two mice seen from above: a procedural stand-in for CalMS21, and a reader of CalMS21's own keypoint files.

The resident (black, mouse 0) switches between four behaviours, which are the flows of these sequences:

    still       stays          approach   runs straight at the intruder
    turn        turns on the spot          chase      runs at it and turns with it, faster

while the intruder (white, mouse 1) wanders. Seven keypoints each: nose, two ears, neck, two hips, tail base.

CalMS21 files are JSON: ``{annotator: {sequence: {"keypoints": [F, 2 mice, 2 (x, y), 7], "scores": [F, 2, 7],
"annotations": [F], "metadata": {...}}}}``; annotations are 0 attack, 1 investigation, 2 mount, 3 other.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.errors import DataError, OptionError

BEHAVIOURS = ("still", "turn", "approach", "chase")
ANNOTATIONS = ("attack", "investigation", "mount", "other")
KEYPOINTS = ("nose", "left ear", "right ear", "neck", "left hip", "right hip", "tail base")
#: along and across the body, in body lengths from its middle, for each keypoint
BODY = ((0.5, 0.0), (0.3, 0.14), (0.3, -0.14), (0.22, 0.0), (-0.25, 0.18), (-0.25, -0.18), (-0.5, 0.0))
#: body length in arena widths; ways and turns of one step at speed 1
LENGTH, WAY, TURN = 0.22, 0.06, 0.5
#: probability of keeping the behaviour from one step to the next
STAY = 0.85
#: size of the arena in CalMS21's pixels
ARENA = (1024, 570)


def behave(count: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
    """``pose [N, steps + 1, 2 mice, 3]`` (x, y in [0, 1], heading), ``behaviour [N, steps]``, ``speed [N, steps]``."""
    place = 0.25 + 0.5 * torch.rand(count, 2, 2, generator=generator)
    heading = 2 * math.pi * torch.rand(count, 2, 1, generator=generator)
    pose = torch.cat([place, heading], -1)
    behaviour = torch.randint(len(BEHAVIOURS), (count,), generator=generator)
    side = torch.randint(2, (count,), generator=generator) * 2.0 - 1
    poses, behaviours, speeds = [pose], [], []
    for _ in range(steps):
        fresh = torch.randint(len(BEHAVIOURS), (count,), generator=generator)
        kept = torch.rand(count, generator=generator) < STAY
        behaviour = torch.where(kept, behaviour, fresh)
        speed = (1 + 0.15 * torch.randn(count, generator=generator)).clamp(min=0.3)
        wander = torch.randn(count, 2, generator=generator)
        pose = _step(pose, behaviour, speed, side, wander)
        poses.append(pose)
        behaviours.append(behaviour)
        speeds.append(speed)
    return {"pose": torch.stack(poses, 1), "behaviour": torch.stack(behaviours, 1), "speed": torch.stack(speeds, 1)}


def _step(pose: Tensor, behaviour: Tensor, speed: Tensor, side: Tensor, wander: Tensor) -> Tensor:
    resident, intruder = pose.unbind(1)
    towards = intruder[:, :2] - resident[:, :2]
    bearing = torch.atan2(towards[:, 1], towards[:, 0])
    off = torch.remainder(bearing - resident[:, 2] + math.pi, 2 * math.pi) - math.pi
    hunting = (behaviour == 2) | (behaviour == 3)
    turned = torch.where(behaviour == 1, side * TURN * speed, torch.where(hunting, off.clamp(-TURN, TURN), 0 * off))
    heading = resident[:, 2] + turned
    run = WAY * speed * ((behaviour == 2) + 1.5 * (behaviour == 3))
    near = towards.norm(dim=-1) < LENGTH  # it stops short of the other
    run = torch.where(near, 0 * run, run)
    moved = resident[:, :2] + run.unsqueeze(-1) * torch.stack([heading.cos(), heading.sin()], -1)
    resident = torch.cat([moved.clamp(0.12, 0.88), heading.unsqueeze(-1)], -1)
    other = intruder[:, 2] + 0.2 * wander[:, 0]
    way = 0.02 * wander[:, 1].abs()
    place = intruder[:, :2] + way.unsqueeze(-1) * torch.stack([other.cos(), other.sin()], -1)
    return torch.stack([resident, torch.cat([place.clamp(0.12, 0.88), other.unsqueeze(-1)], -1)], 1)


def keypoints_of(pose: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2 7"]:
    """Keypoints in arena widths, ``[..., (x, y), 7]``."""
    along, across = LENGTH * torch.tensor(BODY).mT
    cos, sin = pose[..., 2:].cos(), pose[..., 2:].sin()
    return torch.stack([pose[..., :1] + cos * along - sin * across, pose[..., 1:2] + sin * along + cos * across], -2)


def draw_mice(keypoints: Float[Tensor, "*batch 2 2 7"], side: int) -> Float[Tensor, "*batch side side"]:
    """Grey pictures: bedding 0.5, the resident dark, the intruder light; a body is a chain of soft discs."""
    line = (torch.arange(side) + 0.5) / side
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    radius = LENGTH * torch.tensor([0.15, 0.12, 0.12, 0.24, 0.27, 0.27, 0.15])
    far = (grid[..., None, :] - keypoints.mT[..., None, None, :, :]).norm(dim=-1) - radius
    inside = torch.sigmoid(-far.amin(-1) * side * 2)
    picture = torch.full_like(inside[..., 0, :, :], 0.5)
    for mouse, grey in ((1, 0.95), (0, 0.05)):
        picture = picture + inside[..., mouse, :, :] * (grey - picture)
    return picture


def flow_mice(count: int = 2000, steps: int = 6, side: int = 32, seed: int = 0) -> Data:
    """``frames [N, steps + 1, 1, side, side]`` bytes, ``keypoints [N, steps + 1, 2, 2, 7]``, ``spikes`` and ``speeds
    [N, steps, 4]`` of the resident's behaviours, ``factors [N, steps + 1, 6]``: x, y and heading of the resident and of
    the intruder."""
    if count < 1 or steps < 1:
        raise OptionError(f"count={count}, steps={steps}: both are at least 1.")
    told = behave(count, steps, torch.Generator().manual_seed(seed))
    keypoints = keypoints_of(told["pose"])
    pictures = torch.cat([draw_mice(part, side) for part in keypoints.split(64)])
    spikes = functional.one_hot(told["behaviour"], len(BEHAVIOURS)).float()
    fields = {
        "frames": (255 * pictures).round().byte().unsqueeze(2),
        "keypoints": keypoints,
        "spikes": spikes,
        "speeds": spikes * told["speed"].unsqueeze(-1),
        "factors": torch.cat([told["pose"][..., :2], told["pose"][..., 2:] % (2 * math.pi)], -1).flatten(2),
    }
    return Data(fields, "flow-mice", BEHAVIOURS, "two mice from above; the resident switches between four behaviours")


def write_calms21(path: str | Path, sequences: int = 4, frames: int = 60, seed: int = 0) -> Path:
    """A procedural file in CalMS21's JSON layout (30 frames a second, coordinates in pixels)."""
    told = behave(sequences, frames - 1, torch.Generator().manual_seed(seed))
    points = keypoints_of(told["pose"]) * torch.tensor(ARENA, dtype=torch.float)[:, None]
    near = (told["pose"][:, :, 0, :2] - told["pose"][:, :, 1, :2]).norm(dim=-1) < 1.2 * LENGTH
    annotations = torch.where(near, 1, 3)
    made: dict[str, Any] = {}
    for row in range(sequences):
        made[f"task1/train/mouse{row + 1:03d}_task1_annotator1"] = {
            "keypoints": points[row].tolist(),
            "scores": torch.ones(frames, 2, len(KEYPOINTS)).tolist(),
            "annotations": annotations[row].tolist(),
            "metadata": {"vocab": {name: number for number, name in enumerate(ANNOTATIONS)}},
        }
    target = Path(path)
    target.write_text(json.dumps({"annotator-id_0": made}))
    return target


def read_calms21(path: str | Path, steps: int = 6, stride: int = 3, side: int = 32) -> Data:
    """Windows of a CalMS21 file: every ``stride``-th of its frames, redrawn from the keypoints; ``label`` is the last
    frame's annotation, ``keypoints`` are in arena widths."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no CalMS21 file at {path}; fetch one from its publisher, or use 'flow-mice'.")
    try:
        groups = json.loads(path.read_text())
        found = [one for group in groups.values() for one in group.values()]
        points = [torch.tensor(one["keypoints"], dtype=torch.float) for one in found]
        labels = [torch.tensor(one.get("annotations", [3] * len(p))) for one, p in zip(found, points, strict=True)]
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a CalMS21 keypoint file: {error!r}.") from error
    windows, ends = [], []
    for keypoints, label in zip(points, labels, strict=True):
        if keypoints.shape[1:] != (2, 2, len(KEYPOINTS)):
            raise DataError(
                f"{path} has keypoints of shape {tuple(keypoints.shape)}; frames, 2 mice, (x, y), 7 expected."
            )
        reach = steps * stride
        for start in range(0, len(keypoints) - reach, reach):
            windows.append(keypoints[start : start + reach + 1 : stride])
            ends.append(label[start + reach])
    if not windows:
        raise DataError(f"{path} has no sequence of {steps * stride + 1} frames; take fewer steps or a smaller stride.")
    placed = torch.stack(windows) / torch.tensor(ARENA, dtype=torch.float)[:, None]
    pictures = torch.cat([draw_mice(part, side) for part in placed.split(64)])
    fields = {"frames": (255 * pictures).round().byte().unsqueeze(2), "keypoints": placed, "label": torch.stack(ends)}
    return Data(fields, "calms21", ANNOTATIONS, "two mice from above, redrawn from CalMS21's keypoints")


flow_mice.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="flow-mice",
    what="two mice from above; the resident switches between still, turn, approach and chase",
    size="2000 sequences of 7 frames by default, any number; 1 x 32 x 32, bytes",
    licence="made by this library; free of rights",
    source="drawn by a formula, in the manner of CalMS21 (Sun et al. 2021)",
)
read_calms21.card = Card(  # type: ignore[attr-defined]
    name="calms21:PATH",
    what="two mice from above: CalMS21's keypoints, redrawn",
    size="as many windows as the file has",
    licence="CC BY 4.0",
    source="Sun et al. (2021), The Multi-Agent Behavior Dataset: Mouse Dyadic Social Interactions",
    files="one .json of keypoints",
    stand_in="flow-mice",
)
