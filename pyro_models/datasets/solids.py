r"""Eight solids as signed distance fields: point clouds of their surfaces, or voxel grids of their insides.

    sphere, cube, cylinder, cone, torus, cross (three bars), table (a board on four legs), tube (a hollow cylinder)

Each stands upright in the cube :math:`[-1, 1]^3`; it is turned about the upright axis by any angle and made larger or
smaller by a factor :math:`e^{\sigma g}`, g standard normal (cut off at two deviations, so that it stays in the cube).
With ``rotation="any"`` it is turned in space; ``stretch`` also scales each axis by itself.

For completion (``partial=True``) one half of each solid, beyond a plane through its middle in a random direction, is
hidden: ``x`` is what is seen, ``target`` the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError, unknown_name

Points = Float[Tensor, "*batch 3"]
Distance = Float[Tensor, "*batch"]

#: upright turns (the standard), any turn, none
ROTATIONS = ("upright", "any", "none")
FORMS = ("points", "voxels")
#: half a side of the box that each solid fits in at scale 1: with the largest factor of the standard it fits in 1
REACH = 0.5
#: deviations of the scale beyond which it is cut off
CUT = 2.0
#: points on the surface of each solid that clouds are drawn from, and steps from near the surface onto it
POOL, PROJECTIONS = 20_000, 3
#: points this near to the surface are moved onto it; small against every detail of a solid
NEAR = 0.02
#: grids whose distances are computed at a time
CHUNK = 200


def _box(p: Points, half: tuple[float, float, float]) -> Distance:
    q = p.abs() - p.new_tensor(half)
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _profile(radius: Distance, height: Distance) -> Distance:
    """Distance of a solid of revolution that is the meeting of two half-spaces at right angles in its profile."""
    outside = torch.stack([radius.clamp(min=0), height.clamp(min=0)], -1).norm(dim=-1)
    return outside + torch.maximum(radius, height).clamp(max=0)


def _sphere(p: Points) -> Distance:
    return p.norm(dim=-1) - REACH


def _cube(p: Points) -> Distance:
    return _box(p, (0.4, 0.4, 0.4))


def _cylinder(p: Points) -> Distance:
    return _profile(p[..., :2].norm(dim=-1) - 0.35, p[..., 2].abs() - REACH)


def _cone(p: Points) -> Distance:
    """Tip at the top; the distance is exact at the faces and a little short beyond the edges."""
    radius, slope = 0.5, 0.5 / (2 * REACH)
    side = (p[..., :2].norm(dim=-1) - slope * (REACH - p[..., 2])) / (1 + slope**2) ** 0.5
    assert radius == slope * 2 * REACH
    return torch.maximum(side, -p[..., 2] - REACH)


def _torus(p: Points) -> Distance:
    ring = p[..., :2].norm(dim=-1) - 0.36
    return torch.stack([ring, p[..., 2]], -1).norm(dim=-1) - 0.14


def _cross(p: Points) -> Distance:
    bars = ((REACH, 0.16, 0.16), (0.16, REACH, 0.16), (0.16, 0.16, REACH))
    return torch.stack([_box(p, half) for half in bars]).amin(0)


def _table(p: Points) -> Distance:
    board = _box(p - p.new_tensor([0.0, 0.0, 0.4]), (REACH, 0.36, 0.1))
    corner = torch.cat([p[..., :2].abs() - p.new_tensor([0.38, 0.24]), p[..., 2:] + 0.1], -1)
    return torch.minimum(board, _box(corner, (0.1, 0.1, 0.4)))


def _tube(p: Points) -> Distance:
    wall = (p[..., :2].norm(dim=-1) - 0.34).abs() - 0.1
    return _profile(wall, p[..., 2].abs() - REACH)


SOLIDS: dict[str, Callable[[Points], Distance]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "cross": _cross,
    "table": _table,
    "tube": _tube,
}


def solids(
    count: int = 4000,
    form: str = "points",
    points: int = 256,
    side: int = 16,
    rotation: str = "upright",
    scale_sd: float = 0.3,
    stretch: float = 0.0,
    partial: bool = False,
    solids_seed: int = 0,
) -> Data:
    """``x [N, points, 3]`` on the surface, or ``x [N, 1, side, side, side]`` (1 inside); ``label``: which solid.

    ``factors [N, 2]``: logarithm of the scale, angle about the upright axis. With ``partial`` that is the
    field ``target``, and ``x`` has half as many points, all on the visible side; or is ``[N, 2, side, side, side]``:
    what is seen to be inside, and what is seen at all.

    Args:
        count: solids, each kind equally often.
        form: ``points`` or ``voxels``.
        points: per cloud.
        side: voxels along each axis.
        rotation: ``upright`` (about the upright axis), ``any`` or ``none``.
        scale_sd: standard deviation of the logarithm of the size.
        stretch: the same for each axis by itself.
        partial: hide a half.
        solids_seed: of everything drawn.
    """
    if form not in FORMS:
        raise unknown_name("form of the solids", form, FORMS)
    if rotation not in ROTATIONS:
        raise unknown_name("rotation", rotation, ROTATIONS)
    if count < len(SOLIDS) or points < 4 or side < 4 or scale_sd < 0 or stretch < 0:
        raise OptionError(
            f"count={count}, points={points}, side={side}, scale_sd={scale_sd}, stretch={stretch}: need at least "
            f"{len(SOLIDS)} solids, 4 points, 4 voxels a side, and spreads of 0 or more."
        )
    generator = torch.Generator().manual_seed(solids_seed)
    label = torch.arange(count) % len(SOLIDS)
    angle = torch.rand(count, generator=generator) * 2 * torch.pi
    log_scale = scale_sd * torch.randn(count, generator=generator).clamp(-CUT, CUT)
    axes = stretch * torch.randn(count, 3, generator=generator).clamp(-CUT, CUT)
    turn = _turns(rotation, angle, generator)
    size = (log_scale[:, None] + axes).exp()
    hidden = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) if partial else None
    make = _clouds if form == "points" else _grids
    fields = make(label, turn, size, hidden, points if form == "points" else side, generator)
    fields |= {"label": label, "factors": torch.stack([log_scale, angle], 1)}
    return Data(fields, "solids", tuple(SOLIDS), f"eight solids as {form}, turned and scaled")


def _turns(rotation: str, angle: Tensor, generator: torch.Generator) -> Float[Tensor, "batch 3 3"]:
    if rotation == "any":  # uniform: the orthogonal factor of a Gaussian matrix, its signs made unique
        q, r = torch.linalg.qr(torch.randn(len(angle), 3, 3, generator=generator))
        q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        return q * torch.linalg.det(q)[:, None, None]
    angle = angle if rotation == "upright" else torch.zeros_like(angle)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


@lru_cache(maxsize=len(SOLIDS))
def surface(name: str) -> Float[Tensor, "pool 3"]:
    """Points spread evenly over a solid's surface: uniform in a thin shell about it, then moved onto it."""
    distance, kept, total = SOLIDS[name], [], 0
    generator = torch.Generator().manual_seed(list(SOLIDS).index(name))
    while total < POOL:
        p = (2 * torch.rand(400_000, 3, generator=generator) - 1) * (REACH + NEAR)
        p = p[distance(p).abs() < NEAR]
        for _ in range(PROJECTIONS):
            p = p.detach().requires_grad_(True)
            d = distance(p)
            (slope,) = torch.autograd.grad(d.sum(), p)
            p = p - (d / slope.square().sum(-1).clamp(min=1e-6)).unsqueeze(-1) * slope
        p = p.detach()
        kept.append(p[distance(p).abs() < NEAR / 10])
        total += len(kept[-1])
    return torch.cat(kept)[:POOL]


