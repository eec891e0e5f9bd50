"""What the tests of this folder share: rows of numbers, some of them categories, and stories that know the truth."""

from __future__ import annotations

import math

import numpy as np
import torch

from pyro_models.conditional import exact

KINDS = (0, 2, 0, 5)


def rows(count: int = 12, columns: int = 4) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(0))


def mixed_rows(count: int = 12) -> torch.Tensor:
    x = rows(count)
    for j, kind in enumerate(KINDS):
        if kind:
            x[:, j] = torch.arange(count) % kind
    return x


def tied_to(law: exact.Gaussian, story, path) -> None:
    """Puts the law's covariance into a tied path: W W^T + s^2 I with s^2 below the smallest eigenvalue."""
    values, vectors = np.linalg.eigh(law.covariance)
    noise = 0.5 * values.min()
    with torch.no_grad():
        path.loading.copy_(torch.from_numpy(vectors * np.sqrt(values - noise)))
        path.log_scale.fill_(0.5 * math.log(noise))
