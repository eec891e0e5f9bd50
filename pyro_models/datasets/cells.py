"""A stand-in for mixed cell features: a Gaussian copula with one binary, 102 real and three categorical columns.

The features of segmented cells that conditional VAEs were first tried on are not public. This set has their make-up (a
cell-cycle flag, 102 standardised measurements, three labels of 20, 20 and 19 kinds) and a known dependence: every
column is a monotone function of one coordinate of N(0, R), R of low rank plus noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pyro_models.conditional.exact import Gaussian, low_rank
from pyro_models.datasets.data import Data
from pyro_models.datasets.splits import Parts

#: kinds of the columns: 2 for the flag, 0 for a measurement, else the number of labels
KINDS = (2, *(0,) * 102, 20, 20, 19)
#: rank and noise of the latent covariance, and the state it is made with
RANK, NOISE, STATE = 12, 0.6, 11
ROWS, TEST = 33_000, 8_640


@dataclass(frozen=True, eq=False)
class MixedData(Data):
    """Data whose columns are of different kinds: ``kinds``, 0 for real, k for k categories."""

    kinds: tuple[int, ...] = ()


@lru_cache(maxsize=1)
def copula() -> tuple[Gaussian, tuple[np.ndarray, ...]]:
    """The latent law, and for every categorical column the thresholds that cut it."""
    law, random = low_rank(len(KINDS), RANK, NOISE, STATE), np.random.default_rng(STATE)
    thresholds = []
    for kind in KINDS:
        shares = random.dirichlet(np.full(max(kind, 1), 2.0))
        inner = np.cumsum(shares)[:-1]
        thresholds.append(torch.special.ndtri(torch.from_numpy(inner)).numpy())
    return law, tuple(thresholds)


def columns_of(latent: Tensor) -> Tensor:
    """Latent normal rows as rows of features."""
    _, thresholds = copula()
    x = latent.clone()
    for j, kind in enumerate(KINDS):
        g = latent[:, j].contiguous()
        if kind:
            x[:, j] = torch.bucketize(g, torch.from_numpy(thresholds[j]).float()).float()
        elif j % 3 == 1:  # a third of the measurements is skewed like a log-normal ...
            x[:, j] = ((0.5 * g).exp() - 1.1331) / 0.6039
        elif j % 3 == 2:  # ... and a third has short tails
            x[:, j] = 1.62 * torch.tanh(0.8 * g)
    return x


def cell_features(count: int = ROWS, seed: int = 0) -> Parts:
    """``x [N, 106]``: a flag, 102 real columns, three labels; test part of 8640 rows."""
    law, _ = copula()
    made = []
    for role, size in enumerate((count, TEST, 2000)):
        latent = law.draw(size, torch.Generator().manual_seed(7919 * seed + 3 + role))
        made.append(MixedData({"x": columns_of(latent)}, "cell-features", kinds=KINDS))
    return Parts(*made)
