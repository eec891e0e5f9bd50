"""A small convolutional classifier of the set at hand, trained once and kept on disk.

For small grey images Inception's features are far from home; the last hidden layer of a network that knows the set's
own classes is the usual stand-in. Its accuracy on held-out data says whether it can be trusted and is part of its
description.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.arrays import Array, as_images, as_labels, as_numpy
from pyro_models.errors import MetricError

#: changes whenever the architecture or the training does, so that no stale file is read
VERSION = 2
#: large, for few steps; falls to a twentieth on the way
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class ClassifierSettings:
    """How the classifier is made; each combination is cached apart.

    ``features``: width of the layer used as features (a Frechet distance needs more images than that); ``steps`` of
    Adam on batches of ``batch_size``: more raise the accuracy until it levels off; ``held_out``: share of the data that
    only measures the accuracy.
    """

    features: int = 64
    steps: int = 600
    batch_size: int = 128
    held_out: float = 0.1


class Classifier(nn.Module):
    """Two convolutions that halve the sides, a hidden one; ``forward``: features ``[B, D]``, ``logits``: ``[B, C]``."""

    def __init__(self, shape: tuple[int, int, int], classes: int, features: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 4:
            raise MetricError(f"images of {height} x {width} pixels are too small for the classifier; use pixels().")
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * -(-height // 4) * -(-width // 4), features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)
        self.accuracy = float("nan")
        self.description = "untrained classifier"

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)

    def logits(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities ``[N, C]``, for the Inception score."""
        return torch.cat([self.logits(part).softmax(1) for part in images.split(512)])


def default_folder() -> Path:
    """Where classifiers are kept: ``$PYRO_MODELS_CACHE``, or ``pyro-models/classifiers`` in the user's cache folder."""
    if os.environ.get("PYRO_MODELS_CACHE"):
        return Path(os.environ["PYRO_MODELS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro-models" / "classifiers"


def trained_classifier(
    images: Array,
    labels: Array,
    *,
    settings: ClassifierSettings = ClassifierSettings(),
    folder: str | Path | None = None,
    seed: int = 0,
) -> Classifier:
    """The classifier of a set, read from the cache or trained now, with its held-out ``accuracy``.

    Args:
        images: ``[N, C, H, W]`` in [0, 1] (or bytes), the training split.
        labels: ``[N]``, two classes or more.
        settings: width, steps, batch size, held-out share.
        folder: cache; :func:`default_folder` by default. The file's name is a hash of data, settings and seed.
        seed: of the initial weights, the order of the data and the held-out choice; the caller's random state is
            untouched.
    """
    pictures = as_images(images)
    names, targets = np.unique(as_labels(labels, "labels"), return_inverse=True)
    if len(targets) != len(pictures):
        raise MetricError(f"there are {len(pictures)} images and {len(targets)} labels; give one label per image.")
    if len(names) < 2:
        raise MetricError("all images are of one class; a classifier needs two or more. Use pixels() or inception().")
    held = round(len(pictures) * settings.held_out)
    if not 1 <= held < len(pictures):
        raise MetricError(
            f"a held-out share of {settings.held_out} leaves {held} of {len(pictures)} images to measure the accuracy "
            f"on; choose a share that leaves some on both sides."
        )
    shape = (pictures.shape[1], pictures.shape[2], pictures.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(shape, len(names), settings.features)
    path = Path(folder or default_folder()) / f"{_key(as_numpy(images), targets, settings, seed)}.pt"
    if path.is_file():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(saved["state"])
        network.accuracy = saved["accuracy"]
    else:
        network.accuracy = _train(network, pictures, torch.from_numpy(targets).long(), held, settings, seed)
        _save({"state": network.state_dict(), "accuracy": network.accuracy}, path)
    network.description = (
        f"convolutional classifier of {len(names)} classes trained on {len(pictures) - held} data of the set, held-out "
        f"accuracy {network.accuracy:.4f} on {held}, {settings.features} features"
    )
    return network.eval().requires_grad_(False)


def _train(
    network: Classifier, images: Tensor, targets: Tensor, held: int, settings: ClassifierSettings, seed: int
) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(len(images))
        test, train = order[:held], order[held:]
        optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, settings.steps)
        size = min(settings.batch_size, len(train))
        queue = train[:0]
        for _ in range(settings.steps):
            if len(queue) < size:
                queue = train[torch.randperm(len(train))]
            batch, queue = queue[:size], queue[size:]
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(network.logits(images[batch]), targets[batch]).backward()
            optimiser.step()
            schedule.step()
    return float((network.probabilities(images[test]).argmax(1) == targets[test]).double().mean())


def _key(images: np.ndarray, targets: np.ndarray, settings: ClassifierSettings, seed: int) -> str:
    digest = hashlib.sha256(f"{VERSION} {asdict(settings)} {seed} {images.shape} {images.dtype}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(targets).data)
    return digest.hexdigest()[:24]


def _save(content: dict[str, object], path: Path) -> None:
    """Written beside and renamed, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        torch.save(content, file)
    Path(file.name).replace(path)
