"""A trained story's posterior, everything it predicts and what it was given, as one ArviZ object.

    idata = to_inference_data(story, batch, draws=200)
    save_netcdf(idata, "posterior.nc")

Groups (all with the dimensions chain = 1 and draw first, where draws are involved):

* ``posterior``: every latent site under the guide, ``[draw, obs, ...]``. Discrete sites that the guide leaves out are
  drawn from their exact conditional. Draws are independent, so r-hat and effective sample size say nothing about the
  guide; ``pareto_k`` below does.
* ``posterior_predictive``: the data dreamt again from those draws, and statistics of them (``x_mean``, ``x_lit``, ...).
* ``prior``, ``prior_predictive``: the model without data.
* ``log_likelihood``: log p(x_i | z_i, ...) per draw and datum, *conditional* on the local latents.
* ``sample_stats``: ``log_weight``, log p(x_i, z_i) - log q(z_i | x_i) per draw and datum.
* ``observed_data``: the batch and the same statistics of it.
* ``constant_data``: per datum the *marginal* ``log_evidence`` (IWAE bound with K = draws), ``elbo`` and ``pareto_k``,
  and whatever else the batch carried (``label``, ``factors``).

``sample_stats`` and those numbers need every site inside the plate over the data; a pair with global latent sites
gets all the other groups.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from torch import Tensor

from evaluation.likelihood import log_mean_weight
from evaluation.particles import CHUNK_FLOATS, Particles
from evaluation.posterior.adapter import wrap
from evaluation.posterior.draws import Block, concatenate, is_data, plate_names, posterior_blocks, prior_blocks
from evaluation.posterior.naming import OBSERVATION, AxisNames
from evaluation.posterior.pareto import FEWEST_PARTICLES, pareto_k
from evaluation.posterior.statistics import DEFAULT_STATISTICS, Statistic
from evaluation.traces import Site, batch_for, own_noise, sample_sites, split_pair
from pyro_models.errors import OptionError

if TYPE_CHECKING:
    import xarray

#: numbers stored per group before draws are thinned: room for 200 draws of 200 images of 28 pixels, 128 MB uncompressed
MAX_FLOATS = 32_000_000

Arrays = dict[str, tuple[list[str], np.ndarray]]


def to_inference_data(
    story_or_pair: Any,
    batch: Tensor | Sequence[Any] | Mapping[str, Tensor],
    draws: int = 200,
    prior_draws: int | None = None,
    *,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    summaries: Mapping[str, Statistic] | None = None,
    max_floats: int = MAX_FLOATS,
    seed: int = 0,
    max_plate_nesting: int | None = None,
) -> Any:
    """Posterior, predictives, prior and data as ``InferenceData`` (arviz 0.x) or ``DataTree`` (arviz 1.x).

    Args:
        story_or_pair: a story, or ``(model, guide)``.
        batch: what a dataset yields (``{"x": ..., "label": ...}``), or the arguments of the model.
        draws: from the guide, per datum.
        prior_draws: from the prior; None for as many, 0 for no prior groups.
        coords: labels along dimensions, such as ``{"obs": names}``.
        dims: names of a site's axes after chain and draw, such as ``{"z": ["obs", "cause"]}``.
        summaries: statistics of a datum by name, each ``[..., D] -> [...]``, stored as ``x_NAME`` beside the data;
            None for mean, contrast and lit; an empty dictionary for none. Only for data of more than one number.
        max_floats: numbers stored per group; more draws than that are thinned with a warning. 0 stores statistics but
            no images at all.
        seed: of the draws; the random state of the caller is left as it was.
        max_plate_nesting: plates nested in the pair; None finds out.
    """
    prior_draws = draws if prior_draws is None else prior_draws
    if draws < 1 or prior_draws < 0 or max_floats < 0:
        raise OptionError(
            f"draws={draws}, prior_draws={prior_draws}, max_floats={max_floats}: give at least one draw, and nothing "
            f"negative."
        )
    statistics = DEFAULT_STATISTICS if summaries is None else dict(summaries)
    model, guide = split_pair(story_or_pair)
    args = batch_for(story_or_pair, batch)
    with own_noise(args):
        torch.manual_seed(seed)
        pair = Particles(model, guide, args, max_plate_nesting)
        names = AxisNames(pair, dims, coords)
        builder = _Builder(pair, names, statistics, max_floats)
        chunk = max(1, CHUNK_FLOATS // max(1, builder.data_floats))
        groups = builder.posterior(draws, chunk)
        if prior_draws:
            groups |= builder.prior(prior_draws, chunk)
    groups["observed_data"] = builder.observed()
    weights = groups["sample_stats"]["log_weight"].values[0] if "sample_stats" in groups else None
    constants = builder.constants(weights, batch)
    if constants is not None:
        groups["constant_data"] = constants
    names.check_all_used()
    return wrap(groups, _attributes(pair, draws, seed))


@dataclass(frozen=True)
class _Kept:
    """Which draws of a group are stored, and whether data of many numbers are stored at all."""

    rows: np.ndarray
    whole: bool = True

    def within(self, start: int, count: int) -> Tensor:
        """The stored ones among draws start, ..., start + count - 1, counted from start."""
        return torch.as_tensor(self.rows[(self.rows >= start) & (self.rows < start + count)] - start)


class _Builder:
    """Collects blocks of draws, drops what is too much as it comes, and names what is left."""

    def __init__(self, pair: Particles, names: AxisNames, statistics: Mapping[str, Statistic], max_floats: int) -> None:
        self.pair, self.names, self.statistics, self.max_floats = pair, names, statistics, max_floats
        self.sites: dict[str, Site] = sample_sites(pair.dry_run)
        self.data = {
            name: pair.by_plate(site, site["value"], 1, False, pair.event_dim[name])
            for name, site in pair.observed.items()
            if is_data(site)
        }
        self.axes = {name: names.of(name, self.sites[name], value.shape[1:]) for name, value in self.data.items()}
        for name, value in self.data.items():
            self.axes |= {summary: self._plates(name) for summary in self._statistics(name, value)}
        self.data_floats = sum(value.numel() for value in self.data.values())

    def posterior(self, draws: int, chunk: int) -> dict[str, xarray.Dataset]:
        """Every group made from draws of the guide."""
        kept = self._kept("posterior_predictive", draws, self.data_floats)
        blocks = list(self._reduced(posterior_blocks(self.pair, draws, chunk), kept))
        rows = np.arange(draws)
        conditional = concatenate([block.log_likelihood for block in blocks])
        groups = {
            "posterior": self._latent("posterior", blocks, draws),
            "posterior_predictive": self._drawn(concatenate([block.predictive for block in blocks]), kept.rows),
            "log_likelihood": self._drawn(conditional, rows, {name: self._plates(name) for name in conditional}),
        }
        if self.pair.data_plate is not None:
            weights = torch.cat([block.log_weight for block in blocks if block.log_weight is not None])
            groups["sample_stats"] = self._drawn({"log_weight": weights}, rows, {"log_weight": [OBSERVATION]})
        return groups

    def prior(self, draws: int, chunk: int) -> dict[str, xarray.Dataset]:
        """The groups made without data."""
        kept = self._kept("prior_predictive", draws, self.data_floats)
        blocks = list(self._reduced(prior_blocks(self.pair, draws, chunk), kept))
        return {
            "prior": self._latent("prior", blocks, draws),
            "prior_predictive": self._drawn(concatenate([block.predictive for block in blocks]), kept.rows),
        }

    def observed(self) -> xarray.Dataset:
        """The data and their statistics."""
        values = {name: value[0] for name, value in self.data.items()}
        for name, value in self.data.items():
            values |= {summary: found[0] for summary, found in self._statistics(name, value).items()}
        return self._dataset({name: (self.axes[name], to_numpy(value)) for name, value in values.items()})

    def constants(self, log_weights: np.ndarray | None, batch: Any) -> xarray.Dataset | None:
        """Numbers per datum: the marginal likelihood's, and what the batch carried besides the model's arguments."""
        arrays: Arrays = {}
        if log_weights is not None:
            weights = torch.as_tensor(log_weights)
            found = {"log_evidence": log_mean_weight(weights), "elbo": weights.mean(0)}
            if len(weights) >= FEWEST_PARTICLES:
                found["pareto_k"] = pareto_k(weights)
            arrays |= {name: ([OBSERVATION], to_numpy(value)) for name, value in found.items()}
            extra = batch if isinstance(batch, Mapping) else {}
            for name, value in extra.items():
                rides_along = isinstance(value, Tensor) and not any(value is argument for argument in self.pair.args)
                if rides_along and name not in self.sites and 1 <= value.dim() <= 2 and len(value) == self.pair.size:
                    arrays[name] = ([OBSERVATION, f"{name}_dim"][: value.dim()], to_numpy(value))
        arrays |= self._masks()
        return self._dataset(arrays) if arrays else None

    def _masks(self) -> Arrays:
        """The masks of a story under arbitrary conditioning, which are arguments too: what is known, what was given."""
        named = zip(("mask", "given"), self.pair.args[1:], strict=False)
        found = {n: v for n, v in named if isinstance(v, Tensor) and v.dtype == torch.bool and "x" in self.axes}
        return {n: (self.axes["x"], to_numpy(v)) for n, v in found.items() if v.shape == self.pair.args[0].shape}

    def _plates(self, name: str) -> list[str]:
        return self.axes[name][: len(plate_names(self.sites[name]))]

    def _kept(self, group: str, draws: int, floats: int) -> _Kept:
        """All draws when they fit, else evenly spaced ones, else statistics only."""
        rows = np.arange(draws)
        if floats * draws <= self.max_floats:
            return _Kept(rows)
        count = self.max_floats // floats
        stored = f"{count} of {draws} draws" if count else "no draw, only statistics,"
        warnings.warn(
            f"{group}: {draws} draws of {floats} numbers are {draws * floats}, more than max_floats={self.max_floats}; "
            f"storing {stored} of this group. Raise max_floats or give fewer data to keep more.",
            stacklevel=4,
        )
        return _Kept(np.linspace(0, draws - 1, count).round().astype(int)) if count else _Kept(rows, whole=False)

    def _reduced(self, blocks: Iterable[Block], kept: _Kept) -> Iterator[Block]:
        """The blocks with their predictive draws thinned and summarised, so that the rest is never held."""
        start = 0
        for block in blocks:
            count = len(next(iter({**block.latent, **block.predictive}.values())))
            rows, predictive = kept.within(start, count), {}
            for name, value in block.predictive.items():
                value = value[rows.to(value.device)]
                if kept.whole or self.pair.event_dim[name] == 0:
                    predictive[name] = value
                predictive |= self._statistics(name, value)
            block.predictive = predictive
            start += count
            yield block

    def _statistics(self, name: str, value: Tensor) -> dict[str, Tensor]:
        """Statistics of data ``[draw, *plates, *event]`` that have more than one number."""
        event_dim = self.pair.event_dim[name]
        if math.prod(value.shape[value.dim() - event_dim :]) < 2:
            return {}
        flat, found = value.flatten(-event_dim), {}
        for label, statistic in self.statistics.items():
            number = statistic(flat)
            if number.shape != flat.shape[:-1]:
                raise OptionError(
                    f"the summary '{label}' turned values of shape {tuple(flat.shape)} into {tuple(number.shape)}; "
                    f"it has to reduce the last dimension and keep the others."
                )
            found[f"{name}_{label}"] = number
        return found

    def _latent(self, group: str, blocks: Sequence[Block], draws: int) -> xarray.Dataset:
        values = concatenate([block.latent for block in blocks])
        floats = sum(value[0].numel() for value in values.values())
        kept = self._kept(group, draws, floats) if self.max_floats else _Kept(np.arange(draws))
        if not kept.whole:
            raise OptionError(
                f"one draw of the {group} is {floats} numbers, more than max_floats={self.max_floats}; "
                f"give fewer data or raise it."
            )
        for name, value in values.items():
            self.axes[name] = self.names.of(name, self.sites[name], value.shape[1:])
        return self._drawn({name: value[kept.within(0, draws)] for name, value in values.items()}, kept.rows)

    def _drawn(
        self, values: Mapping[str, Tensor], rows: np.ndarray, axes: Mapping[str, list[str]] | None = None
    ) -> xarray.Dataset:
        """Values ``[draw, ...]`` with a chain of their own in front."""
        axes = self.axes if axes is None else axes
        arrays: Arrays = {n: (["chain", "draw", *axes[n]], to_numpy(value)[None]) for n, value in values.items()}
        return self._dataset(arrays, {"chain": np.arange(1), "draw": rows})

    def _dataset(self, arrays: Arrays, sampled: Mapping[str, np.ndarray] | None = None) -> xarray.Dataset:
        import xarray as xr

        coordinates = dict(sampled or {})
        for axes, values in arrays.values():
            own = axes[2:] if sampled is not None else axes
            self.names.remember(own, values.shape[len(axes) - len(own) :])
            coordinates |= self.names.coordinates(own)
        return xr.Dataset(arrays, coords=coordinates)


def to_numpy(value: Tensor) -> np.ndarray:
    """A copy on the CPU; half precision, which netCDF has not, becomes single."""
    value = value.detach().cpu()
    return value.float().numpy() if value.dtype in (torch.float16, torch.bfloat16) else value.numpy()


def _attributes(pair: Particles, draws: int, seed: int) -> dict[str, Any]:
    """What made this object; netCDF attributes are text and numbers only."""
    return {
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "story": pair.name,
        "draws": draws,
        "seed": seed,
    }
