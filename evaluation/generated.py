"""The registered metric ``generation``: are a story's samples like the data, and as varied?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from evaluation.answers import Answers
from evaluation.classifier import Classifier
from evaluation.features import SMALL_SIDE, Inception, Pixels, extract, feature_network, pixels
from evaluation.frechet import frechet_distance, frechet_infinity, kernel_distance
from evaluation.generation import density_coverage, inception_score, precision_recall
from evaluation.metric import Score, metric
from pyro_models.errors import MetricError
from pyro_models.story import Generates

#: real and generated data compared; tables of distances grow with its square
GENERATED_DATA = 2000
#: fewer data fill no covariance
LEAST_DATA = 200
#: rows of a subset of the kernel distance
KERNEL_ROWS = 500
RANGES = {
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "coverage": (0.0, 1.0),
    "density": (0.0, np.inf),
    "inception_score": (1.0, np.inf),
}

#: what ends the names of distances, by the network that the features are from
KINDS = {"classifier": Classifier, "inception": Inception, "pixels": Pixels}

Scores = dict[str, float]


@metric(
    "generation",
    needs=(Generates,),
    images=True,
    least=LEAST_DATA,
    summary="FID, KID, precision, recall, density, coverage",
    citation="""@inproceedings{heusel2017gans,
  title={{GANs} Trained by a Two Time-Scale Update Rule Converge to a Local {Nash} Equilibrium},
  author={Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and Hochreiter, Sepp},
  booktitle={Advances in Neural Information Processing Systems},
  year={2017}
}""",
)
def generation(answers: Answers) -> dict[str, Score]:
    """Distances between features of real and generated images, with the real-against-real floor beside each.

    Features: of the network asked for (``evaluate(..., features=...)``), else of a small classifier trained on the
    training split, when its images are labelled and small, otherwise raw pixels. ``frechet_...`` and ``kernel_...`` are
    FID and KID with these features: compare them among themselves only.
    """
    network = answers.network or _network(answers)
    kind = next((word for word, made in KINDS.items() if isinstance(network, made)), "features")
    return generation_scores(answers, network, kind)


def generation_scores(answers: Answers, network: nn.Module, kind: str) -> dict[str, Score]:
    """The scores of ``generation`` with any feature network; ``kind`` ends the names of the distances.

    Args:
        answers: of a story that generates images.
        network: images ``[B, C, H, W]`` in [0, 1] to features (``evaluation.features``); its ``description``, if it has
            one, goes into the rule beside every number.
        kind: a short word for the network: ``inception`` makes ``frechet_inception``, which is FID.
    """
    real, other = _two_real_sets(answers)
    made = answers.generated(len(real)).clamp(0, 1)
    if not bool(torch.isfinite(made).all()):
        raise MetricError("the story generates NaN or infinity; find out which cause it comes from before measuring.")
    sets = {"made": made, "real": other, "pixels dealt at random": _shuffled_pixels(real, answers.seed)}
    target = extract(network, real)
    found = {name: _compare(target, network, images) for name, images in sets.items()}
    described = getattr(network, "description", type(network).__name__)
    rule = f"{len(real)} real and as many generated images (clipped to [0, 1]); {described}"
    scores = {}
    for key, value in found["made"].items():
        beside = {"other real data": found["real"][key]} if key in found["real"] else {}
        beside |= {"pixels dealt at random": found["pixels dealt at random"][key]}
        distance = key.startswith(("frechet", "kernel"))
        name = f"{key}_{kind}" if distance else key
        least = 0.0 if key == "frechet" else -np.inf
        bounds = (least, np.inf) if distance else RANGES[key]
        scores[name] = Score(value, beside, rule, "lower" if distance else "higher", len(real), bounds)
    return scores


def _two_real_sets(answers: Answers) -> tuple[torch.Tensor, torch.Tensor]:
    """Real images to compare with, and as many others that a perfect generator might have made.

    The others come from the training split; without one the data at hand are halved.
    """
    random = np.random.default_rng(answers.seed)
    x = answers.x
    if answers.train is not None and len(answers.train) >= LEAST_DATA and answers.train is not answers.data:
        count = min(GENERATED_DATA, len(x), len(answers.train))
        chosen = torch.from_numpy(np.sort(random.choice(len(answers.train), count, replace=False)))
        return x[:count], answers.train.take(chosen)["x"].cpu()
    order = torch.from_numpy(random.permutation(len(x)))
    count = min(GENERATED_DATA, len(x) // 2)
    return x[order[:count]], x[order[count : 2 * count]]


def _network(answers: Answers) -> Any:
    data = answers.data if answers.train is None else answers.train
    small = max(data.shape("x")[1:]) <= SMALL_SIDE and min(data.shape("x")[1:]) >= 4
    if "label" in data and small and len(data["label"].unique()) > 1:
        return feature_network("classifier", data["x"].cpu(), data["label"].cpu())
    return pixels()


def _compare(target: np.ndarray, network: Any, images: torch.Tensor) -> Scores:
    features = extract(network, images)
    found: Scores = {}
    for name, distance in (("frechet", frechet_distance), ("frechet_infinity", frechet_infinity)):
        value = _if_enough(distance, target, features)
        if value is not None:
            found[name] = value
    found["kernel"] = float(kernel_distance(target, features, subsets=20, subset_size=KERNEL_ROWS))
    found |= precision_recall(target, features) | density_coverage(target, features)
    if isinstance(network, Classifier):
        found["inception_score"] = float(inception_score(network.probabilities(images.float())))
    return found


def _if_enough(distance: Callable[..., Any], target: np.ndarray, features: np.ndarray) -> float | None:
    """None where there are fewer images than the covariance (or the line) needs."""
    if len(features) <= 2 * features.shape[1] + 2:
        return None
    return float(distance(target, features))


def _shuffled_pixels(images: torch.Tensor, seed: int) -> torch.Tensor:
    """Every pixel has the right values and nothing to do with the others: what independent pixels would make."""
    flat = images.flatten(1).numpy()
    return torch.from_numpy(np.random.default_rng(seed).permuted(flat, axis=0)).reshape(images.shape)
