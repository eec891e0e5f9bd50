r"""The least possible loss E|x - y|^2 + beta I(x; y) of any code, for laws that are not Gaussian.

Over all encoders and decoders, with any latent,

.. math:: L^* = \min_Q\; -\beta\, E_x \ln \int e^{-|x - y|^2 / \beta}\, dQ(y),

a convex problem in the law Q of reconstructions, solved by Blahut's and Arimoto's iteration (the EM algorithm for the
weights of points on a grid). At any Q, :math:`\beta \ln \max_y E_x[k(x, y) / \int k(x, y') dQ(y')]` bounds how far
above the minimum it is, so that ``loss - certificate`` is a lower bound for reconstructions on the grid. With
conditions the problem is solved for every value of x_o over the conditional law, and averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_models.conditional.exact import Mixture
from pyro_models.datasets.laws import Manifold
from pyro_models.errors import OptionError

#: iterations stop when no law of reconstructions can be better than by this (nats times beta)
TOLERANCE = 1e-3
#: and are this many at most
ITERATIONS = 2000
#: points of a curve, values of a condition, and points of a uniform coordinate
CURVE, VALUES, UNIFORM = 1200, 1000, 300
#: grid cells per beta-scale sqrt(beta / 2): reconstructions between grid points would gain less than the tolerance
CELLS = 8.0


@dataclass(frozen=True)
class RateDistortionBound:
    """The minimum and where it lies in the information plane."""

    loss: float
    distortion: float
    rate: float
    certificate: float

    def __add__(self, other: RateDistortionBound) -> RateDistortionBound:
        """Independent parts of a datum: everything adds."""
        return RateDistortionBound(
            self.loss + other.loss,
            self.distortion + other.distortion,
            self.rate + other.rate,
            self.certificate + other.certificate,
        )


NOTHING_HIDDEN = RateDistortionBound(0.0, 0.0, 0.0, 0.0)


def blahut_arimoto(points: Tensor, weights: Tensor, grid: Tensor, beta: float) -> RateDistortionBound:
    """The bound for ``points [Q, N, d]`` of ``weights [Q, N]`` (rows sum to one), averaged over the Q problems, with
    reconstructions on ``grid [M, d]`` or ``[Q, M, d]``."""
    if not beta > 0:
        raise OptionError(f"beta is {beta}; it must be positive.")
    points, weights, grid = points.double(), weights.double(), grid.double().expand(len(points), -1, -1)
    distance = torch.cdist(points, grid).square()
    kernel = (-distance / beta).exp()
    law = torch.full(kernel.shape[::2], 1.0 / grid.shape[1], dtype=torch.float64)
    for _ in range(ITERATIONS):
        mixed = (kernel @ law[..., None])[..., 0].clamp(min=1e-300)
        ratio = ((weights / mixed)[:, None] @ kernel)[:, 0]
        certificate = beta * ratio.max(-1).values.log()
        if float(certificate.mean()) < TOLERANCE:
            break
        law = law * ratio
    loss = -beta * (weights * mixed.log()).sum(-1)
    distortion = (weights * ((kernel * distance) @ law[..., None])[..., 0] / mixed).sum(-1)
    return RateDistortionBound(
        float(loss.mean()),
        float(distortion.mean()),
        float((loss - distortion).mean() / beta),
        float(certificate.mean()),
    )


def manifold_bound(manifold: Manifold, given: Sequence[bool], beta: float) -> RateDistortionBound:
    """For a curve with independent uniform coordinates, under any mask."""
    mask = np.asarray(given, bool)
    total = NOTHING_HIDDEN
    for coordinate, width in manifold.uniform:
        if not mask[coordinate]:
            total = total + _uniform_bound(width, beta)
    hidden = [place for place in (0, 1) if not mask[manifold.place[place]]]
    if len(hidden) == 2:
        points = manifold.curve((torch.arange(CURVE, dtype=torch.float64) + 0.5) / CURVE)
        total = total + blahut_arimoto(points[None], torch.full((1, CURVE), 1 / CURVE), near(points, beta), beta)
    elif len(hidden) == 1:
        total = total + _branches_bound(manifold, hidden[0], beta)
    return total


def _uniform_bound(width: float, beta: float) -> RateDistortionBound:
    points = (width * (torch.arange(UNIFORM, dtype=torch.float64) + 0.5) / UNIFORM)[None, :, None]
    return blahut_arimoto(points, torch.full((1, UNIFORM), 1 / UNIFORM), line(points, beta), beta)


def _branches_bound(manifold: Manifold, hidden: int, beta: float) -> RateDistortionBound:
    """One plane coordinate given: the law of the other within narrow slices of equal probability of the first."""
    per_slice = 32
    count = VALUES * per_slice
    points = manifold.curve((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    order = points[:, 1 - hidden].argsort()
    branches = points[order, hidden].reshape(VALUES, per_slice, 1)
    weights = torch.full((VALUES, per_slice), 1 / per_slice)
    return blahut_arimoto(branches, weights, line(branches, beta), beta)


def mixture_bound(law: Mixture, given: Sequence[bool], beta: float) -> RateDistortionBound:
    """For round Gaussian components of one spread in the plane, under any mask."""
    mask = np.asarray(given, bool)
    if mask.all():
        return NOTHING_HIDDEN
    means = torch.from_numpy(np.stack([component.mean for component in law.components]))
    spread = float(np.sqrt(law.components[0].covariance[0, 0]))
    shares = torch.as_tensor(np.asarray(law.weights))
    standard = torch.linspace(-4, 4, 33, dtype=torch.float64)
    density = (-0.5 * standard.square()).exp()
    density = density / density.sum()
    if not mask.any():
        square = torch.cartesian_prod(standard, standard)
        points = (means[:, None] + spread * square).reshape(-1, 2)
        weights = (shares[:, None] * torch.outer(density, density).flatten()).reshape(1, -1)
        return blahut_arimoto(points[None], weights, near(points, beta), beta)
    seen, hidden = int(mask.argmax()), int((~mask).argmax())
    values = (means[:, seen, None] + spread * standard).flatten()
    of_value = (shares[:, None] * density).flatten()
    likelihood = shares * (-0.5 * ((values[:, None] - means[:, seen]) / spread).square()).exp()
    posterior = likelihood / likelihood.sum(1, keepdim=True)
    # A component that is practically ruled out costs nothing, and its points would only stop the iteration early.
    posterior = torch.where(posterior < 1e-9, 0.0, posterior)
    branches = (means[:, hidden, None] + spread * standard).flatten()[None, :, None].expand(len(values), -1, -1)
    weights = (posterior[:, :, None] * density).flatten(1)
    # Values of the condition are not equally likely: count them by repetition of a systematic sample.
    index = torch.searchsorted(of_value.cumsum(0), (torch.arange(VALUES, dtype=torch.float64) + 0.5) / VALUES)
    index = index.clamp(max=len(values) - 1)
    return blahut_arimoto(branches[index], weights[index], line(branches[:1], beta), beta)


def line(points: Tensor, beta: float) -> Tensor:
    """Grid points over the range of one-dimensional points."""
    low, high = float(points.min()), float(points.max())
    count = max(2, int(np.ceil((high - low) / _cell(beta))) + 1)
    return torch.linspace(low, high, count, dtype=torch.float64)[:, None]


def near(points: Tensor, beta: float) -> Tensor:
    """Grid points of the plane that lie near the points or between them: reconstructions are means of points."""
    low, high, cell = points.min(0).values, points.max(0).values, _cell(beta)
    axes = [torch.arange(float(a), float(b) + cell, cell, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes)
    reach = max(3 * float(np.sqrt(beta / 2)), cell)
    return grid[torch.cdist(grid, points).min(1).values <= reach]


def _cell(beta: float) -> float:
    return float(np.sqrt(beta / 2)) / CELLS
