r"""Does the guide say what it does not know? Simulation-based calibration (Talts, Betancourt, Simpson, Vehtari,
Gelman 2018).

Causes are drawn from the prior and data from them, :math:`z^* \sim p(z), x^* \sim p(x|z^*)`; then the guide is asked
for L draws of :math:`q(z|x^*)`. If it is the exact posterior, the rank of :math:`z^*` among its draws is uniform on
0..L, in every coordinate. Too narrow a guide gives ranks at both ends (a U), too wide a one in the middle, a shifted
one a slope. The test is of the guide *averaged over what the model dreams*, not over real data: a story that dreams
nothing like the data should be checked by ``pareto_k`` on data as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from scipy.stats import binom, chisquare
from torch import Tensor

from evaluation.particles import Particles
from evaluation.posterior.draws import is_data
from evaluation.traces import Dreaming, PyroCallable, as_arguments, own_noise, plates_of, pruned, sample_sites
from pyro_models.errors import EstimatorError, MetricError, OptionError

#: 64 possible ranks, which fall into 2, 4, 8 or 16 equal bins
DRAWS = 63
#: the chi-square approximation wants this many ranks per bin
FEWEST_PER_BIN = 5
#: more bins show nothing at usual numbers of simulations
MOST_BINS = 20
#: simulated sets of uniform ranks from which the simultaneous band is taken: its level is then good to half a percent
BAND_SIMULATIONS = 8000


class Coverage(NamedTuple):
    """How often the guide's central interval held the truth; ``expected`` is ``level`` on the grid of ranks."""

    level: float
    expected: float
    observed: np.ndarray
    standard_error: float


class Band(NamedTuple):
    """Where the empirical distribution of uniform ranks lies with the stated probability, at ``points`` in (0, 1)."""

    points: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Ranks ``{site: [simulation, coordinate]}``, each in 0..``draws``, and what follows from them."""

    ranks: dict[str, np.ndarray]
    draws: int

    @property
    def simulations(self) -> int:
        return len(next(iter(self.ranks.values())))

    @property
    def bins(self) -> int:
        """The most equal bins of ranks that leave the chi-square test enough in each."""
        fits = [b for b in range(2, MOST_BINS + 1) if (self.draws + 1) % b == 0]
        fits = [b for b in fits if self.simulations / b >= FEWEST_PER_BIN]
        if not fits:
            raise MetricError(
                f"{self.simulations} simulations with {self.draws} draws have no equal bins of {FEWEST_PER_BIN} ranks "
                f"or more; take draws=63 and at least 100 simulations."
            )
        return max(fits)

    def histogram(self, site: str) -> np.ndarray:
        """Counts of ranks per bin, ``[coordinate, bins]``."""
        wide = (self.draws + 1) // self.bins
        return np.stack([np.bincount(column // wide, minlength=self.bins) for column in self._of(site).T])

    def p_values(self, site: str) -> np.ndarray:
        """Chi-square p-value of uniformity per coordinate."""
        return np.array([chisquare(counts).pvalue for counts in self.histogram(site)])

    @property
    def p_value(self) -> float:
        """One for all: the smallest, times how many there are (Bonferroni, valid though coordinates depend)."""
        found = np.concatenate([self.p_values(site) for site in self.ranks])
        return float(min(1.0, found.min() * len(found)))

    def coverage(self, site: str, level: float = 0.9) -> Coverage:
        """Share of simulations whose truth lay in the guide's central interval of probability ``level``."""
        if not 0 < level < 1:
            raise OptionError(f"level is {level}; it is the probability of an interval, between 0 and 1.")
        central = np.abs((np.arange(self.draws + 1) + 0.5) / (self.draws + 1) - 0.5) <= level / 2
        expected = float(central.mean())
        error = math.sqrt(expected * (1 - expected) / self.simulations)
        return Coverage(level, expected, central[self._of(site)].mean(0), error)

    def ecdf(self, site: str) -> np.ndarray:
        """Share of ranks at or below each of 0..L-1, ``[coordinate, L]``."""
        return (self._of(site)[:, :, None] <= np.arange(self.draws)).mean(0)

    def band(self, level: float = 0.99) -> Band:
        """Where one coordinate's :meth:`ecdf` should stay, everywhere at once, with probability ``level``."""
        return uniform_band(self.simulations, self.draws, level)

    def _of(self, site: str) -> np.ndarray:
        if site not in self.ranks:
            raise MetricError(f"no site '{site}' was ranked; there are {', '.join(self.ranks)}.")
        return self.ranks[site]


