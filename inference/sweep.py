"""Several seeds of one setting: one after the other, in processes side by side, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.loop import fit
from inference.run import Run, free_folder
from pyro_models.errors import OptionError, unknown_name

SCHEDULERS = ("processes", "ray")


@dataclass(frozen=True)
class Job:
    """The arguments of one :func:`inference.fit` by name, so that another process can run it."""

    story: str
    data: str
    run_dir: str
    estimator: str | None = None
    story_options: dict[str, Any] = field(default_factory=dict)
    estimator_options: dict[str, Any] = field(default_factory=dict)
    data_options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Run:
        return fit(
            self.story,
            self.data,
            self.estimator,
            run_dir=self.run_dir,
            story_options=self.story_options,
            estimator_options=self.estimator_options,
            data_options=self.data_options,
            **self.training,
        )


def run_jobs(jobs: Sequence[Job], at_once: int = 1, scheduler: str = "processes") -> list[Run]:
    """Runs the jobs, ``at_once`` of them side by side in processes of one thread, and returns the runs in order.

    ``scheduler="ray"`` hands them to Ray instead, which runs them wherever its cluster has a free core (and a share of
    a GPU, where there are any); the run folders must then be on a disk that all machines see.
    """
    if at_once < 1:
        raise OptionError(f"jobs is {at_once}; it must be at least 1.")
    if scheduler not in SCHEDULERS:
        raise unknown_name("scheduler", scheduler, SCHEDULERS)
    if scheduler == "ray":
        return [Run.load(path) for path in _run_on_ray(jobs, at_once)]
    if at_once == 1 or len(jobs) == 1:
        return [job.run() for job in jobs]
    # Spawned, not forked: torch's thread pools do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(at_once, len(jobs)), mp_context=context) as pool:
        return [Run.load(path) for path in pool.map(_run_alone, jobs)]


def _run_alone(job: Job) -> str:
    settings = {**job.training, "threads": 1, "progress": False}
    Job(**{**vars(job), "training": settings}).run()
    return job.run_dir


def _run_on_ray(jobs: Sequence[Job], at_once: int) -> list[str]:
    try:
        import ray
    except ImportError as error:
        raise OptionError("Ray is not installed; `pip install 'ray[train,tune]'`, or use processes.") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)  # joins the cluster of RAY_ADDRESS, or starts one here
    gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0) / at_once)
    remote = ray.remote(num_cpus=1, num_gpus=gpus)(_run_alone)
    # Paths are written out: a worker's working folder is another one.
    placed = [Job(**{**vars(job), "run_dir": str(Path(job.run_dir).resolve())}) for job in jobs]
    return ray.get([remote.remote(job) for job in placed])


def parse_seeds(seed: int | None, seeds: str | Sequence[int] | None) -> list[int]:
    """``--seed 3`` or ``--seeds 0,1,2`` (not both, no seed twice); ``[0]`` when neither is given."""
    if seeds is None:
        return [0 if seed is None else seed]
    if seed is not None:
        raise OptionError(f"seed={seed} and seeds={seeds} are both given; give one of them.")
    try:
        chosen = [int(s) for s in seeds.split(",")] if isinstance(seeds, str) else [int(s) for s in seeds]
    except ValueError as error:
        raise OptionError(f"seeds is '{seeds}'; write whole numbers with commas between them: 0,1,2.") from error
    twice = sorted({s for s in chosen if chosen.count(s) > 1})
    if twice or not chosen:
        raise OptionError(f"seeds {seeds} names seed {twice[0] if twice else '(none)'} twice; each run needs its own.")
    return chosen


def free_run_dirs(run_dir: str | None, story: str, data: str, seeds: Sequence[int]) -> list[Path]:
    """A folder per seed: ``run_dir`` itself for one seed, ``run_dir/seed-N`` for several, else under ``runs/``."""
    if run_dir is not None:
        root = Path(run_dir)
        return [root] if len(seeds) == 1 else [root / f"seed-{seed}" for seed in seeds]
    label = "-".join(part.split("/")[-1].replace(":", "-").replace(".py", "") for part in (story, data))
    return [free_folder(Path("runs") / label, f"seed-{seed}") for seed in seeds]
