"""Finds what is to be compared: run folders, folders that hold them, and results files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluation.compare.measured import Measured
from evaluation.compare.read_results import read_results
from evaluation.compare.read_run import is_measured, read_run
from inference.run import Run
from pyro_models.errors import OptionError, RunError

#: folders named in one error message; the reader has understood by then
NAMED = 5

Source = str | Path | Run


def read_all(sources: Source | Sequence[Source]) -> list[Measured]:
    """Everything that the sources hold, in the order given, each run once."""
    given = [sources] if isinstance(sources, str | Path | Run) else list(sources)
    if not given:
        raise OptionError("compare was given nothing; name run folders, folders of runs or results/NAME.json files.")
    folders: dict[Path, Run] = {}
    files: dict[Path, Path] = {}
    for source in given:
        if not isinstance(source, Run) and Path(source).is_file():
            files.setdefault(Path(source).resolve(), Path(source))
        else:
            for run in runs_in(source):
                folders.setdefault(run.file("config.yaml").resolve(), run)
    refuse_unmeasured(folders.values())
    measured = [read_run(run) for run in folders.values()]
    return measured + [one for path in files.values() for one in read_results(path)]


def runs_in(source: Source) -> list[Run]:
    """The run itself, or all runs anywhere below the folder, by path."""
    if isinstance(source, Run):
        source.file("config.yaml")  # refuses a run that is in memory only
        return [source]
    folder = Path(source)
    if not folder.exists() or (folder / "config.yaml").is_file():
        return [Run.load(folder)]
    found = sorted(path.parent for path in folder.rglob("config.yaml"))
    if not found:
        files = sorted(path.name for path in folder.glob("*.json"))
        hint = f"; it holds the files {_some(files)}: name results files one by one" if files else ""
        raise RunError(
            f"no run was found in {folder} or below it (a run is a folder with config.yaml, written by "
            f"`pyro-models train`){hint}."
        )
    return [Run.load(path) for path in found]


def refuse_unmeasured(runs: Iterable[Run]) -> None:
    """Says which runs have no metrics yet, and how they get them."""
    missing = [str(run.path) for run in runs if not is_measured(run)]
    if missing:
        word = "this run is" if len(missing) == 1 else f"{len(missing)} runs are"
        raise RunError(
            f"{word} not measured yet: {_some(missing)}; measure first: `pyro-models evaluate {missing[0]}`"
            f"{' and so on' if missing[1:] else ''}."
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
