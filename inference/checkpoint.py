"""Checkpoints: everything needed to go on as if nothing had happened, in one file that is never half-written."""

from __future__ import annotations

import contextlib
import os
import random
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_models.errors import RunError


def random_state() -> dict[str, Any]:
    """The state of every random generator in use, as tensors and plain numbers."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002  (Pyro seeds the global one)
    kind, keys, position, has_gauss, gauss = numpy_state
    version, words, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(words), spare],
    }


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, words, spare = state["python"]
    random.setstate((version, tuple(words), spare))


def write_atomically(path: Path, write: Any) -> None:
    """Calls ``write(temporary_path)`` and moves the result into place; on any failure the old file stays as it was."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as RuntimeError from its zip writer
        raise RunError(
            f"could not write {path}: {str(error).splitlines()[0]}; free some disk space or check the permissions. "
            f"{'The previous file is intact.' if path.exists() else 'Nothing was written.'}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint atomically."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads a checkpoint; only tensors and plain containers are unpickled."""
    if not path.is_file():
        raise RunError(f"there is no checkpoint at {path}; the run stopped before its first one, start it again.")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises several kinds for a damaged archive
        raise RunError(
            f"the checkpoint {path} ({path.stat().st_size} bytes) is truncated or damaged "
            f"({type(error).__name__}); restore it from a copy or train again."
        ) from error
