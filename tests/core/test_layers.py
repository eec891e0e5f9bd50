"""Imports run downwards only: pyro_models < inference < evaluation; metrics and estimators stand alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: names and errors, on which everything may stand
GROUND = {"pyro_models.errors", "pyro_models.registry", "pyro_models.parameters", "pyro_models.arguments"}
#: array metrics: they import nothing of ours but errors
ARRAY_METRICS = (
    "arrays.py",
    "clustering.py",
    "calibration.py",
    "correlations.py",
    "frechet.py",
    "generation.py",
    "flows.py",
    "shapes.py",
    "disentanglement",
)


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, at the top or inside functions, but not for type checking only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in ("pyro_models", "inference", "evaluation")}


def files(*places: str) -> list[Path]:
    found = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert found
    return found


@pytest.mark.parametrize(
    ("floor", "above"), [("pyro_models", {"inference", "evaluation"}), ("inference", {"evaluation"})]
)
def test_no_floor_imports_from_above(floor, above):
    for path in files(floor):
        if path.name == "__main__.py":
            continue  # the roof
        up = {name for name in imported(path) if name.split(".")[0] in above}
        assert not up, f"{path.relative_to(ROOT)} imports {up} from a floor above"


def test_estimators_work_for_any_pyro_program():
    for path in files("inference/estimators"):
        others = {n for n in imported(path) if not n.startswith("inference.estimators") and n not in GROUND}
        assert not others, f"{path.relative_to(ROOT)} imports {others}"


def test_array_metrics_import_nothing_of_ours():
    for path in files(*(f"evaluation/{place}" for place in ARRAY_METRICS)):
        allowed = {"pyro_models.errors", "pyro_models.vision", "evaluation.arrays"}
        others = {n for n in imported(path) if n not in allowed and not n.startswith("evaluation.disentanglement")}
        assert not others, f"{path.relative_to(ROOT)} imports {others}"


def test_nobody_imports_the_roof():
    for path in files("pyro_models", "inference", "evaluation"):
        assert "pyro_models.__main__" not in imported(path)
