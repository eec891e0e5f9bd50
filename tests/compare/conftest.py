"""Ten small runs of two estimators, trained and measured once for all tests of this folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from evaluation import evaluate
from inference import fit
from pyro_models import datasets

SEEDS = range(5)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """``exact/0 .. exact/4`` and ``rloo/0 .. rloo/4`` in one folder."""
    folder = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)
    splits = datasets.load("digits")
    for estimator in ("exact", "rloo"):
        for seed in SEEDS:
            run = fit(
                "mixture-vae", "digits", estimator, steps=12, seed=seed, run_dir=folder / estimator / str(seed),
                log_every=2, validate_every=4, story_options={"clusters": 3, "latent": 2, "hidden": [8]},
            )  # fmt: skip
            evaluate(run, splits, metrics=["clustering", "reconstruction"], limit=100)
    return folder


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    """A copy to change."""
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_yaml(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
