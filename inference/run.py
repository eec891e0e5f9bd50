"""A run is a folder: what was asked, what happened, what was learned.

    config.yaml      story, estimator, data, training settings, versions
    log.jsonl        one line per reading: step, loss, validation bound, seconds
    checkpoint.pt    tensors only; resumes training or gives the story back
    story.py         copy of the file that a story outside any package was read from
    metrics.json     written by ``evaluate``
    figures/, posterior.nc, report.html

It can be moved, read without the code that made it (``config``, ``history``, ``metrics``), and evaluated again.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from inference import checkpoint, estimators
from inference.settings import Training
from pyro_models.catalogue import STORIES
from pyro_models.errors import DataError, RunError
from pyro_models.story import Story

#: layout of the run folder; raised when an older reader would misunderstand a newer folder
FORMAT = 1


class Run:
    """One training run, in memory or in a folder."""

    def __init__(self, config: dict[str, Any], path: Path | None = None) -> None:
        self.config = config
        self.path = path
        self.step = 0
        self._story: Story | None = None
        self._rows: list[dict[str, Any]] = []

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Opens a run folder. The story is rebuilt when first asked for."""
        path = Path(path)
        if not path.exists():
            raise RunError(
                f"there is no folder {path} (looked in {Path.cwd()}); see what is in it with `ls {path.parent}`."
            )
        if not (path / "config.yaml").is_file():
            inside = sorted(p.parent.name for p in path.glob("*/config.yaml"))
            hint = f"; it holds the runs {', '.join(inside)}" if inside else ""
            raise RunError(f"{path} is not a run folder: it has no config.yaml{hint}.")
        try:
            config = yaml.safe_load((path / "config.yaml").read_text())
        except yaml.YAMLError as error:
            raise RunError(f"{path / 'config.yaml'} cannot be read as YAML: {error}") from error
        if not isinstance(config, dict) or "story" not in config:
            raise RunError(f"{path / 'config.yaml'} is not the configuration of a run: it names no story.")
        found = config.get("format", 0)
        if found != FORMAT:
            raise RunError(
                f"{path} has the run format {found}, but this version reads format {FORMAT}; open it with "
                f"pyro-models {config.get('environment', {}).get('pyro-models', 'of its time')}, which wrote it."
            )
        return cls(config, path)

    @property
    def story(self) -> Story:
        """The trained story, ready to use (evaluation mode)."""
        if self._story is None:
            state = checkpoint.load(self.file("checkpoint.pt"))
            self._story = build_story(self.config, self.path)
            try:
                self._story.load_state_dict(state["story"])
            except RuntimeError as error:
                raise RunError(f"{self.path}: the checkpoint does not fit the story of config.yaml: {error}") from error
            self.step = state["step"]
            self._story.at(1.0)
            self._story.eval()
        return self._story

    @story.setter
    def story(self, story: Story) -> None:
        self._story = story

    @property
    def training(self) -> Training:
        return Training.from_options(self.config["training"])

    @property
    def name(self) -> str:
        return self.path.name if self.path else f"{self.config['story']['name']} on {self.config['data']['name']}"

    @property
    def history(self) -> Any:
        """The log as a pandas table: ``step``, ``loss``, ``validation``, ``seconds``."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def rows(self) -> list[dict[str, Any]]:
        if not self._rows and self.path is not None and (self.path / "log.jsonl").is_file():
            self._rows = read_log(self.path / "log.jsonl")
        return self._rows

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``evaluate`` wrote, empty before."""
        if self.path is None or not (self.path / "metrics.json").is_file():
            return {}
        return json.loads((self.path / "metrics.json").read_text())

    def data(self) -> Any:
        """The splits the run was trained on, loaded again by name."""
        from pyro_models.datasets import load

        reference = self.config["data"]
        if not reference.get("by_name"):
            raise DataError(
                f"{self.name} was trained on data handed over in code ('{reference['name']}'), which are not kept in "
                f"the run folder; pass them again: evaluate(run, data) or resume(path, data)."
            )
        return load(reference["name"], **reference["options"])

    def file(self, name: str) -> Path:
        """The path of a file of this run."""
        if self.path is None:
            raise RunError(f"this run is in memory only and has no {name}; call run.save(folder) or fit with run_dir=.")
        return self.path / name

    def save(self, path: str | Path) -> Run:
        """Writes a run that was made in memory into a new folder: configuration, log and final state."""
        self.path = new_folder(path)
        write_config(self.path / "config.yaml", self.config)
        (self.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self._rows))
        checkpoint.save(self.path / "checkpoint.pt", {"step": self.step, "story": self.story.state_dict()})
        return self

    def write_json(self, name: str, content: Any) -> Path:
        """Writes a JSON file of this run, atomically and with sorted keys (equal content gives equal bytes)."""
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        checkpoint.write_atomically(self.file(name), lambda temporary: temporary.write_text(text))
        return self.file(name)


def build_story(config: Mapping[str, Any], folder: Path | None = None) -> Story:
    """The untrained story a configuration describes; a story's file that is not there now is read from ``folder``."""
    name = config["story"]["name"]
    file, _, attribute = name.rpartition(":")
    if file.endswith(".py") and not Path(file).is_file() and folder is not None and (folder / "story.py").is_file():
        name = f"{folder / 'story.py'}:{attribute}"
    return STORIES.get(name)(**config["story"]["arguments"])


def keep_source(config: Mapping[str, Any], folder: Path) -> None:
    """Copies the file of a story named ``file.py:Class`` into the run folder, so that the run can be moved."""
    file = Path(config["story"]["name"].rpartition(":")[0])
    if file.suffix == ".py" and file.is_file():
        checkpoint.write_atomically(folder / "story.py", lambda temporary: temporary.write_bytes(file.read_bytes()))


def build_estimator(config: Mapping[str, Any]) -> Any:
    """The estimator a configuration describes, before it has seen a batch."""
    return estimators.get(config["estimator"]["name"])(**config["estimator"]["arguments"])


def new_folder(path: str | Path) -> Path:
    """Makes the folder of a new run; refuses one that holds anything."""
    path = Path(path)
    if (path / "config.yaml").exists():
        raise RunError(
            f"{path} already holds a run; go on with it by `pyro-models resume {path}`, or choose another --run-dir."
        )
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise RunError(f"{path} is not empty and not a run; choose another --run-dir.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise RunError(
            f"the run folder {path} cannot be written: {error.strerror}; choose another --run-dir."
        ) from error
    return path


def free_folder(root: Path, name: str) -> Path:
    """``root/name``, or the first of ``name-2``, ``name-3``, ... that is not there yet."""
    candidate, number = root / name, 2
    while candidate.exists():
        candidate, number = root / f"{name}-{number}", number + 1
    return candidate


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(plain(config), sort_keys=False)
    checkpoint.write_atomically(path, lambda temporary: temporary.write_text(text))


def plain(value: Any) -> Any:
    """Dataclass values, tuples and paths as what YAML and JSON can hold."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line cut short by a killed process is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def environment() -> dict[str, str]:
    """Versions, machine and commit, for the record."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("pyro-models", "torch", "pyro-ppl"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["commit"] = commit()
    found["threads"] = str(torch.get_num_threads())
    return found


def commit() -> str:
    """The commit of this library's checkout, with ``+changes`` when files differ from it; empty outside a checkout."""
    here = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=12", "HEAD")
    return head + "+changes" if head and git("status", "--porcelain", "--untracked-files=no") else head