def _clouds(
    label: Tensor, turn: Tensor, size: Tensor, hidden: Tensor | None, points: int, generator: torch.Generator
) -> dict[str, Tensor]:
    drawn = torch.randint(POOL, (len(label), points), generator=generator)
    pools = torch.stack([surface(name) for name in SOLIDS])
    place = lambda p: torch.einsum("nij,npj->npi", turn, size[:, None] * p)  # noqa: E731
    whole = place(pools[label[:, None], drawn])
    if hidden is None:
        return {"x": whole}
    # Of sixteen times the points that are wanted, a sixteenth lies on the visible side of any of these solids.
    many = place(pools[label[:, None], torch.randint(POOL, (len(label), 8 * points), generator=generator)])
    seen = torch.einsum("npi,ni->np", many, hidden) < 0
    first = seen.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, : points // 2]
    return {"x": many.gather(1, first.unsqueeze(-1).expand(-1, -1, 3)), "target": whole}


def _grids(
    label: Tensor, turn: Tensor, size: Tensor, hidden: Tensor | None, side: int, generator: torch.Generator
) -> dict[str, Tensor]:
    centres = voxel_centres(side)
    # The middle of a solid lies anywhere in a voxel: else all round solids of a size would give the very same grid.
    shift = (torch.rand(len(label), 3, generator=generator) - 0.5) * 2 / side
    x = torch.empty(len(label), side**3, dtype=torch.uint8)
    seen: Bool[Tensor, "batch voxels"] | None = None if hidden is None else hidden @ centres.T < 0
    for kind, distance in enumerate(SOLIDS.values()):
        for rows in (label == kind).nonzero()[:, 0].split(CHUNK):
            # into the solid's own frame: a turn's inverse is its transpose
            own = torch.einsum("nji,npj->npi", turn[rows], centres - shift[rows, None]) / size[rows, None]
            x[rows] = (distance(own) < 0).to(torch.uint8) * 255
    grids = x.unflatten(1, (1, side, side, side))
    if seen is None:
        return {"x": grids}
    visible = seen.unflatten(1, (1, side, side, side)).to(torch.uint8)
    return {"x": torch.cat([grids * visible, 255 * visible], 1), "target": grids.float() / 255}


def voxel_centres(side: int) -> Float[Tensor, "voxels 3"]:
    """Middles of the voxels of a grid over [-1, 1]^3, first index first."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).flatten(0, 2)


solids.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="solids",
    what="eight solids, turned and scaled, as point clouds or voxel grids; half of each hidden when asked for",
    size="4000 solids by default, any number; 256 x 3 points, or 1 x 16 x 16 x 16 voxels as bytes; 8 kinds",
    licence="made by this library; free of rights",
    source="signed distance fields, drawn by formulas",
)
