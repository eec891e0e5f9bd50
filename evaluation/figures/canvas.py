"""Figures without a window: made from the object interface of matplotlib, so that nothing global is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

#: quiet colours that also tell apart for the colour-blind (Okabe and Ito), then repeated
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F", "#8C564B", "#000000")


def blank(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure and its array of axes ``[rows, columns]``."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", dpi=120)
    return made, made.subplots(rows, columns, squeeze=False)


def plain_axes(axis: Any) -> None:
    """Takes away the box above and to the right."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def pixels(image: Tensor) -> np.ndarray:
    """``[channel, height, width]`` to what ``imshow`` takes, clipped to [0, 1]."""
    clipped = image.detach().cpu().clamp(0, 1)
    return clipped[0].numpy() if clipped.shape[0] == 1 else clipped.permute(1, 2, 0).numpy()


def tile(images: Tensor, columns: int, border: int = 1) -> np.ndarray:
    """``[N, channel, height, width]`` in a grid with a light border, missing places blank."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.ones((channels, rows * (height + border) + border, columns * (width + border) + border), np.float32)
    for position, image in enumerate(images.detach().cpu().clamp(0, 1).numpy()):
        row, column = divmod(position, columns)
        top, left = border + row * (height + border), border + column * (width + border)
        sheet[:, top : top + height, left : left + width] = image
    return sheet[0] if channels == 1 else sheet.transpose(1, 2, 0)


def show(axis: Any, sheet: np.ndarray) -> None:
    """A sheet of pixels, grey from black to white, without axes."""
    axis.imshow(sheet, cmap="gray" if sheet.ndim == 2 else None, vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()


def captions(axes: Any, texts: Sequence[str], size: float = 8) -> None:
    for axis, text in zip(axes.flat, texts, strict=False):
        axis.set_title(text, fontsize=size, pad=2)
