"""Do the disentanglement scores order codes as they should? Sprites with five known factors, encoded in four ways."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.disentanglement import disentanglement, random_codes
from evaluation.reproduce import Outcome, Setting
from inference import fit
from inference.device import choose_device
from pyro_models.anchors.vae import VAE
from pyro_models.datasets.data import Data
from pyro_models.datasets.sprites import sprites
from pyro_models.nn.convolutional import ConvolutionalEncoder
from pyro_models.story import Represents

LATENT, BATCH, RATE = 10, 64, 1e-3
STEPS, SUPERVISED_STEPS = 4000, 600
#: weight of the whole KL term, and of the total correlation alone
BETA, TC_WEIGHT = 4.0, 6.0
CHANNELS, HIDDEN = (16, 32), 128
NETWORK: dict[str, Any] = {"network": "convolutional", "channels": CHANNELS, "hidden": [HIDDEN], "latent": LATENT}

NOTES = (
    f"sprites, full grid of 6144 images, {STEPS} steps of {BATCH}, {LATENT} latent dimensions, the same convolutional "
    f"networks; beta-vae: KL times {BETA:g}; beta-tcvae: total correlation (minibatch-weighted) times {TC_WEIGHT:g}; "
    f"supervised: the encoder regressed on the factors; scores on all 6144 images, posterior means as codes"
)


def disentanglement_sprites(setting: Setting) -> Outcome:
    """All scores of four kinds of codes: ``METRIC/CODE``, beside them noise and the factors themselves."""
    data = sprites()
    factors = data["factors"].double().numpy()
    makers: dict[str, Callable[[Data, int, Setting], np.ndarray]] = {
        "vae": lambda d, seed, s: vae_codes(d, seed, s, 1.0),
        "beta-vae": lambda d, seed, s: vae_codes(d, seed, s, BETA),
        "beta-tcvae": tcvae_codes,
        "supervised": supervised_codes,
    }
    metrics: dict[str, list[float]] = {}
    seconds = []
    for seed in setting.seeds:
        began = time.perf_counter()
        for name, make in makers.items():
            for key, value in disentanglement(make(data, seed, setting), factors, seed=seed).items():
                metrics.setdefault(f"{key}/{name}", []).append(value)
        seconds.append(time.perf_counter() - began)
    beside = {"noise": random_codes(factors, LATENT), "the factors themselves": factors}
    scores = {name: disentanglement(codes, factors) for name, codes in beside.items()}
    baselines = {f"{key}: {name}": value for name, found in scores.items() for key, value in found.items()}
    headline = [f"{score}/{name}" for score in ("mig", "dci_disentanglement") for name in makers]
    return Outcome(metrics, "all", len(data), seconds, baselines, notes=NOTES, headline=headline)


def vae_codes(data: Data, seed: int, setting: Setting, beta: float) -> np.ndarray:
    """Posterior means of a VAE trained by the library's own loop."""
    run = fit(
        "vae", data, steps=STEPS, batch_size=BATCH, learning_rate=RATE, seed=seed, device=setting.device,
        story_options={**NETWORK, "beta": beta}, progress=False,
    )  # fmt: skip
    return codes_of(run.story, data)


def tcvae_codes(data: Data, seed: int, setting: Setting) -> np.ndarray:
    r"""Posterior means of a VAE whose total correlation is weighed by itself (Chen et al. 2018).

    :math:`-E_q[\log p(x|z)] + KL + (\beta - 1) \widehat{TC}`; the estimate of
    :math:`TC = E_{q(z)}[\log q(z) - \sum_j \log q(z_j)]` weighs the minibatch's posteriors by :math:`1/(NM)`.
    """
    torch.manual_seed(seed)
    device = choose_device(setting.device)
    story = VAE(data.shape("x"), **NETWORK).to(device)
    optimiser = torch.optim.Adam(story.parameters(), RATE)
    for _, batch in zip(range(STEPS), data.to(device).batches(BATCH, seed), strict=False):
        x = batch["x"]
        posterior = story.posterior(story.encoder(x)).base_dist
        z = posterior.rsample()
        prior = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
        kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
        log_x = story.likelihood(story.decoder(z)).log_prob(x)
        loss = (kl - log_x).mean() + (TC_WEIGHT - 1) * minibatch_total_correlation(posterior, z, len(data))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return codes_of(story.eval(), data)


def minibatch_total_correlation(posterior: torch.distributions.Normal, z: Tensor, total: int) -> Tensor:
    """Mean over the batch of log q(z) - sum_j log q(z_j), aggregate posterior from the batch's own components."""
    spread = torch.distributions.Normal(posterior.loc[None], posterior.scale[None])
    densities = spread.log_prob(z[:, None])  # [draw, component, dimension]
    shift = math.log(len(z) * total)
    joint = densities.sum(2).logsumexp(1) - shift
    separate = (densities.logsumexp(1) - shift).sum(1)
    return (joint - separate).mean()


def supervised_codes(data: Data, seed: int, setting: Setting) -> np.ndarray:
    """An encoder of the same kind that was told the factors: one dimension each, and nothing in the others."""
    torch.manual_seed(seed)
    device = choose_device(setting.device)
    targets = data["factors"].float()
    targets = F.pad((targets - targets.mean(0)) / targets.std(0), (0, LATENT - targets.shape[1]))
    told = Data({"x": data["x"], "target": targets}, "told").to(device)
    encoder = ConvolutionalEncoder(data.shape("x"), CHANNELS, HIDDEN, LATENT).to(device)
    optimiser = torch.optim.Adam(encoder.parameters(), RATE)
    for _, batch in zip(range(SUPERVISED_STEPS), told.batches(BATCH, seed), strict=False):
        optimiser.zero_grad(set_to_none=True)
        F.mse_loss(encoder(batch["x"]), batch["target"]).backward()
        optimiser.step()
    return codes_of(encoder.eval(), data)


@torch.no_grad()
def codes_of(network: nn.Module, data: Data) -> np.ndarray:
    """Codes of all data in order, on the CPU in float64: a story's features, an encoder's output."""
    device = next(network.parameters()).device
    encode = network.features if isinstance(network, Represents) else network
    return torch.cat([encode(chunk["x"]) for chunk in data.to(device).chunks(512)]).double().cpu().numpy()
