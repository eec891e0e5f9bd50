"""The training loop: determinism, resume, stopping on bad numbers, agreement with stock SVI."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, TraceEnum_ELBO, config_enumerate
from torch import nn

from inference import Run, estimators, fit, resume
from inference.device import choose_device, wrap_in_autocast
from inference.schedule import geometric, learning_rate_factor, linear
from inference.settings import Training
from pyro_models.__main__ import main
from pyro_models.anchors.mixture_vae import MixtureVAE
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import EstimatorError, ModelsError, OptionError, RunError, TrainingError, UnknownName
from pyro_models.story import Story

SMALL = {"clusters": 4, "latent": 3, "hidden": (16,)}


def noise(count: int = 300, seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 1, 8, 8, generator=generator)
    return Data({"x": x, "label": torch.arange(count) % 4}, "noise")


@pytest.fixture
def splits() -> Splits:
    return Splits(noise(300), noise(60, 1), noise(60, 2))


def train(splits, **changes):
    settings = {"steps": 60, "batch_size": 32, "log_every": 10, "progress": False, "story_options": SMALL, **changes}
    return fit("mixture-vae", splits, **settings)


def weights(run) -> dict[str, torch.Tensor]:
    return run.story.state_dict()


def same(a, b) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(splits):
    first, again, other = train(splits), train(splits), train(splits, seed=1)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_training_lowers_the_validation_bound(splits):
    run = train(splits, steps=200)
    bounds = [row["validation"] for row in run.rows if "validation" in row]
    assert bounds[-1] < bounds[0]
    assert run.step == 200


def test_looking_does_not_change_what_is_learned(splits, tmp_path):
    plain = train(splits, validate_every=0)
    watched = train(splits, validate_every=10, log_every=10, checkpoint_every=10, run_dir=tmp_path / "run")
    assert same(weights(plain), weights(watched))


def test_resumed_equals_uninterrupted(splits, tmp_path, monkeypatch):
    whole = train(splits, run_dir=tmp_path / "whole")
    stop_after(monkeypatch, 40)
    with pytest.raises(KeyboardInterrupt):
        train(splits, run_dir=tmp_path / "cut", checkpoint_every=10)
    monkeypatch.undo()
    run = resume(tmp_path / "cut", splits)
    assert same(weights(whole), weights(run))
    assert [r["loss"] for r in run.rows] == [r["loss"] for r in whole.rows]
    assert [r.get("validation") for r in run.rows] == [r.get("validation") for r in whole.rows]


def stop_after(monkeypatch, step: int) -> None:
    """Ctrl-C in the middle of training."""
    count = iter(range(10_000))
    original = MixtureVAE.at

    def at(self, progress):
        if self.training and next(count) == step:
            raise KeyboardInterrupt
        original(self, progress)

    monkeypatch.setattr(MixtureVAE, "at", at)


def test_a_finished_run_can_be_trained_longer(splits, tmp_path):
    train(splits, run_dir=tmp_path / "run")
    longer = resume(tmp_path / "run", splits, steps=80)
    assert longer.step == 80
    assert longer.rows[-1]["step"] == 80


def test_killed_and_resumed_gives_identical_metrics(tmp_path):
    """SIGKILL half way, from the command line."""
    command = [
        sys.executable,
        "-m",
        "pyro_models",
        "train",
        "mixture-vae",
        "--steps",
        "300",
        "--options.hidden",
        "[32]",
    ]
    command += ["--log-every", "10", "--checkpoint-every", "10", "--threads", "1", "--progress", "false"]
    command += ["--report", "false", "--run-dir"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*command[3:], str(whole)]) == 0
    process = subprocess.Popen([*command, str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_line(cut / "log.jsonl", 12)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert torch.load(cut / "checkpoint.pt", weights_only=True)["step"] < 300
    few = ["--limit", "50"]
    for arguments in (
        ["resume", str(cut), "--report", "false"],
        ["evaluate", str(cut), *few],
        ["evaluate", str(whole), *few],
    ):
        assert main(arguments) == 0
    assert (cut / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


def wait_for_line(log, count: int) -> None:
    deadline = time.monotonic() + 300
    while not (log.is_file() and len(log.read_text().splitlines()) >= count):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_stock_svi_has_the_same_loss_curve(splits):
    """Pyro's own SVI and TraceEnum_ELBO on the same seed and batches, step by step."""
    run = train(splits, steps=60, log_every=1, validate_every=0)
    pyro.set_rng_seed(0)
    story = MixtureVAE(splits.train.shape(), **SMALL)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    model, guide = (poutine.scale(f, 1 / 32) for f in (story.model, config_enumerate(story.guide)))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), loss=elbo)
    unused = torch.optim.SGD(story.parameters())  # this story's moves leave the optimiser alone
    for step, batch in zip(range(60), splits.train.batches(32, seed=0), strict=False):
        story.at(step / 60)
        loss = svi.step(batch["x"])
        story.revise(step / 60, (step + 1) / 60, splits.train, unused)
        assert loss == pytest.approx(run.rows[step]["loss"], rel=1e-5)


