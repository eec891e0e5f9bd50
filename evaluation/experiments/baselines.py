"""The stories everything else is compared with."""

from __future__ import annotations

from evaluation.reproduce import Outcome, Setting, fit_and_measure


def vae_digits(setting: Setting) -> Outcome:
    return fit_and_measure(setting, "vae", "digits", steps=3000, story_options={"latent": 10, "hidden": [256, 128]})


def vae_mnist(setting: Setting) -> Outcome:
    return fit_and_measure(setting, "vae", "mnist", epochs=20)


def mixture_vae_digits(setting: Setting) -> Outcome:
    return fit_and_measure(setting, "mixture-vae", "digits", steps=3000, story_options={"hidden": [256, 128]})


def mixture_vae_mnist(setting: Setting) -> Outcome:
    return fit_and_measure(setting, "mixture-vae", "mnist", epochs=30, batch_size=256)
