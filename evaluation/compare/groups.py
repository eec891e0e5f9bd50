"""Which runs belong together: those that differ in nothing but their seed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.compare.measured import Measured
from inference import estimators
from pyro_models.catalogue import STORIES
from pyro_models.errors import ModelsError, RunError

#: said of an option that a run leaves open, when the code that knows its default is not at hand
UNKNOWN_DEFAULT = "default"


@dataclass(frozen=True)
class Group:
    """Runs of one setting, one per seed. ``name`` holds only what tells the group from the others."""

    name: str
    settings: dict[str, Any]
    members: tuple[Measured, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(member.seed for member in self.members)


def make_groups(measured: Sequence[Measured]) -> list[Group]:
    """Groups in the order in which they were first met, members by seed."""
    completed = complete(measured)
    members: dict[str, list[Measured]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for one, full in zip(measured, completed, strict=True):
        key = repr(sorted((name, written(value)) for name, value in full.items()))
        members.setdefault(key, []).append(one)
        settings[key] = full
    different = differing(list(settings.values()))
    groups = [
        Group(name_of(settings[key], different), settings[key], tuple(sorted(found, key=lambda one: one.seed)))
        for key, found in members.items()
    ]
    for group in groups:
        _refuse_seed_twice(group)
    return groups


def differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The settings with more than one value; one that a story does not have is no value of it."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({written(one[key]) for one in settings if key in one}) > 1]


def shared(groups: Sequence[Group]) -> dict[str, Any]:
    """The settings that all groups have alike."""
    first = groups[0].settings
    return {
        key: value
        for key, value in first.items()
        if all(key in g.settings and written(g.settings[key]) == written(value) for g in groups)
    }


def name_of(settings: dict[str, Any], different: Sequence[str]) -> str:
    """``guide=amortized``; a group that nothing is to be told from is called by what was run."""
    words = [f"{key}={written(settings[key])}" for key in different if key in settings]
    if not words:
        words = [f"{key}={settings[key]}" for key in ("story", "experiment", "case") if key in settings]
    return ", ".join(words)


def written(value: Any) -> str:
    """A setting as a short word: ``none``, ``true``, ``0.001``, ``[64,64]``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(written(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{written(v)}' for k, v in value.items())}}}"
    return str(value)


def complete(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Settings with the defaults filled in: an option left open and one set to its default are the same run.

    Only options that another run of the same story (or estimator) sets are looked up.
    """
    full = [dict(one.settings) for one in measured]
    for owner in ("story", "estimator", "data"):
        for name in dict.fromkeys(one[owner] for one in full if owner in one):
            same = [one for one in full if one.get(owner) == name]
            for key in dict.fromkeys(key for one in same for key in one if owner_of(key) == owner):
                lacking = [one for one in same if key not in one]
                if lacking:
                    value = default_of(owner, name, key.removeprefix(f"{owner}."))
                    for one in lacking:
                        one[key] = value
    return full


def owner_of(key: str) -> str:
    """Whose option a setting is; those of the story carry no prefix."""
    return key.partition(".")[0] if "." in key else "story"


def default_of(owner: str, name: str, option: str) -> Any:
    """The default of a story's or estimator's option; a story that can no longer be imported keeps its secret."""
    if owner == "data":  # loaders pass their options on; none of them says all
        return UNKNOWN_DEFAULT
    try:
        kind = STORIES.get(name) if owner == "story" else estimators.get(name)
        default = inspect.signature(kind.__init__).parameters[option].default
    except (ModelsError, ImportError, KeyError, TypeError, ValueError, OSError):
        return UNKNOWN_DEFAULT
    if option == "guide" and default is None and getattr(kind, "guides", None):
        return kind.guides[0]
    return UNKNOWN_DEFAULT if default is inspect.Parameter.empty else default


def _refuse_seed_twice(group: Group) -> None:
    first: dict[int, Measured] = {}
    for one in group.members:
        if one.seed in first:
            raise RunError(
                f"seed {one.seed} is there twice in one group ({group.name}): {first[one.seed].source} and "
                f"{one.source}; the second is no new evidence. Leave one out, or train it with another --seed."
            )
        first[one.seed] = one
