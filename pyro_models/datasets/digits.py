"""The default set: it lies inside scikit-learn's wheel, so nothing has to be fetched."""

from __future__ import annotations

import torch

from pyro_models.datasets.data import Data

#: the scanned counts of ink go from 0 to 16
LARGEST_COUNT = 16.0


def digits() -> Data:
    """scikit-learn's ``load_digits``: ``x [1797, 1, 8, 8]`` in [0, 1], ``label`` 0 to 9."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).float().div_(LARGEST_COUNT).reshape(-1, 1, 8, 8)
    return Data({"x": x, "label": torch.from_numpy(labels).long()}, "digits", tuple("0123456789"))
