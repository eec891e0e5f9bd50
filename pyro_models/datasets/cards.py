"""What every built-in dataset is, in words: no torch here, so that the command line can print it at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """What a set is: its size, licence and source, where its files lie, and which built-in set can stand in for it."""

    name: str
    what: str
    size: str
    licence: str
    source: str
    files: str = "none needed"
    stand_in: str = ""

    def __str__(self) -> str:
        lines = {
            "size": self.size,
            "licence": self.licence,
            "source": self.source,
            "files": self.files,
            "stand-in": self.stand_in,
        }
        return "\n".join(
            [f"{self.name}: {self.what}"] + [f"  {key + ':':10}{text}" for key, text in lines.items() if text]
        )


_CARDS = (
    Card(
        name="digits",
        what="handwritten digits, scanned and reduced to 8x8 counts of ink; 43 writers",
        size="1797 images, 1 x 8 x 8, in [0, 1]; 10 classes; split by seed",
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        source="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits; the copy inside scikit-learn",
    ),
    Card(
        name="mnist",
        what="handwritten digits",
        size="60000 training and 10000 test images, 1 x 28 x 28, bytes; 10 classes",
        licence="CC BY-SA 3.0",
        source="LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition",
        files="MNIST/raw/train-images-idx3-ubyte and three more, unpacked",
        stand_in="digits",
    ),
    Card(
        name="simplified-mnist",
        what="the digits 2, 6 and 9 of MNIST",
        size="17825 training images (5958, 5918, 5949) and 2999 for test, 1 x 28 x 28, bytes; 3 classes",
        licence="CC BY-SA 3.0",
        source="MNIST",
        files="those of mnist",
        stand_in="digits with classes 2, 6, 9",
    ),
    Card(
        name="fashion-mnist",
        what="pictures of clothes, shoes and bags from a shop",
        size="60000 training and 10000 test images, 1 x 28 x 28, bytes; 10 classes",
        licence="MIT",
        source="Xiao, Rasul and Vollgraf (2017), Fashion-MNIST, arXiv:1708.07747",
        files="FashionMNIST/raw/train-images-idx3-ubyte and three more, unpacked",
        stand_in="digits",
    ),
    Card(
        name="emnist-letters",
        what="handwritten letters, upper and lower case in one class",
        size="124800 training and 20800 test images, 1 x 28 x 28, bytes; 26 classes",
        licence="none stated by its authors; made from NIST Special Database 19",
        source="Cohen, Afshar, Tapson and van Schaik (2017), EMNIST, arXiv:1702.05373",
        files="EMNIST/raw/emnist-letters-train-images-idx3-ubyte and three more, unpacked",
        stand_in="digits",
    ),
    Card(
        name="cifar10",
        what="small colour photographs of animals and vehicles",
        size="50000 training and 10000 test images, 3 x 32 x 32, bytes; 10 classes",
        licence="none stated by its authors; they ask to cite the report",
        source="Krizhevsky (2009), Learning multiple layers of features from tiny images",
        files="cifar-10-batches-py/data_batch_1 to 5, test_batch, batches.meta",
        stand_in="digits",
    ),
    Card(
        name="svhn",
        what="house numbers cut out of street photographs, one digit in the middle",
        size="73257 training and 26032 test images, 3 x 32 x 32, bytes; 10 classes",
        licence="non-commercial use only",
        source="Netzer, Wang, Coates, Bissacco, Wu and Ng (2011), Reading digits in natural images",
        files="train_32x32.mat, test_32x32.mat",
        stand_in="digits",
    ),
    Card(
        name="celeba",
        what="faces of celebrities, aligned; 40 yes-or-no attributes as factors; unlabelled; streamed from disk",
        size="162770 training, 19867 validation and 19962 test images, cut to 148 x 148 and resized to 3 x 64 x 64",
        licence="non-commercial research only",
        source="Liu, Luo, Wang and Tang (2015), Deep learning face attributes in the wild",
        files="celeba/img_align_celeba/*.jpg, celeba/list_attr_celeba.txt and four more tables",
        stand_in="digits, or your own photographs as folder:PATH",
    ),
    Card(
        name="folder:PATH",
        what="your images: PATH/*.png, or PATH/CLASS/*.png; PATH/train and PATH/test are kept apart where they exist",
        size="as many as there are; streamed from disk above 2 GiB",
        licence="yours",
        source="your disk",
        files="png, jpeg, bmp, gif, tiff, webp, pgm, ppm",
    ),
    Card(
        name="npz:PATH",
        what="your arrays: x and, if known, label, factors, mask (any other array rides along)",
        size="as many as there are",
        licence="yours",
        source="numpy.savez(PATH, x=..., label=...)",
        files="one .npz",
    ),
    Card(
        name="csv:PATH",
        what="your table: its numeric columns are x, one row per datum; a column 'label' is the label",
        size="as many as there are",
        licence="yours",
        source="your disk",
        files="one .csv with a header line",
    ),
)

CARDS = {card.name: card for card in _CARDS}
