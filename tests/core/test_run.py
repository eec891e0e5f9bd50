"""Run folders: written whole, opened anywhere, refused clearly."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml

from inference import Run, fit
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import DataError, RunError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    data = Data({"x": torch.rand(80, 1, 8, 8), "label": torch.arange(80) % 4}, "noise")
    folder = tmp_path_factory.mktemp("runs") / "finished"
    options = {"clusters": 4, "latent": 3, "hidden": (16,)}
    fit("mixture-vae", Splits(data, data, data), steps=10, batch_size=16, run_dir=folder, progress=False,
        story_options=options)  # fmt: skip
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "moved" / "run")


def test_it_can_be_moved_and_gives_the_story_back(finished, folder):
    here, there = Run.load(finished), Run.load(folder)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(here.story.responsibilities(x), there.story.responsibilities(x))
    assert not there.story.training
    assert there.step == 10


def test_configuration_goes_round(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert Run.load(folder).config == config
    assert config["story"] == {
        "name": "mixture-vae",
        "arguments": {"shape": [1, 8, 8], "clusters": 4, "latent": 3, "hidden": [16]},
    }
    assert config["estimator"]["name"] == "exact"
    assert config["training"]["seed"] == 0
    assert config["environment"]["torch"] == torch.__version__.split("+")[0] or config["environment"]["torch"]


def test_it_is_readable_without_the_code_that_made_it(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["story"]["name"] = "a_module_that_is_gone:Story"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = Run.load(folder)
    assert len(run.history) == 1
    assert run.training.steps == 10


def test_a_checkpoint_holds_tensors_only(folder):
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 10


def test_it_never_overwrites_another_run(finished, folder):
    data = Data({"x": torch.rand(80, 1, 8, 8)}, "noise")
    with pytest.raises(RunError, match="already holds a run; go on with it by"):
        fit("vae", data, steps=1, run_dir=folder, progress=False)
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="is not empty and not a run"):
        fit("vae", data, steps=1, run_dir=folder.parent / "other", progress=False)


def test_data_handed_over_in_code_are_asked_for_again(folder):
    with pytest.raises(DataError, match="trained on data handed over in code"):
        Run.load(folder).data()


def test_a_run_in_memory_can_be_saved(tmp_path):
    run = fit("vae", Data({"x": torch.rand(200, 1, 8, 8)}), steps=5, progress=False, story_options={"hidden": (8,)})
    with pytest.raises(RunError, match="in memory only"):
        run.file("metrics.json")
    run.save(tmp_path / "saved")
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(Run.load(tmp_path / "saved").story.features(x), run.story.features(x))


def break_format(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "format": 0}))


def truncate(folder):
    whole = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.yaml").unlink(), "is not a run folder: it has no config.yaml"),
        (lambda f: (f / "config.yaml").write_text("a: [1"), "cannot be read as YAML"),
        (lambda f: (f / "config.yaml").write_text("a: 1"), "it names no story"),
        (break_format, r"has the run format 0, but this version reads format 1"),
        (truncate, "is truncated or damaged"),
        (lambda f: (f / "checkpoint.pt").unlink(), "there is no checkpoint"),
    ],
)
def test_damaged_runs_are_refused_with_the_reason(folder, damage, message):
    damage(folder)
    with pytest.raises(RunError, match=message):
        _ = Run.load(folder).story


def test_a_folder_of_runs_names_what_it_holds(finished):
    with pytest.raises(RunError, match="it holds the runs finished"):
        Run.load(finished.parent)
    with pytest.raises(RunError, match="there is no folder"):
        Run.load(finished.parent / "nowhere")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        fit("vae", Data({"x": torch.rand(9, 1, 8, 8)}), steps=1, batch_size=2, run_dir=tmp_path / "file" / "run")


def test_a_log_cut_short_by_a_kill_is_read_up_to_there(folder):
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 20, "lo')
    assert len(Run.load(folder).history) == 1
