"""What the conditional stories share: batch fields, masks, checks, and the answers to questions about hidden values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn

from pyro_models.conditional.columns import Columns
from pyro_models.conditional.masks import MaskLaw, mask_law
from pyro_models.errors import DataError, OptionError
from pyro_models.story import Story


class ConditionalStory(Story):
    """A story over ``x [B, columns]`` of which any part may be given.

    ``model`` and ``guide`` take ``x``, ``mask`` (True where a value is known; None: wherever it is finite) and
    ``given`` (True where it is a condition; None: drawn by the story's mask law, as a site of model and guide). So
    SVI, Predictive and every estimator work with ``x`` alone, and questions are asked with ``given``. What is known
    and not given is scored; what is given is copied; what is neither is drawn and not scored.
    """

    def __init__(self, shape: Sequence[int], masks: str, columns: Sequence[int] | None, incomplete: bool) -> None:
        super().__init__()
        if len(shape) != 1 or shape[0] < 1:
            raise OptionError(f"{type(self).__name__} reads rows of columns, but a datum has the shape {tuple(shape)}.")
        kinds = tuple(columns) if columns is not None else (0,) * shape[0]
        if len(kinds) != shape[0]:
            raise OptionError(f"columns names {len(kinds)} kinds, but the data have {shape[0]} columns.")
        self.shape, self.masks = tuple(shape), masks
        self.law = mask_law(masks, shape)
        self.columns = Columns(kinds)
        if incomplete:
            self.fields = ("x", "mask")  # type: ignore[misc]  # this story's own batch fields

    @classmethod
    def derive(cls, data: Any) -> dict[str, Any]:
        found = super().derive(data)
        kinds = getattr(data, "kinds", None)
        if kinds is not None:
            found["columns"] = kinds
        return {**found, "incomplete": "mask" in data}

    def initialise(self, data: Any) -> None:
        """Takes the units of the real columns from the training data."""
        x = data["x"]
        known = data["mask"] if "mask" in data else None  # noqa: SIM401  # Data are no dictionary
        check_kinds(self.columns, x, known)
        self.columns.standardise(x, known)

    def conditions(self, x: Tensor, mask: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(given, known)`` as boolean masks; draws ``given`` inside the plate if nobody gave it."""
        known = torch.isfinite(x) if mask is None else mask.bool()
        if is_validation_enabled():
            check_mask(known, x, "mask")
        if given is None:
            law = MaskLaw(self.law, self.shape, x)
            given = pyro.sample("given", law) & known
        else:
            given = given.bool()
            if is_validation_enabled():
                check_mask(given, x, "given")
                self.columns.check(x, given)
                if bool((given & ~known).any()):
                    row = int((given & ~known).flatten(1).any(1).nonzero()[0])
                    raise DataError(f"row {row} gives values that its mask calls unknown; give known values only.")
        self.columns.check(x, known)
        return given, known

    def ask(self, x: Tensor, mask: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """The masks of a question from outside: nothing is given unless it is said."""
        return self.conditions(x, mask, torch.zeros_like(x, dtype=torch.bool) if given is None else given)

    def only_given(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """x with zeros where nothing is given, and the checked mask."""
        check_mask(given, x, "given")
        given = given.bool()
        self.columns.check(x, given)
        return torch.where(given, x, torch.zeros_like(x)), given

    @torch.no_grad()
    def draw_conditions(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> tuple[Tensor, ...]:
        """``(x, mask, given)`` with the conditions drawn from the mask law where none are given."""
        known = torch.isfinite(x) if mask is None else mask.bool()
        drawn = self.law(len(x), self.shape, x.device) & known if given is None else given.bool()
        return x, known, drawn


def check_mask(mask: Tensor, x: Tensor, name: str) -> None:
    """Refuses a mask that is not one truth value per value of x (leading particle dimensions are welcome)."""
    if mask.shape[-x.dim() :] != x.shape:
        raise DataError(
            f"'{name}' has the shape {tuple(mask.shape)}, but x {tuple(x.shape)}: give one truth value per value of x "
            "(mask: it is known; given: it is a condition)."
        )


def check_kinds(columns: Columns, x: Tensor, known: Tensor | None) -> None:
    """The training data fit the kinds of columns the story was made for."""
    if x.shape[1:] != (len(columns.kinds),):
        raise DataError(f"x has the shape {tuple(x.shape)}, but the story was made for {len(columns.kinds)} columns.")
    with pyro.validation_enabled():
        columns.check(x, torch.ones_like(x, dtype=torch.bool) if known is None else known)


def shrink_last(network: nn.Sequential, factor: float = 0.01) -> nn.Sequential:
    """A correction starts near zero (not at zero: its first layers must feel a gradient)."""
    with torch.no_grad():
        last = network[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(factor)
        last.bias.zero_()
    return network
