"""Discrete AIR: every object is one of K prototypes, bent a little and pasted somewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.objects.base import Drawn, ObjectStory, Proposal, Sample, window_of
from pyro_models.objects.expected import ExpectedOneHot
from pyro_models.objects.perclass import PerClassNormal
from pyro_models.objects.warm import learn_looks, pieces_of_ink
from pyro_models.objects.window import paste_weights
from pyro_models.prototypes.bank import spread_out
from pyro_models.prototypes.candidates import IMPOSSIBLE
from pyro_models.prototypes.dvae_st import DVAEST
from pyro_models.prototypes.moves import copy_row

#: images that pieces of ink are cut from: for a start from single pieces, and for learning from them
CROPPED, LEARNED = 2000, 20_000
#: pieces of ink below which there is nothing to learn from, per cluster
ENOUGH = 30
#: images on which the use of prototypes is looked up
SURVEYED = 500
#: progress between two looks at the prototypes' use, and when the first and last are taken
BETWEEN, FROM, UNTIL = 0.02, 0.1, 0.7
#: a prototype used for less than this share of its fair part is dead
DEAD = 0.2
#: what makes the two copies of a prototype differ, in the units of its parameters
DIFFERENCE = 0.05
#: looks that were learned from pieces are held still until the windows have found the objects
HELD = 0.1


class DAIR(ObjectStory):
    r"""AIR whose objects are drawn from K shared prototypes: a D-VAE-ST in every window.

    .. code-block:: text

        +-- data (B) -------------------------------------+   n ~ P(n), up to T                    [B]
        |          +-- steps t = 1..n --------------+     |   z_where ~ N(m, diag s^2)             [T, B, 3]
        |   n      |  z_class->z_transform  z_where |     |   z_class ~ Categorical(1/K)           [T, B, K]
        |   |      +------|--------|----------|-----+     |   z_transform ~ N(m_class, s_class^2)  [T, B, K D]
        |   +-------------+--------+----> x <-+           |   a_t = paste(ST(mu_class, z_transform), z_where)
        +-------------------------------------------------+   x ~ N(sum_{t<=n} a_t, sigma^2)

    What an object looks like is told by ``looks``, a :class:`~pyro_models.prototypes.dvae_st.DVAEST` of the window's
    size: prototypes, transforms with a learned prior per class, and :math:`q(t | x, z)` with a head per class.

    The class is summed out in closed form: composition is additive and the noise Gaussian, so for independent
    classes with probabilities r and pictures a

    .. math:: E\|x - \sum_t a_t\|^2 = \|x - \sum_t E a_t\|^2 + \sum_t (E\|a_t\|^2 - \|E a_t\|^2),

    T K pictures instead of K^T, and only those of the ``candidates`` most likely classes. ``z_class`` then holds r
    itself and ``z_transform`` a transform for every class (their densities are the expected ones), and the second
    term is the factor ``spread``. With the guide ``sequential`` classes are sampled. Guides are those of ``air``;
    classes come from

    * ``assign="energy"`` (default): :math:`r_k \propto \exp(-E_k)`, E as in the D-VAE-ST: the best answer to what is
      left to explain in the window;
    * ``assign="network"``: a head on the encoder of the window, as first published.

    Recipe: before training, ``warm`` steps teach ``looks`` the connected pieces of ink of an object's size (no labels,
    no boxes), by the D-VAE-ST's own recipe; then they are held still for a tenth of training. With ``warm=0`` the
    prototypes start from pieces of ink far from each other, the noise is ``anneal`` times broader at the start and has
    its own variance from 30 % of training on, and a prototype that is hardly used becomes a copy of the one with the
    most error (looked up every 2 %, until 70 %).

    Args:
        shape, objects, patch, size, size_spread, place_spread, presence, first_presence, network: as for ``air``.
        clusters: K.
        transforms: names of the transforms of prototypes, in this order.
        variance: sigma^2, of a pixel.
        candidates: classes per object that are summed over.
        warm: steps of learning from single pieces of ink.
        anneal: how many times larger the variance is at the start, without ``warm``.
        assign: one of the above.
        guide: one of the above.
    """

    citation = (
        "@mastersthesis{strimadec,\n  title={Structured Image Decompositions (StrImaDec): discrete AIR},\n"
        "  note={https://github.com/borea17/StrImaDec}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        clusters: int = 10,
        objects: int = 3,
        patch: int = 22,
        size: float | None = None,
        size_spread: float = 0.1,
        place_spread: float = 0.5,
        transforms: Sequence[str] = ("affine", "thin-plate"),
        variance: float = 0.15,
        candidates: int = 3,
        warm: int = 3000,
        anneal: float = 5.0,
        presence: float = 1e-6,
        first_presence: float = 0.5,
        network: str = "residual",
        assign: str = "energy",
        guide: str = "enumerated-count",
    ) -> None:
        if clusters < 2:
            raise OptionError(f"clusters is {clusters}; classes need at least 2.")
        if assign not in ("energy", "network"):
            raise OptionError(f"assign is '{assign}'; it is 'energy' or 'network'.")
        if not variance > 0 or not anneal >= 1:
            raise OptionError(f"variance={variance}, anneal={anneal}; the first is positive, the second 1 or more.")
        if candidates < 2 or warm < 0:
            raise OptionError(f"candidates={candidates}, warm={warm}; the first is 2 or more, the second not negative.")
        looks = DVAEST(
            (1, patch, patch), clusters=clusters, transforms=transforms, variance=variance, spare=0,
            candidates=candidates, prior="independent", guide="collapsed" if assign == "energy" else "per-cluster",
        )  # fmt: skip
        size_of_transforms = looks.transformer.size
        super().__init__(
            shape, objects, patch, size, size_spread, place_spread, math.sqrt(variance), presence, first_presence,
            network, guide, previous=clusters * (1 + size_of_transforms),
        )  # fmt: skip
        self.looks = looks
        self.clusters, self.variance, self.anneal, self.warm = clusters, variance, anneal, warm
        self.candidates = min(candidates, clusters)
        self.look_noise = size_of_transforms
        self.register_buffer("warmed", torch.tensor(False))
        self.held = False

    warmed: Tensor

    def at(self, progress: float) -> None:
        super().at(progress)
        self.held = bool(self.warmed) and progress < HELD
        broader = 1.0 if bool(self.warmed) else self.anneal ** max(0.0, 1 - progress / 0.3)
        self.scale = math.sqrt(self.variance * broader)

    # -- looks ----------------------------------------------------------------------------------------------------

    @property
    def sums_out(self) -> bool:
        """Classes are expected, not sampled."""
        return self.guide_kind != "sequential"

    def prior_look(self, like: Tensor, sample: Sample) -> dict[str, Tensor]:
        kind = ExpectedOneHot if self.sums_out else dist.OneHotCategorical
        r = sample("z_class", kind(logits=like.new_zeros(self.clusters)))
        prior = PerClassNormal(r, *map(self.held_still, self.looks.prior_of_clusters()))
        return {"z_class": r, "z_transform": sample("z_transform", prior)}

    def posterior_look(self, left: Tensor, where: Tensor, sample: Sample) -> dict[str, Tensor]:
        logits, mean, scale = self.see(left, where)
        r = sample("z_class", dist.OneHotCategorical(logits=logits))
        return {"z_class": r, "z_transform": sample("z_transform", PerClassNormal(r, mean, scale))}

    def draw_look(self, left: Tensor, where: Tensor, noise: Tensor) -> dict[str, Drawn]:
        """The same noise for the transform of every class: an object has one of them only."""
        logits, mean, scale = self.see(left, where)
        logits = logits.log_softmax(-1)
        r = logits.exp()
        transform = (mean + scale * noise.unsqueeze(-2)).flatten(-2)
        density = PerClassNormal(r, mean, scale).log_prob(transform)
        return {"z_class": Drawn(r, (r * logits).sum(-1)), "z_transform": Drawn(transform, density)}

    def see(self, left: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the classes ``[..., K]``, means and standard deviations of the transforms ``[..., K, D]``."""
        window = window_of(left, where, self.patch)
        lead = window.shape[:-1]
        flat = window.reshape(-1, 1, self.patch, self.patch)
        features = self.looks.encoder(flat)
        mean, scale = self.looks.transform_posterior(features)
        logits = self.looks.index_logits(flat, features)
        logits, mean, scale = map(self.held_still, (logits, mean, scale))
        if self.candidates < self.clusters:
            kept = logits.topk(self.candidates, dim=-1).indices
            logits = logits.clamp(min=IMPOSSIBLE) + torch.full_like(logits, IMPOSSIBLE).scatter(-1, kept, 0.0)
        return logits.unflatten(0, lead), mean.unflatten(0, lead), scale.unflatten(0, lead)

    def likely(self, look: Mapping[str, Tensor]) -> tuple[Tensor, Float[Tensor, "... C patch patch"]]:
        """The candidates' probabilities, and their prototypes, bent."""
        r, chosen = look["z_class"].topk(self.candidates, dim=-1)
        prototypes = self.held_still(self.looks.prototypes())
        transforms = look["z_transform"].unflatten(-1, (self.clusters, -1))
        transforms = transforms.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, transforms.shape[-1]))
        # A product instead of picking rows: its gradient is a product too, not a scattered sum.
        picked = F.one_hot(chosen, self.clusters).to(r) @ prototypes.flatten(1)
        return r, self.looks.transformer(picked.unflatten(-1, prototypes.shape[1:]), transforms).squeeze(-3)

    def held_still(self, learned: Tensor) -> Tensor:
        return learned.detach() if self.held else learned

    def pictures(self, look: Mapping[str, Tensor]) -> Tensor:
        r, pictures = self.likely(look)
        return (r[..., None, None] * pictures).sum(-3)

    def painted(self, look: Mapping[str, Tensor], where: Tensor) -> tuple[Tensor, Tensor | None]:
        r, pictures = self.likely(look)
        expected = (r[..., None, None] * pictures).sum(-3)
        if not self.sums_out:
            return expected, None
        rows, columns = paste_weights(where, self.patch, self.canvas)
        apart = self.energy(pictures - expected.unsqueeze(-3), rows, columns)
        return expected, (r * apart).sum(-1)

    def energy(self, patches: Tensor, rows: Tensor, columns: Tensor) -> Float[Tensor, "... K"]:
        r""":math:`\|\mathrm{paste}(a)\|^2` without pasting: :math:`\langle R^T R\, a\, C^T C, a \rangle`."""
        across, down = (rows.mT @ rows).unsqueeze(-3), (columns.mT @ columns).unsqueeze(-3)
        return (across @ patches @ down * patches).sum((-1, -2))

    # -- the recipe -----------------------------------------------------------------------------------------------

    def initialise(self, data: Data) -> None:
        pieces = self.pieces(data, LEARNED if self.warm else CROPPED)
        if self.warm and len(pieces) >= ENOUGH * self.clusters:
            learn_looks(self.looks, pieces, self.warm)
            self.warmed.fill_(True)
        elif len(pieces) >= self.clusters:
            self.looks.prototypes.place(spread_out(pieces.unsqueeze(1), self.clusters))

    def pieces(self, data: Data, images: int) -> Tensor:
        some = data.take(torch.randperm(len(data))[:images])["x"][:, 0]
        return pieces_of_ink(some, self.patch).to(some)

    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        if not bool(self.warmed) and FROM <= after <= UNTIL and int(before / BETWEEN) < int(after / BETWEEN):
            self.revive(data.take(torch.randperm(len(data), device=data.device)[:SURVEYED])["x"], optimiser)

    @torch.no_grad()
    def revive(self, x: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """A dead prototype becomes a copy of the one whose objects are explained worst."""
        n, layers, found = self.explain(x)
        present = self.present(n).unsqueeze(-1)
        use = found.look["z_class"].value * present
        error = (x - (layers * present[..., None]).sum(0).unsqueeze(1)).square().sum((1, 2, 3))
        shares, blame = use.sum((0, 1)) / use.sum().clamp_min(1), (use * error[None, :, None]).sum((0, 1))
        if shares.min() < DEAD / self.clusters and bool(present.any()):
            dead, worst = int(shares.argmin()), int(blame.argmax())
            for row in self.looks.rows():
                copy_row(row, worst, dead, optimiser)
            bank = self.looks.prototypes.rows()[0]
            bank[[dead, worst]] += DIFFERENCE * torch.randn_like(bank[[dead, worst]])

    # -- answers --------------------------------------------------------------------------------------------------

    def classes(self, found: Proposal) -> Tensor:
        return found.look["z_class"].value.argmax(-1).movedim(0, 1)

    @torch.no_grad()
    def cluster_means(self) -> Tensor:
        """The prototypes, ``[K, 1, patch, patch]``."""
        return self.looks.prototypes()
