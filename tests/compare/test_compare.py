"""Comparing ten trained runs of two estimators, and every way in which that can be refused."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.compare import compare
from evaluation.compare.figures import draw, spread
from evaluation.reporting import png_bytes
from inference import Run
from pyro_models.__main__ import main
from pyro_models.anchors.mixture_vae import MixtureVAE
from pyro_models.errors import OptionError, RunError, UnknownName
from tests.compare.conftest import SEEDS, edit_json, edit_yaml


def test_the_frame_holds_what_the_runs_hold(trained):
    found = compare([trained])
    assert [group.name for group in found.groups] == ["estimator=exact", "estimator=rloo"]
    assert [group.seeds for group in found.groups] == [tuple(SEEDS)] * 2
    for row in found.frame.itertuples():
        run = Run.load(trained / row.group.removeprefix("estimator=") / str(row.seed))
        assert row.value == run.metrics["metrics"][row.metric]
        assert row.split == "test"
        assert row.seconds == run.rows[-1]["seconds"]
    assert set(found.metrics) == set(run.metrics["metrics"])
    assert len(found.frame) == 10 * len(found.metrics)


def test_table_and_differences_are_pandas_own_means(trained):
    found = compare(trained, ["nmi", "squared_error"])
    by_hand = found.frame.pivot(index="seed", columns=["metric", "group"], values="value")
    for row in found.table.itertuples():
        column = by_hand[row.metric][row.group]
        assert (row.n, row.mean, row.sd) == (5, pytest.approx(column.mean()), pytest.approx(column.std()))
        assert (row.min, row.max) == (column.min(), column.max())
    for row in found.differences.itertuples():
        gap = (by_hand[row.metric]["estimator=rloo"] - by_hand[row.metric]["estimator=exact"]).mean()
        assert row.mean == pytest.approx(gap)
        assert row.low < row.mean < row.high
    assert (found.better["nmi"], found.better["squared_error"]) == ("higher", "lower")


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """The folder and the text that the command gives."""
    out, text = tmp_path_factory.mktemp("comparison"), io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["compare", str(trained / "exact"), str(trained / "rloo"), "--out", str(out)]) == 0
    return out, text.getvalue()


def test_one_command_makes_table_figures_and_page(trained, written):
    out, text = written
    assert "10 runs in 2 groups; seeds 0 to 4" in text
    assert "estimator=rloo minus estimator=exact" in text
    pictures = {"spread.png", "learning-curves.png", "against-time.png"}
    assert {path.name for path in (out / "figures").iterdir()} == pictures
    table = pd.read_csv(out / "table.csv")
    np.testing.assert_allclose(table["mean"], compare(trained).table["mean"])
    page = (out / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    places = [page.index(word) for word in ("<figure>", "<table>", "@inproceedings", "torch:")]
    assert places == sorted(places)
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)  # nothing is fetched


def test_same_comparison_same_pictures(trained, written):
    for picture in draw(compare([trained / "exact", trained / "rloo"])):
        assert png_bytes(picture.figure) == (written[0] / f"figures/{picture.name}.png").read_bytes()


def test_figures_that_are_not_drawn_again_are_taken_away(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.compare.figures.MAKERS", ())
    (tmp_path / "figures").mkdir()
    for name in ("mine.png", "gradient-variance.png"):
        (tmp_path / "figures" / name).write_bytes(b"")
    compare(trained).write(tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["mine.png"]


def test_an_option_at_its_default_is_the_same_setting(runs):
    default, other = MixtureVAE.guides[:2]
    config = runs / "exact/0/config.yaml"
    edit_yaml(config, lambda c: c["story"]["arguments"].update(guide=default))
    assert [group.name for group in compare(runs).groups] == ["estimator=exact", "estimator=rloo"]
    edit_yaml(config, lambda c: c["story"]["arguments"].update(guide=other))
    names = {group.name for group in compare(runs).groups}
    assert names == {f"estimator={e}, guide={g}" for e, g in (("exact", default), ("exact", other), ("rloo", default))}


def test_curves_are_the_logs(trained):
    curves = compare(trained).curves
    rows = Run.load(trained / "rloo/3").rows
    mine = curves[(curves["group"] == "estimator=rloo") & (curves["seed"] == 3)]
    assert mine["loss"].tolist() == pytest.approx([row["loss"] for row in rows])
    assert mine["step"].tolist() == [row["step"] for row in rows]


def test_one_group_alone(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.compare.figures.MAKERS", (spread,))
    found = compare(trained / "exact")
    assert found.differences.empty
    assert found.write(tmp_path).is_file()
    assert not found.table["best"].any()


def test_one_seed_is_told(trained):
    found = compare([trained / "exact/0", trained / "rloo/0"])
    assert "one seed only, so no spread is known: estimator=exact; estimator=rloo" in found.remarks
    assert found.differences["note"].unique().tolist() == ["a single pair: no interval"]
    assert "nan" not in found.text()


def test_unequal_seeds_and_machines_are_told(runs):
    edit_yaml(runs / "exact/0/config.yaml", lambda c: c["environment"].update(threads="64"))
    found = compare([runs / "exact", runs / "rloo/0", runs / "rloo/1"])
    assert any("do not have the same seeds" in remark for remark in found.remarks)
    assert any("not the same threads" in remark and "times are not comparable" in remark for remark in found.remarks)
    assert found.differences["pairs"].unique().tolist() == [2]


class TestResultsFiles:
    def write(self, path, name="gradients", **changes):
        cases = {"rloo": [1.0, 2.0, 3.0], "exact": [0.0, 0.5, 0.2]}
        result = {
            "name": name, "seeds": [0, 1, 2], "command": "pyro-models reproduce gradients", "commit": "abc",
            "metrics": {
                f"logvar/{case}": {"values": values, "split": "train", "n": 100} for case, values in cases.items()
            },
            "baselines": {"logvar: nothing": -1.0},
        }  # fmt: skip
        path.write_text(json.dumps({**result, **changes}))
        return path

    def test_cases_are_groups_and_gradient_variance_has_its_figure(self, tmp_path):
        found = compare(self.write(tmp_path / "gradients.json"))
        assert [group.name for group in found.groups] == ["case=rloo", "case=exact"]
        assert found.baselines("logvar") == {"nothing": -1.0}
        found.write(tmp_path / "out")
        assert (tmp_path / "out/figures/gradient-variance.png").is_file()
        assert not (tmp_path / "out/figures/spread.png").exists()

    def test_not_a_results_file(self, tmp_path):
        (tmp_path / "a.json").write_text("{}")
        with pytest.raises(RunError, match="neither a run folder nor a results file"):
            compare(tmp_path / "a.json")
        (tmp_path / "a.json").write_text("{")
        with pytest.raises(RunError, match="cannot be read as JSON"):
            compare(tmp_path / "a.json")

    def test_values_for_other_seeds(self, tmp_path):
        with pytest.raises(RunError, match=r"has 3 values for 2 seeds.*Make it again"):
            compare(self.write(tmp_path / "a.json", seeds=[0, 1]))

    def test_a_folder_of_results_files_says_to_name_them(self, tmp_path):
        self.write(tmp_path / "a.json")
        with pytest.raises(RunError, match=r"no run was found.*a\.json: name results files one by one"):
            compare(tmp_path)


class TestRefusals:
    def test_nothing(self):
        with pytest.raises(OptionError, match="compare was given nothing"):
            compare([])

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(RunError, match="there is no folder"):
            compare(tmp_path / "nowhere")

    def test_not_measured_yet(self, runs):
        (runs / "rloo/2/metrics.json").unlink()
        with pytest.raises(RunError, match=r"this run is not measured yet: .*2; measure first: `pyro-models evaluate"):
            compare(runs)

    def test_same_seed_twice(self, runs):
        edit_yaml(runs / "exact/1/config.yaml", lambda c: c["training"].update(seed=0))
        with pytest.raises(RunError, match=r"seed 0 is there twice in one group.*no new evidence"):
            compare(runs)

    def test_other_data(self, runs):
        edit_json(runs / "rloo/0/metrics.json", lambda m: m.update(n=50))
        with pytest.raises(RunError, match=r"'accuracy' was measured|'\w+' was measured on different data: .*100 data"):
            compare(runs)

    def test_other_split(self, runs):
        edit_json(runs / "rloo/0/metrics.json", lambda m: m.update(split="train"))
        with pytest.raises(RunError, match=r"test split.*train split"):
            compare(runs)

    def test_unknown_metric(self, runs):
        with pytest.raises(UnknownName, match=r"nmi"):
            compare(runs, "nmu")

    def test_nothing_in_common(self, runs):
        for seed in SEEDS:
            edit_json(runs / f"rloo/{seed}/metrics.json", lambda m: m.update(metrics={"mine": 1.0}))
        with pytest.raises(RunError, match=r"no metric in common.*estimator=rloo: mine"):
            compare(runs)

    def test_broken_metrics_file(self, runs):
        (runs / "rloo/0/metrics.json").write_text("{")
        with pytest.raises(RunError, match=r"cannot be read as JSON.*write it again"):
            compare(runs)
        (runs / "rloo/0/metrics.json").write_text("{}")
        with pytest.raises(RunError, match=r"lacks 'split' in its config\.yaml or metrics\.json"):
            compare(runs)

    def test_out_is_a_file(self, trained, tmp_path):
        (tmp_path / "out").write_text("")
        with pytest.raises(OptionError, match=r"cannot be made.*choose another --out"):
            compare(trained).write(tmp_path / "out")


def test_numbers_that_are_none_are_shown_as_dashes(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.compare.figures.MAKERS", (spread,))
    edit_json(runs / "rloo/0/metrics.json", lambda m: m["metrics"].update(nmi=math.nan))
    found = compare(runs, ["nmi"])
    assert "nmi" in found.text()
    found.write(tmp_path / "out")


def test_the_page_of_the_documentation_runs_as_it_stands(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs.parent)
    monkeypatch.setattr("evaluation.compare.figures.MAKERS", (spread,))
    text = (Path(__file__).parents[2] / "docs/comparing.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("pyro-models ")]
    assert [line.split()[1] for line in lines] == ["train", "train", "compare"]
    assert main(shlex.split(lines[-1])[1:]) == 0
    assert {path.name for path in Path("comparison").iterdir()} == set(
        re.findall(r"^\| `([\w.]+)/?` \|", text, re.MULTILINE)
    )
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(block.replace('"accuracy", "elbo"', '"nmi", "squared_error"'), "comparing.md", "exec"), names)
    assert len(names["comparison"].frame) == 20
