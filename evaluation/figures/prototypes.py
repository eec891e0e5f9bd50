"""Pictures of stories that explain data by prototypes."""

from __future__ import annotations

from typing import Any

import torch

from evaluation.answers import Answers
from evaluation.clustering import cluster_to_class
from evaluation.figures import figure
from evaluation.figures.canvas import blank, captions, pixels, show, tile
from pyro_models.story import Clusters, Reconstructs, ShowsClusters, Traverses

COLUMNS = 16
#: rows of a traversal picture, and steps in each
CAUSES, STEPS = 12, 11


@figure(
    "explanations",
    title="Explanations",
    caption="Held-out data, below them the prototype of their cluster, and below that the prototype as it was moved to "
    "explain them.",
    needs=(Clusters, ShowsClusters, Reconstructs),
    images=True,
)
def explanations(answers: Answers, run: Any) -> Any:
    count = min(COLUMNS, len(answers))
    with torch.no_grad():
        means = answers.story.cluster_means().cpu()
    prototypes = means[answers.responsibilities[:count].argmax(1)]
    rows = [answers.x[:count], prototypes, answers.reconstructions[:count]]
    sheet = tile(torch.cat(rows), count)
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    return made


@figure(
    "traversals",
    title="What the causes do",
    caption="A row per parameter, from -2 to 2 standard deviations of its prior, the others at rest; the first ones if "
    "there are many.",
    needs=(Traverses,),
    images=True,
)
def traversals(answers: Answers, run: Any) -> Any:
    names, pictures = answers.story.traversals(STEPS)
    names, pictures = names[:CAUSES], pictures[:CAUSES].cpu()
    sheet = tile(pictures.flatten(0, 1), STEPS)
    made, axes = blank(7, 5.6 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    height = sheet.shape[0] / len(names)
    for row, name in enumerate(names):
        axes[0, 0].text(-2, (row + 0.5) * height, name, ha="right", va="center", fontsize=7)
    return made


@figure(
    "surest-errors",
    title="Surest errors",
    caption="Data whose cluster is another class's (clusters named by their commonest label), the most confident "
    "first; label > name of the cluster.",
    needs=(Clusters,),
    fields=("label",),
    images=True,
)
def surest_errors(answers: Answers, run: Any) -> Any:
    labels, responsibilities = answers["label"].long(), answers.responsibilities
    sure, chosen = responsibilities.max(1)
    names = cluster_to_class(labels, chosen, rule="majority")
    named = torch.tensor([names[int(cluster)] for cluster in chosen])
    wrong = (named != labels).nonzero().flatten()
    if not len(wrong):
        return None
    shown = wrong[sure[wrong].argsort(descending=True, stable=True)][: 2 * COLUMNS]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    made, axes = blank(8, 1.3 * rows * 8 / COLUMNS + 0.1, rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, index in zip(axes.flat, shown, strict=False):
        show(axis, pixels(answers.x[index]))
    classes, count = answers.data.classes, int(max(labels.max(), named.max())) + 1
    called = [classes[label][:4] if classes else str(label) for label in range(count)]
    captions(axes, [f"{called[labels[i]]} > {called[named[i]]}" for i in shown], size=6)
    return made