@torch.no_grad()
def simulation_based_calibration(
    model: PyroCallable,
    guide: PyroCallable,
    batch_args: Tensor | Sequence[Any],
    simulations: int = 512,
    draws: int = DRAWS,
    seed: int = 0,
    max_plate_nesting: int | None = None,
) -> Calibration:
    """Ranks of the model's own causes among the guide's draws for the data they produced.

    Args:
        model, guide: Pyro callables of the same arguments, every site inside the plate over the data.
        batch_args: those arguments. Observed ones are replaced by what the model dreams; the rest (masks, conditions)
        stays. simulations: data dreamt, in batches of the size given.
        draws: L, from the guide per simulation; L + 1 should have many divisors (63, 127).
        seed: of everything; the random state of the caller is left as it was.
        max_plate_nesting: plates nested in the pair; None finds out.
    """
    if simulations < 1 or draws < 1:
        raise OptionError(f"simulations={simulations}, draws={draws}: both have to be at least 1.")
    with own_noise(as_arguments(batch_args)):
        torch.manual_seed(seed)
        pair = Particles(model, guide, batch_args, max_plate_nesting)
        if not pair.latent:
            raise EstimatorError(f"the guide of {pair.name} samples nothing, so there is nothing to calibrate.")
        places = _argument_of_each_observation(pair)
        rounds = [_round(pair, places, draws) for _ in range(math.ceil(simulations / pair.size))]
    ranks = {name: np.concatenate([found[name] for found in rounds])[:simulations] for name in rounds[0]}
    return Calibration(ranks, draws)


def _round(pair: Particles, places: dict[str, int], draws: int) -> dict[str, np.ndarray]:
    """One dreamt batch, ranked: ``{site: [batch, coordinate]}``."""
    with pair.evaluating():
        dreamt = sample_sites(pruned(poutine.trace(Dreaming()(pair.model)).get_trace(*pair.args)))
    args = list(pair.args)
    for name, place in places.items():
        value = pair.by_plate(dreamt[name], dreamt[name]["value"], 1, False, pair.event_dim[name])[0]
        args[place] = value.reshape(args[place].shape).to(args[place].dtype)
    ranks = {}
    for name, drawn in pair.on(args).draw(draws).items():
        if name not in dreamt:  # an auxiliary site of the guide has no truth
            continue
        truth = pair.by_plate(dreamt[name], dreamt[name]["value"], 1, False, pair.event_dim[name])
        below = (drawn.reshape(draws, *truth.shape[1:]) < truth).sum(0)
        equal = (drawn.reshape(draws, *truth.shape[1:]) == truth).sum(0)
        # Ties (discrete sites) are broken at random, which keeps exact ranks uniform.
        rank = below + (torch.rand_like(below, dtype=torch.float64) * (equal + 1)).floor().long()
        plates = sorted(frame.dim for frame in plates_of(dreamt[name]))
        ranks[name] = rank.movedim(plates.index(pair.data_dim), 0).reshape(pair.size, -1).cpu().numpy()
    return ranks


def _argument_of_each_observation(pair: Particles) -> dict[str, int]:
    """Which argument each observed site scores, found by whose memory it is."""
    places = {}
    for name, site in pair.observed.items():
        if not is_data(site):
            continue
        value = site["value"]
        for place, argument in enumerate(pair.args):
            same = isinstance(argument, Tensor) and argument.numel() == value.numel()
            if same and argument.data_ptr() == value.data_ptr():
                places[name] = place
                break
        else:
            raise EstimatorError(
                f"cannot tell which argument of {pair.name} the site '{name}' observes (it is transformed on the way); "
                f"let the model observe the argument itself, or a view of it."
            )
    return places


@cache
def uniform_band(simulations: int, draws: int, level: float) -> Band:
    """Simultaneous confidence band of the ECDF of uniform ranks (Säilynoja, Bürkner and Vehtari 2022, by simulation).

    Pointwise binomial intervals of one common coverage, chosen so that a share ``level`` of simulated uniform rank
    sets stay inside all of them.
    """
    if not 0 < level < 1:
        raise OptionError(f"level is {level}; it is a probability, between 0 and 1.")
    points = (np.arange(draws) + 1) / (draws + 1)
    ranks = np.random.default_rng(0).multinomial(simulations, np.full(draws + 1, 1 / (draws + 1)), BAND_SIMULATIONS)
    counts = ranks.cumsum(1)[:, :-1]
    tail = np.minimum(binom.cdf(counts, simulations, points), binom.sf(counts - 1, simulations, points))
    tails = 2 * tail.min(1)
    pointwise = float(np.quantile(tails, 1 - level))
    lower = binom.ppf(pointwise / 2, simulations, points) / simulations
    upper = binom.isf(pointwise / 2, simulations, points) / simulations
    return Band(points, lower, upper)
