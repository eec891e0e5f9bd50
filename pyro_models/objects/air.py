"""Attend, infer, repeat: an image is a few objects, each somewhere, each looking like something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import Tensor, nn

from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn import mlp
from pyro_models.objects.attention import Recurrent, Residual
from pyro_models.objects.counting import count_logits, pick
from pyro_models.objects.window import crop, paste, tight_boxes
from pyro_models.story import Located, Story

#: a pixel of an object's own picture belongs to the object above this
INK = 0.3
#: starting bias of the decoder's logits: objects start nearly empty, or none would ever be worth its price
FIRST_INK = -3.0


class Proposal(NamedTuple):
    """What the inference network would say of T objects, whether or not they are there."""

    go: Tensor  # [T, *particles, B], log-odds of another object
    where: Tensor  # [*particles, T, B, 3]
    what: Tensor  # [*particles, T, B, D]
    log_where: Tensor  # [*particles, T, B], log q of each
    log_what: Tensor


def _only(present: Tensor) -> Any:
    """Sites inside count only where an object is present."""
    return poutine.mask(mask=present)  # type: ignore[call-overload]  # declared for BoolTensor, which torch never makes


class AIR(Story):
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
        scale: sigma, standard deviation of a pixel.
        presence: rho, prior probability of another object at the end of training.
        first_presence: at its start.
        network: ``residual`` looks at what is not explained yet; ``lstm`` is the published recurrent network.
        guide: one of the above.
    """

    guides = ("enumerated-count", "sampled-count", "sequential")
    default_estimator = "exact"
    max_plate_nesting = None  # two with steps as a plate, one with steps in a loop
    citation = (
        "@inproceedings{eslami2016air,\n  title={Attend, Infer, Repeat: Fast Scene Understanding with Generative "
        "Models},\n  author={Eslami, S. M. Ali and Heess, Nicolas and Weber, Theophane and Tassa, Yuval and "
        "Szepesvari, David and Kavukcuoglu, Koray and Hinton, Geoffrey E.},\n  booktitle={Advances in Neural "
        "Information Processing Systems},\n  year={2016}\n}"
    )

    prior_where: Tensor
    spread_where: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        objects: int = 3,
        what: int = 10,
        patch: int = 28,
        size: float | None = None,
        size_spread: float = 0.2,
        place_spread: float = 0.5,
        hidden: int = 400,
        scale: float = 0.3,
        presence: float = 0.01,
        first_presence: float = 0.9,
        network: str = "residual",
        guide: str = "enumerated-count",
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]:
            raise OptionError(f"AIR reads square grey images (1, side, side), but the data have the shape {shape}.")
        if objects < 1:
            raise OptionError(f"objects is {objects}; at least one must be possible.")
        if not 0 < presence < 1 or not 0 < first_presence < 1:
            raise OptionError(f"presence={presence}, first_presence={first_presence}; both are between 0 and 1.")
        if not scale > 0:
            raise OptionError(f"scale is {scale}; the standard deviation of a pixel must be positive.")
        self.canvas, self.objects, self.what, self.patch, self.scale = shape[1], objects, what, patch, scale
        self.guide_kind = guide
        self.final_go, self.first_go = (math.log(p / (1 - p)) for p in (presence, first_presence))
        self.prior_go = self.final_go
        if network == "residual":
            self.attention: Residual | Recurrent = Residual(self.canvas)
        elif network == "lstm":
            self.attention = Recurrent(self.canvas, 3 + what)
        else:
            raise unknown_name("network of AIR", network, ("residual", "lstm"))
        self.encoder = mlp(patch * patch, (hidden,), 2 * what)
        self.decoder = mlp(what, (hidden,), patch * patch)
        with torch.no_grad():
            last = self.decoder[-1]
            assert isinstance(last, nn.Linear)
            last.bias.fill_(FIRST_INK)
        expected = math.log(self.canvas / (patch if size is None else size))
        self.register_buffer("prior_where", torch.tensor([expected, 0.0, 0.0]))
        self.register_buffer("spread_where", torch.tensor([size_spread, place_spread, place_spread]))

    def at(self, progress: float) -> None:
        share = min(1.0, 2 * progress)
        self.prior_go = (1 - share) * self.first_go + share * self.final_go

    # The generative side.

    def model(self, x: Tensor) -> None:
        if self.guide_kind == "sequential":
            self._model_in_a_loop(x)
            return
        with pyro.plate("data", len(x), dim=-1):
            n = pyro.sample("n", dist.Categorical(logits=self.prior_count(x)))
            with pyro.plate("steps", self.objects, dim=-2), _only(self._present(n)):
                where = pyro.sample("z_where", dist.Normal(self.prior_where, self.spread_where).to_event(1))
                what = pyro.sample("z_what", dist.Normal(x.new_zeros(self.what), 1.0).to_event(1))
            layers = self.render(what, where)
            mean = pick(F.pad(layers.cumsum(-4), (0, 0) * 3 + (1, 0)), n)
            pyro.sample("x", dist.Normal(mean.unsqueeze(-3), self.scale).to_event(3), obs=x)

    def _model_in_a_loop(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            mean, present = x.new_zeros(x.shape), x.new_ones(len(x))
            for t in range(self.objects):
                rho = torch.sigmoid(torch.as_tensor(self.prior_go, device=x.device))
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(rho * present))
                with _only(present.bool()):
                    prior = dist.Normal(self.prior_where, self.spread_where).to_event(1)
                    where = pyro.sample(f"z_where_{t}", prior)
                    what = pyro.sample(f"z_what_{t}", dist.Normal(x.new_zeros(self.what), 1.0).to_event(1))
                mean = mean + present[..., None, None, None] * self.render(what, where).unsqueeze(-3)
            pyro.sample("x", dist.Normal(mean, self.scale).to_event(3), obs=x)

    def prior_count(self, like: Tensor) -> Tensor:
        """log P(n), ``[T + 1]``."""
        return count_logits(like.new_full((self.objects,), self.prior_go))

    def render(self, what: Tensor, where: Tensor) -> Tensor:
        """Each object on a canvas of its own: ``[..., side, side]``."""
        patches = self.decoder(what).sigmoid().unflatten(-1, (self.patch, self.patch))
        return paste(patches, where, self.canvas)

    def _present(self, n: Tensor) -> Tensor:
        """Which of the steps are objects, along the plates: ``[..., T, B]``."""
        return torch.arange(self.objects, device=n.device).unsqueeze(-1) < n

    # The inference side.

    def guide(self, x: Tensor) -> None:
        if self.guide_kind == "sequential":
            self._guide_in_a_loop(x)
            return
        with pyro.plate("data", len(x), dim=-1):
            steps = pyro.plate("steps", self.objects, dim=-2)
            with steps, poutine.mask(mask=False):
                # Drawn here so that particles get noise of their own; its density is that of z_where and z_what below.
                standard = dist.Normal(x.new_zeros(3 + self.what), 1.0).to_event(1)
                noise = pyro.sample("noise", standard, infer={"is_auxiliary": True})
            found = self.propose(x, noise)
            logits = count_logits(found.go)
            enumerate_: Any = {"enumerate": "parallel"} if self.guide_kind == "enumerated-count" else {}
            # Particles lie left of the steps.
            logits = logits.unsqueeze(-3) if logits.dim() > 2 else logits
            n = pyro.sample("n", dist.Categorical(logits=logits), infer=enumerate_)
            with steps, _only(self._present(n)):
                pyro.sample("z_where", dist.Delta(found.where, log_density=found.log_where, event_dim=1))
                pyro.sample("z_what", dist.Delta(found.what, log_density=found.log_what, event_dim=1))

    def _guide_in_a_loop(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            canvas, present = torch.zeros_like(x), x.new_ones(len(x))
            state, previous = self.attention.begin(x), None
            for t in range(self.objects):
                look = self.attention.look(x, canvas, state, previous)
                # No object after none: its probability is 0, and its density is not asked for.
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(torch.sigmoid(look.go) * present))
                with _only(present.bool()):
                    where = pyro.sample(
                        f"z_where_{t}", dist.Normal(look.mean + self.prior_where, look.scale).to_event(1)
                    )
                    mean, scale = self.see(x, canvas, where)
                    what = pyro.sample(f"z_what_{t}", dist.Normal(mean, scale).to_event(1))
                canvas = canvas + present[..., None, None, None] * self.render(what, where).unsqueeze(-3)
                state, previous = look.state, torch.cat([where, what], -1) * present.unsqueeze(-1)

    def see(self, x: Tensor, canvas: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of ``z_what`` from what is left to explain in the window."""
        left = (x - canvas).squeeze(-3)
        mean, log_scale = self.encoder(crop(left, where, self.patch).flatten(-2)).chunk(2, -1)
        return mean, log_scale.clamp(-6, 2).exp()

    def propose(self, x: Tensor, noise: Tensor) -> Proposal:
        """T objects in a row, each as if present, from standard normal ``noise [*particles, T, B, 3 + D]``."""
        canvas = x.new_zeros(*noise.shape[:-3], *x.shape)
        state, previous = self.attention.begin(x), None
        steps = []
        for t in range(self.objects):
            look = self.attention.look(x, canvas, state, previous)
            drawn, middle = noise[..., t, :, :], look.mean + self.prior_where
            q_where, where = dist.Normal(middle, look.scale).to_event(1), middle + look.scale * drawn[..., :3]
            mean, scale = self.see(x, canvas, where)
            q_what, what = dist.Normal(mean, scale).to_event(1), mean + scale * drawn[..., 3:]
            steps.append((look.go, where, what, q_where.log_prob(where), q_what.log_prob(what)))
            if t + 1 < self.objects:
                canvas = canvas + self.render(what, where).unsqueeze(-3)
                state, previous = look.state, torch.cat([where, what], -1)
        go, places, looks, log_where, log_what = (list(column) for column in zip(*steps, strict=True))
        return Proposal(
            torch.stack(go), torch.stack(places, -3), torch.stack(looks, -3), torch.stack(log_where, -2),
            torch.stack(log_what, -2),
        )  # fmt: skip

    # Answers, at the means of the guide.

    def _explain(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Most probable number ``[B]``, objects ``[T, B, side, side]`` and whether they are present ``[T, B]``."""
        found = self.propose(x, x.new_zeros(self.objects, len(x), 3 + self.what))
        n = count_logits(found.go).argmax(-1)
        return n, self.render(found.what, found.where), self._present(n)

    @torch.no_grad()
    def count(self, x: Tensor) -> Tensor:
        """argmax of q(n | x), ``[B]``."""
        return self._explain(x)[0]

    @torch.no_grad()
    def locate(self, x: Tensor) -> Located:
        """Boxes around the ink of each object, in the order of attention."""
        _, layers, present = self._explain(x)
        lit = layers > INK
        owner = (layers * present[..., None, None]).max(0)
        segments = torch.where(owner.values > INK, owner.indices + 1, 0)
        return Located(tight_boxes(lit).movedim(0, 1), present.movedim(0, 1), segments)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of x under its own explanation, ``[B, 1, side, side]``."""
        _, layers, present = self._explain(x)
        return (layers * present[..., None, None]).sum(0).unsqueeze(1)

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """The mean of x for fresh objects, ``[count, 1, side, side]``."""
        like = self.prior_where
        n = dist.Categorical(logits=self.prior_count(like)).sample((count,))
        where = dist.Normal(self.prior_where, self.spread_where).sample((self.objects, count))
        layers = self.render(torch.randn(self.objects, count, self.what, device=like.device), where)
        return (layers * self._present(n)[..., None, None]).sum(0).unsqueeze(1)
