"""A user's own data: folders of images, arrays, tables, and things made in code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from pyro_models.datasets import Data, Splits, StreamedData, as_data, load
from pyro_models.errors import DataError, OptionError, UnknownName


def write_image(path: Path, value: int, size=(6, 4), mode: str = "L") -> None:
    """A picture of ``(width, height)`` with one value everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value, 0, 255)).save(path)


def everything(splits: Splits) -> torch.Tensor:
    return torch.cat([part.fields["x"] for part in splits])


@pytest.fixture
def flat(tmp_path):
    for n in range(12):
        write_image(tmp_path / "pictures" / f"{n:02d}.png", 20 * n)
    (tmp_path / "pictures/notes.txt").write_text("not an image")
    (tmp_path / "pictures/.hidden.png").write_text("not one either")
    return tmp_path / "pictures"


def test_a_flat_folder(flat):
    splits = load(f"folder:{flat}")
    assert splits.train.shape() == (1, 4, 6)
    assert sorted(everything(splits)[:, 0, 0, 0].tolist()) == [20 * n for n in range(12)]
    assert splits.train.name == "pictures"
    with pytest.raises(DataError, match="pictures has no field 'label'"):
        splits.train["label"]
    with pytest.raises(DataError, match="pictures is unlabelled"):
        load(f"folder:{flat}", classes=["a"])


def test_class_folders(tmp_path):
    for n in range(20):
        write_image(tmp_path / ("cat" if n % 2 else "bird") / "deeper" / f"{n}.jpg", 10 * n)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.classes == ("bird", "cat")
    for part in splits:
        value = (part.fields["x"].float().mean((1, 2, 3)) / 10).round().long()
        assert torch.equal(part["label"], value % 2)
    assert load(f"folder:{tmp_path}", classes=["cat"]).train.classes == ("cat",)


def test_colour_and_grey_together_are_colour(tmp_path):
    write_image(tmp_path / "a.png", 10)
    for n in range(4):
        write_image(tmp_path / f"b{n}.png", 200, mode="RGB")
    splits = load(f"folder:{tmp_path}", validation=1, test=1)
    assert splits.train.shape() == (3, 4, 6)
    assert {tuple(x[:, 0, 0].tolist()) for x in everything(splits)} == {(10, 10, 10), (200, 0, 255)}
    assert load(f"folder:{tmp_path}", validation=1, test=1, channels=1).train.shape() == (1, 4, 6)


def test_folders_called_train_and_test_are_parts(tmp_path):
    for part, count in (("train", 10), ("test", 3), ("val", 2)):
        for n in range(count):
            write_image(tmp_path / part / ("x" if n % 2 else "y") / f"{n}.png", n)
    splits = load(f"folder:{tmp_path}")
    assert [len(part) for part in splits] == [10, 2, 3]
    assert splits.test.classes == ("x", "y")
    assert splits.test.name == tmp_path.name
    write_image(tmp_path / "test" / "z" / "0.png", 0)
    with pytest.raises(DataError, match=r"test has the class folders x, y, z, but .*train has x, y"):
        load(f"folder:{tmp_path}")


def test_parts_of_different_sizes(tmp_path):
    for n in range(3):
        write_image(tmp_path / "train" / f"{n}.png", n)
        write_image(tmp_path / "test" / f"{n}.png", n, size=(5, 5))
    with pytest.raises(DataError, match=r"different shapes: .*image_size=32"):
        load(f"folder:{tmp_path}", validation=1)


def test_mixed_sizes_are_refused_or_resized(flat):
    write_image(flat / "odd.png", 255, size=(10, 9))
    with pytest.raises(DataError) as caught:
        load(f"folder:{flat}")
    message = str(caught.value)
    assert "2 sizes (height x width): 4 x 6 (12), 9 x 10 (1)" in message
    assert f"{flat / 'odd.png'} is 9 x 10" in message
    assert "image_size=32" in message
    splits = load(f"folder:{flat}", image_size=5)
    assert splits.train.shape() == (1, 5, 5)
    assert sorted(everything(splits)[:, 0, 0, 0].tolist()) == [*(20 * n for n in range(12)), 255]
    assert load(f"folder:{flat}", image_size=(5, 7)).train.shape() == (1, 5, 7)


