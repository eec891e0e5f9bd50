"""CelebA: 202599 aligned faces as files, read when their turn comes; the attributes are kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pyro_models.datasets.data import Data
from pyro_models.datasets.images import ImageFiles, pair
from pyro_models.datasets.published import data_root, obtain, read
from pyro_models.datasets.splits import Parts
from pyro_models.datasets.stream import StreamedData
from pyro_models.errors import DataError
from pyro_models.vision import torchvision

#: side of the middle square that is kept of the published 218 x 178 pixels: the face without most of the background
CROP = 148
#: the usual size in the literature
IMAGE_SIZE = 64
#: numbers of the official parts in list_eval_partition.txt
TRAIN, VALIDATION, TEST = 0, 1, 2


def celeba(
    root: str | Path | None = None,
    download: bool = False,
    image_size: int | Sequence[int] = IMAGE_SIZE,
    crop: int = CROP,
    stream: bool = True,
    workers: int = 0,
) -> Parts:
    """CelebA in its official parts.

    ``x [N, 3, 64, 64]``: bytes from the middle square of each picture; ``factors [N, 40]``: the attributes, 0 or 1.
    ``workers``: processes that read ahead; ``stream=False`` reads a part that fits into memory at once.
    """
    base, reader = data_root(root), torchvision().datasets.CelebA
    folder = base / reader.base_folder
    tables = [(f"{reader.base_folder}/{name}", md5) for _, md5, name in reader.file_list if name.endswith(".txt")]
    files = [f"{reader.base_folder}/img_align_celeba", *(file for file, _ in tables)]
    obtain("celeba", base, files, download, lambda: reader(str(base), split="all", download=True))
    found = read("celeba", base, lambda: reader(str(base), split="all", target_type="attr"), tables)
    partition = _partition(folder / "list_eval_partition.txt", found.filename)
    images = ImageFiles([folder / "img_align_celeba" / name for name in found.filename], 3, pair(image_size), crop)
    names = [name for name in found.attr_names if name]
    whole = StreamedData.over(
        images,
        "celeba",
        description=f"faces; factors: {', '.join(names)}",
        fields={"factors": found.attr},
        workers=workers,
    )

    def part(number: int) -> Data:
        chosen = whole.take((partition == number).nonzero()[:, 0])
        return chosen if stream else chosen.in_memory()

    return Parts(train=part(TRAIN), test=part(TEST), validation=part(VALIDATION))


def _partition(path: Path, names: Sequence[str]) -> torch.Tensor:
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if [row[0] for row in rows] != list(names):
        raise DataError(f"{path} lists other images than the attribute table; get both again (--download).")
    return torch.tensor([int(row[1]) for row in rows])
