"""Network pairs of anchor stories for bags of words, sequences of words, point clouds and voxels."""

from __future__ import annotations

from torch import nn

from pyro_models.anchors.networks import Pair, Plan
from pyro_models.errors import OptionError
from pyro_models.nn import DenseDecoder, make_likelihood, mlp
from pyro_models.nn.bag import BagEncoder, Multinomial
from pyro_models.nn.points import Cloud, PointNet
from pyro_models.nn.sequence import READERS, SequenceEncoder, Spelling
from pyro_models.nn.voxels import VoxelDecoder, VoxelEncoder

#: words of a document that is drawn or expected
DOCUMENT = 50
#: widths of the layers that every point goes through
SHARED = (32, 64, 128)


def bag(plan: Plan) -> Pair:
    """Counts of words. The decoder is linear: a code's dimensions raise and lower the log-probabilities of words.

    Options: ``length`` of a document that is drawn (50); ``decoder``: widths of hidden layers of the decoder (none).
    """
    options = plan.check_options(("length", "decoder"))
    plan.choose_likelihood(("multinomial",))
    words = _flat(plan, "a bag of words")
    decoder = mlp(plan.latent, options.get("decoder", ()), words)
    return Pair(BagEncoder(words, plan.hidden, plan.features), decoder, Multinomial(options.get("length", DOCUMENT)))


def gru(plan: Plan) -> Pair:
    """Sequences of words, spelled by gated recurrent units."""
    return _sequence(plan, "gru")


def transformer(plan: Plan) -> Pair:
    """Sequences of words, spelled by a small causal Transformer."""
    return _sequence(plan, "transformer")


def _sequence(plan: Plan, reader: str) -> Pair:
    """Options: ``vocabulary``, how many words there are (a text dataset says it); ``width`` of embeddings and states
    (128); ``word_dropout``, share of words read as unknown while training (0.4)."""
    options = plan.check_options(("vocabulary", "width", "word_dropout"))
    plan.choose_likelihood(("word-by-word",))
    length, width = _flat(plan, "a sequence"), options.get("width", 128)
    if "vocabulary" not in options:
        raise OptionError(
            f"network='{reader}' does not know how many words there are; give network_options={{'vocabulary': ...}} "
            f"(a text dataset with form='sequence' says it by itself)."
        )
    words = int(options["vocabulary"])
    encoder = SequenceEncoder(words, width, plan.hidden[-1], plan.features)
    decoder = nn.Linear(plan.latent, width)
    law = Spelling(READERS[reader](words, width, width), length, options.get("word_dropout", 0.4))
    return Pair(encoder, decoder, law)


def pointnet(plan: Plan) -> Pair:
    """Point clouds: layers shared by all points and their maximum; a decoder of centres, points drawn around them.

    Options: ``shared``, widths of the layers that every point goes through; ``centres``, how many are decoded (as many
    as the cloud has points).
    """
    options = plan.check_options(("shared", "centres"))
    plan.choose_likelihood(("soft-chamfer",))
    if len(plan.shape) != 2 or len(plan.target_shape) != 2:
        raise OptionError(f"network='pointnet' reads clouds of shape (points, 3), not {plan.shape}.")
    points, coordinates = plan.target_shape
    centres = int(options.get("centres", points))
    hidden = list(plan.hidden)
    return Pair(
        PointNet(plan.shape[1], options.get("shared", SHARED), hidden, plan.features),
        DenseDecoder(plan.latent, hidden[::-1], (centres, coordinates)),
        Cloud(points, plan.scale),
    )


def voxels(plan: Plan) -> Pair:
    """Voxel grids: 3x3x3 stages of stride 2 with ``channels``, a dense layer as wide as the last of ``hidden``.

    Option ``fire``: stages that squeeze and expand, with few weights.
    """
    plan.check_options(("fire",))
    fire = bool(plan.options.get("fire", False))
    name = plan.choose_likelihood(("bernoulli", "gaussian"))
    return Pair(
        VoxelEncoder(plan.shape, plan.channels, plan.hidden[-1], plan.features, fire),
        VoxelDecoder(plan.latent, plan.hidden[-1], plan.channels, plan.target_shape, fire),
        make_likelihood(name, len(plan.target_shape), plan.scale),
    )


def _flat(plan: Plan, what: str) -> int:
    if len(plan.shape) != 1 or plan.target_shape != plan.shape:
        raise OptionError(f"{what} has one dimension and is explained as it is read, not {plan.shape}.")
    return plan.shape[0]
