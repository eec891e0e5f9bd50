"""The training loop.

    run = fit("mixture-vae", "digits", steps=2000, seed=0)
    run.story.responsibilities(x)

Batches are drawn from memory by index, one fused optimiser steps over the estimator's surrogate loss, losses stay on
the device until they are read. A run with a folder can be killed at any moment and resumed to the same numbers.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from inference import checkpoint, estimators
from inference.device import choose_device, wrap_in_autocast
from inference.diagnose import first_bad_number
from inference.distributed import Processes
from inference.estimators.base import Estimator
from inference.log import Log, require_tensorboard
from inference.run import (
    FORMAT,
    Run,
    build_estimator,
    build_story,
    environment,
    keep_source,
    new_folder,
    plain,
    write_config,
)
from inference.schedule import learning_rate_factor
from inference.settings import Training
from inference.validation import validation_bound
from pyro_models.arguments import option_names
from pyro_models.catalogue import STORIES
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import OptionError, RunError, TrainingError, unknown_name
from pyro_models.story import Story, batch_arguments

#: steps with Pyro's shape and support checks on; they cost time and find their errors at once
CHECKED_STEPS = 3


def fit(
    story: str | Story,
    data: Any = "digits",
    estimator: str | Estimator | None = None,
    *,
    run_dir: str | Path | None = None,
    story_options: dict[str, Any] | None = None,
    estimator_options: dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
    **training: Any,
) -> Run:
    """Trains a story on data and returns the run.

    Args:
        story: a registered name, ``module:Class``, ``file.py:Class`` or a story made in code.
        data: a dataset's name, or ``Data``, ``Splits``, a tensor, an array, a dictionary of them or a torch
        ``Dataset``.
        estimator: a registered name or an estimator made in code; None takes the story's own default.
        run_dir: folder to write; None keeps the run in memory.
        story_options: constructor options of a story given by name.
        estimator_options: constructor options of an estimator given by name.
        data_options: options of a dataset given by name (``root``, ``classes``, ``size``, ...).
        training: the settings of :class:`inference.settings.Training`.
    """
    settings = Training.from_options(training)
    processes = Processes()
    device = processes.device(choose_device(settings.device))
    if not processes.first:
        run_dir = None  # the first process writes
    if run_dir is not None:
        _refuse_taken(Path(run_dir))
    splits, reference = _resolve_data(data, data_options or {})
    with _threads(settings.threads):
        pyro.set_rng_seed(settings.seed)
        made, story_name = _resolve_story(story, splits.train, story_options or {})
        chosen, estimator_name = _resolve_estimator(estimator, made, estimator_options or {})
        config = {
            "format": FORMAT,
            "story": {"name": story_name, "arguments": plain(made.arguments)},
            "estimator": {"name": estimator_name, "arguments": plain(getattr(chosen, "arguments", {}))},
            "data": {**reference, "train": len(splits.train), "shape": list(splits.train.shape(made.fields[0]))},
            "training": asdict(settings),
            "environment": {**environment(), "device": str(device)},
        }
        # What cannot be trained is refused before anything is written.
        next(splits.train.batches(settings.batch_size, settings.seed))
        _prepare(made, chosen, splits.train, settings, device)
        made.initialise(splits.train)
        run = Run(plain(config), new_folder(run_dir) if run_dir is not None else None)
        run.story = made
        if run.path is not None:
            write_config(run.path / "config.yaml", run.config)
            keep_source(run.config, run.path)
        return _train(run, chosen, splits, settings, device, processes, state=None)


def resume(path: str | Path, data: Any = None, **changes: Any) -> Run:
    """Goes on with an interrupted run to the numbers it would have reached; ``steps`` may be raised to train longer."""
    run = Run.load(path)
    settings = replace(run.training, **changes) if changes else run.training
    processes = Processes()
    device = processes.device(choose_device(settings.device))
    splits = run.data() if data is None else _resolve_data(data, {})[0]
    state = checkpoint.load(run.file("checkpoint.pt"), device)
    if "optimiser" not in state:
        raise RunError(f"{run.path} was saved without the optimiser's state and cannot be resumed; train it again.")
    with _threads(settings.threads):
        run.story = build_story(run.config, run.path)
        return _train(run, build_estimator(run.config), splits, settings, device, processes, state)


def _train(
    run: Run,
    estimator: Estimator,
    splits: Splits,
    settings: Training,
    device: torch.device,
    processes: Processes,
    state: dict[str, Any] | None,
) -> Run:
    story = run.story
    train = splits.train.to(device)
    steps = settings.total_steps(train.steps_per_epoch(settings.batch_size))
    _prepare(story, estimator, train, settings, device)
    if settings.precision == "bf16":
        wrap_in_autocast(story, device.type)
    optimiser = _optimiser(story, estimator, settings)
    rates = [group["lr"] for group in optimiser.param_groups]
    start = 0
    if state is not None:
        story.load_state_dict(state["story"])
        estimator.load_state_dict(state["estimator"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        checkpoint.set_random_state(processes.mine(state["random"], run.path))
    else:
        processes.split_streams(settings.seed)
    story.meet(train)
    loss_of = processes.parallel(Objective(story, estimator))
    bound = validation_bound(story, splits.validation, device) if splits.validation is not None else None
    validate_every = settings.validation_interval(steps)
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    batches = train.batches(settings.batch_size, settings.seed, first_step=start)
    story.train()

    def save(step: int) -> None:
        state = {
            "step": step,
            "story": story.state_dict(),
            "estimator": estimator.state_dict(),
            "optimiser": optimiser.state_dict(),
            "random": processes.gather(checkpoint.random_state()),
        }
        if run.path is not None and processes.first:
            checkpoint.save(run.path / "checkpoint.pt", state)

    window: list[Tensor] = []
    saved_at = time.monotonic()
    with Log(run, start, steps, settings, silent=not processes.first) as log, _unchecked():
        for step in range(start, steps):
            batch = processes.share(batch_arguments(story, next(batches)))
            progress = step / steps
            story.at(progress)
            estimator.at(progress)
            if settings.schedule != "constant":
                factor = learning_rate_factor(settings.schedule, progress)
                for group, rate in zip(optimiser.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(*batch) if step - start >= CHECKED_STEPS else _checked(loss_of, story, batch, step, run)
            loss.backward()
            if settings.clip is not None:
                nn.utils.clip_grad_norm_(weights, settings.clip)
            value = loss.detach()
            # The last good weights must survive a loss that is not finite. On the CPU it can be read at once; elsewhere
            # the fused optimiser is told to skip the step, and the loss is read later, without waiting for the device.
            if device.type != "cpu":
                optimiser.found_inf = (~torch.isfinite(value)).float()  # type: ignore[attr-defined]
            elif not math.isfinite(value.item()):
                _stop(story, batch, step, run)
            optimiser.step()
            done = step + 1
            with processes.together(settings.seed + done):
                story.revise(progress, done / steps, train, optimiser)
            window.append(value)
            log.advance(1)
            read = done % settings.log_every == 0 or done == steps
            if not read:
                continue
            losses = processes.mean(torch.stack(window))
            if not bool(torch.isfinite(losses).all()):
                _stop(story, batch, step, run)
            row = {"step": done, "loss": float(losses.double().mean())}
            window.clear()
            look = validate_every and (done % validate_every < settings.log_every or done == steps)
            if bound is not None and look and processes.first:
                row["validation"] = bound()
            log.write(row)
            due = settings.checkpoint_every is not None and done % settings.checkpoint_every < settings.log_every
            if due or processes.agree(time.monotonic() - saved_at > 60 * settings.checkpoint_minutes):
                save(done)
                saved_at = time.monotonic()
    save(steps)
    run.step = steps
    story.at(1.0)
    story.eval()
    return run


def _prepare(story: Story, estimator: Estimator, train: Data, settings: Training, device: torch.device) -> None:
    """Puts both on the device and lets the estimator look at the first batch; a second call changes nothing."""
    if settings.precision == "bf16" and device.type not in ("cuda", "cpu"):
        raise OptionError(
            f"precision='bf16' is for GPUs and for CPUs with bfloat16 matrix units, but the device is '{device}'; use "
            f"precision='float32'."
        )
    if settings.tensorboard:
        require_tensorboard()
    story.to(device)
    estimator.to(device)
    first = batch_arguments(story, train.take(slice(0, settings.batch_size)).to(device).batch(slice(None)))
    story.eval()  # a look must not move running averages
    with torch.random.fork_rng():
        estimator.prepare(story.model, story.guide, *first)
    story.train()


def _optimiser(story: Story, estimator: Estimator, settings: Training) -> torch.optim.Optimizer:
    groups = [{"params": [p for p in story.parameters() if p.requires_grad], "lr": settings.learning_rate}]
    own = [p for p in estimator.parameters() if p.requires_grad]
    if own:
        groups.append({"params": own, "lr": estimator.learning_rate, "weight_decay": 0.0})
    return torch.optim.Adam(groups, weight_decay=settings.weight_decay, fused=True)


class Objective(nn.Module):
    """The estimator's loss per datum as a module, so that torch's wrappers see all parameters that it trains."""

    def __init__(self, story: Story, estimator: Estimator) -> None:
        super().__init__()
        self.story, self.estimator = story, estimator

    def forward(self, *batch: Tensor) -> Tensor:
        return self.estimator.differentiable_loss(self.story.model, self.story.guide, *batch) / len(batch[0])


def _checked(loss_of: nn.Module, story: Story, batch: list[Tensor], step: int, run: Run) -> Tensor:
    """The loss with Pyro's checks of shapes and supports, whose complaint about a NaN becomes ours."""
    try:
        with pyro.validation_enabled():
            return loss_of(*batch)
    except ValueError:
        if not all(bool(torch.isfinite(p).all()) for p in story.parameters()):
            _stop(story, batch, step, run)
        raise


