"""The experiments behind the results tables, by name: ``pyro-models reproduce NAME``.

An experiment is a function ``(setting) -> Outcome`` registered here in one line. It runs all seeds of
``setting.seeds`` and returns one value per seed for every metric.
"""

from __future__ import annotations

from pyro_models.registry import Registry

EXPERIMENTS = Registry("experiment", "pyro_models.experiments")
for _name, _target, _summary in (
    ("vae-digits", "baselines:vae_digits", "VAE on scikit-learn's digits: the bound to beat"),
    ("vae-mnist", "baselines:vae_mnist", "VAE (784-400-20) on MNIST: the bound to beat"),
    ("mixture-vae-digits", "baselines:mixture_vae_digits", "mixture VAE on scikit-learn's digits"),
    ("disentanglement-sprites", "disentanglement:disentanglement_sprites", "do the scores order codes as they should?"),
    ("metrics-cost", "cost:metrics_cost", "seconds of every metric at 10 000 data; FID against scipy"),
    ("mixture-vae-mnist", "baselines:mixture_vae_mnist", "mixture VAE on MNIST"),
):
    EXPERIMENTS.add(_name, f"evaluation.experiments.{_target}", _summary)
