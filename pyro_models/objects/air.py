"""Attend, infer, repeat: an image is a few objects, each somewhere, each looking like something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn import mlp
from pyro_models.nn.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from pyro_models.objects.base import Drawn, ObjectStory, Sample, normal_drawn
from pyro_models.objects.window import crop

LIKELIHOODS = ("gaussian", "bernoulli")
#: of the convolutional decoder and encoder
CHANNELS = (16, 32)
#: no pixel is surer than this to be black or white
SURE = 1e-3
#: starting bias of the decoder's logits: objects start nearly empty, or none would ever be worth its price
FIRST_INK = -3.0


class AIR(ObjectStory):
    r"""Attend, infer, repeat.

    .. code-block:: text

        +-- data (B) -----------------------------+    n ~ P(n), up to T                     [B]
        |                                         |    z_where ~ N(m, diag s^2)              [T, B, 3]
        |   n      +-- steps t = 1..n --+         |    z_what ~ N(0, I)                      [T, B, D]
        |   |      |  z_where   z_what  |         |    x ~ N(sum_{t<=n} paste(dec(z_what_t), z_where_t), sigma^2)
        |   |      +-----|---------|----+         |
        |   +------------+----> x <-+             |    P(n): after each object another follows with probability rho
        +-----------------------------------------+

    ``z_where`` is (log-scale, x, y) of a square window (``pyro_models/objects/window.py``). The guide looks again and
    again: :math:`q(z_t | x, z_{<t})` and the log-odds :math:`a_t(x, z_{<t})` that there is a t-th object. Guides:

    * ``enumerated-count`` (default): the number n is one categorical site, :math:`q(n | x, z)` by stop-or-go from the
      a_t, and is summed over. All T objects are drawn as if present, and those beyond n are masked in guide and
      model: the bound is exact in n, and no score function is needed.
    * ``sampled-count``: the same site for estimators that sample.
    * ``sequential``: a presence bit per step, :math:`z^{pres}_t | z^{pres}_{t-1} = 1`, in guide and model, as first
      published; for estimators that sample. The same joint law of images.

    The default noise has the variance 0.2 of DAIR's thesis, and the presence ends where AIR's is usually annealed to
    (1e-5 to 1e-7): an object must pay for itself with 14 nats beside what its place and look cost. The patch fits
    MNIST's digits, whose ink is at most 20 pixels long.

    Recipe: the prior log-odds of another object fall from ``first_presence`` to ``presence`` over the first half of
    training, so that objects pay off while the decoder still learns what one looks like.

    Args:
        shape: of one image, (1, side, side).
        objects: T, the most objects.
        what: D.
        patch: side of an object's own picture in pixels.
        size: expected side of an object in canvas pixels; None takes ``patch``.
        size_spread: prior standard deviation of the log-scale.
        place_spread: prior standard deviation of the centre; the canvas reaches from -1 to 1.
        hidden: width of the object encoder's and decoder's layer.
        decoder: ``mlp`` or ``convolutional``; the encoder of windows is of the same kind.
        likelihood: ``gaussian``, or ``bernoulli`` with what the objects add up to, at most 1, as probabilities.
        scale: sigma, standard deviation of a pixel (``gaussian``).
        presence: rho, prior probability of another object at the end of training.
        first_presence: at its start.
        network: ``residual`` looks at what is not explained yet; ``lstm`` is the published recurrent network.
        guide: one of the above.
    """

    citation = (
        "@inproceedings{eslami2016air,\n  title={Attend, Infer, Repeat: Fast Scene Understanding with Generative "
        "Models},\n  author={Eslami, S. M. Ali and Heess, Nicolas and Weber, Theophane and Tassa, Yuval and "
        "Szepesvari, David and Kavukcuoglu, Koray and Hinton, Geoffrey E.},\n  booktitle={Advances in Neural "
        "Information Processing Systems},\n  year={2016}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        objects: int = 3,
        what: int = 20,
        patch: int = 22,
        size: float | None = None,
        size_spread: float = 0.1,
        place_spread: float = 0.5,
        hidden: int = 400,
        decoder: str = "mlp",
        likelihood: str = "gaussian",
        scale: float = 0.447,
        presence: float = 1e-6,
        first_presence: float = 0.5,
        network: str = "residual",
        guide: str = "enumerated-count",
    ) -> None:
        if what < 1:
            raise OptionError(f"what is {what}; an object's look needs at least one number.")
        if likelihood not in LIKELIHOODS:
            raise unknown_name("likelihood of AIR", likelihood, LIKELIHOODS)
        super().__init__(
            shape, objects, patch, size, size_spread, place_spread, scale, presence, first_presence, network, guide,
            previous=what,
        )  # fmt: skip
        self.what = self.look_noise = what
        self.bernoulli = likelihood == "bernoulli"
        one = (1, patch, patch)
        if decoder == "mlp":
            self.encoder: nn.Module = nn.Sequential(nn.Flatten(-3), mlp(patch * patch, (hidden,), 2 * what))
            self.decoder: nn.Module = nn.Sequential(mlp(what, (hidden,), patch * patch), nn.Unflatten(-1, one))
        elif decoder == "convolutional":
            self.encoder = ConvolutionalEncoder(one, CHANNELS, hidden, 2 * what)
            self.decoder = ConvolutionalDecoder(what, hidden, CHANNELS, one)
        else:
            raise unknown_name("decoder of AIR", decoder, ("mlp", "convolutional"))
        last = [part for part in self.decoder.modules() if isinstance(part, nn.Linear | nn.ConvTranspose2d)][-1]
        assert last.bias is not None
        nn.init.constant_(last.bias, FIRST_INK)

    def likelihood(self, mean: Tensor) -> TorchDistributionMixin:
        if not self.bernoulli:
            return super().likelihood(mean)
        return dist.Bernoulli(probs=mean.clamp(SURE, 1 - SURE), validate_args=False).to_event(3)

    def prior_look(self, like: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {"z_what": sample("z_what", dist.Normal(like.new_zeros(self.what), 1.0).to_event(1))}

    def posterior_look(self, left: Tensor, where: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {"z_what": sample("z_what", dist.Normal(*self.see(left, where)).to_event(1))}

    def draw_look(self, left: Tensor, where: Tensor, noise: Tensor) -> dict[str, Drawn]:
        return {"z_what": normal_drawn(*self.see(left, where), noise)}

    def pictures(self, look: Mapping[str, Tensor]) -> Tensor:
        return self.decoder(look["z_what"]).squeeze(-3).sigmoid()

    def see(self, left: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of ``z_what`` from what is left to explain in the window."""
        mean, log_scale = self.encoder(crop(left, where, self.patch).unsqueeze(-3)).chunk(2, -1)
        return mean, log_scale.clamp(-6, 2).exp()
