"""What the command ``pyro-models`` does: one typed function per subcommand, torch imported only inside them."""

from __future__ import annotations

from typing import Any, Literal

Names = str | list[int] | None

KINDS = ("all", "stories", "datasets", "estimators", "metrics", "figures", "experiments")


def train_story(
    story: str,
    data: str = "digits",
    data_root: str | None = None,
    download: bool = False,
    estimator: str | None = None,
    guide: str | None = None,
    seed: int | None = None,
    seeds: Names = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: Literal["constant", "cosine", "drop"] = "constant",
    weight_decay: float = 0.0,
    clip: float | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    threads: int | None = None,
    jobs: int = 1,
    scheduler: Literal["processes", "ray"] = "processes",
    run_dir: str | None = None,
    log_every: int = 50,
    validate_every: int | None = None,
    checkpoint_every: int | None = None,
    checkpoint_minutes: float = 5.0,
    tensorboard: bool = False,
    progress: bool = True,
    report: bool = True,
    options: dict[str, Any] | None = None,
    estimator_options: dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
) -> None:
    """Trains a story, measures it and writes a report.

    Args:
        story: a name from `pyro-models list`, module:Class or file.py:Class.
        data: a dataset's name, folder:PATH, npz:PATH or csv:PATH.
        data_root: folder that holds downloaded datasets.
        download: fetch the dataset if it is not there.
        estimator: gradient estimator; the story's own default when not given.
        guide: one of the story's guides.
        seed: of weights, batches and sampling (default 0).
        seeds: several seeds, 0,1,2: a run each.
        epochs: passes over the training data (default 20).
        steps: optimiser steps, instead of epochs.
        batch_size: data per step.
        learning_rate: of Adam.
        schedule: of the learning rate.
        weight_decay: L2 penalty.
        clip: largest global gradient norm.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16 for the networks, on a GPU or a CPU with bfloat16 matrix units.
        threads: CPU threads.
        jobs: seeds trained at the same time, in processes of one thread each.
        scheduler: who runs the jobs: processes of this machine, or a Ray cluster.
        run_dir: folder to write (default runs/STORY-DATA/seed-N).
        log_every: steps between readings.
        validate_every: steps between validation bounds.
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: minutes between checkpoints.
        tensorboard: write TensorBoard files too.
        progress: show a progress bar.
        report: measure and write the report after training.
        options: options of the story, as --options.clusters 12.
        estimator_options: options of the estimator, as --estimator-options.num_particles 4.
        data_options: options of the dataset, as --data-options.classes '[2,6,9]'.
    """
    from inference.sweep import Job, free_run_dirs, parse_seeds, run_jobs

    chosen = parse_seeds(seed, seeds)
    story_options = dict(options or {})
    if guide is not None:
        story_options["guide"] = guide
    loading = dict(data_options or {})
    if data_root is not None:
        loading["root"] = data_root
    if download:
        loading["download"] = True
    folders = free_run_dirs(run_dir, story, data, chosen)
    made = [
        Job(
            story=story,
            data=data,
            estimator=estimator,
            run_dir=str(folder),
            story_options=story_options,
            estimator_options=dict(estimator_options or {}),
            data_options=loading,
            training={
                "seed": number,
                "epochs": epochs,
                "steps": steps,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "schedule": schedule,
                "weight_decay": weight_decay,
                "clip": clip,
                "device": device,
                "precision": precision,
                "threads": threads,
                "log_every": log_every,
                "validate_every": validate_every,
                "checkpoint_every": checkpoint_every,
                "checkpoint_minutes": checkpoint_minutes,
                "tensorboard": tensorboard,
                "progress": progress,
            },
        )
        for number, folder in zip(chosen, folders, strict=True)
    ]
    runs = run_jobs(made, jobs, scheduler)
    if report:
        finish(runs)


def finish(runs: list[Any]) -> None:
    """Evaluates and reports trained runs; prints the table. Of processes that trained together, the first does."""
    from evaluation.reporting import report
    from inference.distributed import Processes

    for run in runs if Processes().first else ():
        page = report(run)
        print_metrics(run.metrics, run.name)
        print(f"\nreport: {page}")


