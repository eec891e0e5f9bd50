"""Building blocks of stories: encoders, decoders, likelihoods and approximate posteriors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from pyro_models.nn.dense import DenseDecoder, DenseEncoder, mlp
from pyro_models.nn.likelihood import make_likelihood
from pyro_models.nn.posterior import make_posterior

__all__ = ["auto_encoder", "make_likelihood", "make_posterior", "mlp"]

NETWORKS = ("mlp", "convolutional", "fire")


def auto_encoder(
    network: str,
    shape: Sequence[int],
    hidden: Sequence[int],
    channels: Sequence[int],
    encoder_outputs: int,
    decoder_inputs: int,
) -> tuple[nn.Module, nn.Module]:
    """An encoder ``[..., *shape] -> [..., encoder_outputs]`` and its mirrored decoder ``[..., decoder_inputs] ->
    [..., *shape]``.

    ``network``: ``mlp`` uses ``hidden`` widths (reversed in the decoder); ``convolutional`` uses ``channels`` and the
    last of ``hidden``; ``fire`` does the same with fire modules.
    """
    if not all(size > 0 for size in (*hidden, *channels)):
        raise OptionError(f"layer sizes must be positive, got hidden={list(hidden)}, channels={list(channels)}.")
    if network == "mlp":
        return (
            DenseEncoder(shape, hidden, encoder_outputs),
            DenseDecoder(decoder_inputs, list(reversed(hidden)), shape),
        )
    if network in ("convolutional", "fire"):
        fire = network == "fire"
        return (
            ConvolutionalEncoder(shape, channels, hidden[-1], encoder_outputs, fire),
            ConvolutionalDecoder(decoder_inputs, hidden[-1], channels, shape, fire),
        )
    raise unknown_name("network", network, NETWORKS)
