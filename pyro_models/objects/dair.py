"""Discrete AIR: every object is one of K prototypes, bent a little and pasted somewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError
from pyro_models.nn import mlp
from pyro_models.nn.spatial import SpatialTransformer
from pyro_models.objects.base import INK, Drawn, ObjectStory, Proposal, normal_drawn, window_of
from pyro_models.objects.expected import ExpectedOneHot
from pyro_models.objects.window import paste_weights
from pyro_models.prototypes.bank import make_bank, spread_out
from pyro_models.prototypes.moves import copy_row

#: images that starting crops are cut from, and images on which the use of prototypes is looked up
CROPPED, SURVEYED = 2000, 500
#: a piece of ink is an object's size when its longer side is between these shares of the patch
PIECES = (0.35, 1.0)
#: progress between two looks at the prototypes' use, and when the first and last are taken
BETWEEN, FROM, UNTIL = 0.02, 0.1, 0.7
#: a prototype used for less than this share of its fair part is dead
DEAD = 0.2
#: what makes the two copies of a prototype differ, in the units of its parameters
DIFFERENCE = 0.05


class DAIR(ObjectStory):
    r"""AIR whose objects are drawn from K shared prototypes.

    .. code-block:: text

        +-- data (B) -------------------------------------+   n ~ P(n), up to T                 [B]
        |          +-- steps t = 1..n --------------+     |   z_where ~ N(m, diag s^2)          [T, B, 3]
        |   n      |  z_class  z_transform  z_where |     |   z_class ~ Categorical(1/K)        [T, B, K]
        |   |      +------|--------|----------|-----+     |   z_transform ~ N(identity, 0.1^2)  [T, B, 6]
        |   +-------------+--------+----> x <-+           |   a_t = paste(ST(mu_class, z_transform), z_where)
        +-------------------------------------------------+   x ~ N(sum_{t<=n} a_t, sigma^2)

    The class is summed out in closed form: composition is additive and the noise Gaussian, so for independent
    classes with probabilities r and pictures a

    .. math:: E\|x - \sum_t a_t\|^2 = \|x - \sum_t E a_t\|^2 + \sum_t (E\|a_t\|^2 - \|E a_t\|^2),

    T K pictures instead of K^T. ``z_class`` then holds r itself (its density is the expected one), and the second term
    is the factor ``spread``. With the guides ``sampled-count`` and ``sequential`` nothing is expected:
    classes are sampled, for any estimator. Guides are those of ``air``; classes come from

    * ``assign="energy"`` (default): :math:`r_k \propto \exp(-E_k)`, the best answer to what is left to explain;
    * ``assign="network"``: an encoder of the window, as first published.

    Recipe: the prototypes start from pieces of ink of the right size (connected, no labels), far from each other; the
    noise is ``anneal`` times broader at the start and has its own variance from 30 % of training on; a prototype that
    is hardly used becomes a copy of the one with the most error (looked up every 2 %, until 70 %).

    Args:
        shape, objects, patch, size, size_spread, place_spread, presence, first_presence, network: as for ``air``.
        clusters: K.
        hidden: widths of the networks that look into the window.
        variance: sigma^2, of a pixel.
        anneal: how many times larger it is at the start.
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
        patch: int = 28,
        size: float | None = None,
        size_spread: float = 0.2,
        place_spread: float = 0.5,
        hidden: Sequence[int] = (256, 128),
        variance: float = 0.15,
        anneal: float = 5.0,
        presence: float = 1e-6,
        first_presence: float = 0.9,
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
        super().__init__(
            shape, objects, patch, size, size_spread, place_spread, math.sqrt(variance), presence, first_presence,
            network, guide, previous=clusters + 6,
        )  # fmt: skip
        self.clusters, self.variance, self.anneal, self.look_noise = clusters, variance, anneal, 6
        self.prototypes = make_bank("pixels", clusters, (patch, patch))
        self.transformer = SpatialTransformer(("affine",), (1, patch, patch))
        self.bend = mlp(patch * patch, hidden, 12)
        with torch.no_grad():
            last = self.bend[-1]
            last.weight.mul_(0.01)  # type: ignore[operator, union-attr]
            last.bias.copy_(torch.cat([torch.zeros(6), torch.full((6,), -3.0)]))  # type: ignore[operator, union-attr]
        self.namer = mlp(patch * patch, hidden, clusters) if assign == "network" else None

    def at(self, progress: float) -> None:
        super().at(progress)
        self.scale = math.sqrt(self.variance * self.anneal ** max(0.0, 1 - progress / 0.3))

    # -- looks ----------------------------------------------------------------------------------------------------

    @property
    def sums_out(self) -> bool:
        """Classes are expected, not sampled."""
        return self.guide_kind == "enumerated-count"

    def look_priors(self, like: Tensor) -> dict[str, TorchDistributionMixin]:
        kind = ExpectedOneHot if self.sums_out else dist.OneHotCategorical
        return {"z_transform": self.transformer.prior(), "z_class": kind(logits=like.new_zeros(self.clusters))}

    def bending(self, left: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of ``z_transform``."""
        change, log_scale = self.bend(window_of(left, where, self.patch)).chunk(2, -1)
        return self.transformer.identity + change, log_scale.clamp(-6, 0).exp()

    def candidates(self, transform: Tensor) -> Float[Tensor, "... K patch patch"]:
        """Every prototype, bent: they share the points at which they are read."""
        return self.transformer(self.prototypes(), transform)

    def class_logits(self, left: Tensor, where: Tensor, candidates: Tensor) -> Float[Tensor, "... K"]:
        r"""Log-odds of the classes: :math:`-(\|a_k\|^2 - 2 a_k \cdot \mathrm{left}) / 2 \sigma^2`, or a network's."""
        if self.namer is not None:
            return self.namer(window_of(left, where, self.patch))
        rows, columns = paste_weights(where, self.patch, self.canvas)
        seen = rows.mT @ left @ columns
        match = (candidates * seen.unsqueeze(-3)).sum((-1, -2))
        return (2 * match - self.energy(candidates, rows, columns)) / (2 * self.scale**2)

    def energy(self, patches: Tensor, rows: Tensor, columns: Tensor) -> Float[Tensor, "... K"]:
        r""":math:`\|\mathrm{paste}(a)\|^2` without pasting: :math:`\langle R^T R\, a\, C^T C, a \rangle`."""
        across, down = (rows.mT @ rows).unsqueeze(-3), (columns.mT @ columns).unsqueeze(-3)
        return (across @ patches @ down * patches).sum((-1, -2))

    def look_posteriors(self, left: Tensor, where: Tensor) -> dict[str, TorchDistributionMixin]:
        mean, scale = self.bending(left, where)
        logits = self.class_logits(left, where, self.candidates(mean))
        return {
            "z_transform": dist.Normal(mean, scale).to_event(1),
            "z_class": dist.OneHotCategorical(logits=logits.detach() if self.namer is None else logits),
        }

    def draw_look(self, left: Tensor, where: Tensor, noise: Tensor) -> dict[str, Drawn]:
        transform = normal_drawn(*self.bending(left, where), noise)
        logits = self.class_logits(left, where, self.candidates(transform.value)).log_softmax(-1)
        r = logits.exp()
        return {"z_transform": transform, "z_class": Drawn(r, (r * logits).sum(-1))}

    def pictures(self, look: Mapping[str, Tensor]) -> Tensor:
        candidates = self.candidates(look["z_transform"])
        return (look["z_class"][..., None, None] * candidates).sum(-3)

    def spread(self, look: Mapping[str, Tensor], where: Tensor) -> Tensor | None:
        if not self.sums_out:
            return None
        r, candidates = look["z_class"], self.candidates(look["z_transform"])
        rows, columns = paste_weights(where, self.patch, self.canvas)
        expected = (r[..., None, None] * candidates).sum(-3, keepdim=True)
        return (r * self.energy(candidates, rows, columns)).sum(-1) - self.energy(expected, rows, columns).squeeze(-1)

    # -- the recipe -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        images = data.take(torch.randperm(len(data))[:CROPPED])["x"][:, 0]
        crops = pieces_of_ink(images, self.patch)
        if len(crops) >= self.clusters:
            self.prototypes.place(spread_out(crops, self.clusters).to(images))

    def revise(self, before: float, after: float, data: Data, optimiser: torch.optim.Optimizer) -> None:
        if FROM <= after <= UNTIL and int(before / BETWEEN) < int(after / BETWEEN):
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
            for row in self.prototypes.rows():
                copy_row(row, worst, dead, optimiser)
                row[[dead, worst]] += DIFFERENCE * torch.randn_like(row[[dead, worst]])

    # -- answers --------------------------------------------------------------------------------------------------

    def classes(self, found: Proposal) -> Tensor:
        return found.look["z_class"].value.argmax(-1).movedim(0, 1)

    @torch.no_grad()
    def cluster_means(self) -> Tensor:
        """The prototypes, ``[K, 1, patch, patch]``."""
        return self.prototypes().unsqueeze(1)


def pieces_of_ink(images: Float[Tensor, "N side side"], patch: int) -> Float[Tensor, "pieces patch patch"]:
    """Connected pieces of ink that are about as large as an object, each in the middle of a patch of its own."""
    from scipy import ndimage

    found = []
    for image in images.cpu().numpy():
        labels, _ = ndimage.label(image > INK, structure=np.ones((3, 3)))
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            height, width = (part.stop - part.start for part in place)
            if PIECES[0] * patch <= max(height, width) <= PIECES[1] * patch:
                sheet = np.zeros((patch, patch), np.float32)
                top, left = (patch - height) // 2, (patch - width) // 2
                sheet[top : top + height, left : left + width] = image[place] * (labels[place] == number)
                found.append(torch.from_numpy(sheet))
    return torch.stack(found) if found else torch.zeros(0, patch, patch)
