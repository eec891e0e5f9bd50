"""How training went."""

from __future__ import annotations

from typing import Any

from evaluation.answers import Answers
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank, plain_axes


@figure(
    "learning-curve",
    title="Training",
    caption="The training loss (mean between readings, with the story's annealing) and minus the ELBO on the "
    "validation split (full bound), nats per datum.",
)
def learning_curve(answers: Answers, run: Any) -> Any:
    if run is None or not run.rows:
        return None
    made, axes = blank(7, 3)
    axis = axes[0, 0]
    axis.plot(
        [r["step"] for r in run.rows], [r["loss"] for r in run.rows], color=COLOURS[0], lw=1, label="training loss"
    )
    held_out = [r for r in run.rows if "validation" in r]
    if held_out:
        axis.plot(
            [r["step"] for r in held_out],
            [r["validation"] for r in held_out],
            color=COLOURS[1],
            marker="o",
            ms=3,
            label="validation",
        )
    # The first readings are off the scale of all that follows.
    later = sorted(r["loss"] for r in run.rows[len(run.rows) // 20 :])
    spread = later[-1] - later[0]
    if spread > 0:
        lowest = min([later[0]] + [r["validation"] for r in held_out])
        highest = max([later[-1]] + [r["validation"] for r in held_out[1:]])
        axis.set_ylim(lowest - 0.05 * spread, highest + 0.05 * spread)
    axis.set(xlabel="step", ylabel="nats per datum")
    axis.legend(frameon=False, fontsize=8)
    plain_axes(axis)
    return made
