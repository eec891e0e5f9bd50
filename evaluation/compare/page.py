"""A comparison as one self-contained HTML page, with its tables as CSV and its figures as PNG beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from evaluation.cite import cite
from evaluation.compare import figures
from evaluation.compare.groups import shared
from evaluation.compare.tables import difference_tables, group_tables, rule_tables, runs_table, summary_table
from evaluation.compare.text import heading
from evaluation.reporting import picture_block, png_bytes, render
from inference.checkpoint import write_atomically
from inference.run import environment, plain
from pyro_models.errors import ModelsError, OptionError

if TYPE_CHECKING:
    from evaluation.compare.comparison import Comparison


def write_page(comparison: Comparison, folder: Path) -> Path:
    """``comparison.html``, ``table.csv``, ``differences.csv``, ``runs.csv``, ``figures/*.png``."""
    make_folder(folder)
    blocks = []
    for picture in figures.draw(comparison):
        png = png_bytes(picture.figure)
        (folder / "figures" / f"{picture.name}.png").write_bytes(png)
        blocks.append(picture_block(picture.title, picture.caption, png))
    comparison.table.to_csv(folder / "table.csv", index=False)
    comparison.differences.to_csv(folder / "differences.csv", index=False)
    comparison.frame.to_csv(folder / "runs.csv", index=False)
    lead, *rest = heading(comparison).splitlines()
    text = render(
        title=title(comparison),
        lead=lead,
        notes=[*rest, *(f"{remark}." for remark in comparison.remarks)],
        headline=[],
        pictures=blocks,
        tables=[
            summary_table(comparison),
            *difference_tables(comparison),
            *group_tables(comparison),
            *rule_tables(comparison),
            runs_table(comparison),
        ],
        blocks=[
            {"title": "The same in all groups", "text": as_yaml(shared(comparison.groups))},
            {"title": "To cite", "text": citations(comparison)},
            {"title": "Environment of this page", "text": as_yaml(environment())},
        ],
    )
    page = folder / "comparison.html"
    write_atomically(page, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return page


def make_folder(folder: Path) -> None:
    """The folder of a comparison; pictures of an earlier one that might not be drawn again are taken away."""
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"the folder {folder} cannot be made: {error.strerror}; choose another --out.") from error
    for name in figures.NAMES:
        (folder / "figures" / f"{name}.png").unlink(missing_ok=True)


def title(comparison: Comparison) -> str:
    """``mixture-vae on digits, compared``: what the groups have in common."""
    same = shared(comparison.groups)
    what = same.get("story") or same.get("experiment")
    words = f"{what} on {same['data']}" if what and "data" in same else (what or f"{len(comparison.groups)} groups")
    return f"{words}, compared"


def citations(comparison: Comparison) -> str:
    """BibTeX of every story and estimator in the groups; what is not installed here is left out."""
    names = dict.fromkeys(
        group.settings[key] for group in comparison.groups for key in ("story", "estimator") if key in group.settings
    )
    known = []
    for name in names:
        try:
            cite(name)
        except (ModelsError, ImportError, OSError):
            continue
        known.append(name)
    return cite(*known)


def as_yaml(values: object) -> str:
    return yaml.safe_dump(plain(values), sort_keys=False)
