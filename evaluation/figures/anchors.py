"""Codes around anchors: where they lie, how their dimensions hang together, what each anchor stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evaluation.answers import Answers
from evaluation.correlations import latent_correlations
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank, plain_axes, show, tile
from evaluation.figures.images import cluster_names
from pyro_models.story import Anchored, Clusters, Represents

#: dots in a map; more hide each other
DOTS = 3000
#: pictures per anchor, steps of a path, and paths drawn
SAMPLES, STEPS, PATHS = 12, 11, 8
#: anchors that get a row of pictures
ROWS = 20


@figure(
    "anchor-map",
    title="Codes and their anchors",
    caption="Codes of held-out data on their two main axes, coloured by label (left, where there are labels) and by "
    "anchor (right); hexagons are the anchors, open ones were chosen by no datum.",
    needs=(Anchored, Clusters, Represents),
)
def anchor_map(answers: Answers, run: Any) -> Any:
    codes = answers.features[:DOTS].double()
    anchors = answers.story.anchor_codes().detach().cpu().double()
    if codes.shape[1] < 2 or len(anchors) < 2:
        return None
    centre = codes.mean(0)
    axes_of_variation = torch.linalg.svd(codes - centre, full_matrices=False).Vh[:2].T
    places, hexagons = ((codes - centre) @ axes_of_variation).numpy(), ((anchors - centre) @ axes_of_variation).numpy()
    chosen = answers.responsibilities[:DOTS].argmax(1).numpy()
    colourings = [("anchor", chosen)]
    if "label" in answers.data:
        colourings.insert(0, ("label", answers["label"][:DOTS].numpy()))
    made, axes = blank(5.2 * len(colourings), 4.8, 1, len(colourings))
    used = np.isin(np.arange(len(anchors)), chosen)
    for axis, (name, groups) in zip(axes.flat, colourings, strict=True):
        colours = np.array(COLOURS)[np.unique(groups, return_inverse=True)[1] % len(COLOURS)]
        axis.scatter(*places.T, s=4, alpha=0.5, c=colours, lw=0)
        axis.scatter(*hexagons[used].T, marker="h", s=70, c="black")
        axis.scatter(*hexagons[~used].T, marker="h", s=70, facecolors="none", edgecolors="black")
        plain_axes(axis)
        axis.set(title=f"by {name}", xlabel="first axis", ylabel="second axis")
    return made


@figure(
    "latent-correlations",
    title="Correlations of the code's dimensions",
    caption="Between the active dimensions (variance of the posterior mean above 0.01) over held-out data.",
    needs=(Represents,),
)
def correlation_matrix(answers: Answers, run: Any) -> Any:
    found = latent_correlations(answers.features.flatten(1).numpy())
    if found.active < 2:
        return None
    made, axes = blank(5, 4.4)
    drawn = axes[0, 0].imshow(found.matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    made.colorbar(drawn, ax=axes[0, 0])
    axes[0, 0].set_title(f"{found.active} active, mean absolute correlation {found.mean_absolute:.3f}", fontsize=9)
    return made


@figure(
    "anchor-usage",
    title="How much each anchor is used",
    caption="Share of held-out data that choose an anchor (bars) and weight of the anchor in the prior (dots), largest "
    "first; the line is a fair share.",
    needs=(Anchored, Clusters),
)
def anchor_usage(answers: Answers, run: Any) -> Any:
    responsibilities = answers.responsibilities
    count = responsibilities.shape[1]
    if count < 2:
        return None
    share = torch.bincount(responsibilities.argmax(1), minlength=count) / len(responsibilities)
    order = share.argsort(descending=True)
    weights = answers.story.anchor_weights().detach().cpu()
    made, axes = blank(min(9, 2.5 + 0.3 * count), 3)
    axis = axes[0, 0]
    axis.bar(range(count), share[order].numpy(), color=COLOURS[0])
    axis.plot(range(count), weights[order].numpy(), "o", color=COLOURS[1], ms=4)
    axis.axhline(1 / count, color="0.5", lw=0.8)
    axis.set(xlabel="anchor", ylabel="share")
    plain_axes(axis)
    return made


@figure(
    "anchor-samples",
    title="Samples around each anchor",
    caption="A row per anchor: the anchor itself, then decoded draws around it.",
    needs=(Anchored, Clusters),
    images=True,
)
def anchor_samples(answers: Answers, run: Any) -> Any:
    story = answers.story
    rows = min(ROWS, len(story.anchor_codes()))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(answers.seed)
        codes = torch.cat([story.anchor_codes().unsqueeze(1), story.around_anchors(SAMPLES)], 1)[:rows]
        pictures = story.decode(codes.flatten(0, 1)).cpu()
    sheet = tile(pictures, SAMPLES + 1)
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    height = sheet.shape[0] / rows
    for row, name in enumerate(cluster_names(answers)[:rows]):
        axes[0, 0].text(-2, (row + 0.5) * height, name, ha="right", va="center", fontsize=8)
    return made


@figure(
    "anchor-paths",
    title="From anchor to anchor",
    caption="Decoded codes on straight lines between neighbouring anchors.",
    needs=(Anchored,),
    images=True,
)
def anchor_paths(answers: Answers, run: Any) -> Any:
    story = answers.story
    with torch.no_grad():
        anchors = story.anchor_codes()
        if len(anchors) < 2:
            return None
        apart = torch.cdist(anchors, anchors).fill_diagonal_(torch.inf)
        ends = apart.argmin(1)[:PATHS]
        along = torch.linspace(0, 1, STEPS, device=anchors.device)[:, None]
        codes = [torch.lerp(anchors[start], anchors[int(end)], along) for start, end in enumerate(ends)]
        pictures = story.decode(torch.cat(codes)).cpu()
    sheet = tile(pictures, STEPS)
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    return made
