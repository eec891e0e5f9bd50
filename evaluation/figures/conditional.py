"""Pictures of conditional stories: completions, conditional draws beside data, rate and distortion, latents in use."""

from __future__ import annotations

from typing import Any

import torch

from evaluation.answers import Answers
from evaluation.conditional import information_point, latent_rates
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank, plain_axes, show, tile
from pyro_models.conditional.cvae import CVAE
from pyro_models.story import Conditions

#: rows of a scatter plot, and of an average
DOTS, ROWS = 1500, 2000
#: images in a sheet, completions of each
IMAGES, COMPLETIONS = 12, 4
#: columns that a pair plot can hold
COLUMNS = 6


@figure(
    "completions",
    title="Completions",
    caption="Top to bottom: the image, what was given of it (hidden pixels grey), and four completions.",
    needs=(Conditions,),
    images=True,
)
def completions(answers: Answers, run: Any) -> Any:
    x, _, given = next(iter(answers.batches(IMAGES)))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(answers.seed)
        drawn = answers.story.impute(x, given, COMPLETIONS)
    rows = [x, torch.where(given, x, torch.full_like(x, 0.5)), *drawn]
    sheet = tile(torch.cat([row.cpu() for row in rows]), len(x))
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    return made


@figure(
    "conditional-pairs",
    title="Conditional draws",
    caption="Held-out data (grey), one draw per row with the first column given (blue): the same cloud if all is well.",
    needs=(Conditions,),
)
def conditional_pairs(answers: Answers, run: Any) -> Any:
    x = answers.x[:DOTS]
    if x.dim() != 2 or not x.shape[1] >= 2 or "mask" in answers.data:
        return None
    given = torch.zeros_like(x, dtype=torch.bool)
    given[:, 0] = True
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(answers.seed)
        drawn = answers.story.impute(x.to(answers.device), given.to(answers.device))[0].cpu()
    others = range(1, min(COLUMNS, x.shape[1]))
    made, axes = blank(2.6 * len(others), 2.6, 1, len(others))
    for axis, column in zip(axes[0], others, strict=True):
        axis.scatter(x[:, 0], x[:, column], s=3, color="#BBBBBB", linewidths=0, label="data")
        axis.scatter(drawn[:, 0], drawn[:, column], s=3, color=COLOURS[0], linewidths=0, label="drawn")
        axis.set(xlabel="column 0 (given)", ylabel=f"column {column}")
        plain_axes(axis)
    axes[0, 0].legend(markerscale=3, fontsize=7, frameon=False)
    return made


def _chain(answers: Answers) -> list[tuple[int, torch.Tensor]]:
    """Nested masks: nothing, the last column, the last two, ...; at most eight of them."""
    d = answers.x.shape[1]
    counts = sorted({round(k) for k in torch.linspace(0, d, min(8, d) + 1).tolist()})
    return [(k, torch.arange(d) >= d - k) for k in counts]


@figure(
    "information-plane",
    title="Information plane",
    caption="Nats through the code and squared error of single decoded draws, for nested conditions (number given).",
    needs=(Conditions,),
)
def information_plane(answers: Answers, run: Any) -> Any:
    if not isinstance(answers.story, CVAE) or not answers.story.columns.all_real or "mask" in answers.data:
        return None
    x = answers.x[:ROWS].to(answers.device)
    made, axes = blank(4.5, 3.5)
    axis = axes[0, 0]
    for k, given in _chain(answers):
        with torch.random.fork_rng():
            torch.manual_seed(answers.seed)
            point = information_point(answers.story, x, given.to(answers.device), answers.story.beta)
        axis.plot(point.distortion, point.rate, "o", color=COLOURS[0])
        axis.annotate(str(k), (point.distortion, point.rate), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.set(xlabel="distortion", ylabel="rate (nats)")
    plain_axes(axis)
    return made


@figure(
    "latent-ranking",
    title="Latents in use",
    caption="Nats per latent along principal axes, the largest first, for nested conditions (number given).",
    needs=(Conditions,),
)
def latent_ranking(answers: Answers, run: Any) -> Any:
    story = answers.story
    if not isinstance(story, CVAE) or story.components > 1 or "mask" in answers.data:
        return None
    x = answers.x[:ROWS].to(answers.device)
    made, axes = blank(4.5, 3.5)
    axis = axes[0, 0]
    for place, (k, given) in enumerate(_chain(answers)):
        rates = latent_rates(story, x, given.to(answers.device)).cpu()
        axis.plot(range(1, len(rates) + 1), rates, "o-", ms=3, color=COLOURS[place % len(COLOURS)], label=f"{k} given")
    axis.set(xlabel="latent", ylabel="nats")
    axis.legend(fontsize=7, frameon=False)
    plain_axes(axis)
    return made
