"""Metrics of stories that explain clouds and voxels, and of those that explain words."""

from __future__ import annotations

import math

import torch

from evaluation import likelihood
from evaluation.answers import Answers
from evaluation.metric import Score, metric
from evaluation.metrics import BOUND_DATA
from evaluation.shapes import chamfer, overlap
from pyro_models.datasets.text import END, TextData
from pyro_models.story import Reconstructs

#: samples of the guide behind the bound of a document
PARTICLES = 10


@metric(
    "shape",
    needs=(Reconstructs,),
    summary="Chamfer distance of clouds, overlap of voxels",
    citation="@inproceedings{fan2017point, title={A Point Set Generation Network for 3{D} Object Reconstruction from a "
    "Single Image}, author={Fan, Haoqiang and Su, Hao and Guibas, Leonidas}, booktitle={CVPR}, year={2017}}",
)
def shape(answers: Answers) -> dict[str, Score]:
    """How near reconstructions are to the shapes that were to be explained; nothing for other data."""
    whole = answers.explained
    if whole.ndim == 3 and whole.shape[2] == 3 and whole.is_floating_point():
        found = chamfer(whole, answers.reconstructions)
        # One cloud for all: points drawn from everybody's.
        generator = torch.Generator().manual_seed(answers.seed)
        points = whole.flatten(0, 1)
        shared = points[torch.randint(len(points), (whole.shape[1],), generator=generator)]
        same = chamfer(whole, shared.expand_as(whole))
        rule = "mean squared distance to the nearest point of the other cloud, both ways"
        beside = {"one cloud for all": float(same.mean()), "perfect": 0.0}
        return {"chamfer": Score(float(found.mean()), beside, rule, "lower", bounds=(0, math.inf))}
    if whole.ndim == 5 and whole.shape[1] == 1:
        found = overlap(whole, answers.reconstructions)
        mean = overlap(whole, _best_constant(whole).expand_as(whole))
        rule = "intersection over union of full voxels, threshold 1/2"
        beside = {"one grid for all": float(mean.mean()), "perfect": 1.0}
        return {"iou": Score(float(found.mean()), beside, rule, "higher", bounds=(0, 1))}
    return {}


def _best_constant(grids: torch.Tensor) -> torch.Tensor:
    """The mean grid, cut where its overlap with the data is largest: at one half it would often be empty."""
    mean = grids.double().mean(0, keepdim=True)
    cuts = [(mean > cut).double() for cut in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)]
    return max(cuts, key=lambda cut: float(overlap(grids, cut.expand_as(grids)).mean()))


@metric("words", summary="perplexity per word, and what the code costs")
def words(answers: Answers) -> dict[str, Score]:
    """exp of minus the bound per word, beside word frequencies; nothing for data that are not documents."""
    data = answers.data
    if not isinstance(data, TextData):
        return {}
    bag = answers.x.is_floating_point()
    bound, kl = 0.0, 0.0
    for batch in answers.batches(BOUND_DATA, chunk=100):
        rate, distortion = likelihood.rate_distortion(answers.story.model, answers.story.guide, batch, PARTICLES)
        bound += float((rate + distortion).double().sum())
        kl += float(rate.double().sum())
    used = answers.x[:BOUND_DATA]
    count = float(used.sum()) if bag else float(lengths(used).sum())
    if bag:
        # A bag's law is that of its words times the number of their orders, which is the same for every model.
        orders = (used.sum(1) + 1).lgamma() - (used + 1).lgamma().sum(1)
        bound += float(orders.double().sum())
    frequent = answers.train if answers.train is not None else data
    rule = f"minus the bound per word, {PARTICLES} samples of the guide; the first {len(used)} documents"
    beside = {"word frequencies": math.exp(unigram(frequent["x"], used, len(data.words)))}
    size = len(used)
    return {
        "perplexity": Score(math.exp(bound / count), beside, rule, "lower", size, (1, math.inf)),
        "nll": Score(bound / size, {}, "minus the bound per document, nats", "lower", size),
        "kl": Score(kl / size, {"a code that says nothing": 0.0}, "nats per document", "neither", size),
    }


def lengths(ids: torch.Tensor) -> torch.Tensor:
    """Words that a sequence's law draws: those before the end and, unless it is cut off, the end."""
    before = (ids != END).cumprod(1).sum(1)
    return (before + 1).clamp(max=ids.shape[1] - 1)


def unigram(train: torch.Tensor, test: torch.Tensor, size: int) -> float:
    """Nats per word of ``test`` under the word frequencies of ``train`` (one more of each word)."""
    if train.is_floating_point():
        counts, seen = train.sum(0).double(), test.sum(0).double()
    else:
        counts, seen = (_histogram(ids, size) for ids in (train, test))
    logs = ((counts + 1) / (counts + 1).sum()).log()
    return float(-(seen * logs).sum() / seen.sum())


def _histogram(ids: torch.Tensor, size: int) -> torch.Tensor:
    places = torch.arange(ids.shape[1]) < lengths(ids).unsqueeze(1)
    return torch.bincount(ids[places], minlength=size).double()