def test_stock_svi_with_our_estimator(splits):
    pyro.set_rng_seed(0)
    story = MixtureVAE(splits.train.shape(), **SMALL, warm_up=0.0)
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-2}), loss=estimators.get("exact")())
    x = splits.train["x"][:64]
    losses = [svi.step(x) for _ in range(30)]
    assert losses[-1] < losses[0]


class Fragile(Story):
    """z ~ N(0, 1), x ~ N(z, s): s turns into NaN after a few steps."""

    citation = "none"

    def __init__(self, shape):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))
        self.spread = 1.0
        self.calls = 0

    def at(self, progress):
        if progress > 0.5:
            self.spread = math.nan

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            scale = torch.tensor(self.spread)
            pyro.sample("x", dist.Normal(z[..., None], scale, validate_args=False).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.mean, 1.0))


def test_a_bad_number_stops_the_run_and_names_the_site(tmp_path):
    data = Data({"x": torch.randn(64, 2)}, "points")
    story = Fragile((2,))
    with pytest.raises(
        TrainingError, match=r"step 31: the loss is not finite; the model site 'x' \(Independent"
    ) as error:
        fit(
            story,
            data,
            steps=60,
            batch_size=8,
            log_every=5,
            checkpoint_every=5,
            progress=False,
            validate_every=0,
            run_dir=tmp_path / "run",
        )
    assert "last good checkpoint" in str(error.value)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 30
    assert torch.isfinite(state["story"]["mean"])
    assert torch.isfinite(story.mean)


def test_a_nan_parameter_is_named(splits):
    class Poisoned(MixtureVAE):
        def revise(self, before, after, data, optimiser):
            with torch.no_grad():
                self.means.fill_(math.nan)

    story = Poisoned(splits.train.shape(), **SMALL)
    with pytest.raises(TrainingError, match="the parameter 'means' is not finite"):
        fit(story, splits, steps=5, batch_size=8, progress=False, validate_every=0)


def test_a_full_disk_leaves_the_last_good_checkpoint(splits, tmp_path, monkeypatch):
    train(splits, run_dir=tmp_path / "run")
    good = (tmp_path / "run" / "checkpoint.pt").read_bytes()

    def full(state, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"No space left on device.*The previous file is intact"):
        resume(tmp_path / "run", splits, steps=80)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == good
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]


def test_clipping_and_schedules_are_used(splits):
    plain, clipped, cosine = train(splits), train(splits, clip=1e-3), train(splits, schedule="cosine")
    assert not same(weights(plain), weights(clipped))
    assert not same(weights(plain), weights(cosine))


