"""Start values of dense networks."""

from __future__ import annotations

import torch

from pyro_models.nn.dense import keep_variance, mlp


def test_variance_is_kept_through_many_layers():
    torch.manual_seed(0)
    x = torch.randn(500, 200)
    plain, kept = mlp(200, [200] * 8, 200), mlp(200, [200] * 8, 200)
    keep_variance(kept)
    assert plain(x).std() < 0.1
    assert 0.5 < kept(x).std() < 3


def test_the_last_layer_can_be_left_as_it_is():
    network = mlp(4, [8], 3)
    before = [layer.weight.clone() for layer in network if isinstance(layer, torch.nn.Linear)]
    keep_variance(network, outputs=False)
    after = [layer.weight for layer in network if isinstance(layer, torch.nn.Linear)]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
