r"""A model and a guide on one batch, run many times: the floor under every likelihood and posterior computation.

:class:`Particles` looks at a pair once and then gives, for any number of draws :math:`z_s \sim q(z|x)`, the traces
and the per-datum densities :math:`\log p(x_i, z_{s,i})` and :math:`\log q(z_{s,i}|x_i)`: ``[particle, batch]`` each.

* Draws are made together, in an outermost plate left of every plate of the pair. Networks that do not take a leading
  dimension are noticed by a trial whose numbers are compared with single runs; such pairs are run one draw at a time.
* Discrete guide sites are sampled. Discrete model sites that the guide lacks are summed out exactly.
* ``poutine.scale`` (beta, warm-up, subsampling) is ignored: it weighs a training loss and is no part of the densities.
  ``poutine.mask`` counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from evaluation.densities import log_density
from evaluation.traces import (
    PARTICLE_PLATE,
    PyroCallable,
    Site,
    Unscaled,
    as_arguments,
    check_match,
    event_dim,
    find_data_plate,
    name_of,
    own_noise,
    owner_of,
    plates_of,
    pruned,
    sample_sites,
    values_trace,
)
from pyro_models.errors import EstimatorError, OptionError

#: floats of the first batch field, times particles, in one vectorised pass: convolutional stages hold some thirty times
#: as many, so that 4 M keep a pass below a gigabyte
CHUNK_FLOATS = 1 << 22
#: draws of the trial that decides whether a pair vectorises; more than one, or a mixed-up dimension could not show
TRIAL_PARTICLES = 2
#: the trial and single runs differ by float32 round-off in sums over pixels; a mixed-up dimension gives far more
TRIAL_TOLERANCE = 1e-3
#: what torch, pyro and plain shape code raise when a leading dimension is not welcome
SHAPE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError)


class Pass(NamedTuple):
    """Traces of ``particles`` draws; ``together`` is False for a single run without the particle plate."""

    model: Trace
    guide: Trace
    particles: int
    together: bool


class Particles:
    """A pair on one batch, ready to be run many times.

    Args:
        model, guide: Pyro callables of the same arguments.
        batch_args: those arguments: one tensor or a sequence.
        max_plate_nesting: of the pair; None finds out by the dry run made anyway.
    """

    def __init__(
        self,
        model: PyroCallable,
        guide: PyroCallable,
        batch_args: Tensor | Sequence[Any],
        max_plate_nesting: int | None = None,
    ) -> None:
        self.args = as_arguments(batch_args)
        self.name = name_of(model)
        self.owners = [module for module in map(owner_of, (model, guide)) if module is not None]
        self.model: PyroCallable = Unscaled()(model)
        self.guide: PyroCallable = Unscaled()(guide)
        with self.evaluating(), own_noise(self.args):
            guide_trace = pruned(poutine.trace(self.guide).get_trace(*self.args))
            model_trace = pruned(poutine.trace(poutine.replay(self.model, trace=guide_trace)).get_trace(*self.args))
        check_match(model_trace, guide_trace)
        sites = {**sample_sites(guide_trace), **sample_sites(model_trace)}
        self.depth = {name: max((-f.dim for f in plates_of(site)), default=0) for name, site in sites.items()}
        self.event_dim = {name: event_dim(site, self.depth[name]) for name, site in sites.items()}
        self.nesting = max(self.depth.values(), default=0) if max_plate_nesting is None else max_plate_nesting
        self.latent = [n for n, s in sample_sites(guide_trace).items() if not s["is_observed"]]
        self.summed_out = [
            n for n, s in sample_sites(model_trace).items() if not s["is_observed"] and n not in self.latent
        ]
        self.observed = {n: s for n, s in sample_sites(model_trace).items() if s["is_observed"]}
        self.dry_run = model_trace
        self.data_plate, self._outside = find_data_plate(sites, self.args)

    @property
    def size(self) -> int:
        """B, the number of data."""
        return self._frame_of_data().size

    @property
    def data_dim(self) -> int:
        """The batch dimension of the data plate, counted from the right."""
        return self._frame_of_data().dim

    def _frame_of_data(self) -> Any:
        if self.data_plate is None:
            raise EstimatorError(
                f"a number per datum needs every site of {self.name} inside one plate over the data, but "
                f"{self._outside}; move it into the plate, or use to_inference_data, which keeps global sites."
            )
        return self.data_plate

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Modules in evaluation mode (no dropout, fixed batch statistics), restored afterwards."""
        modes = [(module, module.training) for module in self.owners]
        try:
            for module, _ in modes:
                module.eval()
            yield
        finally:
            for module, mode in modes:
                module.train(mode)

    @cached_property
    def vectorised(self) -> bool:
        """Whether draws can be made together: tried once, and believed only if single runs give the same densities."""
        with torch.no_grad(), own_noise(self.args), self.evaluating():
            try:
                trial = self._run(TRIAL_PARTICLES, together=True)
                together = torch.stack([self._density(trial, trial.model), self._density(trial, trial.guide)])
            except SHAPE_ERRORS as error:
                reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            else:
                alone = [self.score_one(self.values(trial), s) for s in range(TRIAL_PARTICLES)]
                apart = torch.stack([torch.cat(pair) for pair in zip(*alone, strict=True)])
                close = torch.isclose(together, apart, rtol=TRIAL_TOLERANCE, atol=TRIAL_TOLERANCE, equal_nan=True)
                if bool(close.all()):
                    return True
                reason = "drawn together they get other densities than drawn alone"
        warnings.warn(
            f"{self.name} takes no leading particle dimension ({reason}); drawing one at a time, which is slower.",
            stacklevel=2,
        )
        return False

    def passes(self, count: int, chunk: int | None = None) -> Iterator[Pass]:
        """``count`` draws from the guide with the model scored on them, at most ``chunk`` at a time."""
        if count < 1:
            raise OptionError(f"particles is {count}; at least 1 draw is needed.")
        if chunk is not None and chunk < 1:
            raise OptionError(f"chunk is {chunk}; it is the number of particles per pass, at least 1.")
        if count == 1 or not self.vectorised:
            for _ in range(count):
                yield self._run(1, together=False)
            return
        first = next((a for a in self.args if isinstance(a, Tensor)), None)
        chunk = chunk or max(1, CHUNK_FLOATS // max(1, 1 if first is None else first.numel()))
        for start in range(0, count, chunk):
            yield self._run(min(chunk, count - start), together=True)

    def log_joint(self, run: Pass) -> Float[Tensor, "particle batch"]:
        """log p(x, z) per draw and datum, discrete sites that the guide lacks summed out."""
        self._frame_of_data()
        return self._density(run, run.model)

    def log_prior(self, run: Pass) -> Float[Tensor, "particle batch"]:
        """log p(z), the same without the observed sites."""
        self._frame_of_data()
        return self._density(run, run.model, without=self.observed)

    def log_guide(self, run: Pass) -> Float[Tensor, "particle batch"]:
        """log q(z | x)."""
        self._frame_of_data()
        return self._density(run, run.guide)

    def on(self, batch_args: Tensor | Sequence[Any]) -> Particles:
        """The same pair on another batch of the same size, without looking at it again."""
        other = copy(self)
        other.args = as_arguments(batch_args)
        return other

    def draw(self, count: int) -> dict[str, Tensor]:
        """``count`` draws of the guide alone, laid out as :meth:`values` gives them."""
        if count > 1 and self.vectorised:
            return self._values(self._guide_trace(count, True), count, True)
        alone = [self._values(self._guide_trace(1, False), 1, False) for _ in range(count)]
        return {name: torch.cat([values[name] for values in alone]) for name in self.latent}

    def values(self, run: Pass) -> dict[str, Tensor]:
        """The guide's draws, every one as ``[particle, nesting plate dimensions, event dimensions]``."""
        return self._values(run.guide, run.particles, run.together)

    def score(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(log p(x, z), log q(z|x)) at values laid out as :meth:`values` gives them: twice ``[particle, batch]``."""
        count = len(next(iter(values.values())))
        if count > 1 and self.vectorised:
            run = self._run(count, together=True, values=values_trace(values))
            return self._density(run, run.model), self._density(run, run.guide)
        joint, guide = zip(*(self.score_one(values, s) for s in range(count)), strict=True)
        return torch.cat(joint), torch.cat(guide)

    def score_one(self, values: Mapping[str, Tensor], index: int) -> tuple[Tensor, Tensor]:
        """:meth:`score` for one particle, without the particle plate: twice ``[1, batch]``."""
        run = self._run(1, together=False, values=values_trace(self.one(values, index)))
        return self._density(run, run.model), self._density(run, run.guide)

    def one(self, values: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
        """One particle's values as the pair itself would have drawn them."""
        return {
            name: value[index].reshape(value.shape[1 + self.nesting - self.depth[name] :])
            for name, value in values.items()
        }

    def together(self, program: PyroCallable, count: int) -> PyroCallable:
        """``program`` inside the outermost particle plate."""
        return pyro.plate(PARTICLE_PLATE, count, dim=-1 - self.nesting)(program)

    def sums_out(self, model: PyroCallable) -> PyroCallable:
        """Marks the discrete model sites that the guide lacks for parallel enumeration."""

        def configure(site: Site) -> Any:
            return {"enumerate": "parallel" if site["name"] in self.summed_out else None}

        return poutine.infer_config(model, configure)

    def first_free_dim(self, together: bool) -> int:
        """The first batch dimension left of every plate, where enumeration may go."""
        return -1 - self.nesting - int(together)

    def by_plate(self, site: Site, value: Tensor, run_count: int, together: bool, event_dim: int) -> Tensor:
        """A site's value or log-density as ``[particle, its own plates left to right, event dimensions]``."""
        own = sorted(frame.dim for frame in plates_of(site))
        sizes = {frame.dim: frame.size for frame in plates_of(site)}
        event = value.shape[value.dim() - event_dim :]
        batch = value.shape[: value.dim() - event_dim]
        rank = self.nesting + int(together)
        full = value.reshape((1,) * (rank - len(batch)) + tuple(batch) + tuple(event))
        full = full if together else full.unsqueeze(0)
        plates = [sizes.get(dim, 1) for dim in range(-self.nesting, 0)]
        full = full.expand(run_count, *plates, *event)
        return full.reshape(run_count, *(sizes[dim] for dim in own), *event)

    def _values(self, guide_trace: Trace, count: int, together: bool) -> dict[str, Tensor]:
        sites = sample_sites(guide_trace)
        return {name: self._padded(sites[name], count, together) for name in self.latent}

    def _padded(self, site: Site, count: int, together: bool) -> Tensor:
        value = site["value"] if together else site["value"].unsqueeze(0)
        lead, rest = value.shape[: not together], value.shape[not together :]
        gap = (1,) * (1 + self.nesting + self.event_dim[site["name"]] - value.dim())
        value = value.reshape(lead + gap + rest)
        return value.expand(count, *value.shape[1:])

    def _guide_trace(self, count: int, together: bool, values: Trace | None = None) -> Trace:
        guide = self.together(self.guide, count) if together else self.guide
        with self.evaluating():
            return pruned(poutine.trace(poutine.replay(guide, trace=values or Trace())).get_trace(*self.args))

    def _run(self, count: int, together: bool, values: Trace | None = None) -> Pass:
        guide_trace = self._guide_trace(count, together, values)
        with self.evaluating():
            return Pass(self._model_on(guide_trace, count, together), guide_trace, count, together)

    def _model_on(self, guide_trace: Trace, count: int, together: bool) -> Trace:
        model = self.together(self.model, count) if together else self.model
        if self.summed_out:
            model = EnumMessenger(first_available_dim=self.first_free_dim(together))(self.sums_out(model))
        # Replay outside enumeration, as TraceEnum_ELBO has it: replayed sites then know the dimensions summed over.
        return pruned(poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*self.args))

    def _density(self, run: Pass, trace: Trace, without: Collection[str] = ()) -> Tensor:
        """A trace's log-density by particle and datum; ``[particle, 1]`` in all for a pair with global sites."""
        size = self.data_plate.size if self.data_plate else 1
        if all(name in without for name in sample_sites(trace)):
            reference = next((a for a in self.args if isinstance(a, Tensor) and a.is_floating_point()), torch.zeros(()))
            return reference.new_zeros(run.particles, size)
        keep = ([PARTICLE_PLATE] if run.together else []) + ([self.data_plate.name] if self.data_plate else [])
        return log_density(trace, keep, without).reshape(run.particles, size)
