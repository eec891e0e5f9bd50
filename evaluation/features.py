"""Feature networks: images ``[N, channel, height, width]`` in [0, 1] to vectors, for FID, KID, precision and the rest.

Four kinds: :func:`pixels`, :func:`inception` (torchvision, weights from a file or an explicit download),
:func:`evaluation.classifier.trained_classifier` (trained by us on the set at hand) and any ``nn.Module`` of yours.
:func:`feature_network` chooses by name, :func:`extract` runs one. Every network has a ``description`` that belongs
beside each number made with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.arrays import Array, as_images, as_numpy, positive
from evaluation.classifier import trained_classifier
from pyro_models.errors import MetricError

#: side of the images that Inception v3 was trained on
INCEPTION_SIDE = 299
#: images of at most this side get the small classifier by default; larger ones are photographs
SMALL_SIDE = 32


class Pixels(nn.Module):
    """The image itself as a vector of channel x height x width numbers."""

    description = "raw pixels"

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def pixels() -> Pixels:
    """Raw pixels as features: no training and no perception; the covariance needs more images than pixels."""
    return Pixels()


class Inception(nn.Module):
    """torchvision's Inception v3: 2048 features after the last average pooling.

    Input in [0, 1], grey repeated to three channels; resized to 299 x 299 by ``torch.nn.functional.interpolate`` with
    mode bilinear, ``align_corners=False``, ``antialias=True`` and no crop; then scaled to [-1, 1].
    """

    def __init__(self, network: nn.Module, origin: str) -> None:
        super().__init__()
        self.network = network
        self.description = f"torchvision Inception v3 ({origin}), bilinear antialiased resize to 299, 2048 features"

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        side = (INCEPTION_SIDE, INCEPTION_SIDE)
        resized = F.interpolate(images.float(), side, mode="bilinear", align_corners=False, antialias=True)
        return self.network(resized.clamp(0, 1) * 2 - 1)


def inception(weights: str | Path | None = None, download: bool = False) -> Inception:
    """Inception v3 without its last layer, trained on ImageNet (Szegedy et al. 2016; weights of torchvision).

    These are not the weights of the 2015 TensorFlow network behind published FID values: report the numbers as they
    are, and compare only with numbers made with this function.

    Args:
        weights: a ``state_dict`` file in torchvision's names, such as ``inception_v3_google-0cc3c7bd.pth``.
        download: fetch that file (104 MB) through ``torch.hub`` into its cache; nothing is fetched without it.
    """
    from pyro_models.vision import torchvision

    models = torchvision().models
    url = models.Inception_V3_Weights.IMAGENET1K_V1.url
    if weights is not None:
        state, origin = _read_weights(Path(weights), url), f"weights {Path(weights).name}"
    elif download:
        state, origin = torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True), "torchvision weights"
    else:
        raise MetricError(
            f"Inception v3 needs its weights: give weights=FILE (from {url}), or download=True to fetch them now; "
            f"without network use the classifier or pixels."
        )
    network = models.inception_v3(weights=None, init_weights=False, aux_logits=True, transform_input=False)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        problem = str(error).splitlines()
        raise MetricError(f"{weights} is not an Inception v3 of torchvision: {' '.join(problem[:2])[:300]}") from error
    network.fc = nn.Identity()
    return Inception(network, origin).eval().requires_grad_(False)


def _read_weights(path: Path, url: str) -> dict[str, Any]:
    if not path.is_file():
        raise MetricError(f"there is no weights file '{path}'; fetch {url} or give download=True.")
    return torch.load(path, map_location="cpu", weights_only=True)


def feature_network(
    choice: str | nn.Module | None,
    images: Array,
    labels: Array | None = None,
    *,
    weights: str | Path | None = None,
    download: bool = False,
    folder: str | Path | None = None,
    seed: int = 0,
) -> nn.Module:
    """The network to use for a set.

    Args:
        choice: ``"classifier"`` (needs labels), ``"inception"``, ``"pixels"``, a module of yours, or None: the
            classifier for labelled images up to 32 pixels, otherwise Inception.
        images, labels: the *training* data, ``[N, C, H, W]`` in [0, 1] and ``[N]``; read by the classifier only.
        weights, download: for Inception.
        folder: cache of trained classifiers.
        seed: of the classifier.
    """
    if isinstance(choice, nn.Module):
        return choice
    if choice is None:
        small = labels is not None and max(as_numpy(images).shape[2:]) <= SMALL_SIDE
        choice = "classifier" if small else "inception"
    if choice == "classifier":
        if labels is None:
            raise MetricError(
                "the classifier is trained on labels, and there are none; choose 'inception' or 'pixels'."
            )
        return trained_classifier(images, labels, folder=folder, seed=seed)
    if choice == "inception":
        return inception(weights, download)
    if choice == "pixels":
        return pixels()
    raise MetricError(f"no feature network is called '{choice}'; there are classifier, inception, pixels, or a module.")


@torch.no_grad()
def extract(network: nn.Module, images: Array, batch_size: int = 256, device: torch.device | str = "cpu") -> np.ndarray:
    """Features ``[N, D]`` in float64 of all images, in evaluation mode and in order.

    Args:
        network: maps ``[B, C, H, W]`` to ``[B, ...]``; further dimensions are flattened.
        images: ``[N, C, H, W]``, floats in [0, 1], or bytes, which are divided by 255.
        batch_size: images per pass; no effect on the values.
        device: where to run.
    """
    pictures = as_images(images)
    training = network.training
    network = network.to(device).eval()
    try:
        chunks = pictures.split(positive(batch_size, "batch_size"))
        parts = [network(part.to(device)).flatten(1).double().cpu() for part in chunks]
    finally:
        network.train(training)
    return torch.cat(parts).numpy()