def resume_run(run: str, steps: int | None = None, device: str | None = None, report: bool = True) -> None:
    """Resumes an interrupted run; it ends as if it had not been interrupted.

    Args:
        run: the run's folder.
        steps: a new number of steps, to train longer than planned.
        device: another device than the one it started on.
        report: measure and write the report after training.
    """
    from inference import resume

    changes: dict[str, Any] = {}
    if steps is not None:
        changes.update(steps=steps, epochs=None)
    if device is not None:
        changes["device"] = device
    finished = resume(run, **changes)
    if report:
        finish([finished])


def evaluate_run(
    run: str,
    split: Literal["train", "validation", "test"] = "test",
    metrics: str | list[str] | None = None,
    limit: int | None = None,
    data_root: str | None = None,
    features: Literal["classifier", "inception", "pixels"] | None = None,
    weights: str | None = None,
    download: bool = False,
) -> None:
    """Measures a run and writes its metrics.json.

    Args:
        run: the run's folder.
        split: which part of the data.
        metrics: names with commas between them; all that apply when not given.
        limit: use only so many data.
        data_root: folder that holds the dataset now, if it moved.
        features: network behind FID, KID and the like (default: a classifier of small labelled images, else pixels).
        weights: file with the weights of Inception v3, for --features inception.
        download: fetch these weights.
    """
    from evaluation.measure import evaluate

    opened = open_run(run, data_root)
    found = evaluate(
        opened,
        split=split,
        metrics=listed(metrics),
        limit=limit,
        features=features,
        weights=weights,
        download=download,
    )
    print_metrics(found, opened.name)


def report_run(run: str, split: Literal["train", "validation", "test"] = "test", data_root: str | None = None) -> None:
    """Writes a run's report.html and figures.

    Args:
        run: the run's folder.
        split: which part of the data is pictured.
        data_root: folder that holds the dataset now, if it moved.
    """
    from evaluation.reporting import report

    print(f"report: {report(open_run(run, data_root), split=split)}")


def compare_runs(runs: list[str], metrics: str | list[str] | None = None, out: str | None = None) -> None:
    """Compares runs or results: a table with mean and spread over seeds, figures and one HTML page.

    Args:
        runs: run folders, folders of runs, or results/NAME.json files.
        metrics: the metrics to compare, commas between them; all that the runs share when not given.
        out: folder for the table (CSV), the figures and comparison.html.
    """
    from evaluation.compare import compare

    comparison = compare(runs, listed(metrics))
    print(comparison.text())
    if out is not None:
        print(f"\ncomparison: {comparison.write(out)}")


def write_posterior(
    run: str,
    draws: int = 200,
    limit: int = 200,
    split: Literal["train", "validation", "test"] = "test",
    data_root: str | None = None,
) -> None:
    """Writes posterior, prior and predictive draws of a run as netCDF for ArviZ.

    Args:
        run: the run's folder.
        draws: from the guide per datum.
        limit: how many data.
        split: which part of the data.
        data_root: folder that holds the dataset now, if it moved.
    """
    import torch

    from evaluation.answers import Answers
    from evaluation.measure import choose_split
    from evaluation.posterior import save_netcdf, to_inference_data

    opened = open_run(run, data_root)
    data = choose_split(opened.data(), split).take(slice(0, limit))
    torch.manual_seed(0)
    batch = data.to(Answers(opened.story, data).device).batch(slice(0, limit))
    path = opened.file("posterior.nc")
    save_netcdf(to_inference_data(opened.story, batch, draws=draws), path)
    print(f"posterior: {path} (arviz.from_netcdf opens it)")


