"""Names for axes: plates, events and coordinates of every site, decided once and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.particles import Particles
from evaluation.posterior.draws import plate_names
from evaluation.traces import Site
from pyro_models.errors import OptionError

#: the plate over the data is called so in every group, whatever the story calls it
OBSERVATION = "obs"
#: names of the last two or three axes of a datum that is an image, outermost first
IMAGE_AXES = {2: ("row", "column"), 3: ("channel", "row", "column")}


class AxisNames:
    """Dimension names per site: ``obs`` (or the plate's name) for plates, then ``z_dim`` or ``x_row, x_column``.

    ``dims`` overrides them, site by site, with one name per axis after chain and draw (plates, then event);
    ``coords`` gives labels along a named dimension; every other dimension is numbered from 0.
    """

    def __init__(
        self, pair: Particles, dims: Mapping[str, Sequence[str]] | None, coords: Mapping[str, Sequence[Any]] | None
    ) -> None:
        self.pair = pair
        self.given = dict(dims or {})
        self.coords = {name: np.asarray(values) for name, values in (coords or {}).items()}
        self.sizes: dict[str, int] = {}
        unknown = [name for name in self.given if name not in pair.depth]
        if unknown:
            raise OptionError(f"dims names the site '{unknown[0]}', but the sites are {', '.join(pair.depth)}.")

    def of(self, name: str, site: Site, shape: Sequence[int]) -> list[str]:
        """Names for a site whose value (without chain and draw) has ``shape``; its sizes are remembered."""
        plates = [self._plate(plate) for plate in plate_names(site)]
        rank = len(shape) - len(plates)
        axes = IMAGE_AXES.get(rank) if site["is_observed"] or site["infer"].get("was_observed") else None
        if rank == 1:
            event = [f"{name}_dim"]
        elif axes is not None:
            event = [f"{name}_{axis}" for axis in axes]
        else:
            event = [f"{name}_dim_{axis}" for axis in range(rank)]
        names = list(self.given.get(name, [*plates, *event]))
        if len(names) != len(shape):
            raise OptionError(
                f"dims for '{name}' are {names}, but its values have the axes {[*plates, *event]} "
                f"of sizes {tuple(shape)}; give one name for each."
            )
        self.remember(names, shape)
        return names

    def _plate(self, plate: str) -> str:
        return OBSERVATION if self.pair.data_plate is not None and plate == self.pair.data_plate.name else plate

    def remember(self, names: Sequence[str], shape: Sequence[int]) -> None:
        """Notes the size of each dimension; a name cannot stand for two sizes."""
        for name, size in zip(names, shape, strict=True):
            if self.sizes.setdefault(name, size) != size:
                raise OptionError(
                    f"the dimension '{name}' would be both {self.sizes[name]} and {size} long; use two names."
                )
            if name in self.coords and len(self.coords[name]) != size:
                raise OptionError(
                    f"coords for '{name}' has {len(self.coords[name])} labels, but the dimension is {size} long."
                )

    def coordinates(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Labels along these dimensions."""
        return {name: self.coords.get(name, np.arange(self.sizes[name])) for name in names}

    def check_all_used(self) -> None:
        """Coordinates for a dimension that nothing has are a typing error."""
        unused = [name for name in self.coords if name not in self.sizes]
        if unused:
            raise OptionError(f"coords names the dimension '{unused[0]}', but there are {', '.join(self.sizes)}.")
