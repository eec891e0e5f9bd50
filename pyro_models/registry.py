"""Names to things, loaded only when asked for.

A registry knows the names of stories (or datasets, estimators, metrics, experiments) and where each
lives, so that the command line can list them without importing torch. There are four ways in:

* ``registry.add("vae", "pyro_models.gaussian:VAE", "one line")``: a line in a catalogue, imported on demand;
* ``@registry.register("mine", "one line")``: a decorator in a module that somebody imports;
* an entry point of an installed package in the registry's group (``pyro_models.stories`` and so on);
* no registration at all: ``registry.get("my_module:Mine")`` or ``registry.get("path/to/file.py:Mine")``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from pyro_models.errors import ModelsError, UnknownName, unknown_name

T = TypeVar("T")


@dataclass
class Entry:
    """One name: where the thing is (``module:attribute`` or the thing itself) and what it is in a line."""

    target: Any
    summary: str = ""


class Registry:
    """Names of one kind of thing; ``kind`` is the word used in errors, ``group`` the entry point group."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._entry_points_read = False

    def add(self, name: str, target: str, summary: str) -> None:
        """Registers ``module:attribute`` under a name without importing it."""
        self._entries[name] = Entry(target, summary)

    def register(self, name: str, summary: str = "") -> Callable[[T], T]:
        """Decorator that registers the decorated class or function under a name."""

        def decorate(thing: T) -> T:
            known = self._entries.get(name)
            if known is not None and not _same_thing(known.target, thing):
                raise ModelsError(
                    f"the {self.kind} name '{name}' is taken by {known.target!r}; choose another name for {thing!r}."
                )
            text = summary or ((thing.__doc__ or "").strip().splitlines() or [""])[0]
            self._entries[name] = Entry(thing, (known.summary if known and not summary else text))
            return thing

        return decorate

    def get(self, name: str) -> Any:
        """The thing behind a registered name, a ``module:attribute`` or a ``file.py:attribute``."""
        entries = self._all()
        if name in entries:
            entry = entries[name]
            if isinstance(entry.target, str):
                entry.target = import_target(entry.target)
            return entry.target
        if ":" in name:
            return import_target(name)
        raise unknown_name(self.kind, name, entries)

    def summary(self, name: str) -> str:
        entries = self._all()
        if name not in entries:
            raise unknown_name(self.kind, name, entries)
        return entries[name].summary

    def names(self) -> list[str]:
        return sorted(self._all())

    def name_of(self, thing: Any) -> str | None:
        """The registered name of a class or function, None when it has none."""
        for name, entry in self._all().items():
            if _same_thing(entry.target, thing):
                return name
        return None

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _all(self) -> dict[str, Entry]:
        if not self._entry_points_read:
            self._entry_points_read = True
            for point in entry_points(group=self.group):
                self._entries.setdefault(point.name, Entry(point.value, f"from {point.value}"))
        return self._entries


def _same_thing(target: Any, thing: Any) -> bool:
    if isinstance(target, str):
        made_of = getattr(thing, "function", thing)  # a metric or figure stands for the function it was made of
        return target == f"{getattr(made_of, '__module__', '')}:{getattr(made_of, '__qualname__', '')}"
    return target is thing


def import_target(target: str) -> Any:
    """The object named by ``module:attribute`` or ``path/to/file.py:attribute``."""
    where, _, attribute = target.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where, target)
    thing: Any = module
    for part in attribute.split("."):
        if not hasattr(thing, part):
            found = [n for n in vars(module) if not n.startswith("_")]
            raise unknown_name(f"object in {where}", attribute, found)
        thing = getattr(thing, part)
    return thing


def _import_module(name: str, target: str) -> Any:
    # A user's module beside them is found as `python their_script.py` would find it.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # the module was found, but something that it imports was not
        raise UnknownName(
            f"'{target}' names a module '{name}' that Python cannot find; "
            f"run from the folder that holds it, or write path/to/file.py:NAME."
        ) from error


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise UnknownName(f"there is no file '{path}' (looked in {Path.cwd()}).")
    resolved = path.resolve()
    name = f"_user_{resolved.stem}_{abs(hash(str(resolved)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
