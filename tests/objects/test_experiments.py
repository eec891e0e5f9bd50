"""The experiments about objects run as they are, on few small scenes."""

from __future__ import annotations

import json
import math

import pytest

from evaluation.experiments import object_estimators, objects
from evaluation.reproduce import reproduce


def test_estimators_are_compared(tmp_path, monkeypatch):
    rows = {name: object_estimators.ROWS[name] for name in ("exact", "published")}
    small = {"ROWS": rows, "STEPS": 2, "LOOK": 1, "BATCH": 4, "BEFORE": 1, "SAMPLES": 3, "SCENES_SEEN": 6}
    for name, value in small.items():
        monkeypatch.setattr(object_estimators, name, value)
    monkeypatch.setattr(object_estimators, "SCENES", {"source": "digits", "scenes": 20, "held_out": 8})
    path, table = reproduce("air-estimators", [0], out=tmp_path, device="cpu")
    found = json.loads(path.read_text())["metrics"]
    assert {f"seconds_to_95/{row}" for row in rows} <= set(found)
    assert {f"logvar/{name}" for name in ("exact", "rloo", "nvil", "reinforce")} <= set(found)
    assert all(math.isfinite(value) for one in found.values() for value in one["values"])
    assert "seconds_to_95/exact" in table
    assert (tmp_path / "air-estimators.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["air-multimnist", "dair-multimnist"])
def test_counts_and_boxes_are_measured_with_one_object_more(name, tmp_path, monkeypatch):
    small = {"source": "digits", "scenes": 70, "held_out": 8}
    monkeypatch.setattr(objects, "SCENES", small)
    monkeypatch.setattr(objects, "MORE", {**small, "counts": [3], "scenes": 1})
    monkeypatch.setattr(objects, "AIR", {"steps": 2})
    monkeypatch.setattr(objects, "DAIR", {"steps": 2, "story_options": {"warm": 0}})
    path, _ = reproduce(name, [0], out=tmp_path, device="cpu")
    found = json.loads(path.read_text())["metrics"]
    shared = {"count_accuracy", "f1_iou50", "squared_error", "count_accuracy_3", "f1_iou50_3"}
    assert shared <= set(found)
    assert ("class_accuracy_3" in found) == (name == "dair-multimnist")
    assert found["count_accuracy_3"]["n"] == 8
