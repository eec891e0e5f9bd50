"""How a story is trained: every setting of :func:`inference.fit` in one checked dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from pyro_models.errors import OptionError, unknown_name

#: passes over the data when neither steps nor epochs are given
DEFAULT_EPOCHS = 20
#: validation bounds along a run when ``validate_every`` is not given
DEFAULT_VALIDATIONS = 20


@dataclass(frozen=True)
class Training:
    """Settings of one training run.

    Args:
        steps: optimiser steps; or give ``epochs``.
        epochs: passes over the training data (20 when neither is given).
        batch_size: data per step.
        learning_rate: of Adam, for the story; estimators have their own.
        schedule: ``constant``; ``cosine`` to zero; ``drop`` to a tenth at 85 % of the steps.
        weight_decay: L2 penalty of Adam.
        clip: largest global gradient norm (per datum), None for no clipping.
        seed: of initial weights, batch order and sampling.
        device: ``auto`` (CUDA, then MPS, then CPU) or a torch device.
        precision: ``float32``, or ``bf16`` for the networks on a GPU or a CPU with bfloat16 matrix units (densities
            stay in float32).
        threads: CPU threads of torch, None leaves them.
        log_every: steps between lines of the log (the only moments at which losses are read from the device).
        validate_every: steps between bounds on the validation split; None for 20 times over the run, 0 for never.
        checkpoint_every: steps between checkpoints; None to go by the clock only.
        checkpoint_minutes: minutes between checkpoints.
        tensorboard: also write TensorBoard event files into the run folder.
        progress: show a progress bar.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "drop"] = "constant"
    weight_decay: float = 0.0
    clip: float | None = None
    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bf16"] = "float32"
    threads: int | None = None
    log_every: int = 50
    validate_every: int | None = None
    checkpoint_every: int | None = None
    checkpoint_minutes: float = 5.0
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise OptionError(f"steps={self.steps} and epochs={self.epochs} are both given; give one of them.")
        for name in ("steps", "epochs", "batch_size", "learning_rate", "log_every", "checkpoint_minutes", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name} is {value}; it must be positive.")
        for name in ("weight_decay", "validate_every", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise OptionError(f"{name} is {value}; it must not be negative.")
        for name in ("clip", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name} is {value}; it must be positive, or None to do without.")
        for name, allowed in (("schedule", ("constant", "cosine", "drop")), ("precision", ("float32", "bf16"))):
            if getattr(self, name) not in allowed:
                raise unknown_name(name, getattr(self, name), allowed)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Training:
        """The settings named in ``options``; an unknown one is refused with the nearest name."""
        known = [f.name for f in fields(cls)]
        for name in options:
            if name not in known:
                raise unknown_name("training setting", name, known)
        return cls(**options)

    def total_steps(self, per_epoch: int) -> int:
        """Optimiser steps of the whole run, given the batches in one pass over the data."""
        if self.steps is not None:
            return self.steps
        epochs = DEFAULT_EPOCHS if self.epochs is None else self.epochs
        return max(1, round(epochs * per_epoch))

    def validation_interval(self, steps: int) -> int:
        """Steps between validations; 0 for never."""
        return max(1, steps // DEFAULT_VALIDATIONS) if self.validate_every is None else self.validate_every
