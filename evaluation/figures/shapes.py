"""Pictures of clouds and voxels in space, and of the words of anchors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evaluation.answers import Answers
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank
from evaluation.figures.images import cluster_names
from pyro_models.datasets.text import TextData, in_words
from pyro_models.story import Clusters, Completes, Reconstructs, ShowsClusters

#: shapes in a row, completions of each, and words listed per anchor
COLUMNS, DRAWS, WORDS = 8, 3, 8


def _is_shape(answers: Answers) -> bool:
    x = answers.x
    cloud = x.ndim == 3 and x.shape[2] == 3 and x.is_floating_point()
    return cloud or (x.ndim == 5 and "frames" not in answers.data)


@figure(
    "shapes",
    title="Shapes",
    caption="Held-out shapes in the upper row of each pair, their reconstruction below.",
    needs=(Reconstructs,),
)
def shapes(answers: Answers, run: Any) -> Any:
    if not _is_shape(answers):
        return None
    count = min(COLUMNS, len(answers))
    rows = [answers.explained[:count], answers.reconstructions[:count]]
    if "target" in answers.story.fields:
        rows.insert(0, answers.x[:count])
    return draw_shapes(rows)


@figure(
    "anchor-shapes",
    title="The shape at each anchor",
    caption="Above each: the anchor's share of the data and, where there are labels, its most frequent one.",
    needs=(Clusters, ShowsClusters),
)
def anchor_shapes(answers: Answers, run: Any) -> Any:
    if not _is_shape(answers):
        return None
    with torch.no_grad():
        means = answers.story.cluster_means().cpu()
    names = cluster_names(answers)
    rows = list(means.split(COLUMNS))
    return draw_shapes(rows, [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)])


@figure(
    "shape-completions",
    title="Completions",
    caption="What is seen of held-out shapes, the whole, and below it completions drawn from the posterior.",
    needs=(Completes,),
    fields=("target",),
)
def shape_completions(answers: Answers, run: Any) -> Any:
    if not _is_shape(answers):
        return None
    count = min(COLUMNS, len(answers))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(answers.seed)
        drawn = answers.story.complete(answers.x[:count].to(answers.device), DRAWS).cpu()
    return draw_shapes([answers.x[:count], answers.explained[:count], *drawn])


def draw_shapes(rows: list[Tensor], names: list[list[str]] | None = None) -> Any:
    """Rows of clouds ``[n, P, 3]`` or of grids ``[n, channels, side, side, side]`` (their first channel), in space."""
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    made = Figure(figsize=(1.2 * columns, 1.3 * len(rows)), dpi=100)
    for place, row in enumerate(rows):
        for column, one in enumerate(row):
            axis = made.add_subplot(len(rows), columns, place * columns + column + 1, projection="3d")
            points = one if one.ndim == 2 else _full_voxels(one[0])
            colour = points[:, 2].numpy()
            size = 3 if one.ndim == 2 else 12
            marker = "o" if one.ndim == 2 else "s"
            axis.scatter(*points.T.numpy(), c=colour, s=size, marker=marker, cmap="viridis", vmin=-0.8, vmax=0.8, lw=0)
            axis.set(xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), zlim=(-0.8, 0.8), box_aspect=(1, 1, 1))
            axis.view_init(elev=25, azim=-60)
            axis.set_axis_off()
            if names is not None:
                axis.set_title(names[place][column], fontsize=7, pad=0)
    made.subplots_adjust(0, 0, 1, 0.96, 0, 0.02)
    return made


def _full_voxels(grid: Tensor) -> Tensor:
    """Middles of the voxels above one half that have an empty neighbour, in [-1, 1]."""
    full = (grid > 0.5).float()[None, None]
    inner = -torch.nn.functional.max_pool3d(-full, 3, 1, 1)
    shell = (full - torch.nn.functional.pad(inner, (0,) * 6))[0, 0] > 0.5
    sides = torch.tensor(grid.shape)
    return (shell.nonzero() + 0.5) * 2 / sides - 1


@figure(
    "top-words",
    title="Words of each anchor",
    caption="The words whose expected share at the anchor exceeds their share in all documents most; of sequences the "
    "likeliest text.",
    needs=(Clusters, ShowsClusters),
)
def top_words(answers: Answers, run: Any) -> Any:
    data = answers.data
    if not isinstance(data, TextData):
        return None
    lines = anchor_words(answers)
    names = cluster_names(answers)
    made, axes = blank(9, 0.28 * len(lines) + 0.2)
    axis = axes[0, 0]
    axis.set_axis_off()
    for row, (name, line) in enumerate(zip(names, lines, strict=True)):
        height = 1 - (row + 0.5) / len(lines)
        axis.text(0.0, height, name, fontsize=8, va="center", color=COLOURS[row % len(COLOURS)])
        axis.text(0.22, height, line, fontsize=8, va="center")
    return made


def anchor_words(answers: Answers) -> list[str]:
    """A line of words for every anchor."""
    words = answers.data.words  # type: ignore[attr-defined]  # documents have words
    with torch.no_grad():
        means = answers.story.cluster_means().cpu()
    if not means.is_floating_point():
        return in_words(means, words)
    share = means / means.sum(1, keepdim=True)
    usual = answers.x.sum(0) / answers.x.sum()
    # share times log-ratio: words that are both frequent here and rarer elsewhere
    telling = share * (share.clamp(min=1e-9) / usual.clamp(min=1e-9)).log()
    return [", ".join(words[k] for k in row) for row in telling.topk(min(WORDS, share.shape[1]), 1).indices.tolist()]
