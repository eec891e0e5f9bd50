"""Pictures: reading files of any common format, resizing, and the dataset behind ``folder:`` and ``celeba``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.functional import interpolate

from pyro_models.datasets.data import Data
from pyro_models.errors import DataError, OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

#: endings of the files that are read as images
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
#: Pillow's modes with one grey value and no colour
GREY_MODES = ("1", "L", "LA")
#: modes with 8 bits a channel; deeper ones would be clipped silently
EIGHT_BIT_MODES = (*GREY_MODES, "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
#: images resized at a time: bounds the single-precision copy
RESIZE_CHUNK = 2048


class ImageFiles:
    """Image files as bytes ``{"x": [channels, height, width]}``.

    ``crop`` cuts the middle square of this side first; ``size`` resizes to ``(height, width)``.
    """

    def __init__(
        self, paths: Sequence[Path], channels: int = 3, size: tuple[int, int] | None = None, crop: int | None = None
    ) -> None:
        self.paths, self.channels, self.size, self.crop = paths, channels, size, crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:
        image = open_image(self.paths[index])
        try:
            image = image.convert("L" if self.channels == 1 else "RGB")
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on a body that is cut short
            raise unreadable(self.paths[index], error) from error
        if self.crop is not None:
            left, top = (image.width - self.crop) // 2, (image.height - self.crop) // 2
            image = image.crop((left, top, left + self.crop, top + self.crop))
        if self.size is not None and (image.height, image.width) != self.size:
            from PIL.Image import Resampling

            image = image.resize((self.size[1], self.size[0]), Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
        return {"x": pixels[None] if self.channels == 1 else pixels.permute(2, 0, 1).contiguous()}


def open_image(path: Path) -> Image:
    """The image with its header read; the pixels follow when they are asked for."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise unreadable(path, error) from error
    if image.mode not in EIGHT_BIT_MODES:
        image.close()
        raise DataError(
            f"{path} has pixels of the kind '{image.mode}', not 8 bits a channel; convert it, or put the arrays into "
            "an .npz file."
        )
    return image


def unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as an image ({error}); remove the file or replace it by an intact copy.")


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """``(height, width)`` from a side or a pair."""
    numbers = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise OptionError(
            f"image_size={size!r} is neither a side nor (height, width) in pixels, such as 32 or (32, 48)."
        )
    return numbers[0], numbers[1]


def resize(
    images: Shaped[Tensor, "batch channel height width"], size: int | Sequence[int]
) -> Shaped[Tensor, "batch channel new_height new_width"]:
    """Images at another size, bilinear with the blur that shrinking needs; bytes stay bytes."""
    parts = []
    for part in images.split(RESIZE_CHUNK):
        resized = interpolate(part.float(), pair(size), mode="bilinear", antialias=True, align_corners=False)
        parts.append(resized.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else resized)
    return torch.cat(parts)


def resize_data(data: Data, size: int | Sequence[int]) -> Data:
    """The same data with the images ``x`` at another size."""
    target = pair(size)
    shape = data.shape("x")
    if shape[1:] == target and len(shape) == 3:
        return data
    if len(shape) != 3 or "x" not in data.fields:
        why = (
            "is streamed"
            if "x" not in data.fields
            else f"has data of shape {shape}, not images (channel, height, width)"
        )
        raise OptionError(f"image_size cannot be used: {data.name} {why}; leave it out, or resize in the dataset.")
    if "mask" in data.fields and data.fields["mask"].shape[-2:] == data.fields["x"].shape[-2:]:
        raise OptionError(f"image_size cannot be used: {data.name} has a mask per pixel; resize both before.")
    return replace(data, fields={**data.fields, "x": resize(data.fields["x"], target)})
