"""The cheap normal density is the normal density."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

from pyro_models.prototypes.noise import PixelNoise


@pytest.mark.parametrize(
    ("means", "data"),
    [
        ((3, 1, 2, 4, 5), (6, 2, 4, 5)),
        ((6, 2, 4, 5), (6, 2, 4, 5)),
        ((3, 6, 2, 4, 5), (6, 2, 4, 5)),
        ((1, 1, 3), (1, 3)),
    ],
)
def test_it_is_the_normal_density(means, data):
    mean, x, rank = torch.rand(means, requires_grad=True), torch.rand(data), len(data) - 1
    plain = dist.Normal(mean, 0.15**0.5).to_event(rank)
    cheap = PixelNoise(mean, 0.15, rank)
    assert cheap.batch_shape == plain.batch_shape
    torch.testing.assert_close(cheap.log_prob(x), plain.log_prob(x), atol=1e-3, rtol=1e-5)
    expected = torch.autograd.grad(plain.log_prob(x).sum(), mean)
    torch.testing.assert_close(torch.autograd.grad(cheap.log_prob(x).sum(), mean), expected, atol=1e-3, rtol=1e-4)
    wide = cheap.expand((7, *torch.broadcast_shapes(means[:-rank], data[:1])))
    assert wide.log_prob(x).shape == wide.batch_shape
    assert wide.sample().shape == wide.batch_shape + wide.event_shape


def test_its_draws_have_its_moments():
    torch.manual_seed(0)
    draws = PixelNoise(torch.tensor([[0.2, 0.8]]), 0.15, 1).sample((40_000,)).squeeze(1)
    # five standard errors
    torch.testing.assert_close(draws.mean(0), torch.tensor([0.2, 0.8]), atol=5 * (0.15 / 40_000) ** 0.5, rtol=0)
    torch.testing.assert_close(draws.var(0), torch.tensor([0.15, 0.15]), atol=5 * 0.15 * (2 / 40_000) ** 0.5, rtol=0)


def test_a_datum_on_its_mean_has_a_gradient():
    mean = torch.rand(1, 4, requires_grad=True)
    PixelNoise(mean, 0.15, 1).log_prob(mean.detach()).sum().backward()
    assert torch.equal(mean.grad, torch.zeros(1, 4))
