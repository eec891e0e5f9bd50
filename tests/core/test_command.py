"""The command line, through ``main`` in this process."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from inference.sweep import free_run_dirs, parse_seeds
from pyro_models.__main__ import main
from pyro_models.errors import OptionError

QUICK = ["--steps", "3", "--batch-size", "16", "--options.hidden", "[8]", "--progress", "false"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One run, evaluated and reported."""
    folder = tmp_path_factory.mktemp("command") / "run"
    assert main(["train", "mixture-vae", "--run-dir", str(folder), *QUICK]) == 0
    return folder


def test_train_measures_and_reports(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert {"accuracy", "purity", "nmi", "ari", "elbo", "iwae_100", "squared_error"} <= set(metrics["metrics"])
    assert metrics["split"] == "test"
    assert 0 < metrics["baselines"]["accuracy"]["largest class"] < 0.2
    assert "Hungarian" in metrics["rules"]["accuracy"]
    page = (trained / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 6
    assert "jiang2017vade" in page
    assert not re.search(r'(src|href)="http', page)
    assert (trained / "figures" / "cluster-means.png").stat().st_size > 1000


def test_evaluate_again_gives_the_same_bytes(trained, capsys):
    before = (trained / "metrics.json").read_bytes()
    assert main(["evaluate", str(trained)]) == 0
    assert (trained / "metrics.json").read_bytes() == before
    assert "k-means on the raw data" in capsys.readouterr().out


def test_other_splits_are_measured_beside(trained):
    assert main(["evaluate", str(trained), "--split", "train", "--limit", "50"]) == 0
    assert json.loads((trained / "metrics-train.json").read_text())["n"] == 50


def test_report_and_posterior_and_cite_of_a_run(trained, capsys):
    assert main(["report", str(trained)]) == 0
    assert main(["posterior", str(trained), "--draws", "4", "--limit", "5"]) == 0
    assert main(["cite", str(trained)]) == 0
    out = capsys.readouterr().out
    assert (trained / "posterior.nc").is_file()
    assert "bingham2019pyro" in out
    assert "jiang2017vade" in out


def test_several_seeds_get_a_folder_each(tmp_path):
    assert main(["train", "vae", "--seeds", "0,1", "--run-dir", str(tmp_path), "--report", "false", *QUICK]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seed-0", "seed-1"]


def test_seeds_side_by_side_equal_one_after_the_other(tmp_path):
    common = ["train", "vae", "--seeds", "0,1", "--threads", "1", "--report", "false", *QUICK]
    assert main([*common, "--run-dir", str(tmp_path / "one")]) == 0
    assert main([*common, "--run-dir", str(tmp_path / "two"), "--jobs", "2"]) == 0
    losses = [
        json.loads((tmp_path / way / "seed-1" / "log.jsonl").read_text().splitlines()[-1])["loss"]
        for way in ("one", "two")
    ]
    assert losses[0] == losses[1]


def test_a_configuration_goes_round(tmp_path, capsys):
    assert (
        run_print(["train", "vae", "--guide", "full", "--steps", "3", "--options.latent", "2", "--print-config"]) == 0
    )
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["options"] == {"latent": 2}
    (tmp_path / "mine.yaml").write_text(text)
    arguments = [
        "train",
        "--config",
        str(tmp_path / "mine.yaml"),
        "--run-dir",
        str(tmp_path / "run"),
        "--report",
        "false",
    ]
    assert main(arguments) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["story"]["arguments"]["guide"] == "full"
    assert config["training"]["steps"] == 3


def run_print(arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("mixture-vae", "digits", "exact", "clustering", "learning-curve", "mixture-vae-digits"):
        assert re.search(rf"^  {name} +\S", out, re.MULTILINE)
    assert main(["list", "stories"]) == 0
    assert "datasets:" not in capsys.readouterr().out


def test_list_explains_one_name(capsys):
    assert main(["list", "nebula"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("story nebula: codes around anchors")
    assert "view_weight: nats per datum." in out
    assert "\n  view_weight = 20.0\n" in out
    assert "\n  preset = None" in out
    assert main(["list", "flow-strips"]) == 0
    assert "the same in motion" in capsys.readouterr().out
    assert main(["list", "clustering"]) == 0
    assert "Agreement of the most responsible cluster" in capsys.readouterr().out
    assert main(["list", "flow-toy-2d"]) == 0
    both = capsys.readouterr().out
    assert "dataset flow-toy-2d" in both
    assert "experiment flow-toy-2d" in both
    assert main(["list", "nebla"]) == 2
    assert "did you mean 'nebula'?" in capsys.readouterr().err


def test_a_users_own_story_is_trained_evaluated_and_reported(tmp_path, monkeypatch):
    """Thirty lines in a file of their own, outside the package."""
    assert main(["train", "examples/own_story.py:FactorAnalysis", "--steps", "30", "--progress", "false",
                 "--run-dir", str(tmp_path / "run")]) == 0  # fmt: skip
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert metrics["active_units"] > 0
    assert metrics["squared_error"] < 20
    assert (tmp_path / "run" / "report.html").is_file()
    # The run holds a copy of the story's file: it can be opened where the file is not.
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "run", "--metrics", "reconstruction"]) == 0


def test_reproduce_writes_results(tmp_path, capsys, monkeypatch):
    from evaluation.experiments import EXPERIMENTS
    from evaluation.reproduce import fit_and_measure

    @EXPERIMENTS.register("tiny", "for this test")
    def tiny(setting):
        return fit_and_measure(setting, "vae", "digits", steps=3, progress=False, story_options={"hidden": [8]})

    monkeypatch.setitem(EXPERIMENTS._entries, "tiny", EXPERIMENTS._entries["tiny"])
    assert main(["reproduce", "tiny", "--seeds", "0,1", "--out", str(tmp_path), "--threads", "1"]) == 0
    result = json.loads((tmp_path / "tiny.json").read_text())
    assert set(result) >= {
        "name",
        "command",
        "commit",
        "device",
        "threads",
        "versions",
        "seeds",
        "metrics",
        "baselines",
    }
    elbo = result["metrics"]["elbo"]
    assert len(elbo["values"]) == 2
    assert elbo["mean"] == pytest.approx(sum(elbo["values"]) / 2)
    assert elbo["sd"] == pytest.approx(abs(elbo["values"][0] - elbo["values"][1]) / 2**0.5)
    assert (elbo["split"], elbo["n"]) == ("test", result["metrics"]["elbo"]["n"])
    assert len(result["wall_seconds"]["values"]) == 2
    assert result["command"] == "pyro-models reproduce tiny --seeds 0,1"
    assert "elbo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vea"], "no story is called 'vea'; did you mean 'vae'?"),
        (["train", "vae", "--data", "digit"], "did you mean 'digits'"),
        (["train", "vae", "--estimator", "pathwize"], "did you mean 'pathwise'"),
        (["train", "vae", "--guide", "ful"], "did you mean 'full'"),
        (["train", "vae", "--seeds", "0,1,0"], "names seed 0 twice"),
        (["train", "vae", "--seeds", "0;1"], "write whole numbers with commas"),
        (["train", "vae", "--seed", "1", "--seeds", "0,1"], "are both given"),
        (["train", "vae", "--batch-size", "5000"], "a batch of 5000 cannot be drawn"),
        (["train", "vae", "--data", "mnist", "--data-root", "/nowhere"], "/nowhere"),
        (["train", "vae", "--options.latnt", "3"], "did you mean 'latent'"),
        (["train", "vae", "--jobs", "0"], "jobs is 0"),
        (["resume", "/nowhere"], "there is no folder /nowhere"),
        (["evaluate", "/nowhere"], "there is no folder /nowhere"),
        (["reproduce", "nothing"], "no experiment is called 'nothing'"),
        (["cite", "vea"], "no story, estimator or metric is called 'vea'; did you mean 'vae'"),
    ],
)
def test_wrong_requests_end_with_one_clear_line(arguments, message, capsys, tmp_path, monkeypatch):
    run_dir = ["--run-dir", str(tmp_path / "run")] if arguments[0] == "train" else []
    assert main([*arguments, *run_dir]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vae", "--epoch", "3"], "did you mean --epochs?"),
        (["train", "vae", "--steps", "many"], "steps"),
        (["train", "vae", "--schedule", "linear"], "schedule"),
        (["trian", "vae"], "trian"),
        ([], "command"),
    ],
)
def test_wrong_options_are_refused_by_the_parser(arguments, message, capsys):
    assert run_print(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_yaml_with_an_unknown_key(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("story: vae\nepoch: 3\n")
    assert run_print(["train", "--config", str(tmp_path / "bad.yaml")]) == 2
    assert "epoch" in capsys.readouterr().err


def test_an_unknown_metric(trained, capsys):
    assert main(["evaluate", str(trained), "--metrics", "clusterng"]) == 2
    assert "did you mean 'clustering'" in capsys.readouterr().err


def test_run_folders_are_named_after_story_data_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(p) for p in free_run_dirs(None, "vae", "digits", [3])] == ["runs/vae-digits/seed-3"]
    (tmp_path / "runs/vae-digits/seed-3").mkdir(parents=True)
    assert [str(p) for p in free_run_dirs(None, "vae", "digits", [3])] == ["runs/vae-digits/seed-3-2"]
    assert [str(p) for p in free_run_dirs(None, "a/b.py:Mine", "npz:x/y.npz", [0])] == ["runs/b-Mine-y.npz/seed-0"]


def test_seeds():
    assert parse_seeds(None, None) == [0]
    assert parse_seeds(4, None) == [4]
    assert parse_seeds(None, "0,1,5") == [0, 1, 5]
    assert parse_seeds(None, [2, 3]) == [2, 3]
    with pytest.raises(OptionError):
        parse_seeds(None, [])
