"""What stories of several objects share: how many, where, one after the other; what an object looks like is theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_models.errors import OptionError, unknown_name
from pyro_models.objects.attention import Recurrent, Residual
from pyro_models.objects.counting import count_logits, pick
from pyro_models.objects.warm import INK
from pyro_models.objects.window import crop, paste, tight_boxes
from pyro_models.prototypes.noise import PixelNoise
from pyro_models.story import Located, Story

#: relative difference of a value that was computed twice
ROUNDING = 1e-3
#: draws from a distribution at a site of that name
Sample = Callable[[str, TorchDistributionMixin], Tensor]

GUIDES = ("enumerated-count", "sampled-count", "sequential")


class Drawn(NamedTuple):
    """A value of the guide and its log-density."""

    value: Tensor
    log_density: Tensor


class Proposal(NamedTuple):
    """What the inference network would say of T objects, whether or not they are there.

    ``go [T, *particles, B]``: log-odds of another object; ``where``: its place; ``look``: the causes of its look by
    site name. Values are ``[*particles, T, B, size]``, log-densities ``[*particles, T, B]``.
    """

    go: Tensor
    where: Drawn
    look: dict[str, Drawn]


class ObjectStory(Story):
    """Up to T objects pasted onto a canvas. A subclass says what an object looks like:

    * ``look_noise``: how many standard normal numbers a look is drawn with;
    * ``prior_look(like, sample)``: the model's sites, each by a call of ``sample(name, distribution)``;
    * ``posterior_look(left, where, sample)``: the guide's, for an object in a window of what is left to explain;
    * ``draw_look(left, where, noise)``: the same, drawn with given noise (values with log-densities);
    * ``pictures(look)``: ``[..., patch, patch]`` in [0, 1] from the values of the sites;
    * ``painted(look, where)``: the pictures, and what a look that is a distribution over pictures adds to the expected
      squared error.
    """

    guides = GUIDES
    default_estimator = "exact"
    max_plate_nesting = None  # two with steps as a plate, one with steps in a loop
    look_noise: int

    prior_where: Tensor
    spread_where: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        objects: int,
        patch: int,
        size: float | None,
        size_spread: float,
        place_spread: float,
        scale: float,
        presence: float,
        first_presence: float,
        network: str,
        guide: str,
        previous: int,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]:
            name = type(self).__name__
            raise OptionError(f"{name} reads square grey images (1, side, side), but the data have the shape {shape}.")
        if objects < 1:
            raise OptionError(f"objects is {objects}; at least one must be possible.")
        if not 0 < presence < 1 or not 0 < first_presence < 1:
            raise OptionError(f"presence={presence}, first_presence={first_presence}; both are between 0 and 1.")
        if not scale > 0:
            raise OptionError(f"scale is {scale}; the standard deviation of a pixel must be positive.")
        self.canvas, self.objects, self.patch, self.scale = shape[1], objects, patch, scale
        self.guide_kind = guide
        self.final_go, self.first_go = (math.log(p / (1 - p)) for p in (presence, first_presence))
        self.prior_go = self.final_go
        if network == "residual":
            self.attention: Residual | Recurrent = Residual(self.canvas, patch if size is None else size)
        elif network == "lstm":
            self.attention = Recurrent(self.canvas, 3 + previous)
        else:
            raise unknown_name(f"network of {type(self).__name__}", network, ("residual", "lstm"))
        expected = math.log(self.canvas / (patch if size is None else size))
        self.register_buffer("prior_where", torch.tensor([expected, 0.0, 0.0]))
        self.register_buffer("spread_where", torch.tensor([size_spread, place_spread, place_spread]))

    def at(self, progress: float) -> None:
        share = min(1.0, 2 * progress)
        self.prior_go = (1 - share) * self.first_go + share * self.final_go

    # -- what a subclass says -------------------------------------------------------------------------------------

    def prior_look(self, like: Tensor, sample: Sample) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} has no prior_look(...)")

    def posterior_look(self, left: Tensor, where: Tensor, sample: Sample) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} has no posterior_look(...)")

    def draw_look(self, left: Tensor, where: Tensor, noise: Tensor) -> dict[str, Drawn]:
        raise NotImplementedError(f"{type(self).__name__} has no draw_look(...)")

    def pictures(self, look: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no pictures(...)")

    def painted(self, look: Mapping[str, Tensor], where: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pictures, and the sum of the variances of their pixels ``[..., T, B]``: None where a look is one picture."""
        return self.pictures(look), None

    # -- the generative side --------------------------------------------------------------------------------------

    def model(self, x: Tensor) -> None:
        if self.guide_kind == "sequential":
            self._model_in_a_loop(x)
            return
        with pyro.plate("data", len(x), dim=-1):
            n = pyro.sample("n", dist.Categorical(logits=self.prior_count(x)))
            with pyro.plate("steps", self.objects, dim=-2), only(self.present(n)):
                where = pyro.sample("z_where", dist.Normal(self.prior_where, self.spread_where).to_event(1))
                look = self.prior_look(x, pyro.sample)
                pictures, spread = self.painted(look, where)
                if spread is not None:
                    pyro.factor("spread", -spread / (2 * self.scale**2))
            layers = paste(pictures, where, self.canvas)
            mean = pick(growing(layers), n)
            pyro.sample("x", self.likelihood(mean.unsqueeze(-3)), obs=x)

    def _model_in_a_loop(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            mean, present = x.new_zeros(x.shape), x.new_ones(len(x))
            rho = torch.sigmoid(torch.as_tensor(self.prior_go, device=x.device))
            for t in range(self.objects):
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(rho * present))
                with only(present.bool()):
                    prior = dist.Normal(self.prior_where, self.spread_where).to_event(1)
                    where = pyro.sample(f"z_where_{t}", prior)
                    look = self.prior_look(x, numbered(t))
                mean = mean + self.layer(look, where, present)
            pyro.sample("x", self.likelihood(mean), obs=x)

    def layer(self, look: Mapping[str, Tensor], where: Tensor, present: Tensor) -> Tensor:
        """An object on a canvas of its own, ``[..., 1, side, side]``, blank where it is not present."""
        return present[..., None, None, None] * paste(self.pictures(look), where, self.canvas).unsqueeze(-3)

    def likelihood(self, mean: Tensor) -> TorchDistributionMixin:
        """Images ``[..., 1, side, side]`` around what the objects add up to."""
        return PixelNoise(mean, self.scale**2, rank=3)

    def prior_count(self, like: Tensor) -> Tensor:
        """log P(n), ``[T + 1]``."""
        return count_logits(like.new_full((self.objects,), self.prior_go))

    def present(self, n: Tensor) -> Tensor:
        """Which of the steps are objects, along the plates: ``[..., T, B]``."""
        return torch.arange(self.objects, device=n.device).unsqueeze(-1) < n

    # -- the inference side ---------------------------------------------------------------------------------------

    def guide(self, x: Tensor) -> None:
        if self.guide_kind == "sequential":
            self._guide_in_a_loop(x)
            return
        with pyro.plate("data", len(x), dim=-1):
            steps = pyro.plate("steps", self.objects, dim=-2)
            with steps, poutine.mask(mask=False):
                # Drawn here so that particles get noise of their own; its density is that of the values made of it.
                standard = dist.Normal(x.new_zeros(3 + self.look_noise), 1.0).to_event(1)
                noise = pyro.sample("noise", standard, infer={"is_auxiliary": True})
            found = self.propose(x, noise)
            logits = count_logits(found.go)
            logits = logits.unsqueeze(-3) if logits.dim() > 2 else logits  # particles lie left of the steps
            how: Any = {"enumerate": "parallel"} if self.guide_kind == "enumerated-count" else {}
            n = pyro.sample("n", dist.Categorical(logits=logits), infer=how)
            with steps, only(self.present(n)):
                for name, drawn in {"z_where": found.where, **found.look}.items():
                    pyro.sample(name, Made(drawn.value, log_density=drawn.log_density, event_dim=1))

    def _guide_in_a_loop(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            canvas, present = torch.zeros_like(x), x.new_ones(len(x))
            state, previous = self.attention.begin(x), None
            for t in range(self.objects):
                seen = self.attention.look(x, canvas, state, previous)
                # No object after none: its probability is 0, and its density is not asked for.
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(torch.sigmoid(seen.go) * present))
                with only(present.bool()):
                    q_where = dist.Normal(seen.mean + self.prior_where, seen.scale).to_event(1)
                    where = pyro.sample(f"z_where_{t}", q_where)
                    look = self.posterior_look((x - canvas).squeeze(-3), where, numbered(t))
                canvas = canvas + self.layer(look, where, present)
                state = seen.state
                previous = side_by_side(where, *look.values()) * present.unsqueeze(-1)

    def propose(self, x: Tensor, noise: Tensor) -> Proposal:
        """T objects in a row, each as if present, from standard normal ``noise [*particles, T, B, 3 + look_noise]``."""
        canvas = x.new_zeros(*noise.shape[:-3], *x.shape)
        state, previous = self.attention.begin(x), None
        going, places, looks = [], [], []
        for t in range(self.objects):
            seen = self.attention.look(x, canvas, state, previous)
            drawn = noise[..., t, :, :]
            where = normal_drawn(seen.mean + self.prior_where, seen.scale, drawn[..., :3])
            look = self.draw_look((x - canvas).squeeze(-3), where.value, drawn[..., 3:])
            going.append(seen.go)
            places.append(where)
            looks.append(look)
            if t + 1 < self.objects:
                values = {name: one.value for name, one in look.items()}
                canvas = canvas + paste(self.pictures(values), where.value, self.canvas).unsqueeze(-3)
                state, previous = seen.state, side_by_side(where.value, *values.values())
        together = {name: stacked([look[name] for look in looks]) for name in looks[0]}
        return Proposal(torch.stack(going), stacked(places), together)

    # -- answers, at the means of the guide -----------------------------------------------------------------------

    def explain(self, x: Tensor) -> tuple[Tensor, Tensor, Proposal]:
        """Most probable number ``[B]``, objects ``[T, B, side, side]`` each on its canvas, and the proposal."""
        found = self.propose(x, x.new_zeros(self.objects, len(x), 3 + self.look_noise))
        pictures = self.pictures({name: one.value for name, one in found.look.items()})
        return count_logits(found.go).argmax(-1), paste(pictures, found.where.value, self.canvas), found

    @torch.no_grad()
    def count(self, x: Tensor) -> Tensor:
        """argmax of q(n | x), ``[B]``."""
        return self.explain(x)[0]

    @torch.no_grad()
    def locate(self, x: Tensor) -> Located:
        """Boxes around the ink of each object, in the order of attention."""
        n, layers, found = self.explain(x)
        present = self.present(n)
        owner = (layers * present[..., None, None]).max(0)
        segments = torch.where(owner.values > INK, owner.indices + 1, 0)
        boxes = tight_boxes(layers > INK).movedim(0, 1)
        return Located(boxes, present.movedim(0, 1), segments, self.classes(found))

    def classes(self, found: Proposal) -> Tensor | None:
        """The class of each object, ``[B, T]``, for stories that have classes."""
        return None

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of x under its own explanation, ``[B, 1, side, side]``."""
        n, layers, _ = self.explain(x)
        return (layers * self.present(n)[..., None, None]).sum(0).unsqueeze(1)

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """The mean of x for fresh objects, ``[count, 1, side, side]``."""
        like = self.prior_where
        n = dist.Categorical(logits=self.prior_count(like)).sample((count,))
        where = dist.Normal(self.prior_where, self.spread_where).sample((self.objects, count))
        look = self.prior_look(like, lambda name, prior: prior.expand((self.objects, count)).sample())
        layers = paste(self.pictures(look), where, self.canvas)
        return (layers * self.present(n)[..., None, None]).sum(0).unsqueeze(1)


class Made(dist.Delta):
    """A value made of noise elsewhere, with its density. Made again, in a batch of another size, it may differ in its
    last digits, which a plain Delta would call impossible."""

    def log_prob(self, x: Tensor) -> Tensor:
        near = (x - self.v).abs() <= ROUNDING * (1 + self.v.abs())
        return near.flatten(x.dim() - self.event_dim).all(-1).log() + self.log_density

    def expand(self, batch_shape: Any, _instance: Any = None) -> Made:
        return super().expand(batch_shape, self._get_checked_instance(Made, _instance))


def growing(layers: Tensor) -> Tensor:
    """The canvas after 0, 1, ..., T objects: ``[..., T + 1, B, side, side]`` from ``[..., T, B, side, side]``."""
    canvases = [torch.zeros_like(layers[..., 0, :, :, :])]
    for layer in layers.unbind(-4):
        canvases.append(canvases[-1] + layer)
    return torch.stack(canvases, -4)


def numbered(step: int) -> Sample:
    """``pyro.sample`` with the number of the step in the site's name."""
    return lambda name, distribution: pyro.sample(f"{name}_{step}", distribution)


def only(present: Tensor) -> Any:
    """Sites inside count only where an object is present."""
    return poutine.mask(mask=present)  # type: ignore[call-overload]  # declared for BoolTensor, which torch never makes


def normal_drawn(mean: Tensor, scale: Tensor, noise: Tensor) -> Drawn:
    """A vector of independent normal values made of standard normal noise."""
    value = mean + scale * noise
    return Drawn(value, dist.Normal(mean, scale).to_event(1).log_prob(value))


def side_by_side(*vectors: Tensor) -> Tensor:
    """Vectors as one; leading dimensions broadcast (some may be enumerated, some not)."""
    lead = torch.broadcast_shapes(*(vector.shape[:-1] for vector in vectors))
    return torch.cat([vector.expand(*lead, vector.shape[-1]) for vector in vectors], -1)


def stacked(steps: Sequence[Drawn]) -> Drawn:
    """One per step, ``[*particles, T, B, ...]``."""
    return Drawn(torch.stack([one.value for one in steps], -3), torch.stack([one.log_density for one in steps], -2))


def window_of(left: Tensor, where: Tensor, patch: int) -> Tensor:
    """What is seen through the window, as a vector ``[..., patch * patch]``."""
    return crop(left, where, patch).flatten(-2)
