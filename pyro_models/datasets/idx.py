"""MNIST and its relatives: images and labels in IDX files, read by torchvision after a look at their headers.

An IDX file starts with two zero bytes, one byte for the type (8: unsigned bytes) and one for the number of dimensions,
then the dimensions as big-endian 32-bit numbers; the values follow. The header thus tells how long an intact file is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.datasets.published import data_root, obtain, read
from pyro_models.datasets.splits import Parts, select_classes
from pyro_models.errors import DataError
from pyro_models.vision import torchvision

#: third byte of an IDX file of unsigned bytes
UNSIGNED_BYTES = 8
#: first bytes of a gzip file
GZIP = b"\x1f\x8b"
#: side of the images of the whole family
SIDE = 28
DIGITS = tuple("0123456789")
SIMPLIFIED = (2, 6, 9)


def mnist(root: str | Path | None = None, download: bool = False) -> Parts:
    """MNIST: ``x [N, 1, 28, 28]`` bytes, ``label`` 0 to 9."""
    return _load("mnist", "MNIST", ("train", "t10k"), root, download, DIGITS)


def simplified_mnist(root: str | Path | None = None, download: bool = False) -> Parts:
    """The digits 2, 6 and 9 of MNIST as classes 0, 1 and 2; the test part likewise."""
    whole = _load("simplified-mnist", "MNIST", ("train", "t10k"), root, download, DIGITS)
    return whole.each(lambda data: select_classes(data, SIMPLIFIED))


def fashion_mnist(root: str | Path | None = None, download: bool = False) -> Parts:
    """Fashion-MNIST: ``x [N, 1, 28, 28]`` bytes, ``label`` 0 to 9 with the names of the garments as classes."""
    return _load("fashion-mnist", "FashionMNIST", ("train", "t10k"), root, download)


def emnist_letters(root: str | Path | None = None, download: bool = False) -> Parts:
    """EMNIST letters: ``x [N, 1, 28, 28]`` bytes, upright; ``label`` 0 to 25 for a to z."""
    classes = tuple("abcdefghijklmnopqrstuvwxyz")
    prefixes = ("emnist-letters-train", "emnist-letters-test")
    parts = _load("emnist-letters", "EMNIST", prefixes, root, download, classes, first_label=1, split="letters")
    # Published with rows and columns exchanged.
    return parts.each(lambda data: replace(data, fields={**data.fields, "x": data.fields["x"].mT.contiguous()}))


def _load(
    name: str,
    reader_name: str,
    prefixes: tuple[str, str],
    root: str | Path | None,
    download: bool,
    classes: Sequence[str] | None = None,
    first_label: int = 0,
    **options: Any,
) -> Parts:
    base = data_root(root)
    files = [f"{reader_name}/raw/{p}-{kind}-ubyte" for p in prefixes for kind in ("images-idx3", "labels-idx1")]
    reader = getattr(torchvision().datasets, reader_name)
    obtain(name, base, files, download, lambda: reader(str(base), download=True, **options))
    for images, labels in (files[:2], files[2:]):
        _check_pair(base / images, base / labels)
    parts = []
    for train, labels_file in ((True, files[1]), (False, files[3])):
        found = read(name, base, partial(reader, str(base), train=train, **options))
        label = found.targets - first_label
        names = tuple(found.classes) if classes is None else tuple(classes)
        _check_labels(label, first_label, len(names), base / labels_file)
        parts.append(Data({"x": found.data[:, None], "label": label}, name, names))
    return Parts(train=parts[0], test=parts[1])


def _check_pair(images: Path, labels: Path) -> None:
    count, height, width = check_idx(images, 3)
    if (height, width) != (SIDE, SIDE):
        raise DataError(f"{images} holds images of {height} x {width}, not {SIDE} x {SIDE}: it belongs to another set.")
    (labelled,) = check_idx(labels, 1)
    if count != labelled:
        raise DataError(f"{images} holds {count} images, but {labels} {labelled} labels; get both again (--download).")


def _check_labels(label: Tensor, first: int, classes: int, path: Path) -> None:
    if int(label.min()) < 0 or int(label.max()) >= classes:
        raise DataError(
            f"{path} holds labels from {int(label.min()) + first} to {int(label.max()) + first}, not {first} to "
            f"{classes - 1 + first}: it is corrupt or belongs to another set; delete it and get it again (--download)."
        )


def check_idx(path: Path, dimensions: int) -> tuple[int, ...]:
    """The dimensions in the header of an IDX file of bytes; refuses another format and a length that does not fit."""
    with path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
    if header[:2] == GZIP:
        raise DataError(f"{path} is still packed; unpack it (gunzip, after adding the ending .gz).")
    expected = bytes((0, 0, UNSIGNED_BYTES, dimensions))
    if header[:4] != expected:
        raise DataError(
            f"{path} is corrupt: an IDX file of {dimensions} dimensions of bytes starts with {expected.hex(' ')}, "
            f"this one with {header[:4].hex(' ') or 'nothing (it is empty)'}; delete it and get it again (--download)."
        )
    shape = tuple(int.from_bytes(header[4 + 4 * d : 8 + 4 * d], "big") for d in range(dimensions))
    promised, found = 4 + 4 * dimensions + math.prod(shape), path.stat().st_size
    if promised != found or len(header) < 4 + 4 * dimensions:
        word = "truncated" if found < promised else "corrupt"
        raise DataError(
            f"{path} is {word}: its header promises {promised} bytes, the file has {found}; delete it and get it "
            "again (--download)."
        )
    return shape