def test_streaming_a_folder_changes_no_number(flat):
    resident, streamed = load(f"folder:{flat}"), load(f"folder:{flat}", stream=True, workers=1)
    assert isinstance(streamed.train, StreamedData)
    for one, two in zip(resident, streamed, strict=True):
        assert torch.equal(one["x"], two["x"])
    for _, one, two in zip(range(3), resident.train.batches(4, 0), streamed.train.batches(4, 0), strict=False):
        assert torch.equal(one["x"], two["x"])


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n broken"])
def test_an_unreadable_image_is_named(flat, content):
    (flat / "05.png").write_bytes(content)
    with pytest.raises(DataError, match=r"05.png cannot be read as an image .*; remove the file or replace it"):
        load(f"folder:{flat}")


def test_an_image_cut_short_is_named(tmp_path):
    for n in range(5):
        pixels = np.random.default_rng(n).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:600])
    with pytest.raises(DataError, match=r"3.png cannot be read as an image"):
        load(f"folder:{tmp_path}")


def test_deep_pixels_are_not_clipped_silently(tmp_path):
    write_image(tmp_path / "a.png", 1000, mode="I;16")
    with pytest.raises(DataError, match=r"a.png has pixels of the kind 'I;16', not 8 bits"):
        load(f"folder:{tmp_path}")


def test_folders_that_are_none(tmp_path, flat):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        load(f"folder:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images; .*\.png"):
        load(f"folder:{tmp_path / 'empty'}")
    write_image(flat / "class" / "a.png", 1)
    with pytest.raises(DataError, match=r"holds images beside class folders \(00.png, for one\)"):
        load(f"folder:{flat}")
    with pytest.raises(OptionError, match="channels=2"):
        load(f"folder:{flat}", channels=2)


def test_npz(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "x": random.random((30, 5)),
        "label": np.array(["b", "a", "c"] * 10),
        "factors": random.integers(0, 4, (30, 2)),
        "mask": random.random((30, 5)) < 0.5,
        "dose": np.arange(30.0),
    }
    np.savez(tmp_path / "mine.npz", **arrays)
    splits = load(f"npz:{tmp_path / 'mine.npz'}")
    train = splits.train
    assert (train.name, train.classes, train["x"].dtype) == ("mine", ("a", "b", "c"), torch.float32)
    assert train["mask"].dtype == torch.bool
    for row in range(len(train)):
        number = int(train["dose"][row])
        assert train["x"][row].numpy() == pytest.approx(arrays["x"][number])
        assert train.classes[train["label"][row]] == arrays["label"][number]
        assert np.array_equal(train["factors"][row], arrays["factors"][number])
        assert np.array_equal(train["mask"][row], arrays["mask"][number])


def test_npz_pictures_of_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 7, 9), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", x=pixels, label=np.arange(20, dtype=np.uint8) % 2)
    splits = load(f"npz:{tmp_path / 'grey.npz'}", image_size=(14, 18))
    assert load(f"npz:{tmp_path / 'grey.npz'}").train.shape() == (1, 7, 9)
    assert splits.train.shape() == (1, 14, 18)
    assert splits.train.fields["x"].dtype == torch.uint8
    assert splits.train["label"].dtype == torch.int64
    np.savez(tmp_path / "colour.npz", x=pixels.reshape(4, 15, 7, 3))
    assert load(f"npz:{tmp_path / 'colour.npz'}", validation=1, test=1).train.shape() == (3, 15, 7)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.zeros((3, 2)), "label": np.zeros(3)},
            r"has no array 'x'; it has 'images' \(3, 2\), 'label' \(3,\)",
        ),
        ({}, "has no array 'x'; it has nothing"),
        ({"x": np.zeros((3, 2)), "label": np.zeros(2)}, "differ in length: {'x': 3, 'label': 2}"),
        ({"x": np.array(["a", "b"])}, "field 'x' of bad holds <U1 values; numbers are needed"),
        ({"x": np.array([{}, {}])}, "cannot be read as named arrays"),
        ({"x": np.array([[0.0], [np.nan]])}, "field 'x' of bad has nan in datum 1 at position"),
        ({"x": np.zeros((2, 1)), "label": np.array([0.5, 1])}, "labels of bad are not whole numbers"),
        ({"x": np.zeros((2, 1)), "label": np.array([-1, 1])}, "labels of bad go down to -1"),
        ({"x": np.zeros((2, 1)), "label": np.zeros((2, 3))}, r"labels of bad have the shape \(2, 3\)"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path / 'bad.npz'}")


