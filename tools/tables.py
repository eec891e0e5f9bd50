"""Writes the tables of the README and of the docs from the registries and results/*.json, between marker comments.

python tools/tables.py          rewrites README.md and docs/*.md
python tools/tables.py --check  fails when one of them is not what it would write

A docs page has a table of results by ``<!-- table NAME: QUANTITY, QUANTITY -->`` and ``<!-- end of table -->``: one row
for every thing measured in results/NAME.json under QUANTITY/THING (or QUANTITY: of all), with the baselines beside.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from evaluation.metric import METRICS
from inference.estimators import REGISTRY as ESTIMATORS
from pyro_models.catalogue import STORIES
from pyro_models.datasets import REGISTRY as DATASETS
from pyro_models.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
#: metrics that a results table shows, in this order; the JSON files hold all
SHOWN = ("accuracy", "purity", "nmi", "elbo", "iwae_100", "squared_error")

#: rows of an experiment in the README; docs/results.md has all
MOST = 3

#: what the README shows first: experiment, metric, in words, as percent or not, what was there before
HIGHLIGHTS: tuple[tuple[str, str, str, bool, str], ...] = (
    ("dvae-st-mnist", "accuracy", "MNIST digits sorted without labels, prototypes under transforms", True,
     "original: mean 77.3 %, training data"),
    ("nebula-mnist", "accuracy", "MNIST digits sorted without labels, anchors in the latent space", True,
     "VaDE: 94.5 %, best run"),
    ("nebula-mnist-augmented", "accuracy", "... with views moved and bent", True, "DEC-DA: 98.5 %"),
    ("air-multimnist", "count_accuracy", "objects counted right", True,
     "original: mean 85.1 % on its own scenes, training data"),
    ("dair-multimnist", "count_accuracy", "objects counted right, by prototypes that also name them", True,
     "original: mean 40.3 % on its own scenes, training data"),
    ("dair-multimnist", "class_accuracy", "... and found and named right, without labels", True, "none"),
    ("flow-toy-2d", "recovered_of_24", "restarts of 24 that recover three flows exactly", False,
     "none"),
    ("flow-supervised-mnist", "equivariance/hue", "error of frames foretold from one, change of hue", False,
     "copying the true frame before: 218"),
    ("flow-sparse-mnist", "spike_f1", "F1 of which transformation acts when, digits in motion, nothing labelled", False,
     "claiming all, always: 0.65"),
    ("flow-sparse-shapes3d", "spike_f1", "... in a rendered room, five causes", False,
     "claiming all, always: 0.56"),
    ("cvae-gaussian", "gap_mean", "nats lost to the exact conditional density, any mask", False,
     "published architecture: 1.17"),
    ("toy-replication", "err1000/rebar", "1000 x mean excess loss of REBAR over training, toy of two values", False,
     "original: 0.95"),
)  # fmt: skip


def highlights_table(results: list[dict[str, Any]]) -> str:
    """The headline of each family, mean and spread over seeds."""
    by_name = {result["name"]: result for result in results}
    lines = ["| what | measured, mean ± sd | compare with | experiment |", "|---|---|---|---|"]
    for name, metric, words, percent, earlier in HIGHLIGHTS:
        one = by_name.get(name, {}).get("metrics", {}).get(metric)
        if one is None:
            continue
        factor, unit = (100.0, " %") if percent else (1.0, "")
        around = "" if one["sd"] is None else f" ± {spread(factor * one['sd'])}"
        seeds = len(one["values"])
        value = f"{factor * one['mean']:.3g}{around}{unit} ({seeds} seed{'s' if seeds > 1 else ''})"
        lines.append(f"| {words} | **{value}** | {earlier} | `{name}` |")
    return "\n".join(lines)


def names_table() -> str:
    """The stories in full, the rest folded."""
    blocks = [_listed(STORIES)]
    for words, registry in (
        ("estimators", ESTIMATORS),
        ("datasets", DATASETS),
        ("metrics", METRICS),
    ):
        count = len(registry.names())
        blocks.append(f"<details><summary>{count} {words}</summary>\n\n{_listed(registry)}\n\n</details>")
    return "\n\n".join(blocks)


def _listed(registry: Registry) -> str:
    return "\n".join(f"* `{name}`: {registry.summary(name)}" for name in registry)


def results_table(results: list[dict[str, Any]], most: int | None = None) -> str:
    """One row per metric, at most so many for an experiment."""
    if not results:
        return "No results yet."
    lines = [
        "| experiment | metric | mean ± sd (seeds) | beside it | split, n | seconds a seed |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        found = result["metrics"]
        keys = result.get("headline") or [key for key in SHOWN if key in found]
        keys = list(found) if most is None else (keys or list(found))[:most]
        for key in keys:
            one = found[key]
            sd = "" if one["sd"] is None else f" ± {one['sd']:.2g}"
            beside = "; ".join(
                f"{name.split(': ', 1)[1]} {value:.4g}"
                for name, value in result["baselines"].items()
                if name.startswith((f"{key}: ", f"{key.partition('/')[0]}: "))  # METRIC/CASE shares those of METRIC
            )
            name = f"`{result['name']}`" if key == keys[0] else ""
            seconds = f"{result['wall_seconds']['mean']:.0f}" if key == keys[0] else ""
            lines.append(
                f"| {name} | {key} | {one['mean']:.4g}{sd} ({len(one['values'])}) | {beside} "
                f"| {one['split']}, {one['n']} | {seconds} |"
            )
    return "\n".join(lines)


def spread(sd: float) -> str:
    """One digit, and no powers of ten where whole numbers do."""
    return f"{sd:.0f}" if sd >= 9.5 else f"{sd:.1g}"


def docs_table(found: re.Match[str]) -> str:
    """The table that a docs page asks for, inside its markers."""
    name, quantities = found[2], [word.strip() for word in found[3].split(",")]
    path = ROOT / "results" / f"{name}.json"
    if not path.is_file():
        return f"{found[1]}Not run yet: `pyro-models reproduce {name}`.\n{found[4]}"
    result = json.loads(path.read_text())
    metrics, baselines = result["metrics"], result["baselines"]
    things = list(
        dict.fromkeys(key.partition("/")[2] or "all" for key in metrics if key.partition("/")[0] in quantities)
    )
    columns = []
    for quantity in quantities:
        kinds = [key.split(": ", 1)[1] for key in baselines if key.startswith(f"{quantity}/")]
        columns += [(quantity, None), *((quantity, kind) for kind in dict.fromkeys(kinds))]
    lines = ["| | " + " | ".join(kind or quantity.replace("_", " ") for quantity, kind in columns) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for thing in things:
        cells = []
        for quantity, kind in columns:
            key = f"{quantity}/{thing}" if thing != "all" else quantity
            if kind is not None:
                cells.append(f"{baselines[f'{key}: {kind}']:.3g}" if f"{key}: {kind}" in baselines else "")
            elif key in metrics:
                sd = metrics[key]["sd"]
                cells.append(f"{metrics[key]['mean']:.3g}" + (f" ± {spread(sd)}" if sd is not None else ""))
            else:
                cells.append("")
        lines.append(f"| `{thing}` | " + " | ".join(cells) + " |")
    count = len(result["seeds"])
    lines.append(f"\n{count} seeds, mean ± sd, commit {result['commit'][:7]}, `{result['command']}`.")
    return found[1] + "\n".join(lines) + f"\n{found[4]}"


def filled(text: str, marker: str, content: str) -> str:
    pattern = rf"(<!-- {marker} -->\n).*?(<!-- end of {marker} -->)"
    if not re.search(pattern, text, re.DOTALL):
        sys.exit(f"README.md has no place '<!-- {marker} -->'.")
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    readme = ROOT / "README.md"
    before = readme.read_text()
    results = [json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))]
    after = filled(before, "names", names_table())
    measured = [result for result in results if "metrics" in result]
    after = filled(after, "highlights", highlights_table(measured))
    after = filled(after, "results", results_table(measured, MOST))
    pages = {readme: (before, after)}
    pattern = re.compile(r"(<!-- table ([\w-]+): ([\w, ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()
        after = pattern.sub(docs_table, text)
        pages[page] = (text, filled(after, "results", results_table(measured)) if page.name == "results.md" else after)
    stale = [page for page, (old, new) in pages.items() if old != new]
    if "--check" in arguments:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is not up to date: run `make tables`.", file=sys.stderr)
        return int(bool(stale))
    for page in stale:
        page.write_text(pages[page][1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
