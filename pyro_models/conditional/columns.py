"""Columns of different kinds as one vector: real values and categories, in the data's own units.

A datum is ``x [..., columns]``, categories as whole numbers. Networks see its *embedding* ``[..., places]``: a real
value standardised, a category as a one-hot vector; a hidden column is zero in all its places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn

from pyro_models.errors import DataError, OptionError

#: a column that varies less than this, relative to its size, is constant: it has no density to learn
CONSTANT = 1e-6


class Columns(nn.Module):
    """Kinds of the columns, and the standardisation of the real ones.

    Args:
        kinds: per column 0 for a real value, or the number of categories (2 for a yes or no).
    """

    centre: Tensor
    spread: Tensor
    owner: Tensor
    real: Tensor
    real_places: Tensor

    def __init__(self, kinds: Sequence[int]) -> None:
        super().__init__()
        bad = [k for k in kinds if k == 1 or k < 0]
        if bad or not kinds:
            raise OptionError(
                f"columns are {list(kinds)}; give 0 for a real column, the number of categories (2, 3, ...)"
            )
        self.kinds = tuple(kinds)
        self.categorical = [(j, k) for j, k in enumerate(kinds) if k]
        owner: list[int] = []
        start: list[int] = []
        for j, k in enumerate(kinds):
            start.append(len(owner))
            owner += [j] * max(1, k)
        self.start = tuple(start)
        real = [j for j, k in enumerate(kinds) if not k]
        for name, value in (("owner", owner), ("real", real), ("real_places", [start[j] for j in real])):
            self.register_buffer(name, torch.tensor(value, dtype=torch.long), persistent=False)
        self.register_buffer("centre", torch.zeros(len(real)))
        self.register_buffer("spread", torch.ones(len(real)))
        self.all_real = len(real) == len(kinds)

    @property
    def places(self) -> int:
        """Length of the embedding."""
        return len(self.owner)

    @torch.no_grad()
    def standardise(self, x: Tensor, known: Tensor | None = None) -> None:
        """Takes means and standard deviations of the real columns from data, known values only."""
        values = x[:, self.real].double()
        weight = torch.ones_like(values) if known is None else known[:, self.real].double()
        count = weight.sum(0).clamp(min=1)
        mean = (values * weight).sum(0) / count
        spread = (((values - mean).square() * weight).sum(0) / count).sqrt()
        constant = (spread <= CONSTANT * (1 + mean.abs())).nonzero()[:, 0]
        if len(constant):
            named = ", ".join(str(int(self.real[c])) for c in constant[:5])
            raise DataError(
                f"{len(constant)} real column(s) are constant in the training data (number {named}): they have no "
                f"density "
                "to learn; drop them, or call them categories."
            )
        self.centre.copy_(mean)
        self.spread.copy_(spread)

    def scale_of(self, x: Tensor) -> Tensor:
        """The real columns of x in standard units."""
        return (x[..., self.real] - self.centre) / self.spread

    def embed(self, x: Tensor) -> Tensor:
        """``[..., columns] -> [..., places]``."""
        if self.all_real:
            return (x - self.centre) / self.spread
        embedded = x.new_zeros(*x.shape[:-1], self.places)
        embedded[..., self.real_places] = self.scale_of(x)
        for j, k in self.categorical:
            embedded[..., self.start[j] : self.start[j] + k] = nn.functional.one_hot(x[..., j].long(), k).to(x.dtype)
        return embedded

    def spread_mask(self, mask: Tensor) -> Tensor:
        """A mask over columns as one over places."""
        return mask if self.all_real else mask[..., self.owner]

    def check(self, x: Tensor, looked_at: Tensor) -> None:
        """Refuses NaN and unknown categories where a value is looked at; costs nothing once Pyro's checks are off."""
        if not is_validation_enabled():
            return
        bad = ~torch.isfinite(x) & looked_at
        if bool(bad.any()):
            row, column = bad.nonzero()[0, -2:].tolist()
            raise DataError(
                f"x holds {x[..., row, column].flatten()[0].item()} in row {row}, column {column}, which is given (or "
                "scored); mark it as unknown in the mask. Hidden and unknown entries may hold anything."
            )
        for j, k in self.categorical:
            value = x[..., j][looked_at[..., j]]
            wrong = (value < 0) | (value >= k) | (value != value.round())
            if bool(wrong.any()):
                raise DataError(
                    f"column {j} holds the category {value[wrong][0].item():g}, but the story knows 0 to {k - 1}; a "
                    "category that was not there in training has no probability: mark it as unknown."
                )
