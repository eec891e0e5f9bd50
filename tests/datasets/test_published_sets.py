"""The readers of the published sets on tiny files in their formats, and on the real MNIST where it is at hand."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import write_celeba, write_cifar10, write_idx, write_mnist_like, write_svhn

from pyro_models.datasets import StreamedData, load
from pyro_models.datasets.published import ROOT_VARIABLE
from pyro_models.errors import DataError

IMAGES = "MNIST/raw/train-images-idx3-ubyte"
LABELS = "MNIST/raw/train-labels-idx1-ubyte"


def whole_training_part(splits):
    """Train and validation together, in no order."""
    return torch.cat([splits.train.fields["x"], splits.validation.fields["x"]])


def rows(values) -> set[bytes]:
    return {np.ascontiguousarray(row).tobytes() for row in np.asarray(values)}


def test_mnist(tmp_path):
    (images, labels), (test_images, test_labels) = write_mnist_like(tmp_path)
    splits = load("mnist", root=tmp_path)
    assert [len(part) for part in splits] == [36, 4, 20]
    assert splits.train.fields["x"].dtype == torch.uint8
    assert splits.train.shape() == (1, 28, 28)
    assert rows(whole_training_part(splits)[:, 0]) == rows(images)
    assert np.array_equal(splits.test.fields["x"][:, 0], test_images)  # the official order
    assert splits.test["label"].tolist() == test_labels.tolist()
    for image, label in zip(splits.train.fields["x"], splits.train["label"], strict=True):
        where = next(i for i in range(40) if np.array_equal(images[i], image[0]))
        assert labels[where] == label
    assert splits.train.classes == tuple("0123456789")
    assert splits.train.description == "handwritten digits"
    assert float(splits.test["x"].max()) <= 1.0


def test_the_root_may_come_from_the_environment(tmp_path, monkeypatch):
    write_mnist_like(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    assert len(load("mnist").test) == 20


def test_simplified_mnist(tmp_path):
    (images, labels), (_, test_labels) = write_mnist_like(tmp_path)
    splits = load("simplified-mnist", root=tmp_path, validation=2)
    assert [len(part) for part in splits] == [10, 2, 6]
    assert splits.train.classes == ("2", "6", "9")
    assert rows(whole_training_part(splits)[:, 0]) == rows(images[np.isin(labels, (2, 6, 9))])
    assert splits.test["label"].tolist() == [{2: 0, 6: 1, 9: 2}[n] for n in test_labels if n in (2, 6, 9)]
    assert splits.train.name == "simplified-mnist"
    assert load("simplified-mnist", root=tmp_path, classes=[9], validation=1).test.classes == ("9",)


def test_fashion_mnist(tmp_path):
    write_mnist_like(tmp_path, "FashionMNIST")
    splits = load("fashion-mnist", root=tmp_path, classes=["Sneaker", "bag"])
    assert splits.train.classes == ("Sneaker", "Bag")
    assert len(splits.test) == 4


def test_emnist_letters_are_upright_and_start_at_zero(tmp_path):
    prefixes = ("emnist-letters-train", "emnist-letters-test")
    _, (images, labels) = write_mnist_like(tmp_path, "EMNIST", prefixes, classes=26, first=1, sizes=(60, 52))
    splits = load("emnist-letters", root=tmp_path)
    assert np.array_equal(splits.test.fields["x"][:, 0], images.transpose(0, 2, 1))
    assert splits.test["label"].tolist() == (labels - 1).tolist()
    assert splits.train.classes[0] + splits.train.classes[25] == "az"


def test_cifar10(tmp_path, monkeypatch):
    pixels, labels = write_cifar10(tmp_path, monkeypatch)
    splits = load("cifar10", root=tmp_path)
    assert [len(part) for part in splits] == [36, 4, 10]
    assert splits.train.shape() == (3, 32, 32)
    assert rows(whole_training_part(splits)) == rows(pixels.reshape(-1, 3, 32, 32))
    assert splits.train.classes[3] == "cat"
    assert sorted(torch.cat([splits.train["label"], splits.validation["label"]]).tolist()) == sorted(labels)


def test_a_damaged_cifar_batch_is_named_and_not_opened(tmp_path, monkeypatch):
    write_cifar10(tmp_path, monkeypatch)
    file = tmp_path / "cifar-10-batches-py/data_batch_3"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"damaged or incomplete .*data_batch_3; delete the file and get it again"):
        load("cifar10", root=tmp_path)


def test_svhn(tmp_path, monkeypatch):
    written = write_svhn(tmp_path, monkeypatch)
    splits = load("svhn", root=tmp_path)
    x, y = written["test"]
    assert np.array_equal(splits.test.fields["x"], x.transpose(3, 2, 0, 1))
    assert splits.test["label"].tolist() == [int(n) % 10 for n in y[:, 0]]
    assert [len(part) for part in splits] == [27, 3, 12]


def test_a_damaged_svhn_file_is_named(tmp_path, monkeypatch):
    write_svhn(tmp_path, monkeypatch)
    (tmp_path / "test_32x32.mat").write_bytes(b"MATLAB")
    with pytest.raises(DataError, match=r"damaged or incomplete .*test_32x32.mat"):
        load("svhn", root=tmp_path)


@pytest.mark.parametrize("stream", [True, False])
def test_celeba(tmp_path, monkeypatch, stream):
    attributes = write_celeba(tmp_path, monkeypatch)
    splits = load("celeba", root=tmp_path, image_size=16, stream=stream)
    assert isinstance(splits.train, StreamedData) is stream
    assert [len(part) for part in splits] == [6, 3, 3]
    assert splits.train.shape() == (3, 16, 16)
    for part, numbers in zip(splits, ([0, 1, 4, 5, 8, 9], [2, 6, 10], [3, 7, 11]), strict=True):
        assert np.array_equal(part["factors"], (attributes[numbers] + 1) // 2)
        batch = next(part.chunks(10))
        red = (batch["x"][:, 0].mean((1, 2)) * 255 / 10).round().int().tolist()
        assert red == numbers
        assert float(batch["x"][:, 1].max()) < 0.05  # the border was cut off
    assert "Attribute_0, Attribute_1" in splits.train.description
    assert load("celeba", root=tmp_path).train.shape() == (3, 64, 64)
    with pytest.raises(DataError, match="celeba has no field 'label'"):
        splits.train["label"]
    with pytest.raises(DataError, match="celeba is unlabelled"):
        load("celeba", root=tmp_path, classes=["Attribute_0"])


def test_a_missing_face_is_named(tmp_path, monkeypatch):
    write_celeba(tmp_path, monkeypatch)
    train = load("celeba", root=tmp_path).train
    (tmp_path / "celeba/img_align_celeba/000006.jpg").unlink()
    with pytest.raises(DataError, match=r"000006.jpg cannot be read as an image"):
        list(train.chunks(10))


def test_a_damaged_celeba_table_is_named(tmp_path, monkeypatch):
    write_celeba(tmp_path, monkeypatch)
    (tmp_path / "celeba/list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(DataError, match=r"damaged or incomplete .*list_eval_partition.txt"):
        load("celeba", root=tmp_path)


NAMES = ["mnist", "simplified-mnist", "fashion-mnist", "emnist-letters", "cifar10", "svhn", "celeba"]


@pytest.mark.parametrize("name", NAMES)
def test_data_not_found(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load(name, root=tmp_path)
    message = str(caught.value)
    assert f"{name} was not found: looked in {tmp_path} for " in message
    assert "--download (download=True)" in message
    assert "--data-root" in message
    assert ROOT_VARIABLE in message
    assert "Meanwhile digits" in message


def test_files_that_are_still_packed(tmp_path):
    write_mnist_like(tmp_path)
    (tmp_path / IMAGES).rename(tmp_path / "plain")
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    with pytest.raises(DataError, match=f"still packed: unpack {IMAGES}.gz"):
        load("mnist", root=tmp_path)
    (tmp_path / f"{IMAGES}.gz").rename(tmp_path / IMAGES)
    with pytest.raises(DataError, match=f"{IMAGES} is still packed"):
        load("mnist", root=tmp_path)


def test_downloading_is_explicit_and_its_failure_clear(tmp_path, monkeypatch):
    from urllib.error import URLError

    from pyro_models.vision import torchvision

    reader, asked = torchvision().datasets.MNIST, []

    def offline(self):
        asked.append(self.root)
        raise URLError("no route to host")

    monkeypatch.setattr(reader, "download", offline)
    with pytest.raises(DataError, match="was not found"):
        load("mnist", root=tmp_path)
    assert asked == []
    with pytest.raises(DataError, match=r"mnist could not be downloaded into .*no route to host.*; try again, or get"):
        load("mnist", root=tmp_path, download=True)
    assert asked == [str(tmp_path)]
    monkeypatch.setattr(reader, "download", lambda self: write_mnist_like(Path(self.root)) and None)
    assert len(load("mnist", root=tmp_path, download=True).test) == 20


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be downloaded"):
        load("mnist", root=tmp_path / "file", download=True)


def test_a_truncated_idx_file_is_named(tmp_path):
    write_mnist_like(tmp_path)
    path = tmp_path / IMAGES
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=f"{IMAGES} is truncated: its header promises 31376 bytes, the file has 1000"):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "nothing"), (b"<htm", "3c 68 74 6d"), (bytes([0, 0, 13, 1]), "0d")]
)
def test_a_file_in_another_format_is_named(tmp_path, content, word):
    write_mnist_like(tmp_path)
    (tmp_path / LABELS).write_bytes(content + bytes(20 if content else 0))
    with pytest.raises(DataError, match=f"{LABELS} is corrupt: .* starts with 00 00 08 01, this one with .*{word}"):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize("length", [6, 47])
def test_a_header_or_body_cut_short(tmp_path, length):
    write_mnist_like(tmp_path)
    path = tmp_path / LABELS
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=f"{LABELS} is truncated"):
        load("mnist", root=tmp_path)


def test_a_file_that_is_too_long(tmp_path):
    write_mnist_like(tmp_path)
    path = tmp_path / IMAGES
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataError, match=f"{IMAGES} is corrupt: its header promises"):
        load("mnist", root=tmp_path)


def test_images_of_the_wrong_size(tmp_path):
    write_mnist_like(tmp_path)
    write_idx(tmp_path / IMAGES, np.zeros((40, 20, 24)))
    with pytest.raises(DataError, match=f"{IMAGES} holds images of 20 x 24, not 28 x 28"):
        load("mnist", root=tmp_path)


def test_images_and_labels_that_do_not_belong_together(tmp_path):
    write_mnist_like(tmp_path)
    write_idx(tmp_path / LABELS, np.zeros(39))
    with pytest.raises(DataError, match=r"holds 40 images, but .* 39 labels"):
        load("mnist", root=tmp_path)


def test_labels_outside_the_classes(tmp_path):
    write_mnist_like(tmp_path)
    write_idx(tmp_path / LABELS, np.arange(40))
    with pytest.raises(DataError, match=f"{LABELS} holds labels from 0 to 39, not 0 to 9"):
        load("mnist", root=tmp_path)


REAL = Path(os.environ.get(ROOT_VARIABLE, "unset"))
needs_real = pytest.mark.skipif(
    not (REAL / IMAGES).is_file(),
    reason=f"the real MNIST is not there: set {ROOT_VARIABLE} to the folder that holds it",
)


@needs_real
def test_real_mnist():
    load("mnist", size=100)  # imports and disk cache are not what is measured
    start = time.process_time()
    splits = load("mnist")
    assert time.process_time() - start < 3.0  # about 0.3 s on a quiet machine
    assert [len(part) for part in splits] == [54000, 6000, 10000]
    assert splits.test["label"][:5].tolist() == [7, 2, 1, 0, 4]
    pixels = torch.cat([splits.train.fields["x"], splits.validation.fields["x"]]).flatten()
    total = sum(int(part.long().sum()) for part in pixels.split(10_000_000))
    assert total / len(pixels) / 255 == pytest.approx(0.1307, abs=5e-5)  # the mean everybody normalises with


@needs_real
def test_real_simplified_mnist():
    splits = load("simplified-mnist")
    counts = torch.bincount(splits.train["label"]) + torch.bincount(splits.validation["label"])
    assert counts.tolist() == [5958, 5918, 5949]
    assert torch.bincount(splits.test["label"]).tolist() == [1032, 958, 1009]


@pytest.mark.skipif(
    not (REAL / "FashionMNIST/raw/train-images-idx3-ubyte").is_file(),
    reason=f"the real Fashion-MNIST is not there: set {ROOT_VARIABLE} to the folder that holds it",
)
def test_real_fashion_mnist():
    splits = load("fashion-mnist")
    assert torch.bincount(splits.test["label"]).tolist() == [1000] * 10
    assert splits.test.classes[splits.test["label"][0]] == "Ankle boot"