def _stop(story: Story, batch: list[Tensor], step: int, run: Run) -> None:
    where = first_bad_number(story, batch)
    kept = ""
    if run.path is not None:
        good = (run.path / "checkpoint.pt").is_file()
        kept = (
            f" The last good checkpoint is {run.path / 'checkpoint.pt'}." if good else " No checkpoint was due before."
        )
    raise TrainingError(f"training stopped at step {step}: the loss is not finite; {where}.{kept}")


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Pyro's argument checks off inside, as they were before outside."""
    with pyro.validation_enabled(False):
        yield


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _refuse_taken(path: Path) -> None:
    """Says that a run folder is taken before minutes are spent on loading data."""
    if path.exists() and (path.is_file() or any(path.iterdir())):
        new_folder(path)


def _resolve_data(data: Any, options: dict[str, Any]) -> tuple[Splits, dict[str, Any]]:
    if isinstance(data, str):
        from pyro_models.datasets import load

        return load(data, **options), {"name": data, "by_name": True, "options": plain(options)}
    if not isinstance(data, Data | Splits):
        from pyro_models.datasets import as_data

        data = as_data(data)
    splits = data if isinstance(data, Splits) else Splits(data, data, data)
    return splits, {"name": splits.train.name, "by_name": False, "options": {}}


def _resolve_story(story: str | Story, train: Data, options: dict[str, Any]) -> tuple[Story, str]:
    if isinstance(story, str):
        return STORIES.get(story).build(train, **options), story
    kind = type(story)
    if options:
        raise unknown_name("option for a story made in code", next(iter(options)), ())
    return story, STORIES.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"


def _resolve_estimator(
    estimator: str | Estimator | None, story: Story, options: dict[str, Any]
) -> tuple[Estimator, str]:
    if estimator is None:
        estimator = story.default_estimator
    if not isinstance(estimator, str):
        kind = type(estimator)
        return estimator, estimators.REGISTRY.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"
    kind = estimators.get(estimator)
    for name in options:
        if name not in option_names(kind):
            raise unknown_name(f"option of the estimator '{estimator}'", name, option_names(kind))
    if "max_plate_nesting" in option_names(kind) and story.max_plate_nesting is not None:
        options = {"max_plate_nesting": story.max_plate_nesting, **options}
    return kind(**options), estimator
