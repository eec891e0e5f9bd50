"""Any table of a user as columns of different kinds: types found, empty cells kept as missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.datasets.cells import MixedData
from pyro_models.errors import DataError, unknown_name

#: whole numbers with so few different values are categories
FEW_VALUES = 10


@dataclass(frozen=True)
class Column:
    """A column: its name and, where it is categorical, its values in order."""

    name: str
    values: tuple[Any, ...] = ()

    @property
    def kind(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Codebook:
    """How rows of a table become numbers and back."""

    columns: tuple[Column, ...]

    @property
    def kinds(self) -> tuple[int, ...]:
        return tuple(column.kind for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @classmethod
    def of(cls, table: Any, categorical: Sequence[str] = (), real: Sequence[str] = ()) -> Codebook:
        """Finds the kind of every column of a pandas table: text, truth values and whole numbers with at most ten
        values are categories, other numbers real; ``categorical`` and ``real`` overrule."""
        from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

        for name in (*categorical, *real):
            if name not in table.columns:
                raise unknown_name("column", name, list(map(str, table.columns)))
        columns = []
        for name in table.columns:
            values = table[name].dropna()
            if len(values) == 0:
                raise DataError(f"the column '{name}' is empty; drop it.")
            number = is_numeric_dtype(values) and not is_bool_dtype(values)
            whole = number and (not is_float_dtype(values) or bool((values == values.round()).all()))
            few = whole and values.nunique() <= FEW_VALUES
            if name in real or (name not in categorical and number and not few):
                if not number:
                    raise DataError(f"the column '{name}' holds {values.iloc[0]!r}, which is no real number.")
                columns.append(Column(str(name)))
                continue
            levels = tuple(sorted(values.unique().tolist(), key=lambda v: (str(type(v)), v)))
            if len(levels) < 2:
                raise DataError(f"the column '{name}' is constant ({levels[0]!r}); drop it.")
            if not number and len(levels) > max(FEW_VALUES, len(values) // 2):
                raise DataError(
                    f"the column '{name}' has {len(levels)} different texts in {len(values)} rows: it names rows "
                    f"rather "
                    "than describing them; drop it (columns=[...])."
                )
            columns.append(Column(str(name), levels))
        return cls(tuple(columns))

    def encode(self, table: Any) -> tuple[Tensor, Tensor]:
        """``(x, mask)`` of a table with these columns: codes and numbers, and which cells are filled."""
        missing = [name for name in self.names if name not in table.columns]
        if missing:
            raise DataError(f"the table has no column '{missing[0]}'; it needs {', '.join(self.names)}.")
        known = table[list(self.names)].notna().to_numpy()
        x = np.zeros(known.shape, np.float32)
        for j, column in enumerate(self.columns):
            values = table[column.name]
            if not column.kind:
                x[known[:, j], j] = values[known[:, j]].to_numpy(dtype=np.float32)
                continue
            code = {value: number for number, value in enumerate(column.values)}
            for row in np.flatnonzero(known[:, j]):
                value = values.iloc[row]
                if value not in code:
                    raise DataError(
                        f"row {row}: the column '{column.name}' holds {value!r}, which was not there in training "
                        f"(known: "
                        f"{', '.join(map(str, column.values[:8]))}{', ...' if column.kind > 8 else ''}); empty the "
                        f"cell "
                        "to have it treated as missing."
                    )
                x[row, j] = code[value]
        return torch.from_numpy(x), torch.from_numpy(known)

    def decode(self, x: Tensor) -> Any:
        """A pandas table of rows ``[N, columns]``."""
        import pandas as pd

        found: Mapping[str, Any] = {
            column.name: [column.values[int(code)] for code in x[:, j]] if column.kind else x[:, j].numpy()
            for j, column in enumerate(self.columns)
        }
        return pd.DataFrame(found)


def table(
    path: str | Path,
    columns: list[str] | None = None,
    categorical: list[str] | None = None,
    real: list[str] | None = None,
    separator: str = ",",
) -> MixedData:
    """A CSV file with a header line: ``x [N, columns]``, and ``mask`` (True: filled) if any cell is empty.

    Args:
        path: the file.
        columns: those to take; by default all.
        categorical, real: overrule what the values look like.
        separator: the character between cells.
    """
    from pyro_models.datasets.arrays import read_table

    read = read_table(path, "table", separator)
    for name in columns or []:
        if name not in read.columns:
            raise unknown_name("column", name, list(read.columns))
    chosen = read[columns] if columns else read
    book = Codebook.of(chosen, categorical or (), real or ())
    x, mask = book.encode(chosen)
    kept = mask.any(1)
    fields = {"x": x[kept]} if bool(mask.all()) else {"x": x[kept], "mask": mask[kept]}
    return MixedData(fields, Path(path).stem, description=f"columns: {', '.join(book.names)}", kinds=book.kinds)
