"""Reads ``results/NAME.json`` of ``pyro-models reproduce``: one value per seed for every metric.

A metric called ``logvar/rloo`` is the metric ``logvar`` of the case ``rloo``: cases are compared with each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation.compare.measured import Measured, Place
from pyro_models.errors import RunError


def read_results(path: Path) -> list[Measured]:
    """One ``Measured`` per case and seed."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(result, dict) or not {"name", "seeds", "metrics"} <= result.keys():
        raise RunError(f"{path} is neither a run folder nor a results file of `pyro-models reproduce`.")
    _refuse_unequal(path, result)
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    for key, found in result["metrics"].items():
        name, _, case = key.partition("/")
        cases.setdefault(case, {})[name] = found
    return [
        _one_seed(path, result, case, metrics, position)
        for case, metrics in cases.items()
        for position in range(len(result["seeds"]))
    ]


def _refuse_unequal(path: Path, result: dict[str, Any]) -> None:
    seeds = len(result["seeds"])
    for key, found in result["metrics"].items():
        if len(found["values"]) != seeds:
            raise RunError(
                f"{path}: the metric '{key}' has {len(found['values'])} values for {seeds} seeds; a results file holds "
                f"one value per seed. Make it again: `{result.get('command', 'pyro-models reproduce NAME')}`."
            )


def _one_seed(
    path: Path, result: dict[str, Any], case: str, metrics: dict[str, dict[str, Any]], position: int
) -> Measured:
    seconds = result.get("wall_seconds", {}).get("values", [])
    # The time of a results file is that of all its cases together: it says nothing about one of them.
    own_time = len(seconds) == len(result["seeds"]) and not case
    return Measured(
        source=str(path),
        kind="results",
        settings={"experiment": result["name"], **({"case": case} if case else {})},
        seed=int(result["seeds"][position]),
        metrics={name: float(found["values"][position]) for name, found in metrics.items()},
        places={
            name: Place("", str(found.get("split", "")), int(found.get("n", 0))) for name, found in metrics.items()
        },
        better={name: found["better"] for name, found in metrics.items() if "better" in found},
        baselines=_baselines(result),
        seconds=float(seconds[position]) if own_time else float("nan"),
        origin={key: str(result[key]) for key in ("commit", "device", "threads") if key in result},
    )


def _baselines(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """``{"accuracy: largest class": 0.1}`` by metric; figures that belong to no metric are left in their file."""
    named: dict[str, dict[str, float]] = {}
    for key, value in result.get("baselines", {}).items():
        metric, separator, words = key.partition(": ")
        if separator:
            named.setdefault(metric, {})[words] = float(value)
    return named