def test_files_that_are_no_npz(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    np.savez(tmp_path / "cut.npz", x=np.zeros((100, 100)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:500])
    for name in ("text.npz", "bare.npy", "cut.npz"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as named arrays .*numpy.savez"):
            load(f"npz:{tmp_path / name}")
    with pytest.raises(DataError, match=r"there is no file '.*none.npz' \(looked in "):
        load(f"npz:{tmp_path / 'none.npz'}")


def write_csv(path: Path, text: str) -> str:
    path.write_text(text)
    return f"csv:{path}"


TABLE = "height,weight,label,tall\n" + "".join(f"{h},{h / 2},{'ab'[h % 2]},{h > 10}\n" for h in range(20))


def test_csv(tmp_path):
    train = load(write_csv(tmp_path / "people.csv", TABLE), test=4, validation=2).train
    assert (train.name, train.classes, train.shape()) == ("people", ("a", "b"), (3,))
    height = train["x"][:, 0]
    assert torch.equal(train["x"][:, 1], height / 2)
    assert torch.equal(train["x"][:, 2], (height > 10).float())
    assert torch.equal(train["label"], height.long() % 2)
    assert train.description == "columns: height, weight, tall"


def test_csv_options(tmp_path):
    name = write_csv(tmp_path / "people.csv", TABLE.replace(",", ";"))
    train = load(name, separator=";", label="tall", columns=["weight"]).train
    assert train.shape() == (1,)
    assert torch.equal(train["label"], (train["x"][:, 0] > 5).long())
    with pytest.raises(UnknownName, match=r"no column of .* is called 'wieght'; did you mean 'weight'"):
        load(name, separator=";", columns=["wieght"])
    with pytest.raises(OptionError, match="missing='drop' is not possible; choose 'refuse' or 'mask'"):
        load(name, missing="drop")


def test_csv_with_empty_cells(tmp_path):
    name = write_csv(tmp_path / "gaps.csv", "a,b\n1,2\n3,\nNaN,6\n" + "7,8\n" * 9)
    with pytest.raises(
        DataError, match=r"2 empty or NaN cells, the first in data row 1 \(line 3\), column 'b'; .*'mask'"
    ):
        load(name)
    train, validation, test = load(name, missing="mask")
    x = torch.cat([part["x"] for part in (train, validation, test)])
    mask = torch.cat([part["mask"] for part in (train, validation, test)])
    assert mask.dtype == torch.bool
    assert sorted(map(tuple, x[(~mask).any(1)].tolist())) == [(0.0, 6.0), (3.0, 0.0)]
    assert int((~mask).sum()) == 2
    assert bool((x[~mask] == 0).all())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,colour\n1,red\n2,blue\n", r"text in the column colour \(data row 0, 'colour': 'red'\).*label='colour'"),
        ("size,colour\n1,2\n2,blue\n", r"data row 1, 'colour': 'blue'"),
        ("size,when,who\n1,2020-01-01,me\n", "text in the columns when, who"),
        ("1,2\n3,4\n", "has no header: its first line is 1, 2"),
        ("a,b\n", "is empty: it has a header and no rows"),
        ("", "cannot be read as a table"),
        ('a,b\n1,"2\n', "cannot be read as a table"),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as a table"),
        ("label\n1\n2\n", "has no column for x besides the label 'label'"),
        ("a,label\n1,x\n2,\n", r"has no label in data row 1 \(line 3\)"),
        ("a,b\n1,inf\n2,3\n", "field 'x' of bad has inf in datum 0"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load(write_csv(tmp_path / "bad.csv", text))


def test_a_csv_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"there is no file '.*none.csv'"):
        load(f"csv:{tmp_path / 'none.csv'}")
    with pytest.raises(DataError, match="there is no file ''"):
        load("csv:")


def test_as_data_of_tensors_and_arrays():
    tensor = torch.rand(4, 3, dtype=torch.float64)
    assert as_data(tensor)["x"].dtype == torch.float32
    assert as_data(tensor.numpy(), "mine").name == "mine"
    torch.testing.assert_close(as_data(tensor.numpy())["x"], tensor.float())
    assert as_data(np.arange(6, dtype=np.int16).reshape(3, 2))["x"].dtype == torch.float32
    assert as_data(np.arange(6, dtype=">f8").reshape(3, 2)[::-1])["x"].tolist() == [[4, 5], [2, 3], [0, 1]]
    assert as_data(torch.zeros(5, 8, 8, dtype=torch.uint8)).shape() == (1, 8, 8)
    assert as_data(torch.zeros(5, 8, 8)).shape() == (8, 8)
    assert not as_data(torch.zeros(3, 1, requires_grad=True))["x"].requires_grad


def test_as_data_of_a_dictionary():
    data = as_data(
        {"x": np.zeros((4, 2)), "label": ["b", "a", "b", "b"], "mask": torch.ones(4, 2), "factors": np.eye(4)}
    )
    assert data["label"].tolist() == [1, 0, 1, 1]
    assert data.classes == ("a", "b")
    assert data["mask"].dtype == torch.bool
    assert as_data({"x": torch.zeros(2), "label": torch.tensor([[1.0], [0.0]])})["label"].tolist() == [1, 0]
    assert as_data({"x": torch.zeros(2), "label": np.array([True, False])}, classes=("no", "yes"))[
        "label"
    ].tolist() == [1, 0]
    assert as_data({"frames": torch.full((2, 3, 1, 4, 4), 255, dtype=torch.uint8)})["frames"].max() == 1


def test_as_data_leaves_data_and_splits_alone():
    data = Data({"x": torch.zeros(3)})
    splits = Splits(data, data, data)
    assert as_data(data) is data
    assert as_data(splits) is splits


class Pictures(torch.utils.data.Dataset):
    def __init__(self, count: int = 5, labelled: bool = True) -> None:
        self.count, self.labelled = count, labelled

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        image = Image.new("L", (6, 4), 10 * index)
        return (image, index % 2) if self.labelled else image


def test_as_data_of_a_torch_dataset():
    data = as_data(Pictures())
    assert isinstance(data, Data)
    assert not isinstance(data, StreamedData)
    assert data.shape() == (1, 4, 6)
    assert data["label"].tolist() == [0, 1, 0, 1, 0]
    assert data.fields["x"][:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert as_data(Pictures(labelled=False)).names() == ("x",)
    streamed = as_data(Pictures(), stream=True)
    assert isinstance(streamed, StreamedData)
    assert torch.equal(streamed["x"], data["x"])
    tensors = TensorDataset(torch.rand(4, 2), torch.tensor([0, 1, 1, 0]))
    assert torch.equal(as_data(tensors)["x"], tensors.tensors[0])
    assert torch.equal(as_data(tensors, stream=True)["x"], tensors.tensors[0])


def test_a_large_torch_dataset_is_streamed(monkeypatch):
    monkeypatch.setattr("pyro_models.datasets.convert.MEMORY_LIMIT", 50)
    assert isinstance(as_data(Pictures()), StreamedData)
    assert not isinstance(as_data(Pictures(), stream=False), StreamedData)


@pytest.mark.parametrize("source", ["text", 3, [1, 2], None, iter([1])])
def test_things_that_are_no_data(source):
    with pytest.raises(DataError, match="cannot be used as data; give a tensor, an array"):
        as_data(source)


def test_items_with_too_many_members():
    with pytest.raises(DataError, match="an item of TensorDataset has 3 members"):
        as_data(TensorDataset(torch.zeros(2), torch.zeros(2), torch.zeros(2)))
