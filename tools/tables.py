"""Writes the README's tables from the registries and from results/*.json, between the marker comments.

python tools/tables.py          rewrites README.md
python tools/tables.py --check  fails when README.md is not what it would write
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

ROOT = Path(__file__).resolve().parent.parent
#: metrics that a results table shows, in this order; the JSON files hold all
SHOWN = ("accuracy", "purity", "nmi", "elbo", "iwae_100", "squared_error")


def names_table() -> str:
    lines = []
    for word, registry in (
        ("Stories", STORIES),
        ("Estimators", ESTIMATORS),
        ("Data", DATASETS),
        ("Metrics", METRICS),
    ):
        entries = "<br>".join(f"`{name}`: {registry.summary(name)}" for name in registry)
        lines.append(f"| {word} | {entries} |")
    return "\n".join(["| | |", "|---|---|", *lines])


def results_table(results: list[dict[str, Any]]) -> str:
    if not results:
        return "No results yet."
    lines = [
        "| experiment | metric | mean ± sd (seeds) | beside it | split, n | seconds a seed |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        found = result["metrics"]
        keys = result.get("headline") or [key for key in SHOWN if key in found] or list(found)
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
    after = filled(after, "results", results_table([r for r in results if "metrics" in r]))
    if "--check" in arguments:
        if after != before:
            print("README.md is not up to date: run `make tables`.", file=sys.stderr)
        return int(after != before)
    readme.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
