r"""What a perfect conditional model would say: exact conditionals of Gaussians and of their mixtures.

With :math:`x \sim N(\mu, \Sigma)`, o the given coordinates and u the others,

.. math:: x_u | x_o \sim N(\mu_u + \Sigma_{uo} \Sigma_{oo}^{-1} (x_o - \mu_o),\;
          C_o = \Sigma_{uu} - \Sigma_{uo} \Sigma_{oo}^{-1} \Sigma_{ou}),
          \qquad h(u|o) = \tfrac12 \ln\det(2 \pi e\, C_o),

the conditional entropy, and -h(u|o) is the highest mean log-density that any model can reach. A mixture conditions
every component and weighs it anew by :math:`N(x_o; \mu_{k,o}, \Sigma_{k,oo})`. Masks are boolean, True for given.
Everything is computed in float64: blocks of nearly singular covariances are wrong in single precision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pyro_models.errors import OptionError

#: an eigenvalue this small beside the largest one is a direction without a density
SINGULAR = 1e-10
LOG_TWO_PI = math.log(2 * math.pi)


def all_masks(dimensions: int) -> np.ndarray:
    """Every subset of the coordinates as a row of ``[2^d, d]``, nothing given first and everything given last."""
    if dimensions > 16:
        raise OptionError(f"{dimensions} coordinates have 2^{dimensions} masks; draw some by a mask law instead.")
    rows = itertools.product((False, True), repeat=dimensions)
    return np.array(sorted(rows, key=lambda row: (sum(row), [not given for given in row])), dtype=bool)


class Law:
    """A distribution over vectors whose conditionals are known: what :class:`Gaussian` and :class:`Mixture` share."""

    dimensions: int

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """``[count, d]``, float32."""
        raise NotImplementedError

    def marginal_log_density(self, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """log p of the ``chosen`` coordinates of every row; zero when there are none."""
        raise NotImplementedError

    def log_density(self, x: np.ndarray | Tensor, given: np.ndarray | None = None) -> np.ndarray:
        """log p(x_u | x_o) per row of ``x [N, d]``, one mask ``[d]`` for all rows."""
        rows = np.asarray(x, dtype=np.float64)
        mask = self._mask(given)
        whole = np.ones(self.dimensions, bool)
        if mask.all():
            return np.zeros(len(rows))
        return self.marginal_log_density(rows, whole) - self.marginal_log_density(rows, mask)

    def _mask(self, given: np.ndarray | None) -> np.ndarray:
        mask = np.zeros(self.dimensions, bool) if given is None else np.asarray(given, dtype=bool)
        if mask.shape != (self.dimensions,):
            raise OptionError(f"a mask has the shape {mask.shape}; give one truth value for each of {self.dimensions}.")
        return mask


@dataclass(frozen=True, eq=False)
class Gaussian(Law):
    """N(mean, covariance). The covariance may be singular; then densities are refused, rates are not."""

    mean: np.ndarray
    covariance: np.ndarray
    name: str = "gaussian"

    def __post_init__(self) -> None:
        covariance = np.asarray(self.covariance, dtype=np.float64)
        mean = np.broadcast_to(np.asarray(self.mean, dtype=np.float64), covariance.shape[:1])
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise OptionError(f"the covariance has the shape {covariance.shape}; give a square matrix.")
        if not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance).min() < -1e-8:
            raise OptionError("the covariance is not symmetric with eigenvalues of zero or more.")

    @property
    def dimensions(self) -> int:  # type: ignore[override]
        return len(self.covariance)

    @cached_property
    def _root(self) -> np.ndarray:
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(values.clip(0))

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(count, self.dimensions, generator=generator, dtype=torch.float64)
        return (noise @ torch.from_numpy(self._root.T.copy()) + torch.from_numpy(self.mean.copy())).float()

    def conditional(self, given: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """``(A, C)``: the mean of x_u is mean_u + A (x_o - mean_o), its covariance C.

        The pseudo-inverse serves copies: what a given coordinate repeats adds nothing.
        """
        mask = self._mask(given)
        given_block, cross = self.covariance[np.ix_(mask, mask)], self.covariance[np.ix_(~mask, mask)]
        weights = cross @ np.linalg.pinv(given_block, rcond=SINGULAR, hermitian=True)
        rest = self.covariance[np.ix_(~mask, ~mask)] - weights @ cross.T
        return weights, 0.5 * (rest + rest.T)

    def conditional_mean(self, x: np.ndarray | Tensor, given: np.ndarray) -> np.ndarray:
        """``[N, d]``: the given values as they are, the conditional mean elsewhere."""
        mask, filled = self._mask(given), np.asarray(x, dtype=np.float64).copy()
        weights, _ = self.conditional(mask)
        filled[:, ~mask] = self.mean[~mask] + (filled[:, mask] - self.mean[mask]) @ weights.T
        return filled

    def eigenvalues(self, given: np.ndarray | None = None) -> np.ndarray:
        """Variances of x_u | x_o along its principal directions, the largest first."""
        covariance = self.conditional(given)[1]
        return np.linalg.eigvalsh(covariance)[::-1].clip(0) if len(covariance) else np.zeros(0)

    def entropy(self, given: np.ndarray | None = None) -> float:
        """h(u | o) in nats; refused where there is no density."""
        values = self.eigenvalues(given)
        self._refuse_singular(values)
        return float(0.5 * (np.log(values) + LOG_TWO_PI + 1).sum())

    def marginal_log_density(self, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        if not chosen.any():
            return np.zeros(len(x))
        block = self.covariance[np.ix_(chosen, chosen)]
        self._refuse_singular(np.linalg.eigvalsh(block))
        root = np.linalg.cholesky(block)
        standard = np.linalg.solve(root, (x[:, chosen] - self.mean[chosen]).T)
        return -0.5 * (standard**2).sum(0) - np.log(np.diag(root)).sum() - 0.5 * chosen.sum() * LOG_TWO_PI

    def _refuse_singular(self, eigenvalues: np.ndarray) -> None:
        if len(eigenvalues) and eigenvalues.min() <= SINGULAR * max(1.0, float(eigenvalues.max())):
            raise OptionError(
                f"the law '{self.name}' has no density: a variance of {eigenvalues.min():.2g} along some direction "
                "(its covariance is singular); add noise to it, or ask for rates and distortions instead."
            )

    def information(self) -> np.ndarray:
        """I(x_j; all others) in nats for every coordinate: what ranks features."""
        whole, found = np.zeros(self.dimensions, bool), []
        for j in range(self.dimensions):
            others = ~whole
            others[j] = False
            found.append(0.5 * math.log(self.covariance[j, j] / float(self.conditional(others)[1][0, 0])))
        return np.array(found)


@dataclass(frozen=True, eq=False)
class Mixture(Law):
    """Gaussian components with weights."""

    weights: np.ndarray
    components: tuple[Gaussian, ...]
    name: str = "mixture"

    @property
    def dimensions(self) -> int:  # type: ignore[override]
        return self.components[0].dimensions

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        which = torch.multinomial(torch.as_tensor(self.weights), count, replacement=True, generator=generator)
        drawn = torch.stack([component.draw(count, generator) for component in self.components])
        return drawn[which, torch.arange(count)]

    def marginal_log_density(self, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        if not chosen.any():
            return np.zeros(len(x))
        terms = [
            np.log(w) + c.marginal_log_density(x, chosen) for w, c in zip(self.weights, self.components, strict=True)
        ]
        return np.logaddexp.reduce(terms, axis=0)


def independent(dimensions: int) -> Gaussian:
    """N(0, I)."""
    return Gaussian(np.zeros(dimensions), np.eye(dimensions), "independent")


def autoregressive(dimensions: int, correlation: float = 0.8) -> Gaussian:
    """AR(1): covariance ``correlation^|i-j|``."""
    if not -1 < correlation < 1:
        raise OptionError(f"correlation is {correlation}; it must be between -1 and 1.")
    place = np.arange(dimensions)
    return Gaussian(np.zeros(dimensions), correlation ** np.abs(place[:, None] - place), "ar1")


def correlated(dimensions: int, seed: int = 3) -> Gaussian:
    """A random correlation matrix: independent uniform partial correlations on a vine, in a random order."""
    random = np.random.default_rng(seed)
    partial = 2 * random.beta(1, 1, size=(dimensions, dimensions)) - 1
    correlation = np.eye(dimensions)
    for k in range(dimensions - 1):
        for i in range(k + 1, dimensions):
            value = partial[k, i]
            for level in range(k - 1, -1, -1):  # from the partial correlation given 0..k-1 to the plain one
                value = value * math.sqrt((1 - partial[level, i] ** 2) * (1 - partial[level, k] ** 2))
                value += partial[level, i] * partial[level, k]
            correlation[k, i] = correlation[i, k] = value
    order = random.permutation(dimensions)
    return Gaussian(np.zeros(dimensions), correlation[np.ix_(order, order)], "correlated")


def low_rank(dimensions: int, rank: int | None = None, noise: float = 0.3, seed: int = 0) -> Gaussian:
    """Standardised W W^T + noise^2 I with a random W of ``rank`` columns (half the dimensions unless given)."""
    rank = max(1, dimensions // 2) if rank is None else rank
    weights = np.random.default_rng(seed).normal(size=(dimensions, rank))
    covariance = weights @ weights.T + noise**2 * np.eye(dimensions)
    spread = np.sqrt(np.diag(covariance))
    return Gaussian(np.zeros(dimensions), covariance / np.outer(spread, spread), "low-rank")


def projected(sources: int, dimensions: int, jitter: float = 0.01, noise: float = 0.0, seed: int = 0) -> Gaussian:
    """``sources`` standard normals copied into ``dimensions`` coordinates in turn, each scaled by 1 + jitter N(0, 1).

    Rank ``sources`` exactly when ``noise`` is 0; then there is no density, only rate and distortion.
    """
    if not 1 <= sources <= dimensions:
        raise OptionError(f"sources is {sources}; it must be from 1 to dimensions={dimensions}.")
    scales = 1 + jitter * np.random.default_rng(seed).normal(size=dimensions)
    loading = np.zeros((dimensions, sources))
    loading[np.arange(dimensions), np.arange(dimensions) % sources] = scales
    return Gaussian(np.zeros(dimensions), loading @ loading.T + noise**2 * np.eye(dimensions), "projected")


def two_components(distance: float = 2.0, spread: float = 0.1) -> Mixture:
    """Two equal components around +-(distance, distance)."""
    covariance = spread**2 * np.eye(2)
    components = tuple(Gaussian(np.full(2, sign * distance), covariance) for sign in (1.0, -1.0))
    return Mixture(np.full(2, 0.5), components, "two-component")


#: the Gaussian laws by name: ``LAWS[name](dimensions)``
LAWS: dict[str, Callable[[int], Gaussian]] = {
    "independent": independent,
    "correlated": correlated,
    "ar1": autoregressive,
    "low-rank": low_rank,
}


@dataclass(frozen=True)
class WaterFilling:
    """The best rate and distortion for squared error plus beta times the rate, per principal direction."""

    rates: np.ndarray
    distortions: np.ndarray
    beta: float

    @property
    def rate(self) -> float:
        return float(self.rates.sum())

    @property
    def distortion(self) -> float:
        return float(self.distortions.sum())

    @property
    def loss(self) -> float:
        return self.distortion + self.beta * self.rate

    @property
    def active(self) -> int:
        return int((self.rates > 0).sum())


def water_filling(eigenvalues: Sequence[float] | np.ndarray, beta: float, latents: int | None = None) -> WaterFilling:
    r"""Reverse water-filling (Cover and Thomas 2006, chapter 10) at the level beta / 2.

    Direction i with variance :math:`\lambda_i` has distortion :math:`\min(\lambda_i, \beta/2)` and rate
    :math:`\tfrac12 \ln^+(2 \lambda_i / \beta)`; with fewer ``latents`` than directions the largest are coded.
    """
    if not beta > 0:
        raise OptionError(f"beta is {beta}; it must be positive.")
    values = np.sort(np.asarray(eigenvalues, dtype=np.float64))[::-1]
    level = beta / 2
    coded = (values > level) & (np.arange(len(values)) < (len(values) if latents is None else latents))
    rates = np.where(coded, 0.5 * np.log(np.maximum(values, level) / level), 0.0)
    return WaterFilling(rates, np.where(coded, level, values), beta)


def best_code_loss(law: Gaussian, x: np.ndarray | Tensor, given: np.ndarray, beta: float) -> np.ndarray:
    r"""What the best code of x_u loses on every row: |x - y|^2 + beta KL, ``[N]``; its mean over the law is that of
    :func:`water_filling`.

    Along a principal direction with deviation r, variance :math:`\lambda` above the level :math:`\theta = \beta / 2`
    and :math:`a = 1 - \theta / \lambda`, the code draws :math:`y \sim N(a r, \theta a)` under the prior
    :math:`N(0, \lambda a)`. The noise of a finite sample cancels in the difference to a model's loss on the same rows.
    """
    mask, level = law._mask(given), beta / 2
    rows = np.asarray(x, dtype=np.float64)
    if mask.all():
        return np.zeros(len(rows))
    values, directions = np.linalg.eigh(law.conditional(mask)[1])
    squares = ((rows - law.conditional_mean(rows, mask))[:, ~mask] @ directions) ** 2
    values = np.maximum(values, level)
    kept = 1 - level / values
    distortion = (1 - kept) ** 2 * squares + level * kept
    rate = 0.5 * (level / values + kept * squares / values - 1 + np.log(values / level))
    return (distortion + beta * rate).sum(1)


def greedy_order(law: Gaussian, beta: float) -> list[tuple[int, float]]:
    """Reveals coordinates one by one, each time the one that leaves the least loss: ``[(coordinate, loss left)]``."""
    given, order = np.zeros(law.dimensions, bool), []
    while not given.all():
        losses = {}
        for j in np.flatnonzero(~given):
            trial = given.copy()
            trial[j] = True
            losses[int(j)] = water_filling(law.eigenvalues(trial), beta).loss
        # Ties, up to round-off, go to the first coordinate.
        best = min(losses, key=lambda j: (round(losses[j], 9), j))
        given[best] = True
        order.append((best, losses[best]))
    return order


def each_mask(law: Gaussian) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every mask with the eigenvalues of what it leaves open."""
    for mask in all_masks(law.dimensions):
        yield mask, law.eigenvalues(mask)
