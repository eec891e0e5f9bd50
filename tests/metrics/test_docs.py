"""The code blocks of docs/metrics.md, run in order in one session."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluation.metric import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def registry_as_before():
    before = dict(METRICS._entries)
    yield
    METRICS._entries.clear()
    METRICS._entries.update(before)


def test_the_page_runs_as_it_stands(registry_as_before):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 5
    namespace: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), namespace)
    assert "edge-error" in METRICS
