"""Datasets by name: options, cards, errors, and what listing them must not import."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from pyro_models import datasets
from pyro_models.datasets import REGISTRY, Card, Data, Parts, describe, load
from pyro_models.datasets.images import resize
from pyro_models.errors import DataError, OptionError, UnknownName

REPOSITORY = Path(__file__).resolve().parents[2]


def test_digits():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    splits = load("digits")
    assert [len(part) for part in splits] == [1294, 144, 359]
    assert splits.train.shape() == (1, 8, 8)
    assert splits.train.classes == tuple("0123456789")
    x = torch.cat([part["x"] for part in splits])
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    known = {row.tobytes(): int(label) for row, label in zip(pixels.astype(np.float32) / 16, labels, strict=True)}
    for part in splits:
        for image, label in zip(part["x"], part["label"], strict=True):
            assert known[image.flatten().numpy().tobytes()] == label
    for part in splits:  # each class in proportion
        share = torch.bincount(part["label"]) / len(part)
        assert float((share - torch.bincount(torch.from_numpy(labels)) / 1797).abs().max()) < 2 / len(part)


def test_digits_are_there_at_once():
    load("digits")
    start = time.process_time()
    load("digits")
    assert time.process_time() - start < 0.5  # about 10 ms on a quiet machine


def test_the_seed_decides_the_parts():
    assert torch.equal(load("digits", seed=3).test["x"], load("digits", seed=3).test["x"])
    assert not torch.equal(load("digits", seed=3).test["x"], load("digits", seed=4).test["x"])


def test_options_together():
    splits = load("digits", classes=[2, 6, 9], size=100, test=50, validation=0.2, image_size=16, seed=1)
    assert [len(part) for part in splits] == [80, 20, 50]
    assert splits.train.shape() == (1, 16, 16)
    assert sorted(splits.train["label"].unique().tolist()) == [0, 1, 2]
    assert load("digits", classes="2,6,9").train.classes == ("2", "6", "9")


@settings(deadline=None, max_examples=20)
@given(factor=st.integers(1, 4), height=st.integers(1, 5), width=st.integers(1, 5), value=st.integers(0, 255))
def test_resizing_keeps_flat_pictures_flat(factor, height, width, value):
    images = torch.full((2, 3, height * factor, width * factor), value, dtype=torch.uint8)
    small = resize(images, (height, width))
    assert small.dtype == torch.uint8
    assert small.shape == (2, 3, height, width)
    assert bool((small == value).all())


def test_resizing_blurs_before_shrinking():
    """Fine stripes, one white line in three, become a grey of one third; without the blur black and white remain."""
    stripes = (torch.arange(48) % 3 == 0).float().expand(1, 1, 48, 48)
    small = resize(stripes, 6)[..., 1:-1]
    torch.testing.assert_close(small, torch.full_like(small, 1 / 3), atol=0.03, rtol=0)


def test_resizing_agrees_with_averaging_on_smooth_pictures():
    line = torch.linspace(0, 1, 32)
    images = (line[:, None] * line)[None, None]
    inner = (..., slice(1, -1), slice(1, -1))  # the triangle filter is cut at the border, the box is not
    torch.testing.assert_close(resize(images, 8)[inner], avg_pool2d(images, 4)[inner], atol=2e-3, rtol=0)


def test_images_that_need_no_resizing_stay_the_same():
    assert torch.equal(load("digits", image_size=8).test["x"], load("digits").test["x"])


@pytest.mark.parametrize("image_size", [0, -3, (4,), (4, 5, 6), 2.5, True, (4.0, 4)])
def test_an_image_size_that_is_none(image_size):
    with pytest.raises(OptionError, match=r"image_size=.* is neither a side nor \(height, width\)"):
        load("digits", image_size=image_size)


def test_unknown_names():
    with pytest.raises(UnknownName, match="no dataset is called 'mnits'; did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(UnknownName, match=r"Known: .*simplified-mnist"):
        load("zzz")
    with pytest.raises(UnknownName, match=r"Write npz:mine.npz for your own file"):
        load("mine.npz")
    with pytest.raises(UnknownName, match=r"Write csv:a/b.csv for your own file"):
        load("a/b.csv")
    with pytest.raises(UnknownName, match="Your own data are written folder:PATH, npz:PATH or csv:PATH"):
        load("foldr:a/b")


def test_a_folder_without_its_prefix(tmp_path):
    with pytest.raises(UnknownName, match=f"is a folder; write folder:{tmp_path}"):
        load(str(tmp_path))


def test_unknown_option():
    with pytest.raises(
        UnknownName, match="no option of the dataset 'digits' is called 'clases'; did you mean 'classes'"
    ):
        load("digits", clases=[1])
    with pytest.raises(UnknownName, match=r"Known: .*missing.*separator"):
        load("csv:x.csv", sep=";")


def test_image_size_of_what_is_no_image(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 10)
    with pytest.raises(OptionError, match=r"image_size cannot be used: t has data of shape \(2,\), not images"):
        load(f"csv:{tmp_path / 't.csv'}", image_size=4)
    mask = np.ones((10, 1, 4, 4), dtype=bool)
    np.savez(tmp_path / "m.npz", x=np.zeros((10, 1, 4, 4)), mask=mask)
    with pytest.raises(OptionError, match="m has a mask per pixel"):
        load(f"npz:{tmp_path / 'm.npz'}", image_size=8)


def test_a_loader_of_ones_own(tmp_path):
    (tmp_path / "waves.py").write_text(
        '"""Waves."""\n'
        "import numpy as np\n"
        "from pyro_models.datasets import Data, Parts, Splits\n"
        "def plain(seed=5, points=3):\n"
        '    """Noise. And more."""\n'
        "    return np.random.default_rng(seed).random((50, points))\n"
        "def sized(size=20):\n"
        "    return {'x': np.zeros((size, 1)), 'label': np.arange(size) % 2}\n"
        "def official():\n"
        "    data = plain()\n"
        "    return Splits(*(Data({'x': __import__('torch').full((n, 1), float(n))}) for n in (5, 4, 3)))\n"
        "def anything(**options):\n"
        "    return np.full((20, 1), options['level'])\n"
    )
    where = tmp_path / "waves.py"
    splits = load(f"{where}:plain", points=4, seed=1)
    assert splits.train.shape() == (4,)
    expected = np.random.default_rng(1).random((50, 4)).astype(np.float32)
    assert {row.tobytes() for part in splits for row in part["x"].numpy()} == {row.tobytes() for row in expected}
    assert sum(len(part) for part in load(f"{where}:sized", size=40)) == 40  # the loader's own meaning of size
    assert sum(len(part) for part in load(f"{where}:sized")) == 20  # its own default
    assert [len(part) for part in load(f"{where}:official")] == [5, 4, 3]
    assert float(load(f"{where}:anything", level=3).train["x"][0]) == 3
    with pytest.raises(UnknownName, match=r"no option of the dataset .* is called 'pionts'; did you mean 'points'"):
        load(f"{where}:plain", pionts=4)
    assert describe(f"{where}:plain").what == "Noise. And more."


def test_registering_a_loader():
    card = Card("ramp", "a ramp", "10 numbers", "public domain", "this test")

    @datasets.register("ramp", "numbers in a row")
    def ramp():
        return Parts(Data({"x": torch.arange(10.0)[:, None]}, "ramp"))

    try:
        assert sum(len(part) for part in load("ramp")) == 10
        assert describe("ramp").what == "numbers in a row"
        ramp.card = card
        assert describe("ramp") is card
    finally:
        del REGISTRY._entries["ramp"]


@pytest.mark.parametrize("name", datasets.REGISTRY.names())
def test_every_set_says_what_it_is(name):
    card = describe(name)
    assert all([card.what, card.size, card.licence, card.source, card.files])
    assert name in REGISTRY
    assert REGISTRY.summary(name)
    text = str(card)
    assert text.startswith(f"{name}: {card.what}\n")
    assert card.licence in text
    assert REGISTRY.get(name).__doc__


def test_describing_ones_own_files_and_unknown_names():
    assert describe("npz:some/where.npz") is datasets.CARDS["npz:PATH"]
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        describe("cifar1")


def test_public_names():
    assert set(datasets.__all__) <= set(dir(datasets))
    for name in datasets.__all__:
        assert getattr(datasets, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        datasets.lod  # noqa: B018


def test_labels_of_an_unlabelled_set(tmp_path):
    np.savez(tmp_path / "plain.npz", x=np.zeros((20, 2)))
    with pytest.raises(DataError, match=r"plain is unlabelled, so classes=.* cannot be selected"):
        load(f"npz:{tmp_path / 'plain.npz'}", classes=[1])


def test_listing_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from pyro_models.datasets import REGISTRY, describe\n"
        "text = [REGISTRY.summary(name) for name in REGISTRY] + [str(describe('mnist')), str(describe('csv:x'))]\n"
        "heavy = {'torch', 'numpy', 'pandas', 'sklearn', 'torchvision', 'PIL', 'scipy'} & set(sys.modules)\n"
        "print(sorted(heavy), len(text) > 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


def test_loading_digits_imports_no_torchvision():
    code = "import sys\nfrom pyro_models.datasets import load\nload('digits')\nprint('torchvision' in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
