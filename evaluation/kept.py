"""What finished seeds measured, on disk while an experiment runs: one that was killed goes on where it was."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inference.checkpoint import write_atomically


@dataclass(frozen=True)
class KeptSeeds:
    """Rows of finished seeds, a file each in the folder ``path`` (None keeps nothing): several processes may add
    theirs. ``stamp`` is what made them, commit and device: rows of another stamp are not taken up."""

    path: Path | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)

    def each(
        self, seeds: Sequence[int], run_one: Callable[[int], dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[float]]:
        """``run_one`` of every seed (a dictionary of plain numbers, lists and dictionaries) and its seconds."""
        found = []
        for seed in seeds:
            kept = self.read(seed)
            if kept is not None:
                tqdm.write(f"seed {seed}: finished before, read from {self.path}")
            else:
                began = time.perf_counter()
                row = run_one(seed)
                kept = {"row": row, "seconds": time.perf_counter() - began}
                self.write(seed, kept)
            found.append(kept)
        return [one["row"] for one in found], [one["seconds"] for one in found]

    def read(self, seed: int) -> dict[str, Any] | None:
        """What a finished seed left; None where the file is missing, of other making or no longer whole."""
        if self.path is None:
            return None
        try:
            content = json.loads((self.path / f"{seed}.json").read_text())
            return {key: content[key] for key in ("row", "seconds")} if content["stamp"] == dict(self.stamp) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, seed: int, kept: Mapping[str, Any]) -> None:
        """Puts the row of a finished seed on disk."""
        if self.path is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"stamp": dict(self.stamp), **kept})
        write_atomically(self.path / f"{seed}.json", lambda temporary: temporary.write_text(text))

    def clear(self) -> None:
        """Nothing is unfinished any more."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
