"""Several digits on one canvas, with their number, boxes, classes and pixels as truth; made on the spot.

Every part of a set is made from the same part of the digits: scenes for testing show digits that nobody trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_models.datasets.cards import Card
from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import OptionError

#: a pixel is ink above this; boxes and segments are drawn around ink
INK = 0.3
#: tries to place an object before the scene is begun again, and to begin it before giving up
PLACINGS, SCENES = 50, 200
#: side of the patch that a small digit set is enlarged to
ENLARGED = 24
#: clutter: side of the pieces of digits that are strewn in as distractors
PIECE = 7


@dataclass(frozen=True)
class Layout:
    """How scenes are laid out; see :func:`multi_digits`."""

    canvas: int
    numbers: tuple[int, ...]
    scales: tuple[float, float]
    overlap: float
    distractors: int
    legacy: bool


def multi_digits(
    source: str = "digits",
    canvas: int = 64,
    objects: int = 2,
    counts: Sequence[int] | None = None,
    scenes: int = 20_000,
    held_out: int = 2_000,
    scales: tuple[float, float] = (1.0, 1.0),
    overlap: float = 0.0,
    distractors: int = 0,
    legacy: bool = False,
    root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
) -> Splits:
    """``x [N, 1, canvas, canvas]`` (bytes), ``count [N]``, ``boxes [N, M, 4]``, ``classes [N, M]``, ``segments``.

    Boxes are left, top, right, bottom in pixels, zeros where there is no object, classes -1; ``segments [N, canvas,
    canvas]`` says which object a pixel belongs to (0 background). M is the largest number of objects.

    Args:
        source: the digits, any set of grey images with labels: digits, mnist, fashion-mnist, ...
        canvas: side of the scene.
        objects: their number is uniform on 0, ..., objects.
        counts: numbers to choose from instead, ``[3]`` for exactly three.
        scenes: for training.
        held_out: scenes of the validation and of the test part.
        scales: least and largest size of an object relative to its own picture.
        overlap: largest share of the smaller of two ink boxes that may lie inside the other.
        distractors: pieces of digits strewn in that are no objects.
        legacy: as in the thesis that DAIR comes from: the first digit on the diagonal, the second at least 14 pixels
            away in both directions, whole patches inside. Kept for comparison with its numbers.
        root, download: as for the source.
        seed: of the scenes, and of the source's split.
    """
    from pyro_models.datasets.loading import load

    numbers = tuple(range(objects + 1)) if counts is None else tuple(counts)
    if not numbers or min(numbers) < 0 or max(numbers) < 1:
        raise OptionError(f"scenes with {numbers} objects; name at least one number above 0 (objects=2, counts=[3]).")
    if not 0 < scales[0] <= scales[1]:
        raise OptionError(f"scales are {scales}; give the least and the largest, both positive.")
    if not 0 <= overlap <= 1:
        raise OptionError(f"overlap is {overlap}; it is a share, from 0 (boxes apart) to 1.")
    if legacy and max(numbers) > 2:
        raise OptionError("legacy scenes have 2 objects at most.")
    given: dict[str, Any] = {"root": root} if root is not None else {}
    parts = load(source, download=download, seed=seed, **given)
    layout = Layout(canvas, numbers, (scales[0], scales[1]), overlap, distractors, legacy)
    sizes = {"train": scenes, "validation": held_out, "test": held_out}
    made = {
        name: compose(getattr(parts, name), sizes[name], layout, np.random.default_rng([seed, place]))
        for place, name in enumerate(Splits._fields)
    }
    return Splits(**made)


def compose(digits: Data, count: int, layout: Layout, random: np.random.Generator) -> Data:
    """``count`` scenes out of the digits of one part."""
    pictures, labels = _patches(digits), digits["label"].numpy()
    most = max(layout.numbers)
    side = layout.canvas
    x = np.zeros((count, side, side), np.uint8)
    segments = np.zeros((count, side, side), np.uint8)
    boxes, classes = np.zeros((count, most, 4), np.float32), np.full((count, most), -1)
    number = random.choice(layout.numbers, count)
    for scene in range(count):
        chosen = random.integers(len(pictures), size=number[scene])
        sheet, owner, found = _scene([_resized(pictures[i], layout.scales, random) for i in chosen], layout, random)
        for _ in range(layout.distractors):
            _strew(sheet, owner, pictures[random.integers(len(pictures))], random)
        x[scene] = np.round(255 * np.clip(sheet, 0, 1))
        segments[scene] = owner
        boxes[scene, : len(chosen)], classes[scene, : len(chosen)] = found, labels[chosen]
    fields = {
        "x": torch.from_numpy(x)[:, None],
        "count": torch.from_numpy(number).long(),
        "boxes": torch.from_numpy(boxes),
        "classes": torch.from_numpy(classes).long(),
        "segments": torch.from_numpy(segments),
    }
    return Data(fields, f"multi-{digits.name}", digits.classes, f"several {digits.name} on a canvas")


def _patches(digits: Data) -> np.ndarray:
    """``[N, side, side]`` in [0, 1]; pictures smaller than a patch are enlarged."""
    x = digits["x"]
    if x.ndim != 4 or x.shape[1] != 1:
        raise OptionError(f"scenes are made of grey images, but {digits.name} has data of shape {tuple(x.shape[1:])}.")
    if x.shape[-1] < ENLARGED // 2:
        x = torch.nn.functional.interpolate(x, (ENLARGED, ENLARGED), mode="bicubic", align_corners=False).clamp(0, 1)
    return x[:, 0].numpy()


def _resized(picture: np.ndarray, scales: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    if scales == (1.0, 1.0):
        return picture
    side = max(4, round(picture.shape[0] * random.uniform(*scales)))
    tensor = torch.from_numpy(picture)[None, None]
    return torch.nn.functional.interpolate(tensor, (side, side), mode="bilinear", antialias=True)[0, 0].numpy()


def _scene(
    pictures: list[np.ndarray], layout: Layout, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvas, owner of each pixel, and ink boxes of pictures placed at random."""
    inks, corners = laid_out(pictures, layout, random)
    sheet = np.zeros((layout.canvas, layout.canvas), np.float32)
    owner, darkest = np.zeros(sheet.shape, np.uint8), np.full(sheet.shape, INK, np.float32)
    for place, (picture, (left, top)) in enumerate(zip(pictures, corners, strict=True), 1):
        whole = np.zeros_like(sheet)
        paste_onto(whole, picture, left, top)
        sheet += whole
        owner[whole > darkest] = place
        darkest = np.maximum(darkest, whole)
    found = [[x + box[0], y + box[1], x + box[2], y + box[3]] for (x, y), box in zip(corners, inks, strict=True)]
    return sheet, owner, np.array(found, np.float32).reshape(-1, 4)


