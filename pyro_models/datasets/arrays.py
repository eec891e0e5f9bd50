"""A user's own arrays and tables: ``npz:PATH`` and ``csv:PATH``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from pyro_models.datasets.convert import from_arrays, labels
from pyro_models.datasets.data import Data
from pyro_models.errors import DataError, OptionError, unknown_name

if TYPE_CHECKING:
    import pandas as pd


def npz(path: str | Path) -> Data:
    """The arrays of an ``.npz`` file as fields: ``x``, and ``label``, ``factors``, ``mask`` or any other.

    See :func:`pyro_models.datasets.as_data` for what becomes of the types. Arrays of Python objects are not opened.
    """
    file = _existing(path, "npz")
    try:
        with np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one bare array, not named ones")
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        raise DataError(
            f"{file} cannot be read as named arrays ({error}); write it with numpy.savez(path, x=..., label=...)."
        ) from error
    if "x" not in arrays:
        found = ", ".join(f"'{name}' {array.shape}" for name, array in arrays.items()) or "nothing"
        raise DataError(
            f"{file} has no array 'x'; it has {found}. Save the data as numpy.savez(path, x=..., label=...)."
        )
    return from_arrays(arrays, file.stem)


def csv(
    path: str | Path,
    label: str | None = None,
    columns: list[str] | None = None,
    missing: str = "refuse",
    separator: str = ",",
) -> Data:
    """A table with a header line: its numeric columns are ``x [N, columns]``.

    Args:
        path: the file.
        label: the column of the labels, text or whole numbers; by default the one called ``label`` if there is one.
        columns: the columns of ``x``; by default all but the label, which must then all be numeric.
        missing: ``"refuse"`` empty cells, or ``"mask"`` them: zero in ``x`` and False in the field ``mask [N,
            columns]``. separator: the character between cells.
    """
    file = _existing(path, "csv")
    if missing not in ("refuse", "mask"):
        raise OptionError(f"missing={missing!r} is not possible; choose 'refuse' or 'mask'.")
    table = _table(file, separator)
    names = [str(name) for name in table.columns]
    for name in [*([label] if label else []), *(columns or [])]:
        if name not in names:
            raise unknown_name(f"column of {file}", name, names)
    if label is None and "label" in names:
        label = "label"
    chosen = columns if columns is not None else [name for name in names if name != label]
    if not chosen:
        raise DataError(f"{file} has no column for x besides the label '{label}'.")
    _refuse_text(table, chosen, file)
    numbers = table[chosen].to_numpy(dtype=np.float64, na_value=np.nan)
    absent = np.isnan(numbers)
    if absent.any() and missing == "refuse":
        row, column = np.argwhere(absent)[0]
        raise DataError(
            f"{file} has {int(absent.sum())} empty or NaN cells, the first in data row {row} (line {row + 2}), column "
            f"'{chosen[column]}'; fill them in, drop the rows, or mark them as unknown with missing='mask'."
        )
    x = torch.from_numpy(np.where(absent, 0.0, numbers)).float()
    fields = {"x": x}
    if missing == "mask":
        fields["mask"] = torch.from_numpy(~absent)
    classes: tuple[str, ...] = ()
    if label is not None:
        if table[label].isna().any():
            row = int(np.argmax(table[label].isna().to_numpy()))
            raise DataError(
                f"{file} has no label in data row {row} (line {row + 2}); label all rows or drop the column."
            )
        fields["label"], classes = labels(_plain(table[label]), file.stem)
    return Data(fields, file.stem, classes, description=f"columns: {', '.join(chosen)}")


def read_table(path: str | Path, kind: str, separator: str = ",") -> pd.DataFrame:
    """The table in a file with a header line; ``kind`` is the prefix that errors name."""
    return _table(_existing(path, kind), separator)


def _table(file: Path, separator: str) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(file, sep=separator)
    except (ValueError, UnicodeDecodeError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(
            f"{file} cannot be read as a table ({error}); check it and the separator '{separator}'."
        ) from error
    table.columns = [str(name) for name in table.columns]
    if all(_is_number(name) for name in table.columns):
        raise DataError(
            f"{file} has no header: its first line is {', '.join(list(table.columns)[:3])}, ...; put the names of the "
            "columns there."
        )
    if len(table) == 0:
        raise DataError(f"{file} is empty: it has a header and no rows.")
    return table


def _refuse_text(table: pd.DataFrame, chosen: list[str], file: Path) -> None:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    text = [name for name in chosen if not (is_numeric_dtype(table[name]) or is_bool_dtype(table[name]))]
    if not text:
        return
    first = table[text[0]]
    numeric = first.map(_is_number, na_action="ignore").fillna(True).to_numpy(dtype=bool)
    row = int(np.argmin(numeric))
    raise DataError(
        f"{file} has text in the column{'s' if len(text) > 1 else ''} {', '.join(text)} (data row {row}, '{text[0]}': "
        f"{first.iloc[row]!r}); code it as numbers, leave it out with columns=[...], or name it as the label with "
        f"label='{text[0]}'."
    )


def _plain(column: pd.Series) -> Any:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_bool_dtype(column):
        return column.to_numpy(dtype=np.int64)
    return column.to_numpy() if is_numeric_dtype(column) else column.to_numpy(dtype=str)


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _existing(path: str | Path, kind: str) -> Path:
    file = Path(path).expanduser()
    if not str(path) or not file.is_file():
        raise DataError(f"there is no file '{path}' (looked in {Path.cwd()}); write {kind}:path/to/file.{kind}.")
    return file
