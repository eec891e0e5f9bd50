"""Objects that remember how they were made, so that a run folder can make them again."""

from __future__ import annotations

import inspect
from typing import Any

from pyro_models.errors import OptionError


class RemembersArguments:
    """Keeps the constructor's arguments by name in ``self.arguments`` and turns wrong ones into a clear error."""

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        try:
            # Partial, because copying and unpickling call __new__ without arguments.
            bound = constructor(cls).bind_partial(made, *args, **kwargs)
        except TypeError as error:
            raise OptionError(f"{cls.__name__}: {error}; {options_text(cls)}.") from error
        # object.__setattr__: torch modules refuse nothing here, but are not initialised yet.
        object.__setattr__(made, "arguments", dict(list(bound.arguments.items())[1:]))
        return made


def constructor(cls: Any) -> inspect.Signature:
    """The signature of a class's constructor, ``self`` included."""
    return inspect.signature(cls.__init__)


def options_text(cls: type) -> str:
    """The constructor's options with their defaults, in one line."""
    parameters = list(constructor(cls).parameters.values())[1:]
    return "its options are " + (", ".join(str(p).replace("'", "") for p in parameters) or "none")


def option_names(cls: type) -> list[str]:
    return list(constructor(cls).parameters)[1:]
