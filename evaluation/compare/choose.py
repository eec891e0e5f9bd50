"""Which metrics can be compared: those that groups share and that were measured on the same data."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.compare.groups import Group
from evaluation.compare.measured import Measured, Place
from pyro_models.errors import RunError, unknown_name


def choose_metrics(groups: Sequence[Group], names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The metrics to compare and remarks on what is left out.

    Names given are taken wherever they are found; without names, all that at least two groups have (all there are when
    there is one group). A group counts as having a metric when every one of its runs has it.
    """
    everywhere = {group.name: _in_all(group.members) for group in groups}
    known = list(dict.fromkeys(key for group in groups for one in group.members for key in one.metrics))
    if names is not None:
        for name in names:
            if name not in known:
                raise unknown_name("metric of these runs", name, known)
        chosen = list(dict.fromkeys(names))
    else:
        needed = min(2, len(groups))
        chosen = [key for key in known if sum(key in had for had in everywhere.values()) >= needed]
        if not chosen:
            listed = "; ".join(f"{name}: {', '.join(sorted(had)) or 'none'}" for name, had in everywhere.items())
            raise RunError(f"these groups have no metric in common ({listed}); name the metrics to look at.")
    remarks = []
    for key in chosen:
        without = [one.source for group in groups for one in group.members if key not in one.metrics]
        if without:
            remarks.append(f"{key} is not there for {_few(without)}")
    left_out = [key for key in known if key not in chosen]
    if names is None and left_out:
        remarks.append(f"left out, because one group alone has them: {', '.join(left_out)}")
    return chosen, remarks


def refuse_different_data(groups: Sequence[Group], metrics: Sequence[str]) -> None:
    """Numbers from different data or splits do not belong into one table."""
    for key in metrics:
        seen: list[tuple[Place, Measured]] = []
        for group in groups:
            for one in group.members:
                if key not in one.metrics:
                    continue
                place = one.places[key]
                for other, source in seen:
                    if not place.fits(other):
                        raise RunError(
                            f"'{key}' was measured on different data: {source.source} on {other}, {one.source} on "
                            f"{place}. Compare runs on the same data and split, or measure one of them again: "
                            f"`pyro-models evaluate {one.source}`."
                        )
                if all(place != other for other, _ in seen):
                    seen.append((place, one))


def _in_all(members: Sequence[Measured]) -> set[str]:
    return set.intersection(*(set(one.metrics) for one in members))


def _few(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} runs ({names[0]}, ...)"
