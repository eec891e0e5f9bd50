"""The networks that tell surfaces and colours apart, alone and through stories."""

from __future__ import annotations

import pytest
import torch

from pyro_models.errors import OptionError
from pyro_models.flows.sparse import SparseFlowStory
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.nn.painted import PaintedDecoder, PaintedEncoder
from tests.core.cases import StoryCase
from tests.flows.test_supervised import noise


class TestPaintedFlow(StoryCase):
    def make(self):
        return SupervisedFlow((4, 3, 8, 8), flows=2, latent=3, potential=2, hidden=(16,), network="painted")

    def data(self):
        return noise()


def test_colours_change_without_moving_a_boundary():
    decoder = PaintedDecoder(2, (8,), (3, 8, 8), surfaces=2)
    decoder.masks[0].weight.data[:, 0] = 0  # the first number is of colours alone
    z = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    one, other = decoder.colours(z).unflatten(-1, (3, 2)).unsqueeze(-1).unbind(-2)
    seen = decoder(z).flatten(2)
    assert (seen[0] - seen[1]).abs().amax() > 1e-2
    share = (seen - other) / (one - other)  # of the first surface, told from any channel
    torch.testing.assert_close(share, share[:1, :1].expand_as(share), atol=1e-3, rtol=0)
    assert share.std() > 1e-2


def test_every_pixel_lies_between_the_colours():
    decoder = PaintedDecoder(3, (8,), (3, 6, 8))
    z = torch.randn(5, 2, 3)
    colours = decoder.colours(z).unflatten(-1, (3, -1))
    seen = decoder(z)
    assert seen.shape == (5, 2, 3, 6, 8)
    assert (seen <= colours.amax(-1)[..., None, None] + 1e-5).all()
    assert (seen >= colours.amin(-1)[..., None, None] - 1e-5).all()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 9)])
def test_the_encoder_reads_any_size(shape):
    encoder = PaintedEncoder(shape, (16,), 4)
    assert encoder(torch.rand(2, 5, *shape)).shape == (2, 5, 4)


def test_the_sparse_flow_has_it_too():
    story = SparseFlowStory((4, 3, 8, 8), flows=2, latent=3, hidden=(16, 8), network="painted")
    assert [layer.out_features for layer in story.decoder.masks[::2]] == [8, 16, 5 * 64]
    assert story.generate(2).shape == (2, 4, 3, 8, 8)


def test_it_draws_images_of_bits_only():
    with pytest.raises(OptionError, match="network='painted' draws frames"):
        SupervisedFlow((4, 6), network="painted")
    with pytest.raises(OptionError, match="network='painted' gives logits"):
        SupervisedFlow((4, 3, 8, 8), network="painted", likelihood="gaussian")
