r"""K vector fields at once: gradients of potentials and divergence-free fields, with closed-form derivatives.

    u^k(z, t) = c_k(t) + a_k(t)'z + 1/2 z'A_k z + w_k' tanh(W_k z + b_k(t)),   A_k symmetric
    r^k(z)    = S_k z + sum_j p_kj tanh(q_kj'z + o_kj),    S_k antisymmetric, p_kj perpendicular to q_kj

The weights of all K flows are stacked, so that a call is a few batched products and no loop. One hidden layer is
enough to approximate any smooth potential (and, in the orthogonal form, any divergence-free field: these are the plane
waves of its Fourier transform), and gives everything a flow needs without automatic differentiation:

    gradient      a + A z + W'(w o s'),                 s = tanh(W z + b), s' = 1 - s^2, s'' = -2 s s'
    Laplacian     tr A + sum_j w_j s''_j |W_j|^2
    log-det       log|det(I + J)| = log|det M| + log|det(I + D V M^-1 U)|,  J = (M - I) + U D V, D diagonal, size hidden
    divergence    of r^k: tr S + sum_j s'_j p_j'q_j = 0 identically

Tensors ``z`` carry a flow axis: ``[..., K, d]`` (each flow at its own point) or ``[..., 1, d]`` (all at the same).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pyro_models.errors import OptionError

#: frequencies of the time embedding go from 1 down to one over this
LONGEST_PERIOD = 10_000.0
#: numbers that describe a time to the small network behind b(t), a(t) and c(t)
TIME_FEATURES = 16
#: start of the constant parts of the fields: different from flow to flow, small against codes of size 1
FIRST_DRIFT = 0.1
#: weight of hidden units that are to come in later: too small to matter, large enough to have gradients
UNHEARD = 1e-2


class Jacobian(NamedTuple):
    """``affine + left diag(middle) right`` of sizes [K, d, d], [K, d, m], [..., K, m], [K, m, d]."""

    affine: Tensor
    left: Tensor
    middle: Tensor
    right: Tensor

    def dense(self) -> Float[Tensor, "*batch flow latent latent"]:
        return self.affine + torch.einsum("kdm,...km,kme->...kde", self.left, self.middle, self.right)

    def log_det_step(self, flow: Int[Tensor, "*batch"] | None = None) -> Tensor:
        """log|det(I + J)|, by the determinant lemma when there are fewer hidden units than dimensions.

        ``[..., K]``; with ``flow`` (broadcastable against ``...``) of that flow alone, ``[...]``.
        """
        latent, hidden = self.left.shape[-2:]
        eye = torch.eye(latent, dtype=self.left.dtype, device=self.left.device)
        if hidden >= latent:
            dense = self.dense()
            if flow is not None:
                dense = dense.gather(
                    -3,
                    flow.expand(dense.shape[:-3])[..., None, None, None].expand(*dense.shape[:-3], 1, latent, latent),
                ).squeeze(-3)
            return torch.linalg.slogdet(eye + dense).logabsdet
        start = eye + self.affine
        small, outer = self.right @ torch.linalg.solve(start, self.left), torch.linalg.slogdet(start).logabsdet
        middle = self.middle
        if flow is not None:
            flow = flow.expand(middle.shape[:-2])
            middle = middle.gather(-2, flow[..., None, None].expand(*flow.shape, 1, hidden)).squeeze(-2)
            small, outer = small[flow], outer[flow]
        inner = torch.eye(hidden, dtype=small.dtype, device=small.device) + middle.unsqueeze(-1) * small
        return outer + torch.linalg.slogdet(inner).logabsdet

    def trace(self) -> Float[Tensor, "*batch flow"]:
        """The divergence of the field."""
        overlap = (self.right * self.left.mT).sum(-1)
        return self.affine.diagonal(dim1=-2, dim2=-1).sum(-1) + (self.middle * overlap).sum(-1)


class Clock(nn.Module):
    """``t -> [steps + 1, K, outputs]`` for the times 0, 1, ..., steps, with the derivative by t: a small network on
    sines and cosines of the step index."""

    def __init__(self, flows: int, outputs: int, steps: int) -> None:
        super().__init__()
        self.flows, self.outputs = flows, outputs
        half = TIME_FEATURES // 2
        self.register_buffer("times", torch.arange(steps + 1.0).unsqueeze(1), persistent=False)
        rates = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(half) / (half - 1))
        self.register_buffer("rates", rates, persistent=False)
        self.net = nn.Sequential(
            nn.Linear(TIME_FEATURES, TIME_FEATURES), nn.GELU(), nn.Linear(TIME_FEATURES, flows * outputs)
        )

    times: Tensor
    rates: Tensor

    def _values(self, times: Tensor) -> Tensor:
        angles = times * self.rates
        return self.net(torch.cat([angles.sin(), angles.cos()], -1)).unflatten(-1, (self.flows, self.outputs))

    def forward(self) -> Float[Tensor, "time flow output"]:
        return self._values(self.times)

    def _first(self, times: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.func.jvp(self._values, (times,), (torch.ones_like(times),))
        return found[0], found[1]

    def with_derivative(self) -> tuple[Tensor, Tensor]:
        """Values and derivatives by t, both ``[time, flow, output]``."""
        return self._first(self.times)

    def with_derivatives(self) -> tuple[Tensor, Tensor, Tensor]:
        """Values, first and second derivatives by t, each ``[time, flow, output]``."""
        found = torch.func.jvp(self._first, (self.times,), (torch.ones_like(self.times),))
        return found[0][0], found[0][1], found[1][1]


class Potentials(nn.Module):
    """K potentials with their gradients, Hessians and time derivatives.

    Args:
        flows: K.
        latent: d.
        hidden: m, units of each potential; 0 for quadratic potentials.
        steps: largest time; 0 makes the potentials independent of time.
        quadratic: False leaves out A_k. Its d^2 weights all pull a *value* the same way, by up to the square of the
            code's size for each unit of weight, so that an optimiser's step can change the value without measure;
            gradients, which move with the size itself, stand it.
    """

    #: a quarter of the digits of bfloat16 would be lost in differences between neighbouring codes
    needs_float32 = True

    quadratic: Tensor

    def __init__(self, flows: int, latent: int, hidden: int, steps: int = 0, quadratic: bool = True) -> None:
        super().__init__()
        check_sizes(flows=flows, latent=latent)
        self.flows, self.latent, self.hidden = flows, latent, hidden
        self.drift = nn.Parameter(FIRST_DRIFT * torch.randn(flows, latent))
        flat = torch.zeros(flows, latent, latent)
        if quadratic:
            self.quadratic = nn.Parameter(flat)
        else:
            self.register_buffer("quadratic", flat, persistent=False)
        if hidden:
            self.inner = nn.Parameter(torch.randn(flows, hidden, latent) / math.sqrt(latent))
            self.outer = nn.Parameter(FIRST_DRIFT * torch.randn(flows, hidden) / math.sqrt(hidden))
            self.offset = nn.Parameter(torch.zeros(flows, hidden))
        self.clock = Clock(flows, hidden + latent + 1, steps) if steps else None

    @property
    def symmetric(self) -> Float[Tensor, "flow latent latent"]:
        return (self.quadratic + self.quadratic.mT) / 2

    def forward(
        self, z: Float[Tensor, "*batch _ latent"], now: Tensor | None = None
    ) -> Float[Tensor, "*batch flow latent"]:
        """The K velocities, gradients of the potentials; ``now`` is what the clock says, ``[(time,) flow, output]``."""
        velocity = _apply(self.symmetric, z) + self.drift
        if now is not None:
            velocity = velocity + now[..., self.hidden : -1]
        if self.hidden:
            s = self._units(z, now)
            velocity = velocity + _apply(self.inner.mT, self.outer * (1 - s * s))
        return velocity

    def _units(self, z: Tensor, now: Tensor | None) -> Tensor:
        before = _apply(self.inner, z) + self.offset
        return torch.tanh(before if now is None else before + now[..., : self.hidden])

    def value(self, z: Tensor, now: Tensor | None = None) -> Float[Tensor, "*batch flow"]:
        """The K potentials themselves."""
        u = (z * (self.drift + _apply(self.symmetric, z) / 2)).sum(-1)
        if now is not None:
            u = u + now[..., -1] + (z * now[..., self.hidden : -1]).sum(-1)
        if self.hidden:
            u = u + (self.outer * self._units(z, now)).sum(-1)
        return u

    def time_derivative(self, z: Tensor, now: Tensor | None, change: Tensor | None) -> Float[Tensor, "*batch flow"]:
        """The partial derivative of u by t, given the clock's value and derivative."""
        if now is None or change is None:
            return z.new_zeros(()).expand(*z.shape[:-2], self.flows)
        found = change[..., -1] + (z * change[..., self.hidden : -1]).sum(-1)
        if self.hidden:
            s = self._units(z, now)
            found = found + (self.outer * (1 - s * s) * change[..., : self.hidden]).sum(-1)
        return found

    def second_time_derivative(
        self, z: Tensor, now: Tensor, change: Tensor, bend: Tensor
    ) -> Float[Tensor, "*batch flow"]:
        """The second partial derivative of u by t, given the clock's value and derivatives."""
        found = bend[..., -1] + (z * bend[..., self.hidden : -1]).sum(-1)
        if self.hidden:
            s = self._units(z, now)
            inner = bend[..., : self.hidden] - 2 * s * change[..., : self.hidden].square()
            found = found + (self.outer * (1 - s * s) * inner).sum(-1)
        return found

    def hessian(self, z: Tensor, now: Tensor | None = None) -> Jacobian:
        """The Hessian of u, which is the Jacobian of the velocity, in factors."""
        if not self.hidden:
            empty = z.new_zeros(self.flows, 0, self.latent)
            middle = z.new_zeros(()).expand(*z.shape[:-2], self.flows, 0)
            return Jacobian(self.symmetric, empty.mT, middle, empty)
        s = self._units(z, now)
        return Jacobian(self.symmetric, self.inner.mT, -2 * self.outer * s * (1 - s * s), self.inner)


