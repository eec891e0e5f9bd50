"""The files of published sets: where they are looked for, and what is said when they are missing or damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pyro_models.datasets.cards import CARDS
from pyro_models.errors import DataError

#: environment variable that names the folder of the data
ROOT_VARIABLE = "PYRO_MODELS_DATA"


def data_root(root: str | Path | None) -> Path:
    """The folder asked for, else ``$PYRO_MODELS_DATA``, else ``~/.cache/pyro-models``."""
    chosen = root or os.environ.get(ROOT_VARIABLE) or Path("~/.cache/pyro-models")
    return Path(chosen).expanduser()


def obtain(name: str, root: Path, files: Sequence[str], download: bool, fetch: Callable[[], Any]) -> None:
    """Makes sure that the files of a set are under ``root``; fetches them only when asked to."""
    if download and _missing(root, files):
        try:
            root.mkdir(parents=True, exist_ok=True)
            fetch()
        except (OSError, HTTPException, RuntimeError, ImportError, ValueError) as error:
            raise DataError(
                f"{name} could not be downloaded into {root}: {str(error).strip() or type(error).__name__}; try "
                f"again, or get the files on another machine and put {_some(files)} under a folder given by "
                f"--data-root. {_stand_in(name)}"
            ) from error
    missing = _missing(root, files)
    if missing:
        raise DataError(
            f"{name} was not found: looked in {root.absolute()} for {_some(missing)}.{_packed(root, missing)} Get it "
            f"with --download (download=True), or say where it is with --data-root (root=...) or ${ROOT_VARIABLE}. "
            f"{_stand_in(name)}"
        )


def read(name: str, root: Path, reader: Callable[[], Any], checksums: Sequence[tuple[str, str]] = ()) -> Any:
    """Runs a torchvision reader on files that are there; ``checksums``: (file, md5) that it insists on."""
    try:
        return reader()
    except (RuntimeError, ValueError, KeyError, OSError, EOFError, AssertionError, TypeError) as error:
        damaged = [str(root / file) for file, md5 in checksums if not _intact(root / file, md5)]
        what = (
            f"damaged or incomplete (its checksum is not the published one): {', '.join(damaged)}"
            if damaged
            else f"not readable: {error}"
        )
        raise DataError(f"{name} under {root} is {what}; delete the file and get it again (--download).") from error


def _missing(root: Path, files: Sequence[str]) -> list[str]:
    return [file for file in files if not (root / file).exists()]


def _some(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _packed(root: Path, missing: Sequence[str]) -> str:
    packed = next((f"{file}.gz" for file in missing if (root / f"{file}.gz").exists()), None)
    return "" if packed is None else f" It is still packed: unpack {packed} (gunzip)."


def _stand_in(name: str) -> str:
    stand_in = CARDS[name].stand_in
    return f"Meanwhile {stand_in} can stand in, with no files needed." if stand_in else ""


def _intact(path: Path, md5: str) -> bool:
    import hashlib

    # usedforsecurity=False: the published checksum is MD5, and machines in FIPS mode refuse it for anything else.
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5
