"""A first idea of what objects look like, from pieces of ink that lie alone: no labels, no boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro
import torch
from jaxtyping import Float
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.prototypes.dvae_st import DVAEST

#: a pixel of an image is ink above this
INK = 0.3
#: a piece of ink is an object's size when its longer side is between these shares of the patch
PIECES = (0.35, 1.0)
#: data in a step, and the learning rate, which is divided by ten at the end
BATCH, RATE, DROP_AT = 128, 1e-3, 0.85


def pieces_of_ink(images: Float[Tensor, "N side side"], patch: int) -> Float[Tensor, "pieces patch patch"]:
    """Connected pieces of ink that are about as large as an object, each in the middle of a patch of its own."""
    from scipy import ndimage

    found = []
    for image in images.cpu().numpy():
        labels, _ = ndimage.label(image > INK, structure=np.ones((3, 3)))
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            height, width = (part.stop - part.start for part in place)
            if PIECES[0] * patch <= max(height, width) <= PIECES[1] * patch:
                sheet = np.zeros((patch, patch), np.float32)
                top, left = (patch - height) // 2, (patch - width) // 2
                sheet[top : top + height, left : left + width] = image[place] * (labels[place] == number)
                found.append(torch.from_numpy(sheet))
    return torch.stack(found) if found else torch.zeros(0, patch, patch)


def learn_looks(looks: DVAEST, pieces: Float[Tensor, "N patch patch"], steps: int, spare: int = 10) -> None:
    """Trains a D-VAE-ST on the pieces by its own recipe, with spare clusters, and hands what it learned to ``looks``.

    ``looks`` is a D-VAE-ST of the same options without spare clusters.
    """
    options: dict[str, Any] = {**looks.arguments, "spare": spare}
    teacher = DVAEST(**options).to(pieces.device)
    data = Data({"x": pieces.unsqueeze(1)}, "pieces")
    optimiser = torch.optim.Adam(teacher.parameters(), RATE, fused=True)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    order: Sequence[int] = ()
    teacher.initialise(data)
    with pyro.validation_enabled(False):
        for step in range(steps):
            before, after = step / steps, (step + 1) / steps
            teacher.at(before)
            for group in optimiser.param_groups:
                group["lr"] = RATE * (1.0 if before < DROP_AT else 0.1)
            if len(order) < BATCH:
                order = torch.randperm(len(pieces)).tolist()
            some, order = order[:BATCH], order[BATCH:]
            x = data["x"][some]
            optimiser.zero_grad(set_to_none=True)
            loss = elbo.differentiable_loss(teacher.model, config_enumerate(teacher.guide), x) / len(x)
            loss.backward()
            optimiser.step()
            teacher.revise(before, after, data, optimiser)
    hand_over(teacher, looks)


@torch.no_grad()
def hand_over(teacher: DVAEST, looks: DVAEST) -> None:
    """Networks and the rows of the clusters in use."""
    looks.encoder.load_state_dict(teacher.encoder.state_dict())
    for mine, theirs in zip(looks.rows(), teacher.rows(), strict=True):
        mine.copy_(theirs[teacher.active])
