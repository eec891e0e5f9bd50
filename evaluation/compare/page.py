"""A comparison as one self-contained HTML page, with its tables as CSV and its figures as PNG beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from evaluation.compare import figures
from evaluation.compare.groups import shared
from evaluation.compare.text import heading
from evaluation.reporting import picture_block, png_bytes, render
from inference.checkpoint import write_atomically
from inference.run import environment, plain

if TYPE_CHECKING:
    from evaluation.compare.comparison import Comparison

#: figures of an earlier comparison in the same folder that this one does not draw again are taken away
FIGURE_NAMES = tuple(make.__name__ for make in figures.MAKERS)
ARROWS = {"higher": "↑", "lower": "↓"}


def write_page(comparison: Comparison, folder: Path) -> Path:
    """``comparison.html``, ``table.csv``, ``differences.csv``, ``figures/*.png``."""
    make_folder(folder)
    pictures = list(figures.draw(comparison))
    blocks = []
    for picture in pictures:
        png = png_bytes(picture.figure)
        (folder / "figures" / f"{picture.name}.png").write_bytes(png)
        blocks.append(picture_block(picture.title, picture.caption, png))
    comparison.table.to_csv(folder / "table.csv", index=False)
    comparison.differences.to_csv(folder / "differences.csv", index=False)
    lead, *rest = heading(comparison).splitlines()
    text = render(
        title=title(comparison),
        lead=lead,
        headline=[],
        notes=rest + [f"{remark}." for remark in comparison.remarks],
        pictures=blocks,
        tables=[
            summary_table(comparison),
            *difference_tables(comparison),
            *group_tables(comparison),
            runs_table(comparison),
        ],
        blocks=[
            {
                "title": "The same in all groups",
                "text": yaml.safe_dump(plain(shared(comparison.groups)), sort_keys=False),
            },
            *citations(comparison),
            {"title": "Environment of this page", "text": yaml.safe_dump(environment(), sort_keys=False)},
        ],
    )
    page = folder / "comparison.html"
    write_atomically(page, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return page
