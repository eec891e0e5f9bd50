"""Closed forms against automatic differentiation; divergences that vanish; volumes that are kept."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, hessian, jacrev, vmap

from pyro_models.errors import OptionError
from pyro_models.nn.potentials import LatentFields, Potentials, RotationalFields

K, D = 3, 5


def random_weights(module: torch.nn.Module) -> torch.nn.Module:
    """No weight left at its start, so that every term of every formula counts."""
    for parameter in module.parameters():
        parameter.data = 0.4 * torch.randn_like(parameter)
    return module.double()


def points(count: int = 7) -> torch.Tensor:
    return torch.randn(count, 1, D, dtype=torch.double)


@pytest.mark.parametrize("hidden", [0, 4, 9])
@pytest.mark.parametrize("steps", [0, 6])
class TestPotentials:
    def make(self, hidden, steps) -> Potentials:
        return random_weights(Potentials(K, D, hidden, steps))

    def test_gradient_and_hessian_are_those_of_the_value(self, hidden, steps):
        potentials, z = self.make(hidden, steps), points()
        now = potentials.clock()[2] if steps else None
        for flow in range(K):
            value = lambda point, flow=flow: potentials.value(point.unsqueeze(-2), now)[..., flow]  # noqa: E731
            torch.testing.assert_close(potentials(z, now)[:, flow], vmap(grad(value))(z[:, 0]))
            torch.testing.assert_close(potentials.hessian(z, now).dense()[:, flow], vmap(hessian(value))(z[:, 0]))

    def test_log_det_and_trace(self, hidden, steps):
        potentials, z = self.make(hidden, steps), points()
        found = potentials.hessian(z, potentials.clock()[1] if steps else None)
        dense = found.dense()
        torch.testing.assert_close(found.log_det_step(), torch.linalg.slogdet(torch.eye(D) + dense).logabsdet)
        one = torch.randint(K, (len(z),))
        torch.testing.assert_close(found.log_det_step(one), found.log_det_step()[torch.arange(len(z)), one])
        torch.testing.assert_close(found.trace(), dense.diagonal(dim1=-2, dim2=-1).sum(-1))

    def test_time_derivative(self, hidden, steps):
        potentials, z = self.make(hidden, steps), points()
        if not steps:
            assert not potentials.time_derivative(z, None, None).any()
            return
        now, change = potentials.clock.with_derivative()
        step, times = 1e-6, potentials.clock.times.clone()
        sides = []
        for sign in (1, -1):
            potentials.clock.times = times + sign * step
            sides.append(potentials.value(z, potentials.clock()[2]))
        torch.testing.assert_close(
            potentials.time_derivative(z, now[2], change[2]), (sides[0] - sides[1]) / (2 * step), atol=1e-7, rtol=1e-5
        )

    def test_each_flow_at_its_own_point(self, hidden, steps):
        potentials = self.make(hidden, steps)
        now = potentials.clock()[1] if steps else None
        z = torch.randn(4, K, D, dtype=torch.double)
        one_by_one = torch.stack([potentials(z[:, k : k + 1], now)[:, k] for k in range(K)], 1)
        torch.testing.assert_close(potentials(z, now), one_by_one)


@pytest.mark.parametrize("hidden", [0, 1, 8])
def test_rotational_fields_have_no_divergence(hidden):
    fields = random_weights(RotationalFields(K, D, hidden))
    z = points(50)
    for flow in range(K):
        jacobian = vmap(jacrev(lambda point, flow=flow: fields(point.unsqueeze(-2))[..., flow, :]))(z[:, 0])
        torch.testing.assert_close(fields.jacobian(z).dense()[:, flow], jacobian)
        assert jacobian.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max() < 1e-12
        assert jacobian.norm() > 1
    assert fields.jacobian(z).trace().abs().max() < 1e-12
    assert fields.float().jacobian(z.float()).trace().abs().max() < 1e-5


def test_the_splitting_step_keeps_volumes_and_follows_the_field():
    fields = random_weights(RotationalFields(K, D, 6))
    z = points(20)
    for length in (1.0, 0.1):
        step = lambda point, length=length: fields.volume_preserving_step(point.unsqueeze(-2), length)[..., 1, :]  # noqa: E731
        torch.testing.assert_close(torch.linalg.det(vmap(jacrev(step))(z[:, 0])), torch.ones(20, dtype=torch.double))
    # A gentle Euler step of the same field does change volumes: keeping them is the scheme's doing, not the field's.
    assert (fields.jacobian(z).log_det_step()).abs().max() > 1e-3
    errors = [
        (fields.volume_preserving_step(z, length) - z - length * fields(z)).abs().max().item()
        for length in (1e-2, 1e-3)
    ]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("separate", [False, True])
def test_latent_fields_add_or_list_both_kinds(separate):
    fields = random_weights(LatentFields(K, D, 4, steps=3, rotational=5, separate=separate))
    z, now = points(), fields.clock()[1]
    parts = fields.potentials(z, now), fields.rotations(z)
    expected = torch.cat(parts, -2) if separate else parts[0] + parts[1]
    torch.testing.assert_close(fields(z, now), expected)
    assert expected.shape[-2] == fields.columns
    dense = fields.jacobian(z, now)
    torch.testing.assert_close(
        dense.dense(), fields.potentials.hessian(z, now).dense() + fields.rotations.jacobian(z).dense()
    )
    torch.testing.assert_close(dense.log_det_step(), torch.linalg.slogdet(torch.eye(D) + dense.dense()).logabsdet)


def test_wrong_sizes_are_refused():
    with pytest.raises(OptionError, match="flows is 0"):
        Potentials(0, 2, 3)
    with pytest.raises(OptionError, match="needs 2 dimensions"):
        RotationalFields(2, 1, 3)
    with pytest.raises(OptionError, match="double control needs rotational fields"):
        LatentFields(2, 3, 4, separate=True)
