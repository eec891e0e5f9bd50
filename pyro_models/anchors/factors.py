r"""What a batch says about its own grouping, as factors beside the bound (training only).

* Agreement: two views of the same thing (an image and its near neighbour, or a moved copy of it) come from the same
  anchor, :math:`\log \sum_c \gamma_c \gamma'_c`, and the batch as a whole uses many anchors, :math:`H(\bar\gamma)`.
* Guess: a datum comes from the anchor that the start put it at, :math:`\log \gamma_g`.
* Metric learning: codes with the same pseudo label are closer than codes with different ones (Wang et al.), in
  :math:`O(B^2)`.

All take log-responsibilities or codes and return nats per datum, larger is better.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: pseudo labels less certain than this take no part in metric learning
CONFIDENCE = 0.8
#: weight of the usage term against the agreement term: above 1, or everything at one anchor would be a fair optimum
USAGE = 3.0
#: shares below this have no slope: that of x log x at an anchor that no datum could ever choose is infinite
SMALLEST_SHARE = 1e-30


def agreement(one: Float[Tensor, "B K"], other: Float[Tensor, "B K"], usage: float = USAGE) -> Float[Tensor, ""]:
    """Of normalised log-responsibilities of two views of each datum."""
    same = (one + other).logsumexp(-1).mean()
    share = (0.5 * (one.exp().mean(0) + other.exp().mean(0))).clamp_min(SMALLEST_SHARE)
    return same - usage * torch.special.xlogy(share, share).sum()


def guess(log_responsibilities: Float[Tensor, "B K"], guessed: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    r""":math:`\log \gamma_g`, not softened: codes start far from their anchor, where a floor would have no slope."""
    return log_responsibilities.gather(1, guessed.unsqueeze(1)).mean()


def metric(
    codes: Float[Tensor, "B D"],
    log_responsibilities: Float[Tensor, "B K"],
    softening: Float[Tensor, ""] | float,
    confidence: float = CONFIDENCE,
) -> Float[Tensor, ""]:
    r"""Minus the mean over triplets of :math:`|x - y|^2 / (|x - w|^2 + \nu)`, y of x's anchor and w of another one.

    The triple sum separates, :math:`\sum_x [\sum_{y \in P_x} d(x, y)] [\sum_{w \in N_x} 1 / (d(x, w) + \nu)]`, so that
    no B x B x B table is made. Pseudo labels are the detached argmax of confident responsibilities; a datum is not
    its own partner; a batch without triplets contributes nothing.
    """
    certain, label = log_responsibilities.detach().exp().max(-1)
    trusted = certain >= confidence
    both = trusted.unsqueeze(0) & trusted.unsqueeze(1)
    same = label.unsqueeze(0) == label.unsqueeze(1)
    positive = both & same & ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    negative = both & ~same
    squared = (codes.unsqueeze(0) - codes.unsqueeze(1)).square().sum(-1)
    pull = torch.where(positive, squared, torch.zeros_like(squared)).sum(1)
    push = torch.where(negative, 1 / (squared + softening), torch.zeros_like(squared)).sum(1)
    triplets = (positive.sum(1) * negative.sum(1)).sum()
    return -(pull * push).sum() / triplets.clamp_min(1)
