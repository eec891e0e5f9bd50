"""Reads a run folder for a comparison: nothing of the story is built, no data are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evaluation.compare.measured import Measured, Place
from inference.run import Run
from pyro_models.errors import RunError

#: options of a dataset that say where it is, not what it is
WHEREABOUTS = ("root", "download")
#: options of a dataset that its test part does not depend on (``pyro_models.datasets.split``)
NOT_ABOUT_TEST = ("size", "validation")
#: training settings that change how a run is watched or how fast it goes, but not what is learned
NOT_ABOUT_LEARNING = (
    "seed",
    "device",
    "threads",
    "log_every",
    "validate_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "tensorboard",
    "progress",
)


def is_measured(run: Run) -> bool:
    return run.file("metrics.json").is_file()


def read_run(run: Run) -> Measured:
    """One run as written by ``train`` (or ``fit``) and ``evaluate``."""
    config = run.config
    try:
        result = run.metrics
        split, n = result["split"], int(result["n"])
        place = Place(data_name(config["data"], split), split, n)
        seconds = [row["seconds"] for row in run.rows if "seconds" in row]
        environment = config.get("environment", {})
        return Measured(
            source=str(run.path),
            kind="run",
            settings=settings_of(config, asdict(run.training)),
            seed=int(config["training"]["seed"]),
            metrics={key: float(value) for key, value in result["metrics"].items()},
            places=dict.fromkeys(result["metrics"], place),
            better=result.get("better", {}),
            baselines=result.get("baselines", {}),
            rules=result.get("rules", {}),
            seconds=float(seconds[-1]) if seconds else float("nan"),
            curve=run.rows,
            origin={key: str(environment[key]) for key in ("commit", "device", "threads") if key in environment},
        )
    except json.JSONDecodeError as error:
        raise RunError(
            f"{run.file('metrics.json')} cannot be read as JSON ({error}); write it again: "
            f"`pyro-models evaluate {run.path}`."
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{run.path} lacks {error} in its config.yaml or metrics.json; was it written by pyro-models? Measure it "
            f"again with `pyro-models evaluate {run.path}`, or leave it out."
        ) from error


def settings_of(config: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as one flat table of what can make a difference.

    Options of the story keep their names (``guide``, ``latent``); the others say whose they are (``estimator.samples``,
    ``data.size``), and training settings do so only where the story has an option of the same name.
    """
    story, estimator, data = config["story"], config["estimator"], config["data"]
    flat = {"story": story["name"], "estimator": estimator["name"], "data": data["name"]}
    # The shape of a datum comes from the data, which are compared by themselves.
    flat |= {key: value for key, value in story["arguments"].items() if key != "shape"}
    flat |= {f"estimator.{key}": value for key, value in estimator["arguments"].items()}
    flat |= {f"data.{key}": value for key, value in data["options"].items() if key not in WHEREABOUTS}
    for key, value in training.items():
        if key not in NOT_ABOUT_LEARNING:
            flat[f"training.{key}" if key in flat else key] = value
    return flat


def data_name(data: Mapping[str, Any], split: str) -> str:
    """What the data of a split are called: equal names, equal data."""
    ignored = WHEREABOUTS + (NOT_ABOUT_TEST if split == "test" else ())
    words = [f"{key}={value}" for key, value in sorted(data["options"].items()) if key not in ignored]
    if not data["by_name"]:
        words.append("handed over in code")
    if data.get("shape"):
        words.append("x".join(map(str, data["shape"])))
    return f"{data['name']} ({', '.join(words)})" if words else str(data["name"])
