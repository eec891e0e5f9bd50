"""What the prototype stories share: the bank of prototypes, the noise, the recipe and the moves between clusters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_models.datasets.data import Data
from pyro_models.errors import DataError, OptionError, unknown_name
from pyro_models.prototypes.bank import make_bank, spread_out
from pyro_models.prototypes.candidates import IMPOSSIBLE, Candidates
from pyro_models.prototypes.moves import best_split, cheapest_removals, copy_row, survey
from pyro_models.prototypes.noise import PixelNoise, squared_distance
from pyro_models.prototypes.recipe import Recipe
from pyro_models.story import Story

LIKELIHOODS = ("gaussian", "bernoulli")
#: data that start values are chosen from
START_DATA = 4000
#: data on which moves are judged, and how many at a time
SURVEYED, CHUNK = 2000, 250
#: progress between two moves, which is the time a move has to pay
BETWEEN_MOVES = 0.02
#: a cluster may be given up for a split when doing without it costs less than this share of the richest one's energy
WORTH = 0.25
#: standard deviation of what makes the two copies of a prototype differ, in the units of its parameters
DIFFERENCE = 0.05


class PrototypeStory(Story):
    """K prototypes of data in [0, 1]. Subclasses tell the story: ``model``, ``guide`` and ``energies``.

    There are ``clusters + spare`` slots in every per-cluster tensor; ``active [slots]`` says which are in use. The
    recipe removes the spare ones along the way, so that after training ``clusters`` are left.
    """

    default_estimator = "exact"
    active: Tensor
    refused: Tensor
    moved: Tensor

    def __init__(
        self, shape: Sequence[int], clusters: int, prototypes: str, likelihood: str, variance: float, recipe: Recipe
    ) -> None:
        super().__init__()
        if clusters < 2:
            raise OptionError(f"clusters is {clusters}; clustering needs at least 2.")
        if likelihood not in LIKELIHOODS:
            raise unknown_name("likelihood", likelihood, LIKELIHOODS)
        if not variance > 0:
            raise OptionError(f"variance is {variance}; the variance of the pixel noise must be positive.")
        self.shape, self.clusters, self.variance, self.recipe = tuple(shape), clusters, variance, recipe
        self.gaussian = likelihood == "gaussian"
        self.slots = clusters + recipe.spare
        self.prototypes = make_bank(prototypes, self.slots, shape)
        self.register_buffer("active", torch.ones(self.slots, dtype=torch.bool))
        self.register_buffer("refused", torch.zeros(self.slots, self.slots, dtype=torch.bool))
        #: the pair of a move that has not been judged yet, -1 for none
        self.register_buffer("moved", torch.full((2,), -1))
        self.progress, self.variance_factor, self.floor_weight = 1.0, 1.0, 0.0
        self._warned = False

    # -- the story's pieces ---------------------------------------------------------------------------------------

    def index_prior(self) -> TorchDistributionMixin:
        """Uniform over the clusters in use."""
        return dist.OneHotCategorical(logits=torch.where(self.active, 0.0, IMPOSSIBLE))

    def likelihood(self, mean: Float[Tensor, "*lead *shape"]) -> TorchDistributionMixin:
        """Pixels around their mean. While the noise is annealed a Gaussian is broader and a Bernoulli is tempered."""
        rank = len(self.shape)
        if self.gaussian:
            return PixelNoise(mean, self.variance * self.variance_factor, rank)
        return dist.Bernoulli(probs=mean.clamp(1e-6, 1 - 1e-6), validate_args=False).to_event(rank)

    def temperature(self) -> float:
        """By what the log-likelihood is divided: a broad Gaussian needs nothing more."""
        return 1.0 if self.gaussian else self.variance_factor

    def misfit(self, x: Float[Tensor, "..."], mean: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Minus log p(x | mean), without the Gaussian's constant (the original's scale), by cheap operations: what
        energies are made of. Annealed like the likelihood."""
        if self.gaussian:
            distance = squared_distance(x, mean, len(self.shape))
            return distance / (2 * self.variance * self.variance_factor)
        return -self.likelihood(mean).log_prob(x) / self.variance_factor

    def choose(self, z: Float[Tensor, "*lead K"], images: Float[Tensor, "K ..."]) -> Float[Tensor, "*lead *shape"]:
        """The prototype that z points at: decoded once per step whatever the batch, chosen by a product."""
        return (z @ images.flatten(1)).reshape(*z.shape[:-1], *self.shape)

    def energies(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Minus the bound on log p(x, z = k), transforms at their posterior means; without index prior."""
        raise NotImplementedError(f"{type(self).__name__} has no energies(...)")

    def index_posterior(self, logits: Float[Tensor, "B K"], count: int | None = None) -> TorchDistributionMixin:
        """q(z | x) from logits, over the clusters in use, and over the ``count`` most likely of them if given."""
        logits = torch.where(self.active, logits, IMPOSSIBLE)
        self._look_at_the_batch(len(logits))
        if count is None or count >= int(self.active.sum()):
            return dist.OneHotCategorical(logits=logits, validate_args=False)
        return Candidates(logits, count)

    def floor_usage(self, logits: Float[Tensor, "B K"]) -> None:
        """A penalty in the guide for clusters that the batch hardly uses: ``weight * sum_k max(0, 1/2K - mean q_k)``.

        The mean is over the batch and divides nothing: nats per datum.
        """
        if self.floor_weight == 0:
            return
        usage = torch.where(self.active, logits, IMPOSSIBLE).softmax(-1).mean(0)
        missing = (0.5 / self.active.sum() - usage).relu() @ self.active.to(usage.dtype)
        pyro.factor("usage_floor", len(logits) * self.floor_weight * missing, has_rsample=True)

    def _look_at_the_batch(self, size: int) -> None:
        if self.training and self.progress < 1 and size < self.clusters and not self._warned:
            self._warned = True
            warnings.warn(
                f"batches of {size} cannot show whether {self.clusters} clusters are in use; use batch_size="
                f"{4 * self.clusters} or more.",
                stacklevel=2,
            )

    # -- the recipe -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        some = data.take(torch.randperm(len(data))[:START_DATA])["x"]
        if some.min() < 0 or some.max() > 1:
            raise DataError(
                f"prototypes live in [0, 1], but {data.name} has values from {float(some.min()):.3g} to "
                f"{float(some.max()):.3g}; rescale the data to [0, 1]."
            )
        if self.slots > len(some):
            raise OptionError(
                f"{self.slots} prototypes (clusters={self.clusters}, spare={self.recipe.spare}) cannot start from "
                f"{len(some)} data; lower clusters or spare."
            )
        if self.recipe.placed:
            self.prototypes.place(spread_out(blurred(some), self.slots))

    def at(self, progress: float) -> None:
        self.progress = progress
        self.variance_factor = self.recipe.variance_factor(progress)
        self.floor_weight = self.recipe.floor_weight(progress)

    def rows(self) -> list[nn.Parameter]:
        """Every parameter with one row per cluster: what a move copies."""
        return self.prototypes.rows()

    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        wanted = self.recipe.clusters(after, self.clusters)
        if wanted < int(self.active.sum()):
            self.active[cheapest_removals(self.surveyed(data), wanted)] = False
        opens, closes = self.recipe.remove_until, self.recipe.moves_until
        if self.recipe.moves and opens <= after and int(before / BETWEEN_MOVES) < int(after / BETWEEN_MOVES):
            energies = self.judge(self.surveyed_data(data))
            if after <= closes:
                self.split(energies, optimiser)

    def surveyed_data(self, data: Data) -> Tensor:
        return data.take(torch.randperm(len(data), device=data.device)[:SURVEYED])["x"]

    def surveyed(self, data: Data) -> Tensor:
        return self.all_energies(self.surveyed_data(data))

    @torch.no_grad()
    def all_energies(self, x: Tensor) -> Float[Tensor, "N K"]:
        """Energies of many data, infinite where a cluster is gone, on the CPU."""
        was_training = self.training
        self.eval()
        found = torch.cat([self.energies(part) for part in x.split(CHUNK)])
        self.train(was_training)
        return found.masked_fill(~self.active, torch.inf).cpu()

    @torch.no_grad()
    def judge(self, x: Tensor) -> Float[Tensor, "N K"]:
        """Puts the two clusters of the last move back when that gives the better objective on the same data now."""
        now = self.all_energies(x)
        if self.moved[0] < 0:
            return now
        pair = self.moved.tolist()
        new = [row[pair].clone() for row in self.rows()]
        self._write(pair, self.kept())
        back = self.all_energies(x)
        self.moved.fill_(-1)
        if survey(back).objective <= survey(now).objective:
            self.refused[pair[0], pair[1]] = True
            return back
        self._write(pair, new)
        return now

    @torch.no_grad()
    def split(self, energies: Float[Tensor, "N K"], optimiser: torch.optim.Optimizer) -> None:
        """The cheapest cluster to remove becomes a copy of the one with the most energy, and both go their own ways."""
        pair = best_split(survey(energies), self.refused.cpu(), WORTH)
        if pair is None:
            return
        cheap, rich = pair
        self.moved.copy_(torch.tensor(pair))
        for row, kept in zip(self.rows(), self.kept(), strict=True):
            kept.copy_(row[[cheap, rich]])
            copy_row(row, rich, cheap, optimiser)
        bank = self.prototypes.rows()[0]
        bank[[cheap, rich]] += DIFFERENCE * torch.randn_like(bank[[cheap, rich]])

    @torch.no_grad()
    def _write(self, pair: list[int], values: Sequence[Tensor]) -> None:
        for row, value in zip(self.rows(), values, strict=True):
            row[pair] = value.to(row)

    def keep_rows(self) -> None:
        """Room for what a move that is still to be judged would put back: part of the state, so resuming is exact."""
        for number, row in enumerate(self.rows()):
            self.register_buffer(f"kept_{number}", torch.zeros(2, *row.shape[1:]))

    def kept(self) -> list[Tensor]:
        return [self.get_buffer(f"kept_{number}") for number in range(len(self.rows()))]

    # -- answers --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def cluster_means(self) -> Float[Tensor, "K ..."]:
        """The prototypes in use."""
        return self.prototypes()[self.active]


def blurred(images: Float[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
    """3x3 means of images: a start that already fits the neighbours of the image it came from. Other data unchanged."""
    if images.dim() != 4:
        return images
    return nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
