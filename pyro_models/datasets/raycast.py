"""Casting rays into a room with one object: a cube, cylinder, sphere or pill on the floor, one light, hard shadows.

Everything is vectorised over images and pixels and needs nothing but torch. Coordinates: x to the right, y up, z
towards the viewer; the floor is y = 0, the object stands at the origin, the wall behind the viewer is open.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: half the width of the room, the height the camera looks at, the tangent of half the angle of view
ROOM, LOOK, VIEW = 3.2, 0.75, 0.36
#: the share of light that comes from everywhere
AMBIENT = 0.45
#: size of the arm's pill, and its grey
ARM, GREY = 0.8, 0.5
#: how far a ray's start is moved off a surface against its own shadow, and the distance of a miss
OFF, FAR = 1e-3, 1e6


class Scene(NamedTuple):
    """N rooms: ``eye``, direction to the ``light`` ``[N, 3]``, its ``intensity`` ``[N]``, ``colours`` of floor, wall
    and object ``[N, 3, 3]``, ``size`` and ``kind`` (0 cube, 1 cylinder, 2 sphere, 3 pill) of the object ``[N]``."""

    eye: Tensor
    light: Tensor
    intensity: Tensor
    colours: Tensor
    size: Tensor
    kind: Tensor
    #: place of the lower end of a hanging arm ``[N, 3]``, a grey pill; None for no arm
    arm: Tensor | None = None


def draw_scene(scene: Scene, side: int) -> Tensor:
    """``[N, 3, side, side]`` bytes."""
    origin, direction = _rays(scene.eye, side)
    kind = scene.kind.round().long()
    distance, normal = _hit_object(origin, direction, scene.size, kind)
    on_arm = torch.zeros_like(distance, dtype=torch.bool)
    if scene.arm is not None:
        arm_distance, arm_normal = _hit_arm(origin, direction, scene.arm)
        on_arm = arm_distance < distance
        distance = torch.minimum(distance, arm_distance)
        normal = torch.where(on_arm.unsqueeze(-1), arm_normal, normal)
    room_distance, room_normal, on_floor = _hit_room(origin, direction)
    on_object = distance < room_distance
    point = origin + torch.minimum(distance, room_distance).unsqueeze(-1) * direction
    normal = torch.where(on_object.unsqueeze(-1), normal, room_normal)
    light = (scene.light / scene.light.norm(dim=-1, keepdim=True)).unsqueeze(1)
    shaded = (normal * light).sum(-1).clamp(min=0)
    start, way = point + OFF * normal, light.expand_as(point)
    blocked = _hit_object(start, way, scene.size, kind)[0] < FAR
    if scene.arm is not None:
        blocked = blocked | (_hit_arm(start, way, scene.arm)[0] < FAR)
    brightness = AMBIENT + (1 - AMBIENT) * scene.intensity.unsqueeze(-1) * shaded * (~blocked)
    floor, wall, thing = (scene.colours[:, i, None] for i in range(3))
    thing = torch.where(on_arm.unsqueeze(-1), GREY, thing)
    colour = torch.where(on_object.unsqueeze(-1), thing, torch.where(on_floor.unsqueeze(-1), floor, wall))
    pixels = (colour * brightness.unsqueeze(-1)).clamp(0, 1).mul(255).round().byte()
    return pixels.reshape(len(scene.eye), side, side, 3).permute(0, 3, 1, 2).contiguous()


def _rays(eye: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """From each eye ``[N, 1, 3]`` towards every pixel ``[N, side^2, 3]``; the camera looks at the middle, upright."""
    forward = torch.tensor([0.0, LOOK, 0.0]) - eye
    forward = forward / forward.norm(dim=-1, keepdim=True)
    across = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0]).expand_as(forward))
    across = across / across.norm(dim=-1, keepdim=True)
    up = torch.linalg.cross(across, forward)
    place = ((torch.arange(side) + 0.5) / side * 2 - 1) * VIEW
    down, right = torch.meshgrid(-place, place, indexing="ij")
    rays = forward[:, None] + right.reshape(1, -1, 1) * across[:, None] + down.reshape(1, -1, 1) * up[:, None]
    return eye.unsqueeze(1), rays / rays.norm(dim=-1, keepdim=True)


def _hit_room(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, inward normal, and whether it is the floor. The wall behind the camera is open."""
    floor = torch.where(direction[..., 1] < 0, -origin[..., 1] / direction[..., 1], FAR)
    sides = torch.where(direction[..., 0] > 0, ROOM, -ROOM) - origin[..., 0]
    sides = torch.where(direction[..., 0].abs() > 1e-9, sides / direction[..., 0], FAR)
    back = torch.where(direction[..., 2] < -1e-9, (-ROOM - origin[..., 2]) / direction[..., 2], FAR)
    every = torch.stack([floor, torch.where(sides > 0, sides, FAR), torch.where(back > 0, back, FAR)], -1)
    distance, which = every.min(-1)
    normals = torch.zeros_like(direction)
    normals[..., 1] = (which == 0).float()
    normals[..., 0] = (which == 1) * -direction[..., 0].sign()
    normals[..., 2] = (which == 2).float()
    return distance, normals, which == 0


