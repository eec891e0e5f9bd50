"""The network pair of an anchor story, chosen by the kind of data it explains.

A *pair* is an encoder, a decoder and a likelihood:

    encoder(x)                    [B, *shape] -> [B, plan.features]      what the posterior of z is read from
    decoder(z)                    [..., latent] -> parameters             of the likelihood, any leading dimensions
    likelihood(decoder(z))        a Pyro distribution over one datum, event shape ``plan.target_shape``, with
                                  ``log_prob(target)`` -> [...] (and ``sample()`` where it can be dreamt up)
    likelihood.mean(decoder(z))   the expected datum (or the likeliest), [..., *target_shape]: reconstructions, pictures

An autoregressive likelihood owns its recurrent network: the decoder hands it the state that z starts it from, and
``log_prob`` reads the datum it scores. Nothing else about a pair is known to the story.

A network is a function ``build(plan) -> Pair`` with one line in ``NETWORKS``; it names the kinds of data that it reads
and the likelihoods it can speak, the default first. ``suited(data)`` finds the kind of a dataset by the shape and type
of its field ``x``, and the network that is the default for it. What the explained datum is may differ from what is
read (``target_shape``): half a cloud in, a whole one out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn import auto_encoder, make_likelihood
from pyro_models.registry import Registry

Shape = tuple[int, ...]


class Pair(NamedTuple):
    """Encoder, decoder and likelihood that fit each other."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: nn.Module


@dataclass(frozen=True)
class Plan:
    """What a network builder is told.

    ``shape``: of what is read; ``target_shape``: of what is explained; ``features``: numbers that the encoder puts
    out; ``latent``: numbers that the decoder starts from; ``hidden``: widths of dense layers, encoder order;
    ``channels``: of the convolutional stages; ``likelihood``: a name, or None for the network's default; ``scale``: its
    fixed standard deviation, None for a learned one; ``options``: whatever else this network understands.
    """

    shape: Shape
    target_shape: Shape
    features: int
    latent: int
    hidden: Sequence[int] = (500, 500)
    channels: Sequence[int] = (32, 64)
    likelihood: str | None = None
    scale: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def choose_likelihood(self, allowed: Sequence[str]) -> str:
        """The likelihood asked for, or the first of ``allowed``."""
        if self.likelihood is None:
            return allowed[0]
        if self.likelihood not in allowed:
            raise unknown_name("likelihood of this network", self.likelihood, allowed)
        return self.likelihood

    def check_options(self, allowed: Sequence[str]) -> Mapping[str, Any]:
        """The options, all of them understood."""
        for name in self.options:
            if name not in allowed:
                raise unknown_name("network option", name, allowed)
        return self.options


Builder = Callable[[Plan], Pair]

#: networks by name; a line here, an entry point or an import path (``module:function``) adds one
NETWORKS = Registry("network", "pyro_models.networks")
NETWORKS.add("dense", "pyro_models.anchors.networks:dense", "dense layers, for vectors, images and grids")
NETWORKS.add("convolutional", "pyro_models.anchors.networks:convolutional", "3x3 stages of stride 2, for images")
NETWORKS.add("fire", "pyro_models.anchors.networks:fire", "squeeze-and-expand stages of stride 2, for images")
NETWORKS.add("bag", "pyro_models.anchors.modalities:bag", "bags of words, multinomial")
NETWORKS.add("gru", "pyro_models.anchors.modalities:gru", "sequences of words, spelled by gated recurrent units")
NETWORKS.add("transformer", "pyro_models.anchors.modalities:transformer", "sequences, spelled by a small Transformer")
NETWORKS.add("pointnet", "pyro_models.anchors.modalities:pointnet", "point clouds, points drawn around decoded centres")
NETWORKS.add("voxels", "pyro_models.anchors.modalities:voxels", "voxel grids, 3x3x3 stages of stride 2")

#: the network that a kind of data gets when none is named
DEFAULTS: dict[str, str] = {
    "image": "dense",
    "vector": "dense",
    "counts": "bag",
    "tokens": "gru",
    "points": "pointnet",
    "voxels": "voxels",
}


#: rows of more numbers than this are no points in space
MOST_COORDINATES = 4


def kind_of(data: Any) -> str:
    """What the field ``x`` of a dataset holds: ``tokens [T]`` (integers), ``counts [V]`` (with a vocabulary, or whole
    numbers with some above 1), ``points [P, 3]``, ``image [C, H, W]``, ``voxels [1, G, G, G]``, else ``vector``.
    """
    shape, some = data.shape("x"), data.take(slice(0, min(len(data), 64)))["x"]
    if len(shape) == 1:
        if not some.is_floating_point():
            return "tokens"
        whole = bool((some == some.round()).all()) and bool((some >= 0).all())
        return "counts" if whole and (hasattr(data, "words") or bool((some > 1).any())) else "vector"
    if len(shape) == 2:
        return "points" if shape[1] <= MOST_COORDINATES else "vector"
    if len(shape) == 3:
        return "image"
    if len(shape) == 4:
        return "voxels"
    raise OptionError(f"no network reads data of shape {shape}; allowed are 1 to 4 dimensions (see kind_of).")


def suited(data: Any) -> str:
    """The default network for a dataset."""
    return DEFAULTS.get(kind_of(data), "dense")


def build_pair(network: str, plan: Plan) -> Pair:
    """The pair of this name for this plan."""
    if not all(size > 0 for size in (*plan.hidden, *plan.channels)):
        raise OptionError(
            f"layer sizes must be positive, got hidden={list(plan.hidden)}, channels={list(plan.channels)}."
        )
    return NETWORKS.get(network)(plan)


#: likelihoods of pixels and other grids of numbers
_PIXELS = ("bernoulli", "gaussian")


def dense(plan: Plan) -> Pair:
    """Dense layers of widths ``hidden``, mirrored in the decoder."""
    return _image_pair("mlp", plan)


def convolutional(plan: Plan) -> Pair:
    """Stride-2 convolutions with ``channels``, then a dense layer as wide as the last of ``hidden``."""
    return _image_pair("convolutional", plan)


def fire(plan: Plan) -> Pair:
    """Fire modules with ``channels`` (a sixth of the weights of 3x3 convolutions), then as ``convolutional``."""
    return _image_pair("fire", plan)


def _image_pair(network: str, plan: Plan) -> Pair:
    plan.check_options(())
    name = plan.choose_likelihood(_PIXELS)
    read = auto_encoder(network, plan.shape, plan.hidden, plan.channels, plan.features, plan.latent)
    told = read
    if plan.target_shape != plan.shape:
        told = auto_encoder(network, plan.target_shape, plan.hidden, plan.channels, plan.features, plan.latent)
    return Pair(read[0], told[1], make_likelihood(name, len(plan.target_shape), plan.scale))
