"""Pictures of image stories: reconstructions, samples, clusters."""

from __future__ import annotations

from typing import Any

import torch

from evaluation.answers import Answers
from evaluation.figures import figure
from evaluation.figures.canvas import blank, captions, pixels, show, tile
from pyro_models.story import Clusters, Generates, Reconstructs, ShowsClusters

COLUMNS = 16


@figure(
    "reconstructions",
    title="Reconstructions",
    caption="Held-out data in the upper row of each pair, their reconstruction below.",
    needs=(Reconstructs,),
    images=True,
)
def reconstructions(answers: Answers, run: Any) -> Any:
    count = min(2 * COLUMNS, len(answers))
    shown = [answers.x[:count], answers.reconstructions[:count]]
    rows = [part[start : start + COLUMNS] for start in range(0, count, COLUMNS) for part in shown]
    sheet = tile(torch.cat([_padded(row) for row in rows]), COLUMNS)
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    return made


def _padded(row: torch.Tensor) -> torch.Tensor:
    """A row filled up with white so that the next one starts below it."""
    if len(row) == COLUMNS:
        return row
    return torch.cat([row, torch.ones(COLUMNS - len(row), *row.shape[1:])])


@figure(
    "samples", title="Samples", caption="Expectations of the model under fresh causes.", needs=(Generates,), images=True
)
def samples(answers: Answers, run: Any) -> Any:
    sheet = tile(answers.generated(4 * COLUMNS), COLUMNS)
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    return made


@figure(
    "cluster-means",
    title="What each cluster looks like",
    caption="Above each picture: the cluster's share of the data and, where there are labels, its most frequent one.",
    needs=(Clusters, ShowsClusters),
    images=True,
)
def cluster_means(answers: Answers, run: Any) -> Any:
    with torch.no_grad():
        means = answers.story.cluster_means().cpu()
    columns = min(10, len(means))
    rows = -(-len(means) // columns)
    made, axes = blank(8, 1.05 * rows * 8 / columns + 0.1, rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, mean in zip(axes.flat, means, strict=False):
        show(axis, pixels(mean))
    captions(axes, cluster_names(answers))
    return made


@figure(
    "cluster-members",
    title="Members of each cluster",
    caption="A row per cluster: the data it is most sure of.",
    needs=(Clusters,),
    images=True,
)
def cluster_members(answers: Answers, run: Any) -> Any:
    responsibilities = answers.responsibilities
    chosen = responsibilities.argmax(1)
    rows, names = [], []
    for cluster, name in enumerate(cluster_names(answers)):
        members = (chosen == cluster).nonzero().flatten()
        if len(members):
            surest = members[responsibilities[members, cluster].argsort(descending=True)[:COLUMNS]]
            rows.append(_padded(answers.x[surest]))
            names.append(name)
    sheet = tile(torch.cat(rows), COLUMNS)
    made, axes = blank(8.6, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    height = sheet.shape[0] / len(rows)
    for row, name in enumerate(names):
        axes[0, 0].text(-2, (row + 0.5) * height, name, ha="right", va="center", fontsize=8)
    return made


def cluster_names(answers: Answers) -> list[str]:
    """``13 % '7'``: share of the data, most frequent label."""
    chosen = answers.responsibilities.argmax(1)
    names = []
    for cluster in range(answers.responsibilities.shape[1]):
        members = chosen == cluster
        name = f"{100 * members.float().mean():.0f} %"
        if "label" in answers.data and members.any():
            label = int(answers["label"][members].mode().values)
            classes = answers.data.classes
            name += f" '{classes[label] if classes else label}'"
        names.append(name)
    return names
