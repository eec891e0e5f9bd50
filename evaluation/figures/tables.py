"""Codes and clusters as a map and as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evaluation.answers import Answers
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank, plain_axes
from pyro_models.story import Clusters, Represents

#: dots in a map; more hide each other
DOTS = 3000


@figure(
    "latent-map",
    title="Map of the codes",
    caption="Codes of held-out data on their two main axes (PCA).",
    needs=(Represents,),
)
def latent_map(answers: Answers, run: Any) -> Any:
    codes = answers.features[:DOTS].double()
    if codes.shape[1] < 2:
        return None
    centred = codes - codes.mean(0)
    axes_of_variation = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    places = (centred @ axes_of_variation.T).numpy()
    made, axes = blank(6, 5)
    axis = axes[0, 0]
    if "label" in answers.data:
        groups, legend = answers["label"][:DOTS].numpy(), "label"
    elif isinstance(answers.story, Clusters):
        groups, legend = answers.responsibilities[:DOTS].argmax(1).numpy(), "cluster"
    else:
        groups, legend = np.zeros(len(places), int), ""
    for position, group in enumerate(np.unique(groups)):
        inside = groups == group
        name = answers.data.classes[group] if legend == "label" and answers.data.classes else str(group)
        axis.scatter(*places[inside].T, s=5, alpha=0.6, color=COLOURS[position % len(COLOURS)], label=name, lw=0)
    if legend:
        axis.legend(title=legend, markerscale=3, fontsize=7, title_fontsize=8, frameon=False, loc="center left",
                    bbox_to_anchor=(1, 0.5))  # fmt: skip
    plain_axes(axis)
    axis.set(xlabel="first axis", ylabel="second axis")
    return made


@figure(
    "confusion",
    title="Clusters against labels",
    caption="Number of data in each cluster (row) with each label (column); rows ordered so that the agreement lies on "
    "the diagonal.",
    needs=(Clusters,),
    fields=("label",),
)
def confusion(answers: Answers, run: Any) -> Any:
    from scipy.optimize import linear_sum_assignment

    labels, chosen = answers["label"].long(), answers.responsibilities.argmax(1)
    classes, clusters = int(labels.max()) + 1, answers.responsibilities.shape[1]
    table = torch.zeros(clusters, classes, dtype=torch.long)
    table.index_put_((chosen, labels), torch.ones_like(labels), accumulate=True)
    rows, columns = linear_sum_assignment(-table.numpy())
    order = [int(r) for r in rows[np.argsort(columns)]]
    order += [row for row in range(clusters) if row not in order]
    table = table[order]
    made, axes = blank(0.45 * classes + 1.5, 0.38 * clusters + 1)
    axis = axes[0, 0]
    axis.imshow(table.numpy(), cmap="Blues", aspect="auto")
    dark = table.max() / 2
    if classes * clusters <= 900:
        for row in range(clusters):
            for column in range(classes):
                count = int(table[row, column])
                if count:
                    colour = "white" if count > dark else "black"
                    axis.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    names = answers.data.classes or tuple(map(str, range(classes)))
    axis.set_xticks(range(classes), names[:classes], fontsize=7, rotation=90 if max(map(len, names)) > 3 else 0)
    axis.set_yticks(range(clusters), [str(c) for c in order], fontsize=7)
    axis.set(xlabel="label", ylabel="cluster")
    return made