def laid_out(
    pictures: list[np.ndarray], layout: Layout, random: np.random.Generator
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int]]]:
    """Ink boxes of the pictures, in their own pixels, and upper left corners at which they do not overlap too much."""
    inks = [ink_box(picture) for picture in pictures]
    for _ in range(SCENES):
        corners = corners_of(pictures, inks, layout, random)
        if corners is not None:
            return inks, corners
    raise OptionError(
        f"{len(pictures)} objects do not fit on a canvas of {layout.canvas} pixels with overlap {layout.overlap}; "
        f"enlarge the canvas, allow overlap, or ask for fewer."
    )


def ink_box(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is above :data:`INK` (of the whole picture when nothing is)."""
    ink = picture > INK
    if not ink.any():
        return 0, 0, picture.shape[1], picture.shape[0]
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def corners_of(
    pictures: list[np.ndarray], inks: list[tuple[int, int, int, int]], layout: Layout, random: np.random.Generator
) -> list[tuple[int, int]] | None:
    """Upper left corners of the pictures, each uniform among the places allowed; None when one cannot be placed."""
    if layout.legacy:
        return _legacy_corners(pictures, layout.canvas, random)
    corners: list[tuple[int, int]] = []
    placed: list[tuple[int, int, int, int]] = []
    for left, top, right, bottom in inks:
        for _ in range(PLACINGS):
            x = int(random.integers(-left, layout.canvas - right + 1))
            y = int(random.integers(-top, layout.canvas - bottom + 1))
            box = (x + left, y + top, x + right, y + bottom)
            if all(_shared(box, other) <= layout.overlap for other in placed):
                break
        else:
            return None
        corners.append((x, y))
        placed.append(box)
    return corners


def _legacy_corners(pictures: list[np.ndarray], canvas: int, random: np.random.Generator) -> list[tuple[int, int]]:
    centres: list[tuple[int, int]] = []
    half = pictures[0].shape[0] // 2 if pictures else 0
    while len(centres) < len(pictures):
        x, y = (int(v) for v in random.integers(half, canvas - half + 1, 2))
        if not centres:
            y = x
        if all(abs(x - u) >= half and abs(y - v) >= half for u, v in centres):
            centres.append((x, y))
    return [(x - half, y - half) for x, y in centres]


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Common area as a share of the smaller box."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def paste_onto(sheet: np.ndarray, picture: np.ndarray, left: int, top: int) -> None:
    """Adds the part of a picture that lies on the sheet."""
    side, (height, width) = len(sheet), picture.shape
    rows, columns = slice(max(0, -top), min(height, side - top)), slice(max(0, -left), min(width, side - left))
    sheet[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop] += picture[rows, columns]


def _strew(sheet: np.ndarray, owner: np.ndarray, picture: np.ndarray, random: np.random.Generator) -> None:
    """Adds a small piece of a picture where no object is."""
    left, top, right, bottom = ink_box(picture)
    x = int(random.integers(left, max(left, right - PIECE) + 1))
    y = int(random.integers(top, max(top, bottom - PIECE) + 1))
    piece = picture[y : y + PIECE, x : x + PIECE]
    for _ in range(PLACINGS):
        u, v = random.integers(0, len(sheet) - PIECE + 1, 2)
        if not owner[v : v + PIECE, u : u + PIECE].any():
            paste_onto(sheet, piece, int(u), int(v))
            return


multi_digits.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="multi-digits",
    what="zero to two digits on a canvas, with number, boxes, classes and pixels of each as truth",
    size="20000 training scenes, 2000 for validation and test each, 1 x 64 x 64, bytes; made from any set of digits",
    licence="that of the digits used",
    source="made on the spot, in the manner of the multi-digit images of AIR (Eslami et al. 2016)",
    files="none for source=digits; those of mnist for source=mnist",
)