def test_schedules():
    assert [learning_rate_factor("cosine", p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [learning_rate_factor("drop", p) for p in (0, 0.84, 0.85, 1)] == [1, 1, 0.1, 0.1]
    assert learning_rate_factor("constant", 0.7) == 1
    assert [linear(p, 2.0, 1.0, until=0.5) for p in (0, 0.25, 0.5, 1)] == [2, 1.5, 1, 1]
    assert [geometric(p, 16.0, 1.0, until=0.5) for p in (0, 0.25, 0.5, 1)] == pytest.approx([16, 4, 1, 1])


def test_bfloat16_networks_hand_float32_to_the_densities():
    story = MixtureVAE((1, 8, 8), **SMALL)
    x = torch.rand(4, 1, 8, 8)
    exact = story.encoder(x)
    wrap_in_autocast(story, "cpu")
    rounded = story.encoder(x)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05


def test_data_in_any_form(splits):
    story = {"story_options": {**SMALL, "warm_up": 0.0}, "steps": 3, "batch_size": 8, "progress": False}
    x = splits.train["x"]
    for data in (x, x.numpy(), {"x": x}, Data({"x": x}), torch.utils.data.TensorDataset(x)):
        assert fit("mixture-vae", data, **story).step == 3


def test_a_story_made_in_code_and_an_estimator_made_in_code(splits):
    story = MixtureVAE(splits.train.shape(), **SMALL)
    run = fit(story, splits, estimators.get("exact")(num_particles=2), steps=3, batch_size=8, progress=False)
    assert run.config["story"]["name"] == "mixture-vae"
    assert run.config["estimator"]["name"] == "exact"
    assert run.story is story


def test_pyro_checks_are_restored_after_training(splits):
    for wanted in (True, False):
        pyro.enable_validation(wanted)
        train(splits, steps=2)
        assert pyro.infer.util.is_validation_enabled() is wanted


def test_tensorboard_files_are_written(splits, tmp_path):
    train(splits, steps=20, tensorboard=True, run_dir=tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 3, "epochs": 2}, "steps=3 and epochs=2 are both given"),
        ({"steps": 0}, "steps is 0; it must be positive"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"clip": 0.0}, "clip is 0.0; it must be positive, or None"),
        ({"seed": -1}, "seed is -1; it must not be negative"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"precision": "fp16"}, "no precision is called 'fp16'"),
        ({"bach_size": 3}, "no training setting is called 'bach_size'; did you mean 'batch_size'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ModelsError, match=message):
        Training.from_options(settings)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 301}, OptionError, r"batch of 301 cannot be drawn from the 300"),
        ({"estimator": "exat"}, UnknownName, "did you mean 'exact'"),
        ({"estimator": "pathwise"}, EstimatorError, r"'c'.*Categorical"),
        (
            {"estimator_options": {"particles": 3}},
            UnknownName,
            "no option of the estimator 'exact' is called 'particles'",
        ),
        ({"device": "cuda:99"}, OptionError, "device 'cuda:99' cannot be used here"),
        ({"device": "tpu"}, OptionError, "device 'tpu' cannot be used here"),
        ({"precision": "bf16", "device": "meta"}, OptionError, "precision='bf16' is for GPUs"),
        ({"tensorboard": True}, OptionError, "give run_dir="),
        ({"story_options": {"clusters": 1}}, OptionError, "clusters is 1"),
    ],
)
def test_what_cannot_be_trained_is_refused(splits, changes, error, message):
    with pytest.raises(error, match=message):
        train(splits, **changes)


def test_nothing_is_written_when_training_is_refused(splits, tmp_path):
    for changes in ({"batch_size": 301}, {"story_options": {"clusters": 1}}, {"estimator": "pathwise"}):
        with pytest.raises(ModelsError):
            train(splits, run_dir=tmp_path / "run", **changes)
        assert not (tmp_path / "run").exists()


def test_a_story_without_discrete_sites_refuses_enumeration(splits):
    with pytest.raises(EstimatorError, match="'z'"):
        fit("vae", splits, "exact", steps=2, progress=False)


def test_missing_fields_are_named():
    class Masked(MixtureVAE):
        fields = ("x", "mask")

    data = Data({"x": torch.rand(20, 1, 8, 8)}, "plain")
    with pytest.raises(OptionError, match="reads the batch fields x, mask, but the data have only x"):
        fit(Masked((1, 8, 8), **SMALL), data, steps=2, batch_size=8, progress=False)


def test_auto_device_is_one_that_works():
    torch.zeros(2, device=choose_device("auto"))


def test_the_log_has_one_json_object_per_line(splits, tmp_path):
    train(splits, run_dir=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert Run.load(tmp_path / "run").history["loss"].tolist() == [row["loss"] for row in rows]
