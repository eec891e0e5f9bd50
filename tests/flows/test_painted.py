"""The networks that tell surfaces, their colours and the light apart."""

from __future__ import annotations

import pytest
import torch

from pyro_models.errors import OptionError
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.nn.painted import PaintedDecoder, PaintedEncoder
from tests.core.cases import StoryCase
from tests.flows.test_supervised import noise


class TestPaintedFlow(StoryCase):
    def make(self):
        return SupervisedFlow((4, 3, 8, 8), flows=2, latent=3, potential=2, hidden=(16,), network="painted")

    def data(self):
        return noise()


def flat_decoder() -> PaintedDecoder:
    """Two surfaces, left and right, in full light, whatever the code; the code is their tints."""
    decoder = PaintedDecoder(2, (8,), (3, 4, 4), surfaces=2)
    light, left = torch.full((4, 4), 20.0), torch.tensor([20.0, 20, -20, -20]).expand(4, 4)
    decoder.canvas[2].weight.data.zero_()
    decoder.canvas[2].bias.data = torch.stack([light, left, -left]).flatten()
    decoder.tints.weight.data = torch.eye(2)
    return decoder


def test_a_new_tint_repaints_one_surface():
    seen = flat_decoder()(torch.tensor([[0.3, -0.7], [1.1, -0.7]])).sigmoid()
    torch.testing.assert_close(seen[0, :, :, 2:], seen[1, :, :, 2:])
    assert (seen[0, :, :, :2] - seen[1, :, :, :2]).abs().max() > 1e-3


def test_equal_tints_are_equal_colours_on_every_surface():
    seen = flat_decoder()(torch.tensor([[0.4, 0.4]])).sigmoid()[0]
    torch.testing.assert_close(seen, seen[:, :1, :1].expand_as(seen), atol=1e-5, rtol=1e-4)


def test_light_dims_all_channels_alike():
    decoder = flat_decoder()
    bright = decoder(torch.tensor([[0.3, -0.7]])).sigmoid()[0]
    decoder.canvas[2].bias.data[:16] = -1.0
    dim = decoder(torch.tensor([[0.3, -0.7]])).sigmoid()[0]
    torch.testing.assert_close(dim, bright * torch.tensor(-1.0).sigmoid(), atol=1e-4, rtol=1e-3)


def test_paint_as_bright_as_before_changes_only_what_the_hue_part_reads():
    encoder, light = PaintedEncoder((3, 16, 16), (16,), 4), torch.rand(5, 1, 16, 16) + 0.1
    red, yellow = (light * torch.tensor(colour)[:, None, None] for colour in ([1.0, 0.2, 0], [1, 1, 0]))
    change = encoder(yellow) - encoder(red)
    torch.testing.assert_close(change, change[:1].expand_as(change), atol=1e-5, rtol=1e-4)  # whatever is painted
    assert change.abs().max() > 1e-3
    assert encoder(torch.zeros(2, 3, 16, 16)).isfinite().all()


def test_frames_come_in_any_batch():
    encoder = PaintedEncoder((3, 8, 8), (16,), 4)
    x = torch.rand(2, 5, 3, 8, 8)
    torch.testing.assert_close(encoder(x)[1, 3], encoder(x[1, 3:4])[0], atol=1e-5, rtol=1e-4)


def test_it_draws_images_of_bits_only():
    with pytest.raises(OptionError, match="network='painted' draws"):
        SupervisedFlow((4, 6), network="painted")
    with pytest.raises(OptionError, match="likelihood='bernoulli'"):
        SupervisedFlow((4, 3, 8, 8), network="painted", likelihood="gaussian")
