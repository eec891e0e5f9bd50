"""What a training run tells while it goes: a progress bar, ``log.jsonl`` and, if asked, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

from inference.run import Run, read_log
from inference.settings import Training
from pyro_models.errors import OptionError


class Log:
    """Context manager around the loop; on resume, lines beyond the checkpoint are dropped and the rest is continued."""

    def __init__(self, run: Run, start: int, steps: int, settings: Training, silent: bool = False) -> None:
        self.run = run
        rows = run.rows
        if run.path is not None and (run.path / "log.jsonl").is_file():
            rows = [row for row in read_log(run.path / "log.jsonl") if row["step"] <= start]
        run._rows = rows
        self.before = rows[-1]["seconds"] if rows else 0.0
        self.bar = tqdm(
            total=steps,
            initial=start,
            desc=run.name,
            unit="step",
            disable=silent or not settings.progress,
            dynamic_ncols=True,
            # a file or a pipe gets a line now and then, not a film
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
        )
        self.advance = self.bar.update
        self.file = None
        if run.path is not None and not silent:
            self.file = (run.path / "log.jsonl").open("w")
            self.file.writelines(json.dumps(row) + "\n" for row in rows)
            self.file.flush()
        self.board = _board(run) if settings.tensorboard and not silent else None
        self.began = time.monotonic()

    def write(self, row: dict[str, Any]) -> None:
        """One reading: a row of the history, a line of the log, a point in TensorBoard."""
        row["seconds"] = round(self.before + time.monotonic() - self.began, 3)
        self.run._rows.append(row)
        shown = {key: f"{row[key]:.4g}" for key in ("loss", "validation") if key in row}
        self.bar.set_postfix(shown, refresh=False)
        if self.file is not None:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
        if self.board is not None:
            for key in ("loss", "validation"):
                if key in row:
                    self.board.add_scalar(key, row[key], row["step"])

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        if self.file is not None:
            self.file.close()
        if self.board is not None:
            self.board.close()


def _board(run: Run) -> Any:
    if run.path is None:
        raise OptionError("TensorBoard files are written into the run folder; give run_dir=.")
    return require_tensorboard()(str(run.path / "tensorboard"))


def require_tensorboard() -> Any:
    """TensorBoard's writer class, or a clear word on how to get it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise OptionError("TensorBoard is not installed; `pip install tensorboard`.") from error
    return SummaryWriter
