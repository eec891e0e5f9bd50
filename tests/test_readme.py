"""What the README and the examples show is run, with few steps, in an empty folder."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyro_models.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_blocks(elsewhere):
    names: dict = {}
    for block in blocks("python"):
        exec(compile(re.sub(r"steps=\d+", "steps=4", block), "README.md", "exec"), names)
    assert names["run"].path == Path("runs/first")
    assert (elsewhere / "runs/first/report.html").is_file()


def test_command_lines(elsewhere):
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("pyro-models ")]
    assert len(lines) >= 5
    for line in lines:
        command = shlex.split(re.sub(r"--steps \d+", "--steps 4", line))[1:]
        assert main(command) == 0, line


def test_the_story_of_the_readme_is_trained_by_the_command(elsewhere):
    block = next(block for block in blocks("python") if "class Coins" in block)
    (elsewhere / "my_file.py").write_text(block)
    tosses = np.random.default_rng(0).integers(0, 2, size=(300, 12)).astype(np.float32)
    np.savez(elsewhere / "tosses.npz", x=tosses)
    line = re.search(r"`pyro-models (train my_file.py:Coins [^`]*)`", README)
    assert line
    assert main([*shlex.split(line[1]), "--steps", "4", "--progress", "false"]) == 0


def test_tables_are_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/tables.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_docs_page_is_linked_from_the_readme():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in README


#: examples with a main(arguments), and the arguments that make them quick
EXAMPLES = {
    "complete_a_table.py": ["--steps", "3", "--draws", "20"],
    "stock_svi.py": ["--steps", "3"],
    "your_own_pyro_model.py": ["--steps", "3"],
    "compare_guides.py": ["--steps", "3", "--seeds", "2"],
}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example(name, elsewhere, capsys):
    spec = importlib.util.spec_from_file_location(name[:-3], ROOT / "examples" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(EXAMPLES[name])
    assert capsys.readouterr().out


def test_the_notebook_runs_from_top_to_bottom(elsewhere, capsys):
    cells = json.loads((ROOT / "examples" / "posterior.ipynb").read_text())["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile(re.sub(r"steps=\d+", "steps=3", "".join(cell["source"])), "posterior.ipynb", "exec"), names)
    assert "above .7 for" in capsys.readouterr().out
    assert names["idata"]["posterior"].sizes["obs"] == 100


def test_every_example_is_run_by_a_test():
    elsewhere_tested = {"own_story.py", "arviz_from_netcdf.py"}
    found = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert found == set(EXAMPLES) | elsewhere_tested