def _hit_object(origin: Tensor, direction: Tensor, size: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (FAR for a miss) and outward normal of the object standing at the centre, each image its own."""
    shape = torch.broadcast_shapes(origin.shape, direction.shape)
    origin, direction = origin.expand(shape), direction.expand(shape)
    distance, normal = origin.new_full(shape[:-1], FAR), torch.zeros(shape)
    for number, cast in enumerate((_cube, _cylinder, _sphere, _pill)):
        rows = (kind == number).nonzero().flatten()
        if len(rows):
            distance[rows], normal[rows] = cast(origin[rows], direction[rows], size[rows].reshape(-1, 1))
    return distance, normal


def _hit_arm(origin: Tensor, direction: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The arm is a pill that stands at its place, above the floor."""
    count = len(place)
    pill = torch.full((count,), 3, dtype=torch.long)
    return _hit_object(origin - place.unsqueeze(1), direction, torch.full((count,), ARM), pill)


def _cube(origin: Tensor, direction: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    half = (0.55 * size).unsqueeze(-1)
    centre = torch.cat([torch.zeros_like(half), half, torch.zeros_like(half)], -1)
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    one, other = (centre - half - origin) / safe, (centre + half - origin) / safe
    near, axis = torch.minimum(one, other).max(-1)
    far = torch.maximum(one, other).amin(-1)
    normal = torch.nn.functional.one_hot(axis, 3) * -direction.sign()
    return torch.where((near < far) & (near > 0), near, FAR), normal


def _sphere(origin: Tensor, direction: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    radius = 0.65 * size
    return _ball(origin, direction, radius, radius)


def _ball(origin: Tensor, direction: Tensor, radius: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """A ball whose centre is ``height`` above the floor."""
    zero = torch.zeros_like(height)
    away = origin - torch.stack([zero, height, zero], -1)
    along = (away * direction).sum(-1)
    root = along.square() - away.square().sum(-1) + radius.square()
    distance = -along - root.clamp(min=0).sqrt()
    normal = (away + distance.unsqueeze(-1) * direction) / radius.unsqueeze(-1)
    return torch.where((root > 0) & (distance > 0), distance, FAR), normal


def _tube(origin: Tensor, direction: Tensor, radius: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The side of an upright cylinder between two heights."""
    flat, way = origin[..., [0, 2]], direction[..., [0, 2]]
    a = way.square().sum(-1).clamp(min=1e-9)
    b = (flat * way).sum(-1)
    root = b.square() - a * (flat.square().sum(-1) - radius.square())
    distance = (-b - root.clamp(min=0).sqrt()) / a
    point = origin + distance.unsqueeze(-1) * direction
    good = (root > 0) & (distance > 0) & (point[..., 1] > low) & (point[..., 1] < high)
    normal = torch.stack([point[..., 0], torch.zeros_like(a), point[..., 2]], -1) / radius.unsqueeze(-1)
    return torch.where(good, distance, FAR), normal


def _cylinder(origin: Tensor, direction: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    radius, high = 0.55 * size, 1.2 * size
    side, normal = _tube(origin, direction, radius, torch.zeros_like(high), high)
    safe = torch.where(direction[..., 1].abs() < 1e-9, 1e-9, direction[..., 1])
    lid = (high - origin[..., 1]) / safe
    point = origin + lid.unsqueeze(-1) * direction
    good = (lid > 0) & (point[..., [0, 2]].square().sum(-1) < radius.square())
    lid = torch.where(good, lid, FAR)
    up = torch.tensor([0.0, 1.0, 0.0])
    return torch.minimum(side, lid), torch.where((lid < side).unsqueeze(-1), up, normal)


def _pill(origin: Tensor, direction: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    radius = 0.42 * size
    low, high = radius, 1.45 * size - radius
    parts = [
        _tube(origin, direction, radius, low, high),
        _ball(origin, direction, radius, low),
        _ball(origin, direction, radius, high),
    ]
    distance, which = torch.stack([d for d, _ in parts], -1).min(-1)
    normals = torch.stack([n for _, n in parts], -2)
    return distance, normals.gather(-2, which[..., None, None].expand(*which.shape, 1, 3)).squeeze(-2)
