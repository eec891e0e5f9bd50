"""Rows of numbers, some of them categories."""

from __future__ import annotations

import torch

KINDS = (0, 2, 0, 5)


def rows(count: int = 12, columns: int = 4) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(0))


def mixed_rows(count: int = 12) -> torch.Tensor:
    x = rows(count)
    for j, kind in enumerate(KINDS):
        if kind:
            x[:, j] = torch.arange(count) % kind
    return x
