"""The code blocks of docs/posterior.md, run in order in one session."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "posterior.md"


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 8
    namespace: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), namespace)
    assert {path.name for path in tmp_path.iterdir()} >= {"posterior.nc", "calibration.png", "lit.png", "pit.png"}
