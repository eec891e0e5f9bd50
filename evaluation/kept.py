"""What finished seeds measured, on disk while an experiment runs: one that was killed goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inference.checkpoint import write_atomically


@dataclass(frozen=True)
class KeptSeeds:
    """Rows of finished seeds in ``path`` (None keeps nothing). ``stamp`` is what made them, commit and device: rows of
    another stamp are not taken up."""

    path: Path | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)

    def each(
        self, seeds: Sequence[int], run_one: Callable[[int], dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[float]]:
        """``run_one`` of every seed (a dictionary of plain numbers, lists and dictionaries) and its seconds."""
        found = self.read()
        for seed in seeds:
            if str(seed) in found:
                tqdm.write(f"seed {seed}: finished before, read from {self.path}")
                continue
            began = time.perf_counter()
            row = run_one(seed)
            found[str(seed)] = {"row": row, "seconds": time.perf_counter() - began}
            if self.path is not None:
                text = json.dumps({"stamp": dict(self.stamp), "seeds": found})
                write_atomically(self.path, lambda temporary, text=text: temporary.write_text(text))
        chosen = [found[str(seed)] for seed in seeds]
        return [one["row"] for one in chosen], [one["seconds"] for one in chosen]

    def read(self) -> dict[str, Any]:
        """The finished seeds, by number; none where the file is missing, of other making or no longer whole."""
        if self.path is None or not self.path.is_file():
            return {}
        try:
            content = json.loads(self.path.read_text())
            return dict(content["seeds"]) if content["stamp"] == dict(self.stamp) else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def clear(self) -> None:
        """Nothing is unfinished any more."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
