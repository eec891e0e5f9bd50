"""Runs a registered experiment over its seeds and writes ``results/NAME.json``, from which the tables are made."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.experiments import EXPERIMENTS
from evaluation.kept import KeptSeeds
from evaluation.measure import evaluate
from inference.checkpoint import write_atomically
from inference.device import choose_device
from inference.loop import fit
from inference.run import environment
from pyro_models.errors import MetricError, OptionError

DEFAULT_SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Setting:
    """What an experiment is run with. ``folder``: where it may put figures and runs; ``kept``: its finished seeds."""

    seeds: Sequence[int]
    folder: Path
    data_root: str | None = None
    device: str = "auto"
    threads: int | None = None
    kept: KeptSeeds = field(default_factory=KeptSeeds)

    def each_seed(self, run_one: Callable[[int], dict[str, Any]]) -> tuple[list[dict[str, Any]], list[float]]:
        """What ``run_one(seed)`` returned for every seed (numbers, lists, dictionaries) and the seconds it took.

        Finished seeds are kept on disk until the whole experiment is done: a second call after a kill goes on.
        """
        return self.kept.each(self.seeds, run_one)

    def data_options(self, **options: Any) -> dict[str, Any]:
        return {**options, "root": self.data_root} if self.data_root is not None else options


@dataclass(frozen=True)
class Outcome:
    """One value per seed for every metric, the split and number of data they were measured on, and what stands beside.

    ``baselines``: trivial predictors, floors and published figures by name; ``wall_seconds``: training and evaluation.
    ``splits`` overrides ``split`` for single metrics (``accuracy_train``). ``headline``: the metrics that the README's
    table shows, where it is not the usual ones.
    """

    metrics: Mapping[str, Sequence[float]]
    split: str
    n: int
    wall_seconds: Sequence[float]
    baselines: Mapping[str, float] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    notes: str = ""
    headline: Sequence[str] = ()


def reproduce(
    name: str,
    seeds: Sequence[int] | None = None,
    *,
    data_root: str | None = None,
    out: str | Path = "results",
    device: str = "auto",
    threads: int | None = None,
    rows_only: bool = False,
) -> tuple[Path, str]:
    """Runs the experiment and returns the path of its results and their table in words.

    With ``rows_only`` the seeds' rows are kept and no results are written: several processes can each run some of the
    seeds, and a last call for all of them, which runs none, makes the file.
    """
    experiment = EXPERIMENTS.get(name)
    chosen = list(seeds) if seeds is not None else list(getattr(experiment, "seeds", DEFAULT_SEEDS))
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"the folder {folder} cannot be made: {error.strerror}; choose another --out.") from error
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    stamp = {"commit": environment()["commit"], "device": str(choose_device(device)), "data_root": data_root}
    kept = KeptSeeds(folder / f"{name}.unfinished", stamp)
    try:
        outcome: Outcome = experiment(Setting(chosen, folder, data_root, device, threads, kept))
        check_finite(name, outcome, chosen, kept.path)
        if rows_only:
            assert kept.path is not None
            return kept.path, f"{name}: seeds {', '.join(map(str, chosen))} are done; name all seeds to have the table."
        result = {
            "name": name,
            "command": command(name, seeds, data_root),
            "commit": environment()["commit"],
            "device": str(choose_device(device)),
            "threads": torch.get_num_threads(),
            "versions": {k: v for k, v in environment().items() if k not in ("commit", "threads")},
            "seeds": chosen,
            "metrics": {key: summary(values, outcome, key) for key, values in outcome.metrics.items()},
            "baselines": dict(outcome.baselines),
            "wall_seconds": {
                "values": [round(s, 1) for s in outcome.wall_seconds],
                "mean": round(statistics.fmean(outcome.wall_seconds), 1),
            },
            "notes": outcome.notes,
            "headline": list(outcome.headline),
        }
    finally:
        torch.set_num_threads(before)
    path = folder / f"{name}.json"
    text = json.dumps(result, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
    kept.clear()
    return path, table(result)


def check_finite(name: str, outcome: Outcome, seeds: Sequence[int], kept: Path | None) -> None:
    """Refuses to write down a mean of what is no number."""
    for key, values in outcome.metrics.items():
        for seed, value in zip(seeds, values, strict=False):
            if not np.isfinite(value):
                raise MetricError(
                    f"{name}: {key} of seed {seed} is {value}, and a mean over it says nothing; no results were "
                    f"written. The seeds' rows are kept in {kept}: name the others by --seeds to have them, and say "
                    f"that this one failed."
                )


def command(name: str, seeds: Sequence[int] | None, data_root: str | None) -> str:
    """The command that makes the same results elsewhere (the data folder is the reader's own)."""
    words = ["pyro-models", "reproduce", name]
    if seeds is not None:
        words += ["--seeds", ",".join(map(str, seeds))]
    if data_root is not None:
        words += ["--data-root", "DATA"]
    return " ".join(words)


def summary(values: Sequence[float], outcome: Outcome, key: str) -> dict[str, Any]:
    """Values with mean and sample standard deviation (none for one seed)."""
    split, n = outcome.splits.get(key, (outcome.split, outcome.n))
    numbers = [float(v) for v in values]
    return {
        "values": numbers,
        "mean": float(np.mean(numbers)),
        "sd": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
        "split": split,
        "n": n,
    }


def table(result: Mapping[str, Any]) -> str:
    """Mean, spread and range of every metric, with the baselines below."""
    lines = [f"{result['name']}: {len(result['seeds'])} seeds, commit {result['commit']}, {result['device']}"]
    for key, found in result["metrics"].items():
        sd = "" if found["sd"] is None else f" ± {found['sd']:.3g}"
        spread = f"{min(found['values']):.4g} to {max(found['values']):.4g}"
        lines.append(f"  {key:24} {found['mean']:.4g}{sd}   ({spread}; {found['split']}, n={found['n']})")
    lines += [f"  beside: {key:24} {value:.4g}" for key, value in result["baselines"].items()]
    lines.append(f"  {result['wall_seconds']['mean']} s a seed")
    return "\n".join(lines)


def per_seed(setting: Setting, run_one: Callable[[int], dict[str, Any]]) -> Outcome:
    """An outcome from a function of one seed that returns what ``evaluate`` returns; the time is measured around it."""
    results, seconds = setting.each_seed(run_one)
    first = results[0]
    baselines = {
        f"{key}: {name}": statistics.fmean(r["baselines"][key][name] for r in results)
        for key, named in first["baselines"].items()
        for name in named
    }
    metrics = columns([r["metrics"] for r in results])
    splits = {key: (first["split"], n) for key, n in first["sizes"].items()}
    return Outcome(metrics, first["split"], first["n"], seconds, baselines, splits)


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """What every seed measured, by quantity: rows of the same keys, one per seed."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def fit_and_measure(setting: Setting, story: str, data: str, *, data_options: Any = None, **options: Any) -> Outcome:
    """The usual experiment: train a story once per seed by :func:`inference.fit`, measure on the test split."""

    def one(seed: int) -> dict[str, Any]:
        run = fit(
            story,
            data,
            seed=seed,
            device=setting.device,
            data_options=setting.data_options(**(data_options or {})),
            **options,
        )
        return evaluate(run)

    return per_seed(setting, one)
