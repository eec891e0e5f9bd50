r"""Annealed importance sampling: an almost exact log p(x) for stories whose guide sites are continuous.

Draws start from the guide, :math:`z_0 \sim q(z|x)`, and are moved by Hamiltonian Monte Carlo through

.. math:: \pi_t(z) \propto q(z|x)^{1-\beta_t} \, p(x, z)^{\beta_t}, \qquad 0 = \beta_0 < \dots < \beta_T = 1,
          \log w = \sum_t (\beta_t - \beta_{t-1}) (\log p(x, z_{t-1}) - \log q(z_{t-1}|x)),

and :math:`E[w] = p(x)` whatever T is, so that log-mean-w is, in expectation, a lower bound that tightens with T (Neal
2001; Wu et al. 2017 for decoders). T = 1 is plain importance sampling. Moves are made in unconstrained space.

Step sizes are tuned per datum and temperature in a pilot run and frozen for the run that counts: tuning on the way
would make the next move depend on how often past moves were accepted, and w would be biased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import biject_to

from evaluation.particles import Particles
from evaluation.traces import PyroCallable, sample_sites
from pyro_models.errors import EstimatorError, OptionError

#: steepness of the temperature ladder, which is densest at both ends, where the path bends most (Wu et al. 2017)
LADDER_STEEPNESS = 4.0
#: best acceptance rate of HMC lies between 0.6 and 0.9 (Betancourt, Byrne and Girolami 2014)
TARGET_ACCEPTANCE = 0.7
#: a step grows by this after good moves and shrinks by its square after bad ones, so that it hovers below the cliff
STEP_FACTOR = 1.1

State = dict[str, Tensor]


class AnnealedEstimate(NamedTuple):
    """``log_evidence`` [batch] (log-mean weight), ``log_weights`` [particle, batch], ``acceptance`` rate [batch]."""

    log_evidence: Tensor
    log_weights: Tensor
    acceptance: Tensor


def annealed_importance(
    model: PyroCallable,
    guide: PyroCallable,
    batch_args: Tensor | Sequence[Any],
    particles: int = 16,
    temperatures: int = 50,
    leapfrog: int = 5,
    step_size: float = 0.1,
    max_plate_nesting: int | None = None,
) -> AnnealedEstimate:
    """log p(x) per datum by annealing from the guide to the posterior.

    Costs about ``2 * temperatures * (leapfrog + 1)`` evaluations of the model and the guide with ``particles`` draws
    each, gradients included: for a few hundred test data, not for a training curve.

    Args:
        model, guide: Pyro callables of the same arguments; the guide's sites continuous, all inside one data plate.
        batch_args: those arguments.
        particles: independent annealed chains per datum.
        temperatures: T, rungs of the ladder.
        leapfrog: leapfrog steps per move, one move per rung.
        step_size: where the pilot run starts tuning.
        max_plate_nesting: plates nested in the pair; None finds out.
    """
    if temperatures < 1 or leapfrog < 1 or not step_size > 0:
        raise OptionError(
            f"temperatures={temperatures}, leapfrog={leapfrog}, step_size={step_size}: the first two are counts of at "
            f"least 1, the step size is positive."
        )
    chain = _Chain(Particles(model, guide, batch_args, max_plate_nesting), particles, leapfrog)
    ladder = temperature_ladder(temperatures)
    steps = torch.full((temperatures, chain.pair.size), step_size, device=chain.device)
    if temperatures > 1:
        chain.run(ladder, steps, tune=True)
    weights, acceptance = chain.run(ladder, steps, tune=False)
    return AnnealedEstimate(weights.logsumexp(0) - math.log(particles), weights, acceptance)


def temperature_ladder(temperatures: int) -> Float[Tensor, " rungs"]:
    """T + 1 inverse temperatures from 0 to 1, sigmoidally spaced."""
    raw = torch.sigmoid(LADDER_STEEPNESS * torch.linspace(-1, 1, temperatures + 1, dtype=torch.float64))
    return (raw - raw[0]) / (raw[-1] - raw[0])


class _Chain:
    """Particles on their way from the guide to the posterior, in unconstrained space."""

    def __init__(self, pair: Particles, particles: int, leapfrog: int) -> None:
        self.pair, self.particles, self.leapfrog = pair, particles, leapfrog
        if not pair.latent:
            raise EstimatorError(f"the guide of {pair.name} has no latent site to anneal; iwae(...) is exact for it.")
        with torch.no_grad():
            sites = sample_sites(next(pair.passes(1)).guide)
        for name in pair.latent:
            if name not in pair.dry_run:
                raise EstimatorError(
                    f"annealing moves the model's own sites, but the guide draws '{name}' on the way to them; "
                    f"write a guide that samples the model's sites directly, or use iwae(...)."
                )
            if sites[name]["fn"].support.is_discrete:
                raise EstimatorError(
                    f"annealing moves draws along gradients, but the guide site '{name}' is discrete; "
                    f"leave it out of the guide (it is then summed out) or use iwae(...)."
                )
        self.transforms = {name: biject_to(sites[name]["fn"].support) for name in pair.latent}
        self.device = sites[pair.latent[0]]["value"].device

    def start(self) -> State:
        """Fresh draws from the guide."""
        return {name: self.transforms[name].inv(value) for name, value in self.pair.draw(self.particles).items()}

    def run(self, ladder: Tensor, steps: Tensor, tune: bool) -> tuple[Tensor, Tensor]:
        """One pass down the ladder: log weights [particle, batch] and acceptance [batch]; tunes ``steps`` in place."""
        with torch.no_grad():
            state = self.start()
        step = steps[0].clone()
        weights, accepted = torch.zeros(self.particles, self.pair.size, device=self.device), torch.zeros_like(step)
        rungs = len(ladder) - 1
        for t in range(1, rungs + 1):
            with torch.no_grad():
                joint, guide = self.pair.score(self.constrained(state))
            weights = weights + float(ladder[t] - ladder[t - 1]) * (joint - guide)
            if t == rungs:  # the last move would change no weight
                break
            if not tune:
                step = steps[t]
            state, moved = self.move(state, float(ladder[t]), step)
            accepted += moved
            if tune:
                step = torch.where(moved > TARGET_ACCEPTANCE, step * STEP_FACTOR, step / STEP_FACTOR**2)
                steps[t] = step
        return weights, accepted / max(1, rungs - 1)

    def move(self, state: State, beta: float, step: Tensor) -> tuple[State, Tensor]:
        """One Metropolis-corrected leapfrog trajectory at inverse temperature ``beta``; the acceptance per datum."""
        momentum = {name: torch.randn_like(value) for name, value in state.items()}
        sized = {name: self.along_data(step, value) for name, value in state.items()}
        density, slope = self.density(state, beta)
        start = density - self.kinetic(momentum)
        proposal = state
        for _ in range(self.leapfrog):
            momentum = {n: m + 0.5 * sized[n] * slope[n] for n, m in momentum.items()}
            proposal = {n: u + sized[n] * momentum[n] for n, u in proposal.items()}
            density, slope = self.density(proposal, beta)
            momentum = {n: m + 0.5 * sized[n] * slope[n] for n, m in momentum.items()}
        log_ratio = density - self.kinetic(momentum) - start
        # A trajectory that left the floating-point range is a rejection, not a NaN.
        chance = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()
        take = torch.rand_like(chance) < chance
        kept = {n: torch.where(self.along_data(take, u), proposal[n], u) for n, u in state.items()}
        return kept, chance.mean(0)

    def density(self, state: State, beta: float) -> tuple[Tensor, State]:
        """log pi_t [particle, batch] (Jacobian included) and its gradient by site."""
        leaves = {name: value.detach().requires_grad_() for name, value in state.items()}
        with torch.enable_grad():
            values = self.constrained(leaves)
            joint, guide = self.pair.score(values)
            total = beta * joint + (1 - beta) * guide
            for name, leaf in leaves.items():
                jacobian = self.transforms[name].log_abs_det_jacobian(leaf, values[name])
                total = total + self.per_datum(jacobian)
            slopes = torch.autograd.grad(total.sum(), list(leaves.values()))
        return total.detach(), dict(zip(leaves, slopes, strict=True))

    def constrained(self, state: State) -> State:
        return {name: self.transforms[name](value) for name, value in state.items()}

    def kinetic(self, momentum: State) -> Tensor:
        """[particle, batch]"""
        lead = 1 + self.pair.nesting
        energies = [(0.5 * m * m).reshape(*m.shape[:lead], -1).sum(-1) for m in momentum.values()]
        return torch.stack([self.per_datum(energy) for energy in energies]).sum(0)

    def per_datum(self, term: Tensor) -> Tensor:
        """``[particle, plates]`` summed over every plate but the data's."""
        data = term.dim() + self.pair.data_dim
        inner = [dim for dim in range(1, term.dim()) if dim != data]
        return term.sum(inner) if inner else term

    def along_data(self, number: Tensor, value: Tensor) -> Tensor:
        """``[batch]`` or ``[particle, batch]`` shaped to multiply a site's value."""
        shape = [1] * value.dim()
        shape[1 + self.pair.nesting + self.pair.data_dim] = number.shape[-1]
        if number.dim() == 2:
            shape[0] = number.shape[0]
        return number.reshape(shape)
