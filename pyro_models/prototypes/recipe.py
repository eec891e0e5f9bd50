"""How prototypes are trained, told by the progress in [0, 1]: the same for every estimator and guide."""

from __future__ import annotations

from dataclasses import dataclass

from pyro_models.errors import OptionError, unknown_name


@dataclass(frozen=True)
class Recipe:
    """Ingredients, each of which can be left out by its neutral value.

    Args:
        anneal: how many times larger the noise variance is at the start; it falls geometrically to its own value at
            ``anneal_until``. Broad noise makes all clusters share all data, so none is left behind. 1: none.
        spare: clusters at the start beyond those wanted. They are removed one by one between ``remove_from`` and
            ``remove_until``, the cheapest first. 0: none.
        moves: after that, up to ``moves_until``, the cheapest cluster to remove becomes a copy of the one with the most
            energy, and both are put back when that did not pay.
        curriculum: transforms are switched on one after the other (at ``TRANSFORM_STARTS``), not all at once.
        usage_floor: nats per datum for every cluster that an amortised posterior leaves unused, falling to 0 at
            ``floor_until``. 0: none.
        placed: prototypes start from data far from each other (k-means++), else from random pixels.
    """

    anneal: float = 20.0
    spare: int = 10
    moves: bool = True
    curriculum: bool = True
    usage_floor: float = 25.0
    placed: bool = True
    anneal_until: float = 0.3
    remove_from: float = 0.3
    remove_until: float = 0.6
    moves_until: float = 0.8
    floor_until: float = 0.5

    def __post_init__(self) -> None:
        if not self.anneal >= 1:
            raise OptionError(f"anneal is {self.anneal}; it multiplies the noise variance at the start, 1 or more.")
        if self.spare < 0:
            raise OptionError(f"spare is {self.spare}; it is a number of clusters, 0 or more.")
        if not self.usage_floor >= 0:
            raise OptionError(f"usage_floor is {self.usage_floor}; it must not be negative.")

    def variance_factor(self, progress: float) -> float:
        if progress >= self.anneal_until:
            return 1.0
        return self.anneal ** (1 - progress / self.anneal_until)

    def floor_weight(self, progress: float) -> float:
        return self.usage_floor * max(0.0, 1 - progress / self.floor_until)

    def transforms(self, progress: float, count: int) -> int:
        """How many of ``count`` transforms are in use."""
        if not self.curriculum:
            return count
        return min(count, sum(progress >= start for start in starts(count)))

    def clusters(self, progress: float, wanted: int) -> int:
        """How many clusters there may be."""
        if progress >= self.remove_until:
            return wanted
        if progress < self.remove_from:
            return wanted + self.spare
        passed = (progress - self.remove_from) / (self.remove_until - self.remove_from)
        return wanted + self.spare - int(self.spare * passed)


#: when the first, second, third, ... transform is switched on; the fourth and later follow in steps of LATER
TRANSFORM_STARTS = (0.05, 0.25, 0.35)
LATER = 0.05


def starts(count: int) -> list[float]:
    beyond = [TRANSFORM_STARTS[-1] + LATER * (n + 1) for n in range(count - len(TRANSFORM_STARTS))]
    return [*TRANSFORM_STARTS, *beyond][:count]


RECIPES = {
    "robust": Recipe(),
    "original": Recipe(anneal=1.0, spare=0, moves=False, curriculum=False, usage_floor=0.0, placed=False),
}


def make_recipe(name: str, **changes: float | int | bool | None) -> Recipe:
    """A named recipe with single ingredients changed (None leaves the recipe's own)."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    chosen = {key: value for key, value in changes.items() if value is not None}
    return Recipe(**{**vars(RECIPES[name]), **chosen})  # type: ignore[arg-type]  # the options are typed above
