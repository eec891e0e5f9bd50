"""Several coloured shapes on a canvas, one in front of the other, with their truth: in the manner of Multi-dSprites."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import torch

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data, Splits
from pyro_models.datasets.scenes import INK, Layout, laid_out, paste_onto
from pyro_models.datasets.sprites import SHAPES, draw
from pyro_models.errors import OptionError

#: least saturation and brightness of a shape's colour, and greatest brightness of the background
SATURATION, BRIGHTNESS, BACKGROUND = 0.6, 0.7, 0.3
#: weights of red, green and blue in grey (Rec. 601)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def multi_sprites(
    canvas: int = 64,
    objects: int = 3,
    counts: Sequence[int] | None = None,
    scenes: int = 10_000,
    held_out: int = 1_000,
    sizes: tuple[float, float] = (0.6, 1.0),
    overlap: float = 0.25,
    grey: bool = False,
    seed: int = 0,
) -> Splits:
    """``x [N, 3, canvas, canvas]`` (bytes), ``count [N]``, ``boxes [N, M, 4]``, ``classes [N, M]``, ``segments``.

    As for ``multi-digits``: boxes are around the whole shape, also where another hides it; ``segments`` says whom a
    visible pixel belongs to (0 background); classes are those of ``sprites``, -1 for none. ``depth [N, M]`` is the
    order of painting, 0 the furthest, and ``colours [N, M, 3]`` are those of the shapes.

    Args:
        canvas: side of the scene.
        objects: their number is uniform on 0, ..., objects.
        counts: numbers to choose from instead.
        scenes: for training.
        held_out: scenes of the validation and of the test part.
        sizes: least and greatest scale of a shape; at 1 its sides are 14 pixels long.
        overlap: largest share of the smaller of two boxes that may lie inside the other.
        grey: brightness only, on black: ``x [N, 1, canvas, canvas]``, for stories of grey images.
        seed: of everything.
    """
    numbers = tuple(range(objects + 1)) if counts is None else tuple(counts)
    if not numbers or min(numbers) < 0 or max(numbers) < 1:
        raise OptionError(f"scenes with {numbers} objects; name at least one number above 0 (objects=3, counts=[4]).")
    if not 0 < sizes[0] <= sizes[1] <= 1:
        raise OptionError(f"sizes are {sizes}; give the least and the greatest scale, between 0 and 1.")
    if not 0 <= overlap <= 1:
        raise OptionError(f"overlap is {overlap}; it is a share, from 0 (boxes apart) to 1.")
    layout = Layout(canvas, numbers, (1.0, 1.0), overlap, 0, False)
    parts = {"train": scenes, "validation": held_out, "test": held_out}
    return Splits(
        **{
            name: _compose(count, layout, sizes, grey, np.random.default_rng([seed, place]))
            for place, (name, count) in enumerate(parts.items())
        }
    )


def _compose(count: int, layout: Layout, sizes: tuple[float, float], grey: bool, random: np.random.Generator) -> Data:
    number = random.choice(layout.numbers, count)
    total = int(number.sum())
    kinds = random.integers(len(SHAPES), size=total)
    turns, scales, middle = random.uniform(0, 2 * math.pi, total), random.uniform(*sizes, total), np.full(total, 0.5)
    pictures = draw(np.stack([kinds, scales, turns, middle, middle], 1)).astype(np.float32) / 255
    most, side = max(layout.numbers), layout.canvas
    x = np.zeros((count, 3, side, side), np.uint8)
    segments = np.zeros((count, side, side), np.uint8)
    boxes, classes = np.zeros((count, most, 4), np.float32), np.full((count, most), -1)
    colours = np.zeros((count, most, 3), np.float32)
    for scene, last in enumerate(number.cumsum()):
        chosen = range(last - number[scene], last)
        shapes = [pictures[i] for i in chosen]
        inks, corners = laid_out(shapes, layout, random)
        sheet = np.full((3, side, side), 0.0 if grey else random.uniform(0, BACKGROUND), np.float32)
        for slot, (shape, ink, (left, top)) in enumerate(zip(shapes, inks, corners, strict=True)):
            tone = random.random(), random.uniform(SATURATION, 1), random.uniform(BRIGHTNESS, 1)
            colour = np.array(colorsys.hsv_to_rgb(*tone), np.float32)
            if grey:
                colour = np.full(3, max(BRIGHTNESS, colour @ LUMA), np.float32)
            covered = np.zeros((side, side), np.float32)
            paste_onto(covered, shape, left, top)
            sheet += covered * (colour[:, None, None] - sheet)
            segments[scene][covered > INK] = slot + 1
            boxes[scene, slot] = left + ink[0], top + ink[1], left + ink[2], top + ink[3]
            classes[scene, slot], colours[scene, slot] = kinds[chosen[slot]], colour
        x[scene] = np.round(255 * sheet)
    depth = np.where(classes >= 0, np.arange(most), -1)
    fields = {
        "x": torch.from_numpy(x[:, :1] if grey else x),
        "count": torch.from_numpy(number).long(),
        "boxes": torch.from_numpy(boxes),
        "classes": torch.from_numpy(classes).long(),
        "segments": torch.from_numpy(segments),
        "depth": torch.from_numpy(depth).long(),
        "colours": torch.from_numpy(colours),
    }
    return Data(fields, "multi-sprites", SHAPES, "several coloured shapes that hide parts of each other")


multi_sprites.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="multi-sprites",
    what="up to three coloured shapes that hide parts of each other, with number, boxes, classes, pixels and order",
    size="10000 training scenes, 1000 for validation and test each, 3 x 64 x 64 (or grey), bytes; 3 shapes",
    licence="made by this library; free of rights",
    source="drawn by a formula, in the manner of Multi-dSprites (Kabra et al. 2019)",
)
