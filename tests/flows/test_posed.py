"""The networks that tell looks, place and colour apart, alone and through a story."""

from __future__ import annotations

import math

import pytest
import torch

from pyro_models.errors import OptionError
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.nn.posed import PosedDecoder, PosedEncoder
from tests.core.cases import StoryCase
from tests.flows.test_supervised import noise


class TestPosedFlow(StoryCase):
    def make(self):
        return SupervisedFlow((4, 3, 8, 8), flows=2, latent=3, potential=2, hidden=(16,), network="posed")

    def data(self):
        return noise()


def test_a_code_that_moves_on_turns_and_grows_the_same_canvas():
    decoder = PosedDecoder(2, (8,), (1, 16, 16))
    decoder.canvas[0].weight.data.zero_()  # one canvas for all codes
    decoder.canvas[2].bias.data = torch.randn(256) * 3
    decoder.pose.weight.data = torch.tensor([[0.0, -math.log(2)], [math.pi / 2, 0.0], [0.0, 0.0], [0.0, 0.0]])
    plain, turned, half, grown = decoder(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).sigmoid()[:, 0]
    torch.testing.assert_close(turned, torch.rot90(plain, 1, (0, 1)), atol=1e-4, rtol=0)
    torch.testing.assert_close(half, plain.flip((0, 1)), atol=1e-4, rtol=0)
    middle = plain[4:12, 4:12]
    # a point of the enlarged picture lies a quarter of a pixel off the pixel it shows
    torch.testing.assert_close(grown[1:-1:2, 1:-1:2][:, :7].mean(), middle[:, :7].mean(), atol=0.1, rtol=0)
    assert grown.shape == (16, 16)


def test_channels_share_the_canvas():
    decoder = PosedDecoder(3, (8,), (3, 8, 8))
    seen = decoder(torch.randn(5, 3)).sigmoid()
    ratio = seen / seen[:, :1]
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)


def test_a_code_that_moves_along_the_tint_changes_colour_only():
    decoder = PosedDecoder(3, (8,), (3, 8, 8))
    decoder.colour[0].weight.data = torch.tensor([[1.0, 0.0, 0.0]])
    decoder.pose.weight.data[:, 0] = 0
    decoder.canvas[0].weight.data[:, 0] = 0
    z = torch.randn(1, 3).repeat(4, 1)
    z[:, 0] = torch.linspace(-2, 2, 4)
    seen = decoder(z).sigmoid()
    assert (seen[0] - seen[-1]).abs().max() > 1e-3
    shapes = seen / seen.amax((-2, -1), keepdim=True)
    torch.testing.assert_close(shapes[0], shapes[-1], atol=1e-3, rtol=1e-3)


def test_outside_the_canvas_it_is_dark_and_finite():
    decoder = PosedDecoder(1, (8,), (1, 8, 8))
    decoder.pose.weight.data = torch.tensor([[3.0], [0.0], [0.0], [0.0]])  # very small
    logits = decoder(torch.ones(1, 1))
    assert torch.isfinite(logits).all()
    assert logits[0, 0, 0, 0].item() == pytest.approx(math.log(1e-4), abs=1e-3)


def test_of_a_colour_only_the_hue_part_of_the_encoder_knows():
    encoder, grey = PosedEncoder((3, 8, 8), (16,), 4), torch.rand(5, 1, 8, 8)
    red, yellow, blue = (grey * torch.tensor(colour)[:, None, None] for colour in ([1.0, 0, 0], [1, 1, 0], [0, 0, 1]))
    change = encoder(yellow) - encoder(red)
    torch.testing.assert_close(change, change[:1].expand_as(change), atol=1e-5, rtol=1e-4)  # the same for every look
    assert change.abs().max() > 1e-3
    encoder.hue = None
    torch.testing.assert_close(encoder(blue), encoder(red))
    assert encoder(torch.zeros(2, 3, 8, 8)).isfinite().all()


def test_it_draws_images_of_bits_only():
    with pytest.raises(OptionError, match="use 'mlp'"):
        PosedDecoder(2, (8,), (5,))
    with pytest.raises(OptionError, match="use 'mlp'"):
        SupervisedFlow((4, 6), network="posed")
    with pytest.raises(OptionError, match="likelihood='bernoulli'"):
        SupervisedFlow((4, 3, 8, 8), network="posed", likelihood="gaussian")
