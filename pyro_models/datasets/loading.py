"""A dataset by name: found, read, cut down to what was asked for, and split."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pyro_models.datasets import REGISTRY
from pyro_models.datasets.cards import CARDS
from pyro_models.datasets.convert import as_data
from pyro_models.datasets.data import Data, Splits
from pyro_models.datasets.images import resize_data
from pyro_models.datasets.splits import Parts, select_classes, split
from pyro_models.errors import UnknownName, unknown_name


def load(
    name: str,
    root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
    classes: Sequence[str | int] | str | int | None = None,
    size: int | None = None,
    image_size: int | Sequence[int] | None = None,
    validation: float | int | None = None,
    test: float | int | None = None,
    **options: Any,
) -> Splits:
    """Train, validation and test parts of a dataset.

    Args:
        name: a registered name, ``folder:PATH``, ``npz:PATH``, ``csv:PATH``, or a loader of your own as
            ``module:function`` or ``file.py:function``.
        root: folder that holds the files of the published sets; by default ``$PYRO_MODELS_DATA``, else
            ``~/.cache/pyro-models``.
        download: fetch what is missing from the publisher into ``root``; nothing is ever fetched without it.
        seed: which data go to which part (and which are kept under ``size``).
        classes: keep these classes only, by name or number; they become the labels 0, 1, ... in this order.
        size: keep so many data for training and validation together, classes in proportion; the test part stays whole.
        image_size: resize images to this side, or ``(height, width)``.
        validation: share or number of training data held back; by default the official validation part, or 0.1.
        test: share or number of data to report on; by default the official test part, or 0.2.
        options: those of the loader (``load("csv:t.csv", label="kind")``).
    """
    loader = find_loader(name)
    general = {
        "root": root,
        "download": download,
        "seed": seed,
        "classes": classes,
        "size": size,
        "image_size": image_size,
    }
    parameters = inspect.signature(loader).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            if option not in parameters:
                own = [p for p in parameters if p not in general]
                raise unknown_name(f"option of the dataset '{name}'", option, [*general, "validation", "test", *own])
    # An option at its default is left out, so that the loader's own default for it holds.
    taken = {key for key in general if key in parameters}
    given = {key: general[key] for key in taken if general[key] is not None}
    parts = _parts(loader(**given, **options), name)
    if classes is not None and "classes" not in taken:
        parts = parts.each(partial(select_classes, classes=classes))
    if image_size is not None and "image_size" not in taken:
        parts = parts.each(partial(resize_data, size=image_size))
    return split(parts, validation, test, None if "size" in taken else size, seed)


def find_loader(name: str) -> Callable[..., Any]:
    """The function that reads a dataset; for ``prefix:PATH`` with the path filled in."""
    prefix, separator, path = name.partition(":")
    if separator and f"{prefix}:PATH" in REGISTRY:
        return partial(REGISTRY.get(f"{prefix}:PATH"), path)
    try:
        return REGISTRY.get(name)
    except UnknownName as error:
        hint = _path_hint(name)
        if hint is None:
            raise
        raise UnknownName(f"{error} {hint}") from error


def _path_hint(name: str) -> str | None:
    """What was probably meant by a name that looks like a path or like a misspelt prefix."""
    path = Path(name)
    if path.is_dir():
        return f"'{name}' is a folder; write folder:{name} for the images in it."
    if path.suffix in (".npz", ".csv"):
        return f"Write {path.suffix[1:]}:{name} for your own file."
    _, separator, rest = name.partition(":")
    if separator and path.suffix != ".py" and ("/" in rest or "." in rest):
        return "Your own data are written folder:PATH, npz:PATH or csv:PATH."
    return None


def _parts(loaded: Any, name: str) -> Parts:
    if isinstance(loaded, Splits):
        loaded = Parts(train=loaded.train, test=loaded.test, validation=loaded.validation)
    if not isinstance(loaded, Parts):
        data = as_data(loaded, name)
        assert isinstance(data, Data)  # Splits were dealt with above
        loaded = Parts(data)
    card = CARDS.get(name)
    return loaded if card is None else loaded.each(partial(_described, text=card.what))


def _described(data: Data, text: str) -> Data:
    return data if data.description else replace(data, description=text)
