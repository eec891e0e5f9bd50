"""A folder of images as a dataset: ``folder:PATH``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from pyro_models.datasets.data import Data
from pyro_models.datasets.images import ENDINGS, GREY_MODES, ImageFiles, open_image, pair
from pyro_models.datasets.splits import Parts
from pyro_models.datasets.stream import MEMORY_LIMIT, StreamedData
from pyro_models.errors import DataError, OptionError

#: names of subfolders that are official parts, not classes
VALIDATION_NAMES = ("validation", "valid", "val")


def folder(
    path: str | Path,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
    stream: bool | None = None,
    workers: int = 0,
) -> Parts:
    """Images as bytes ``x [N, channels, height, width]``, with ``label`` where they lie in folders, one per class.

    ``PATH/train`` and ``PATH/test`` (and ``PATH/validation``) are kept as official parts. Images of mixed sizes are
    refused unless ``image_size`` resizes them. ``channels``: 1 (grey) or 3 (colour); by default 1 when all images are
    grey. ``stream``: read from disk batch by batch (by default above 2 GiB); ``workers``: processes that then read
    ahead.
    """
    base = Path(path).expanduser()
    if not base.is_dir():
        raise DataError(f"there is no folder {base} (looked in {Path.cwd()}); give the folder that holds the images.")
    if channels not in (None, 1, 3):
        raise OptionError(f"channels={channels} is not possible; choose 1 (grey) or 3 (colour).")
    size = None if image_size is None else pair(image_size)
    if not (base / "train").is_dir():
        return Parts(_read(base, size, channels, stream, workers))
    validation = next((base / name for name in VALIDATION_NAMES if (base / name).is_dir()), None)
    found = [base / "train", *(part for part in (base / "test", validation) if part is not None and part.is_dir())]
    if channels is None:  # one answer for all parts
        paths = [file for part in found for file in _images(part)]
        channels = 1 if all(open_image(file).mode in GREY_MODES for file in paths) else 3
    parts = {part.name: _read(part, size, channels, stream, workers, name=base.name) for part in found}
    shapes = {name: part.shape() for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"the parts of {base} have images of different shapes: {shapes}; resize them: image_size=32.")
    train = parts["train"]
    for name, part in parts.items():
        if part.classes != train.classes:
            raise DataError(
                f"{base / name} has the class folders {', '.join(part.classes) or 'none'}, but {base / 'train'} has "
                f"{', '.join(train.classes) or 'none'}; give every part the same ones."
            )
    return Parts(train, parts.get("test"), None if validation is None else parts[validation.name])


def _read(
    base: Path, size: tuple[int, int] | None, channels: int | None, stream: bool | None, workers: int, name: str = ""
) -> Data:
    paths = _images(base)
    if not paths:
        raise DataError(
            f"{base} holds no images; put them there, or into one folder per class (known endings: "
            f"{', '.join(ENDINGS)})."
        )
    classes = _classes(base, paths)
    sizes, grey = _survey(paths)
    if size is None and len(sizes) > 1:
        common = ", ".join(f"{h} x {w} ({count})" for (h, w), count in sizes.most_common(3))
        odd = sizes.most_common()[-1][0]
        raise DataError(
            f"the images in {base} have {len(sizes)} sizes (height x width): "
            f"{common}{', ...' if len(sizes) > 3 else ''}; for example {_first_of_size(paths, odd)} is {odd[0]} x "
            f"{odd[1]}; resize them all: image_size=32."
        )
    images = ImageFiles(paths, channels or (1 if grey else 3), size)
    fields = {}
    if classes:
        fields["label"] = torch.tensor([classes.index(path.relative_to(base).parts[0]) for path in paths])
    data = StreamedData.over(images, name or base.name, classes, fields=fields, workers=workers)
    large = len(data) * data.bytes_per_datum() > MEMORY_LIMIT
    return data if (large if stream is None else stream) else data.in_memory()


def _images(base: Path) -> list[Path]:
    """The images in and below a folder, hidden ones left out, in the order of their names."""
    return sorted(
        path
        for path in base.rglob("*")
        if path.suffix.lower() in ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(base).parts)
    )


def _classes(base: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    tops = [path.relative_to(base).parts for path in paths]
    loose = [path for path, parts in zip(paths, tops, strict=True) if len(parts) == 1]
    if loose and len(loose) < len(paths):
        raise DataError(
            f"{base} holds images beside class folders ({loose[0].name}, for one); move them into a folder, or give a "
            "folder without subfolders."
        )
    return () if loose else tuple(sorted({parts[0] for parts in tops}))


def _survey(paths: Sequence[Path]) -> tuple[Counter[tuple[int, int]], bool]:
    """How many images there are of each size, and whether all are grey; reads headers only."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for path in paths:
        with open_image(path) as image:
            sizes[image.height, image.width] += 1
            grey = grey and image.mode in GREY_MODES
    return sizes, grey


def _first_of_size(paths: Sequence[Path], size: tuple[int, int]) -> Path:
    for path in paths:
        with open_image(path) as image:
            if (image.height, image.width) == size:
                return path
    raise AssertionError(f"no image of the size {size}")  # the sizes were counted on the same files
