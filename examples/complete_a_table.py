"""Completes a table with missing cells: a CSV file in, the posterior predictive of the empty cells out.

    python examples/complete_a_table.py my.csv --out completed

Column types are found (text, truth values and few whole numbers are categories), empty cells are missing values. Trains
the story `cvae` on the table, then writes completed.csv (likeliest values), posterior.nc (draws for ArviZ, with the
masks) and cells.png (predicted distributions of a few empty cells). Without a file it makes a small table of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from evaluation.posterior import save_netcdf, to_inference_data
from inference import fit
from pyro_models.datasets.cells import MixedData
from pyro_models.datasets.table import Codebook


def demonstration(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Penguin-like measurements of two kinds with a fifth of the cells missing."""
    random = np.random.default_rng(seed)
    kind = random.integers(2, size=rows)
    length = 180 + 30 * kind + 7 * random.normal(size=rows)
    mass = 3.5 + 0.04 * (length - 180) + 0.3 * random.normal(size=rows)
    depth = 18 - 3 * kind + 0.9 * random.normal(size=rows)
    table = pd.DataFrame({"kind": np.array(["short", "long"])[kind], "length": length, "mass": mass, "depth": depth})
    return table.mask(random.random(table.shape) < 0.2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", nargs="?", type=Path, help="CSV file with a header line")
    parser.add_argument("--out", type=Path, default=Path("completed"), help="folder to write")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args(arguments)
    table = pd.read_csv(options.table) if options.table else demonstration()
    book = Codebook.of(table)
    x, known = book.encode(table)
    data = MixedData({"x": x, "mask": known}, "table", kinds=book.kinds)
    run = fit("cvae", data, steps=options.steps, batch_size=min(128, len(x)), learning_rate=3e-3, schedule="cosine",
              story_options={"hidden": [64, 64]}, progress=False)  # fmt: skip

    open_rows = (~known).any(1)
    x, known = x[open_rows], known[open_rows]
    # All that is known is given: what the posterior predictive draws are the empty cells alone.
    idata = to_inference_data(run.story, (x, known, known), draws=options.draws, prior_draws=0,
                              coords={"column": book.names}, dims={"x": ["obs", "column"]})  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    save_netcdf(idata, options.out / "posterior.nc")
    draws = torch.from_numpy(idata["posterior_predictive"]["x"].values[0])
    middle = draws.median(0).values
    for j, kind in enumerate(book.kinds):
        if kind:
            middle[:, j] = draws[:, :, j].long().mode(0).values.float()
    completed = table.copy()
    filled = book.decode(middle)
    for name in book.names:
        completed[name] = completed[name].where(completed[name].notna(), None)
        completed.loc[open_rows.numpy(), name] = filled[name].to_numpy()
    completed.to_csv(options.out / "completed.csv", index=False)
    picture(book, draws, known, options.out / "cells.png")
    print(f"{int((~known).sum())} empty cells completed: {options.out}/completed.csv, posterior.nc, cells.png")


def picture(book: Codebook, draws: torch.Tensor, known: torch.Tensor, path: Path, most: int = 6) -> None:
    """Histograms of what is predicted for the first empty cells."""
    from matplotlib.figure import Figure

    cells = (~known).nonzero()[:most].tolist()
    made = Figure(figsize=(2.4 * len(cells), 2.2), layout="constrained", dpi=120)
    for axis, (row, column) in zip(made.subplots(1, len(cells), squeeze=False)[0], cells, strict=True):
        kind, values = book.kinds[column], draws[:, row, column].numpy()
        if kind:
            axis.bar([str(v) for v in book.columns[column].values], np.bincount(values.astype(int), minlength=kind))
        else:
            axis.hist(values, bins=25)
        axis.set_title(f"row {row}: {book.names[column]}", fontsize=8)
        axis.tick_params(labelsize=7)
    made.savefig(path)


if __name__ == "__main__":
    main()
