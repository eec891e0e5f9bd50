"""One short step of the experiments about metrics: what they write, and that nothing in them is fixed beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.experiments import EXPERIMENTS, cost, disentanglement
from evaluation.reproduce import Setting
from pyro_models.datasets.sprites import sprites


def test_disentanglement_of_sprites(tmp_path, monkeypatch):
    monkeypatch.setattr(disentanglement, "STEPS", 3)
    monkeypatch.setattr(disentanglement, "SUPERVISED_STEPS", 3)
    monkeypatch.setattr(disentanglement, "sprites", lambda: sprites(300))
    found = EXPERIMENTS.get("disentanglement-sprites")(Setting([5], tmp_path, device="cpu"))
    codes = {key.split("/")[1] for key in found.metrics}
    assert codes == {"vae", "beta-vae", "beta-tcvae", "supervised"}
    assert len(found.metrics) == 4 * 12
    assert found.n == 300
    assert found.baselines["mig: noise"] < found.baselines["mig: the factors themselves"]
    assert np.isfinite([value[0] for value in found.metrics.values()]).all()


def test_total_correlation_of_a_minibatch_is_zero_for_one_posterior_and_grows_with_dependence():
    same = torch.distributions.Normal(torch.zeros(64, 3), torch.ones(64, 3))
    shift = 2 * np.log(100)  # (D - 1) log N of the minibatch weights
    at_rest = float(disentanglement.minibatch_total_correlation(same, same.sample(), 100))
    assert at_rest == pytest.approx(shift, abs=1e-4)
    line = torch.linspace(-3, 3, 64)[:, None]
    tied = torch.distributions.Normal(line.expand(-1, 3), torch.full((64, 3), 0.1))
    loose = torch.distributions.Normal(
        torch.stack([line[torch.randperm(64), 0] for _ in range(3)], 1), torch.full((64, 3), 0.1)
    )
    assert disentanglement.minibatch_total_correlation(
        tied, tied.sample(), 100
    ) > 0.5 + disentanglement.minibatch_total_correlation(loose, loose.sample(), 100)


def test_costs(tmp_path, monkeypatch):
    for name, value in {"DATA": 300, "FEATURES": 40, "SMALL": 8}.items():
        monkeypatch.setattr(cost, name, value)
    found = EXPERIMENTS.get("metrics-cost")(Setting([0, 1], tmp_path))
    assert found.metrics["seconds/mig"] != [0.0, 0.0]
    for values in found.metrics.values():
        assert len(values) == 2
    assert max(found.metrics["frechet_2048_relative_error"]) < 1e-8
    assert found.metrics["frechet_2048"][0] != found.metrics["frechet_2048"][1]
    assert found.baselines["frechet_2048: real against real, halves"] > 0
