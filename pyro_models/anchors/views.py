"""Second views of data that belong to the same anchor: near neighbours, and images moved and bent a little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyro_models.anchors.bending import reordered
from pyro_models.anchors.edges import edges
from pyro_models.anchors.neighbours import GRAPH, Neighbours, affinity, nearest, partition
from pyro_models.anchors.upright import upright
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn.spatial import SpatialTransformer

VIEWS = ("neighbours", "warps")
#: a view is one of so many nearest neighbours
NEAR = 3
#: neighbours by their edges that are put in order by bending
CANDIDATES = 20
#: data looked at at a time
LOOKED_AT = 500
#: what images are moved by, with the spread of the parameters: shifts of a tenth of the half width, and so on
WARPS, SPREADS = ("affine", "thin-plate"), (0.12, 0.05)


class Views(nn.Module):
    """Draws pairs ``(one, other)``. Truthy when any kind of view was asked for.

    The training data are only looked at: they are no part of the state, and :meth:`meet` shows them again when a run
    is resumed.
    """

    def __init__(self, kinds: Sequence[str], shape: Sequence[int]) -> None:
        super().__init__()
        for kind in kinds:
            if kind not in VIEWS:
                raise unknown_name("view", kind, VIEWS)
        if "warps" in kinds and len(shape) != 3:
            raise OptionError(f"views='warps' moves images, but the data have shape {tuple(shape)}; use 'neighbours'.")
        self.kinds, self.shape = tuple(kinds), tuple(shape)
        self.warp = SpatialTransformer(WARPS, shape, SPREADS) if "warps" in kinds else None
        self.data: Data | None = None
        #: neighbours in one or more ways of looking at the data, the best first
        self.ways: tuple[Neighbours, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "data": None, "ways": ()}  # type: ignore[misc]

    @property
    def ready(self) -> bool:
        """False where pairs need training data that nobody has shown."""
        return self.data is not None or self.kinds == ("warps",)

    def meet(self, data: Data, neighbours: bool, look: Callable[[Tensor], Tensor] | None = None) -> None:
        """Looks at the training data; their neighbours are found if a view or ``neighbours`` asks for them, in what
        ``look`` makes of the data where raw values cannot be compared (words, clouds). Images are compared by their
        edges; where a moved and bent image is the same image, they are put upright first, and those nearest by their
        edges are put in order by what is left to bend."""
        wanted = neighbours or "neighbours" in self.kinds
        self.data = data if wanted else None
        look = edges if look is None and len(self.shape) == 3 else look
        self.ways = (nearest(_seen(data, look)),) if wanted else ()
        if wanted and self.warp is not None:
            self.ways = (*_bent(data), *self.ways)

    @property
    def near(self) -> Neighbours | None:
        """Every datum's neighbours in the best way of looking."""
        return self.ways[0] if self.ways else None

    def groups(self, count: int, seed: int) -> Tensor:
        """The training data's groups ``[N]`` in the graph of their neighbours, in all ways of looking at them: what
        hangs together in each is harder to tear apart by chance."""
        assert self.near is not None
        found, _ = partition(sum(affinity(way) for way in self.ways), count, seed=seed)
        return found.to(self.near.rows.device)

    def draw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """As many pairs as the batch ``x`` has data, and their rows in the training data where they come from there."""
        rows = None
        one = other = x
        if self.data is not None and self.near is not None:
            rows = torch.randint(len(self.data), (len(x),), device=x.device)
            one = other = self.data.batch(rows)["x"]
            if "neighbours" in self.kinds:
                place = torch.randint(NEAR, (len(x),), device=x.device)
                other = self.data.batch(self.near.rows[rows, place])["x"]
        if self.warp is not None:
            with torch.no_grad():
                one, other = (self.warp(part, self.warp.prior().sample((len(x),))) for part in (one, other))
        return one, other, rows


def _bent(data: Data) -> tuple[Neighbours, Neighbours]:
    """Neighbours among images put upright: by what is left to bend, and by their edges."""
    straight = Data({"x": _seen(data, upright)})
    found = nearest(_seen(straight, edges), max(GRAPH, min(CANDIDATES, len(data) - 1)))
    return reordered(straight["x"], found, GRAPH), Neighbours(*(part[:, :GRAPH] for part in found))


@torch.no_grad()
def _seen(data: Data, look: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The data as they are compared, ``[N, ...]``."""
    return data["x"] if look is None else torch.cat([look(batch["x"]) for batch in data.chunks(LOOKED_AT)])