class RotationalFields(nn.Module):
    """K fields whose divergence is zero by construction, whatever their weights.

    Each unit moves along p by a function of q'z with p orthogonal to q: a shear. Their sum is divergence-free; done one
    after the other (:meth:`volume_preserving_step`) even a finite step keeps volumes exactly.
    """

    needs_float32 = True

    def __init__(self, flows: int, latent: int, hidden: int) -> None:
        super().__init__()
        check_sizes(flows=flows)
        if latent < 2:
            raise OptionError(f"latent is {latent}; a divergence-free field that is not constant needs 2 dimensions.")
        self.flows, self.latent, self.hidden = flows, latent, hidden
        self.linear = nn.Parameter(torch.zeros(flows, latent, latent))
        if hidden:
            self.direction = nn.Parameter(FIRST_DRIFT * torch.randn(flows, hidden, latent) / math.sqrt(hidden))
            self.inner = nn.Parameter(torch.randn(flows, hidden, latent) / math.sqrt(latent))
            self.offset = nn.Parameter(torch.zeros(flows, hidden))

    @property
    def antisymmetric(self) -> Float[Tensor, "flow latent latent"]:
        return (self.linear - self.linear.mT) / 2

    @property
    def shears(self) -> Float[Tensor, "flow hidden latent"]:
        """The directions p, made orthogonal to q."""
        overlap = (self.direction * self.inner).sum(-1, keepdim=True)
        return self.direction - overlap / self.inner.square().sum(-1, keepdim=True) * self.inner

    def forward(self, z: Float[Tensor, "*batch _ latent"]) -> Float[Tensor, "*batch flow latent"]:
        velocity = _apply(self.antisymmetric, z)
        if self.hidden:
            velocity = velocity + _apply(self.shears.mT, torch.tanh(_apply(self.inner, z) + self.offset))
        return velocity

    def jacobian(self, z: Tensor) -> Jacobian:
        if not self.hidden:
            empty = z.new_zeros(self.flows, 0, self.latent)
            middle = z.new_zeros(()).expand(*z.shape[:-2], self.flows, 0)
            return Jacobian(self.antisymmetric, empty.mT, middle, empty)
        s = torch.tanh(_apply(self.inner, z) + self.offset)
        return Jacobian(self.antisymmetric, self.shears.mT, 1 - s * s, self.inner)

    def volume_preserving_step(self, z: Float[Tensor, "*batch _ latent"], length: float = 1.0) -> Tensor:
        """A step of the splitting scheme: the exact rotation of the linear part, then each shear in turn.

        Every factor has determinant 1, so the step has; it differs from the Euler step by O(length^2).
        """
        z = _apply(torch.linalg.matrix_exp(length * self.antisymmetric), z)
        if self.hidden:
            for unit, p in enumerate(self.shears.unbind(1)):
                height = (z * self.inner[:, unit]).sum(-1, keepdim=True) + self.offset[:, unit, None]
                z = z + length * p * torch.tanh(height)
        return z


