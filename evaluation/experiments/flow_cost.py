"""What one optimiser step of the flow terms costs: stacked closed forms against a loop over flows with autograd."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from evaluation.reproduce import Outcome, Setting
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.nn.potentials import Potentials

#: number of flows, sizes of the code, units of a potential, sequences, steps of a flow
FLOWS, SIZES, UNITS, BATCH, STEPS = (3, 8), (16, 32, 64), 16, 64, 8
#: timed steps of the closed form and of the loop; the median counts
REPEATS, LOOP_REPEATS = 10, 2


def flow_cost(setting: Setting) -> Outcome:
    """Transport of codes by all K flows over T steps, Hamilton-Jacobi residual, initial condition, exact flow prior."""
    values: dict[str, list[float]] = {}
    seconds = []
    for seed in setting.seeds:
        began = time.perf_counter()
        for flows in FLOWS:
            for latent in SIZES:
                torch.manual_seed(seed)
                story, z = make(flows, latent)
                closed = median_seconds(story, partial(closed_form, story, z), REPEATS)
                looped = median_seconds(story, partial(loop_form, story, z), LOOP_REPEATS)
                values.setdefault(f"speedup/{flows}-{latent}", []).append(looped / closed)
                values.setdefault(f"milliseconds/{flows}-{latent}", []).append(1000 * closed)
                values.setdefault(f"milliseconds_loop/{flows}-{latent}", []).append(1000 * looped)
        seconds.append(time.perf_counter() - began)
    return Outcome(
        values,
        "none",
        BATCH,
        seconds,
        notes="keys are K-d; processor time of one thread; "
        f"{BATCH} codes, {STEPS} steps, {UNITS} units a potential, forward, backward and Adam; the "
        "loop form evaluates one potential at a time and takes gradient, time derivative and Hessian rows by autograd; "
        "both give the same number and gradients (tests/flows/test_cost.py).",
    )


def make(flows: int, latent: int) -> tuple[SupervisedFlow, Tensor]:
    """A story with tiny networks, whose flow terms are what is timed, and a batch of codes."""
    story = SupervisedFlow((STEPS + 1, 4), flows, latent, UNITS, hidden=(4,), likelihood="gaussian")
    for module in (story.transport, story.force):
        assert module is not None
        for parameter in module.parameters():
            parameter.data = 0.1 * torch.randn_like(parameter)
    return story, torch.randn(BATCH, latent)


def closed_form(story: SupervisedFlow, z: Tensor) -> Tensor:
    """The sum of all terms over codes, steps and flows."""
    clock = story.transport.clock()
    assert clock is not None
    path = story.roll_out(z)
    before = path[:, :-1]
    residual, start = story.residual(before)
    volume = story.transport.jacobian(before, clock[1:]).log_det_step().cumsum(-2)
    heat = story.log_heat(path[:, 1:].transpose(1, 2))
    return residual.square().sum() + start.sum() - volume.sum() - heat.sum()


def loop_form(story: SupervisedFlow, z: Tensor) -> Tensor:
    """The same number by a loop over flows and steps, every derivative by automatic differentiation."""
    potentials, force = story.transport.potentials, story.force
    assert potentials.clock is not None
    assert force is not None
    assert force.clock is not None
    total = z.new_zeros(())
    for k in range(story.flows):
        now = z
        volume = z.new_zeros(len(z))
        for t in range(STEPS + 1):
            # the initial condition is taken at time 0 and the first code; steps start at time 1
            point = now if now.requires_grad else now.detach().requires_grad_()
            when = torch.full((len(z), 1), float(t), requires_grad=True)
            u = one_potential(potentials, k, point, potentials.clock._values(when)[:, k])
            slope = torch.autograd.grad(u.sum(), point, create_graph=True)[0]
            pushed = one_potential(force, k, point, force.clock._values(when.detach())[:, k]).square()
            if t == 0:
                total = total + slope.square().sum() + pushed.sum()
                continue
            changed = torch.autograd.grad(u.sum(), when, create_graph=True)[0].squeeze(-1)
            total = total + (changed + slope.square().sum(-1) / 2 + pushed).square().sum()
            rows = [torch.autograd.grad(slope[:, i].sum(), point, create_graph=True)[0] for i in range(z.shape[1])]
            hessian = torch.stack(rows, 1)
            volume = volume + torch.linalg.slogdet(torch.eye(z.shape[1]) + hessian).logabsdet
            now = now + slope
            total = total - volume.sum() - story.log_heat(now.unsqueeze(1), t).sum()
    return total


def one_potential(potentials: Potentials, k: int, z: Tensor, now: Tensor) -> Tensor:
    """u^k at each code, written with single weights."""
    hidden = potentials.hidden
    units = torch.tanh(z @ potentials.inner[k].mT + potentials.offset[k] + now[:, :hidden])
    linear = (z * (potentials.drift[k] + now[:, hidden:-1])).sum(-1)
    return linear + (z @ potentials.symmetric[k] * z).sum(-1) / 2 + units @ potentials.outer[k] + now[:, -1]


def median_seconds(story: SupervisedFlow, terms: Callable[[], Tensor], repeats: int) -> float:
    """One optimiser step: terms, gradients, Adam; processor time, which other programs do not stretch."""
    optimiser = torch.optim.Adam([*story.transport.parameters(), *story.force.parameters()], lr=0.0)  # type: ignore[union-attr]

    def step() -> None:
        optimiser.zero_grad()
        terms().backward()
        optimiser.step()

    step()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return sorted(times)[len(times) // 2]
