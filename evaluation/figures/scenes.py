"""Pictures of stories that find objects: the image, what it is explained by, and the boxes in order of attention."""

from __future__ import annotations

from typing import Any

from evaluation.answers import Answers
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank, pixels, show
from evaluation.object_metrics import locate
from pyro_models.story import Locates, Reconstructs

#: scenes shown, and scenes to a row
SCENES, COLUMNS = 16, 8


@figure(
    "scenes",
    title="Objects found",
    caption="Images with the boxes found, numbered in the order of attention and coloured by class where the story has "
    "classes (else by order); below each its reconstruction.",
    needs=(Locates, Reconstructs),
    images=True,
)
def scenes(answers: Answers, run: Any) -> Any:
    some = Answers(answers.story, answers.data.take(slice(0, SCENES)), answers.seed)
    found = locate(some)
    rows = -(-len(some) // COLUMNS)
    made, axes = blank(10, 2.55 * rows, 2 * rows, COLUMNS)
    for axis in axes.flat:
        axis.set_axis_off()
    for place in range(len(some)):
        row, column = divmod(place, COLUMNS)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        show(above, pixels(some.x[place]))
        show(below, pixels(some.reconstructions[place]))
        for slot in found.present[place].nonzero().flatten().tolist():
            left, top, right, bottom = found.boxes[place, slot].tolist()
            kind = slot if found.classes is None else int(found.classes[place, slot])
            _box(above, (left, top, right, bottom), COLOURS[kind % len(COLOURS)], str(slot + 1))
    return made


def _box(axis: Any, box: tuple[float, float, float, float], colour: str, name: str) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    corner = (left - 0.5, top - 0.5)  # pixel centres are whole numbers on an image axis
    axis.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.2))
    axis.text(*corner, name, color=colour, fontsize=6, ha="left", va="bottom")