class LatentFields(nn.Module):
    r"""The velocities of K flows: gradients of potentials plus, unless ``rotational`` is None, divergence-free fields.

    Args:
        flows: K.
        latent: d.
        hidden: units of each potential.
        steps: largest time of time-dependent potentials; 0 for none.
        rotational: units of each divergence-free field (0: linear ones only); None for gradient flows.
        separate: the two kinds are columns of their own, ``[..., 2 K, d]``, potential parts first, instead of one sum.
    """

    needs_float32 = True

    def __init__(
        self,
        flows: int,
        latent: int,
        hidden: int,
        steps: int = 0,
        rotational: int | None = None,
        separate: bool = False,
    ) -> None:
        super().__init__()
        if separate and rotational is None:
            raise OptionError("double control needs rotational fields; give their number of units (0 for linear ones).")
        self.flows, self.separate = flows, separate
        self.potentials = Potentials(flows, latent, hidden, steps)
        self.rotations = None if rotational is None else RotationalFields(flows, latent, rotational)

    @property
    def columns(self) -> int:
        """How many vectors a call returns per point."""
        return 2 * self.flows if self.separate else self.flows

    @torch.no_grad()
    def start_affine(self) -> None:
        """Hidden units begin nearly unheard."""
        if self.potentials.hidden:
            self.potentials.outer.mul_(UNHEARD)
        if self.rotations is not None and self.rotations.hidden:
            self.rotations.direction.mul_(UNHEARD)

    def clock(self) -> Tensor | None:
        """The time-dependent parts of all potentials at the times 0, ..., steps."""
        return None if self.potentials.clock is None else self.potentials.clock()

    def forward(self, z: Float[Tensor, "*batch _ latent"], now: Tensor | None = None) -> Tensor:
        """Velocities ``[..., columns, d]`` at points z and the time whose clock values are ``now``."""
        gradient = self.potentials(z, now)
        if self.rotations is None:
            return gradient
        swirl = self.rotations(z)
        return torch.cat([gradient, swirl], -2) if self.separate else gradient + swirl

    def jacobian(self, z: Tensor, now: Tensor | None = None) -> Jacobian:
        """Of the sum of both parts, in factors."""
        one = self.potentials.hessian(z, now)
        if self.rotations is None:
            return one
        two = self.rotations.jacobian(z)
        return Jacobian(
            one.affine + two.affine,
            torch.cat([one.left, two.left], -1),
            torch.cat([one.middle, two.middle], -1),
            torch.cat([one.right, two.right], -2),
        )


def _apply(matrices: Float[Tensor, "flow rows columns"], z: Float[Tensor, "*batch _ columns"]) -> Tensor:
    """Each flow's matrix on its own vector, or on the one that all share: ``[..., flow, rows]``."""
    if z.shape[-2] == 1:  # one product with all rows of all flows
        flows, rows, _ = matrices.shape
        return (z.squeeze(-2) @ matrices.flatten(0, 1).mT).unflatten(-1, (flows, rows))
    return torch.einsum("krc,...kc->...kr", matrices, z)


def check_sizes(**sizes: int) -> None:
    """Refuses sizes below one."""
    for name, size in sizes.items():
        if size < 1:
            raise OptionError(f"{name} is {size}; it must be at least 1.")
