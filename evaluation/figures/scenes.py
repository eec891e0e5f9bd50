"""Pictures of stories that find objects: the image, what it is explained by, and the boxes in order of attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from evaluation.answers import Answers
from evaluation.figures import figure
from evaluation.figures.canvas import COLOURS, blank, pixels, show, tile
from evaluation.object_metrics import locate
from pyro_models.story import Locates, Reconstructs, ShowsClusters

#: scenes shown, and scenes to a row
SCENES, COLUMNS = 16, 8
#: colours of boxes: white instead of black, which nobody would see
BOXES = (*COLOURS[:-1], "#FFFFFF")
#: scenes that examples of a prototype are looked for in, examples shown, prototypes to a row, side of a picture
SEARCHED, EXAMPLES, PROTOTYPES, SIDE = 500, 6, 10, 28


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
            _box(above, (left, top, right, bottom), BOXES[kind % len(BOXES)], str(slot + 1))
    return made


@figure(
    "object-prototypes",
    title="Prototypes of objects",
    caption="The most used prototypes, with the share of the objects found that they explain; below each the first "
    "objects it explains, cut out of their images.",
    needs=(Locates, ShowsClusters),
    images=True,
)
def object_prototypes(answers: Answers, run: Any) -> Any:
    some = Answers(answers.story, answers.data.take(slice(0, SEARCHED)), answers.seed)
    found = locate(some)
    if found.classes is None:
        return None
    means = answers.story.cluster_means().cpu()
    used = torch.bincount(found.classes[found.present], minlength=len(means))
    shown = used.argsort(descending=True, stable=True)[:PROTOTYPES].tolist()
    made, axes = blank(8, 0.75 * (EXAMPLES + 1), 1, len(shown))
    for axis, k in zip(axes.flat, shown, strict=True):
        places = (found.present & (found.classes == k)).nonzero()[:EXAMPLES].tolist()
        cut = [_cut_out(some.x[scene], found.boxes[scene, slot]) for scene, slot in places]
        blanks = [torch.ones(1, SIDE, SIDE)] * (EXAMPLES - len(cut))
        show(axis, tile(torch.stack([_resized(means[k]), *cut, *blanks]), 1))
        axis.set_title(f"{int(used[k]) / max(1, int(used.sum())):.0%}", fontsize=8, pad=2)
    return made


def _cut_out(image: Tensor, box: Tensor) -> Tensor:
    """What is in a box, with a margin of a pixel, on a square that keeps its proportions."""
    left, top, right, bottom = box.long().tolist()
    part = F.pad(image.cpu(), (1, 1, 1, 1))[:, top : bottom + 2, left : right + 2]
    height, width = part.shape[-2:]
    side = max(height, width)
    over, under = (side - height) // 2, (side - width) // 2
    return _resized(F.pad(part, (under, side - width - under, over, side - height - over)))


def _resized(image: Tensor) -> Tensor:
    return F.interpolate(image.float().unsqueeze(0), (SIDE, SIDE), mode="bilinear", align_corners=False).squeeze(0)


def _box(axis: Any, box: tuple[float, float, float, float], colour: str, name: str) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    corner = (left - 0.5, top - 0.5)  # pixel centres are whole numbers on an image axis
    axis.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.2))
    axis.text(*corner, name, color=colour, fontsize=6, ha="left", va="bottom")
