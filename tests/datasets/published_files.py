"""Tiny sets in the published file formats, written here byte by byte so that the real readers run on them."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np

#: the 40 attribute names matter to nobody here; their number does
ATTRIBUTES = [f"Attribute_{number}" for number in range(40)]


def write_idx(path: Path, values: np.ndarray) -> None:
    """IDX of unsigned bytes: magic, big-endian dimensions, values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_mnist_like(
    root: Path, folder: str = "MNIST", prefixes=("train", "t10k"), classes: int = 10, first: int = 0, sizes=(40, 20)
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two parts of random images, labels going round; returns what was written."""
    random = np.random.default_rng(0)
    written = []
    for prefix, size in zip(prefixes, sizes, strict=True):
        images = random.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = np.arange(size) % classes + first
        write_idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
        written.append((images, labels))
    return written


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(root: Path, monkeypatch) -> tuple[np.ndarray, list[int]]:
    """Five batches of 8 and a test batch of 10, with torchvision's checksums replaced by those of these files."""
    from pyro_models.vision import torchvision

    reader = torchvision().datasets.CIFAR10
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    pixels, labels = [], []
    for name, size in [*((f"data_batch_{n}", 8) for n in range(1, 6)), ("test_batch", 10)]:
        rows = random.integers(0, 256, (size, 3072), dtype=np.uint8)
        numbers = [int(n) for n in np.arange(size) % 10]
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": numbers, "batch_label": name}, protocol=2))
        if name != "test_batch":
            pixels.append(rows)
            labels += numbers
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names, "num_vis": 3072}, protocol=2))
    monkeypatch.setattr(
        reader, "train_list", [[f"data_batch_{n}", md5(folder / f"data_batch_{n}")] for n in range(1, 6)]
    )
    monkeypatch.setattr(reader, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5(folder / "batches.meta")})
    return np.concatenate(pixels), labels


def write_svhn(root: Path, monkeypatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MATLAB files with X [32, 32, 3, N] and y [N, 1], zero written as 10."""
    from scipy.io import savemat

    from pyro_models.vision import torchvision

    reader = torchvision().datasets.SVHN
    random = np.random.default_rng(2)
    root.mkdir(parents=True, exist_ok=True)
    written, listed = {}, dict(reader.split_list)
    for part, size in (("train", 30), ("test", 12)):
        x = random.integers(0, 256, (32, 32, 3, size), dtype=np.uint8)
        y = (np.arange(size) % 10 + 1).astype(np.uint8)[:, None]
        path = root / f"{part}_32x32.mat"
        savemat(path, {"X": x, "y": y})
        listed[part] = [reader.split_list[part][0], path.name, md5(path)]
        written[part] = (x, y)
    monkeypatch.setattr(reader, "split_list", listed)
    return written


def write_celeba(root: Path, monkeypatch, size: int = 12) -> np.ndarray:
    """The layout of CelebA: the aligned images and five tables; returns the attributes, -1 or 1.

    Image ``n`` has the red value ``10 n`` everywhere, and a green border that the middle square of 148 leaves out.
    """
    from PIL import Image

    from pyro_models.vision import torchvision

    reader = torchvision().datasets.CelebA
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    attributes = np.where(np.random.default_rng(3).random((size, 40)) < 0.5, -1, 1)
    names = [f"{n + 1:06d}.jpg" for n in range(size)]
    for n, name in enumerate(names):
        pixels = np.zeros((218, 178, 3), dtype=np.uint8)
        pixels[..., 0] = 10 * n
        pixels[:30, :, 1] = pixels[-30:, :, 1] = 255
        Image.fromarray(pixels).save(folder / "img_align_celeba" / name, quality=100, subsampling=0)

    def table(file: str, header: str | None, rows: list[str]) -> None:
        lines = [] if header is None else [str(size), header]
        (folder / file).write_text("\n".join([*lines, *(f"{a} {b}" for a, b in zip(names, rows, strict=True))]) + "\n")

    # As published: numbers are padded to columns, and the line of names ends in a space.
    table("list_attr_celeba.txt", " ".join(ATTRIBUTES) + " ", [" ".join(f"{v:2d}" for v in row) for row in attributes])
    table("identity_CelebA.txt", None, [str(100 + n) for n in range(size)])
    table("list_bbox_celeba.txt", "image_id x_1 y_1 width height", ["95 71 226 313"] * size)
    table("list_landmarks_align_celeba.txt", "a b c d e f g h i j", ["69 109 106 113 77 142 73 152 108 154"] * size)
    table("list_eval_partition.txt", None, [str(0 if n % 4 < 2 else n % 4 - 1) for n in range(size)])
    listed = [
        (file_id, md5(folder / name) if name.endswith(".txt") else checksum, name)
        for file_id, checksum, name in reader.file_list
    ]
    monkeypatch.setattr(reader, "file_list", listed)
    return attributes
