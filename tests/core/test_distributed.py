"""Training by several processes: the mathematics of one, and clear words where they cannot go on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from inference import Run, resume
from inference.sweep import Job, run_jobs
from pyro_models.errors import OptionError, RunError, UnknownName

#: discrete causes, summed over: no noise, so that one process and two must agree
STORY = '''
import pyro
import torch
import torch.distributed as dist
from pyro.distributions import Bernoulli, Categorical
from torch import nn

from pyro_models.story import Story


class Templates(Story):
    """k ~ Categorical(pi), x | k ~ Bernoulli(template k)."""

    default_estimator = "exact"

    def __init__(self, shape, clusters=5):
        super().__init__()
        self.templates = nn.Parameter(torch.randn(clusters, *shape))
        self.weights = nn.Parameter(torch.zeros(clusters))

    def model(self, x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", Categorical(logits=self.weights))
            likelihood = Bernoulli(logits=self.templates[k], validate_args=False)
            pyro.sample("x", likelihood.to_event(x.ndim - 1), obs=x)

    def guide(self, x):
        pass

    def revise(self, before, after, data, optimiser):
        if before < 0.5 <= after:  # what a move draws must be the same everywhere
            drawn = torch.rand(3)
            everywhere = [torch.empty(3) for _ in range(dist.get_world_size())] if dist.is_initialized() else []
            if everywhere:
                dist.all_gather(everywhere, drawn)
            assert all(torch.equal(drawn, other) for other in everywhere)
'''


def run_command(*words: str, folder) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_two_processes_learn_what_one_does(tmp_path):
    (tmp_path / "templates.py").write_text(STORY)
    train = ["pyro_models", "train", "templates.py:Templates", "--steps", "12", "--batch-size", "64", "--run-dir"]
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = run_command(*together, *train, "two", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    without_report = ["--report", "false", "--progress", "false"]
    assert run_command(*train, "one", *without_report, folder=tmp_path).returncode == 0
    one, two = (Run.load(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in two.rows] == [row["step"] for row in one.rows]
    assert two.rows[-1]["loss"] == pytest.approx(one.rows[-1]["loss"], rel=1e-4)
    first, second = (
        torch.load(run.file("checkpoint.pt"), weights_only=True)["story"]["templates"] for run in (one, two)
    )
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-3)
    with pytest.raises(RunError, match=r"trained by 2 processes and cannot go on with 1.*--nproc-per-node 2"):
        resume(tmp_path / "two", steps=24)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    from inference.distributed import Processes

    alone = Processes()
    assert alone.share([torch.arange(5)])[0].tolist() == [0, 1, 2, 3, 4]
    alone.count, alone.rank = 2, 1
    assert alone.share([torch.arange(4)])[0].tolist() == [1, 3]
    with pytest.raises(OptionError, match="multiple of 2"):
        alone.share([torch.arange(5)])


def test_ray_runs_the_jobs(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: `pip install 'ray[train,tune]'`")
    small = {"clusters": 3, "latent": 2, "hidden": [8]}
    jobs = [
        Job(
            "mixture-vae", "digits", str(tmp_path / str(seed)), story_options=small, training={"steps": 3, "seed": seed}
        )
        for seed in (0, 1)
    ]
    assert [run.step for run in run_jobs(jobs, 2, "ray") if run.story] == [3, 3]


def test_an_unknown_scheduler():
    with pytest.raises(UnknownName, match="did you mean 'ray'"):
        run_jobs([], 1, "rai")
