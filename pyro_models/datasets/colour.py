"""Small colour photographs: CIFAR-10 and SVHN, through torchvision's readers, kept as bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pyro_models.datasets.data import Data
from pyro_models.datasets.published import data_root, obtain, read
from pyro_models.datasets.splits import Parts
from pyro_models.errors import DataError
from pyro_models.vision import torchvision

#: shape of one picture in both sets
SHAPE = (3, 32, 32)


def cifar10(root: str | Path | None = None, download: bool = False) -> Parts:
    """CIFAR-10: ``x [N, 3, 32, 32]`` bytes, ``label`` 0 to 9.

    The files are pickles, which can run code when opened; torchvision opens them only when their checksums are the
    published ones.
    """
    base, reader = data_root(root), torchvision().datasets.CIFAR10
    listed = [(entry[0], entry[1]) for entry in (*reader.train_list, *reader.test_list)]
    listed.append((reader.meta["filename"], reader.meta["md5"]))
    checksums = [(f"{reader.base_folder}/{file}", md5) for file, md5 in listed]
    obtain("cifar10", base, [file for file, _ in checksums], download, lambda: reader(str(base), download=True))

    def part(train: bool) -> Data:
        found = read("cifar10", base, lambda: reader(str(base), train=train), checksums)
        return _data("cifar10", found.data.transpose(0, 3, 1, 2), found.targets, tuple(found.classes))

    return Parts(train=part(True), test=part(False))


def svhn(root: str | Path | None = None, download: bool = False) -> Parts:
    """SVHN, cropped digits: ``x [N, 3, 32, 32]`` bytes, ``label`` 0 to 9 (the published 10 for zero is 0 here)."""
    base, reader = data_root(root), torchvision().datasets.SVHN
    checksums = [(reader.split_list[part][1], reader.split_list[part][2]) for part in ("train", "test")]

    def fetch() -> None:
        for part in ("train", "test"):
            reader(str(base), split=part, download=True)

    obtain("svhn", base, [file for file, _ in checksums], download, fetch)

    def part(split: str) -> Data:
        found = read("svhn", base, lambda: reader(str(base), split=split), checksums)
        return _data("svhn", found.data, found.labels, tuple("0123456789"))

    return Parts(train=part("train"), test=part("test"))


def _data(name: str, pixels: Any, labels: Any, classes: tuple[str, ...]) -> Data:
    if pixels.shape[1:] != SHAPE:
        raise DataError(f"the images of {name} have the shape {pixels.shape[1:]}, not {SHAPE}; get the files again.")
    x = torch.from_numpy(pixels).contiguous()
    return Data({"x": x, "label": torch.as_tensor(labels, dtype=torch.long)}, name, classes)
