r"""The number of objects, from stop-or-go decisions.

After each object a coin decides whether another follows: :math:`P(n) = (1 - \rho_{n+1}) \prod_{t \le n} \rho_t`, with
:math:`\rho_{T+1} = 0`: there are T at most. The same law as T presence bits each of which is possible only after the
one before, told as one categorical variable with T + 1 values instead of :math:`2^T`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def count_logits(go: Float[Tensor, "objects ..."]) -> Float[Tensor, "... counts"]:
    r"""Log-probabilities of 0, ..., T objects from the log-odds of going on, :math:`\log \rho_t / (1 - \rho_t)`."""
    reached = F.pad(F.logsigmoid(go).cumsum(0), (0, 0) * (go.dim() - 1) + (1, 0))
    stop = F.pad(F.logsigmoid(-go), (0, 0) * (go.dim() - 1) + (0, 1))
    return (reached + stop).movedim(0, -1)


def pick(canvases: Tensor, n: Tensor) -> Tensor:
    """``canvases[n]`` per datum, also while n is being enumerated.

    ``canvases [*particles, counts, data, height, width]``; ``n [*more, 1 or particles, ..., 1, 1 or data]`` laid out
    along the plates (steps at -2, data at -1). Returns ``[*more, *particles, 1, data, height, width]``, without the
    dimensions in front of data where n has none.
    """
    leading = canvases.shape[:-4]
    index = [
        torch.arange(size, device=n.device).view(size, *[1] * (len(leading) - place + 1))
        for place, size in enumerate(leading)
    ]
    return canvases[(*index, n, torch.arange(canvases.shape[-3], device=n.device))]