def reproduce_experiment(
    name: str,
    seeds: Names = None,
    data_root: str | None = None,
    out: str = "results",
    device: str = "auto",
    threads: int | None = None,
    rows_only: bool = False,
) -> None:
    """Runs a registered experiment over its seeds and writes results/NAME.json.

    Args:
        name: an experiment from `pyro-models list experiments`.
        seeds: these seeds instead of the experiment's own.
        data_root: folder that holds downloaded datasets.
        out: folder for the results.
        device: auto, cpu, cuda, mps.
        threads: CPU threads.
        rows_only: keep the rows of these seeds for a later call with all of them; for one process a seed.
    """
    from evaluation.reproduce import reproduce
    from inference.sweep import parse_seeds

    chosen = None if seeds is None else parse_seeds(None, seeds)
    path, text = reproduce(
        name, chosen, data_root=data_root, out=out, device=device, threads=threads, rows_only=rows_only
    )
    print(text)
    print(f"\nresults: {path}")


def list_names(kind: str = "all") -> None:
    """Lists stories, datasets, estimators, metrics, figures and experiments, or explains one of them.

    Args:
        kind: one kind only; or a name, to see what it is and its options.
    """
    from evaluation.experiments import EXPERIMENTS
    from evaluation.figures import FIGURES
    from evaluation.metric import METRICS
    from inference.estimators import REGISTRY as ESTIMATORS
    from pyro_models.catalogue import STORIES
    from pyro_models.datasets import REGISTRY as DATASETS
    from pyro_models.errors import unknown_name

    registries = dict(zip(KINDS[1:], (STORIES, DATASETS, ESTIMATORS, METRICS, FIGURES, EXPERIMENTS), strict=True))
    if kind not in KINDS:
        found = [registry for registry in registries.values() if kind in registry]
        if not found:
            known = {*KINDS, *(name for registry in registries.values() for name in registry)}
            raise unknown_name("kind or name", kind, sorted(known))
        print("\n\n".join(explained(registry, kind) for registry in found))
        return
    for word, registry in registries.items():
        if kind in ("all", word):
            print(f"{word}:")
            for name in registry:
                print(f"  {name:24} {registry.summary(name)}")


def explained(registry: Any, name: str) -> str:
    """What a name is in a line, its options with their defaults, and what its class or function says of itself."""
    import inspect

    summary, found = registry.summary(name), registry.get(name)
    thing = getattr(found, "function", found)  # a metric or figure stands for the function it was made of
    takers = [thing, getattr(thing, "build", None)]  # what a story derives from the data, and its presets
    options = [
        f"  {each.name} = {each.default!r}"
        for taker in takers
        if taker is not None
        for each in inspect.signature(taker).parameters.values()
        if each.default is not each.empty
    ]
    parts = [f"{registry.kind} {name}: {summary}", getattr(found, "caption", ""), inspect.getdoc(thing) or ""]
    parts = [part for part in parts if part]
    return "\n\n".join([*parts, *(["\n".join(["options:", *options])] if options else [])])


def print_citations(names: list[str]) -> None:
    """Prints BibTeX for stories, estimators and metrics, and for Pyro.

    Args:
        names: what was used; or one run folder.
    """
    from pathlib import Path

    from evaluation.cite import cite
    from inference import Run

    if len(names) == 1 and (Path(names[0]) / "config.yaml").is_file():
        config = Run.load(names[0]).config
        names = [config["story"]["name"], config["estimator"]["name"]]
    print(cite(*names), end="")


def listed(names: str | list[str] | None) -> list[str] | None:
    """``"a,b"`` as a list."""
    return names.split(",") if isinstance(names, str) else names


def open_run(path: str, data_root: str | None) -> Any:
    """A run, with the folder of its data replaced when they moved."""
    from inference import Run

    run = Run.load(path)
    if data_root is not None:
        run.config["data"].setdefault("options", {})["root"] = data_root
    return run


def print_metrics(result: dict[str, Any], name: str) -> None:
    """The metrics as a text table, with what trivial predictors reach beside them."""
    from evaluation.reporting import number

    print(f"\n{name}: {result['n']} data, {result['split']} split")
    width = max(map(len, result["metrics"]), default=0)
    for key, value in result["metrics"].items():
        beside = ", ".join(f"{k} {number(v)}" for k, v in result["baselines"].get(key, {}).items())
        print(f"  {key:{width}} {number(value):>10}   {beside and f'({beside})'}")
