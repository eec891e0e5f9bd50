"""The published Gaussian CVAE testbed as it was, for comparison: rebuilt from its description, no code taken over."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_models.conditional.base import ConditionalStory
from pyro_models.conditional.hidden import Hidden
from pyro_models.errors import OptionError, unknown_name
from pyro_models.nn.gaussians import DiagonalNormal, PrecisionNormal

#: width of the layers, of the code, and of the bottleneck inside residual layers
WIDTH, LATENT, INNER = 64, 64, 32


class OriginalCVAE(ConditionalStory):
    r"""The testbed's conditional VAE: batch-normalised networks, a fixed scale, conditions as learned copies.

    .. code-block:: text

        +-- data (B) --------------+     z ~ N(0, I)                            [B, 64]
        |  x_o, m --------> x      |     x | z, x_o, m ~ N(dec(z, x_o, m), beta/2 I)  [B, d]  (given values too)
        |        z -------> x      |     m ~ Bernoulli(1/2) per value
        +--------------------------+     q(z | x, x_o, m) = N(mu, diag sigma^2)

    trained on squared error plus beta times KL, divided by beta: with that scale, the evidence bound up to a constant.
    Given values are outputs too and are scored in training (the network has to learn to copy them). In evaluation mode
    the model copies them and scores hidden values alone: the bound that conditional models are compared by.

    Args:
        shape: of one datum, ``(columns,)``.
        network: ``plain`` (four layers of 64), ``residual`` (each layer around a bottleneck of 32),
        ``residual-extended``
            (widths 64 to 512) or ``dense`` (inner layers see all earlier ones).
        beta: weight of the KL term against the plain squared error.
        masks: the law of the conditions.
        columns: kinds; all real here.
        incomplete: the data have a field ``mask`` (True: known).
    """

    citation = (
        "@misc{vasan2019cvae,\n  title={Gaussian {CVAE} testbed},\n  author={Vasan, Ritvik},\n"
        "  howpublished={Allen Institute for Cell Science, software repository},\n  year={2019}\n}"
    )

    def __init__(
        self,
        shape: Sequence[int],
        network: str = "plain",
        beta: float = 1.0,
        masks: str = "bernoulli",
        columns: Sequence[int] | None = None,
        incomplete: bool = False,
    ) -> None:
        super().__init__(shape, masks, columns, incomplete)
        if not self.columns.all_real:
            raise OptionError("cvae-original models real columns only; use the story 'cvae' for categories.")
        if network not in NETWORKS:
            raise unknown_name("network", network, NETWORKS)
        if not beta > 0:
            raise OptionError(f"beta is {beta}; it must be positive.")
        d = shape[0]
        self.encoder, self.mean_head, self.log_variance_head, self.decoder, self.latent = NETWORKS[network](d)
        self.scale = (beta / 2) ** 0.5
        for module in self.modules():
            _start(module)

    def initialise(self, data: object) -> None:
        """Nothing: the original left units alone."""

    def model(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            zero = x.new_zeros(len(x), self.latent)
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("x", self.decode(z, x, given, known, self.training), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            given, known = self.conditions(x, mask, given)
            mean, log_variance = self._encoded(x, given, known)
            pyro.sample("z", DiagonalNormal(mean, 0.5 * log_variance))

    def prior(self, x: Tensor, given: Tensor) -> PrecisionNormal:
        """N(0, I)."""
        eye = torch.eye(self.latent, device=x.device).expand(len(x), -1, -1)
        return PrecisionNormal(x.new_zeros(len(x), self.latent), eye)

    def posterior(self, x: Tensor, given: Tensor, known: Tensor) -> PrecisionNormal:
        """q(z | x, m)."""
        mean, log_variance = self._encoded(x, given, known)
        return PrecisionNormal(mean, torch.diag_embed((-0.5 * log_variance).exp()))

    def decode(self, z: Tensor, x: Tensor, given: Tensor, known: Tensor, score_given: bool = False) -> Hidden:
        """p(x | z, x_o, m) with given values copied, as an evaluation wants it, or all values scored."""
        mean = self._decoded(z, x, given)
        log_scale = mean.new_full((), self.scale).log().expand_as(mean)
        if score_given:
            return Hidden(self.columns, mean, log_scale, x, torch.zeros_like(given), known)
        return Hidden(self.columns, mean, log_scale, x, given, known & ~given)

    def _decoded(self, z: Tensor, x: Tensor, given: Tensor) -> Tensor:
        condition = _condition(x, given)
        batch = torch.broadcast_shapes(z.shape[:-1], condition.shape[:-1])
        return self.decoder(torch.cat([z.expand(*batch, -1), condition.expand(*batch, -1)], -1))

    def _encoded(self, x: Tensor, given: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.where(known, x, torch.zeros_like(x))
        condition = _condition(x, given)
        code = self.encoder(torch.cat([seen.expand(*condition.shape[:-1], -1), condition], -1))
        # Beyond these bounds single precision is lost; the original had none and no trained network reaches them.
        return self.mean_head(code), self.log_variance_head(code).clamp(-20.0, 20.0)

    @torch.no_grad()
    def features(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Means of q(z | x, m), ``[B, 64]``."""
        given, known = self.ask(x, mask, given)
        return self._encoded(x, given, known)[0]

    @torch.no_grad()
    def reconstruct(self, x: Tensor, mask: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """E[x | z = posterior mean], given values as they are."""
        given, known = self.ask(x, mask, given)
        return self.decode(self._encoded(x, given, known)[0], x, given, known).mean

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """E[x | z] for fresh z with nothing given, ``[count, d]``."""
        x = torch.zeros(count, *self.shape, device=self.columns.centre.device)
        nothing = torch.zeros_like(x, dtype=torch.bool)
        return self._decoded(torch.randn(count, self.latent, device=x.device), x, nothing)

    @torch.no_grad()
    def impute(self, x: Tensor, given: Tensor, draws: int = 1) -> Tensor:
        """Draws of x with the given values as they are, ``[draws, B, d]``; hidden values of x are not read."""
        x, given = self.only_given(x, given)
        z = torch.randn(draws, len(x), self.latent, device=x.device)
        return self.decode(z, x, given, given).sample()


def _condition(x: Tensor, given: Tensor) -> Tensor:
    """Given values, zero elsewhere, and which these are."""
    values = torch.where(given, x, torch.zeros_like(x))
    return torch.cat([values, given.to(x.dtype).expand_as(values)], -1)


class Norm(nn.BatchNorm1d):
    """Batch normalisation over all leading dimensions; a single row, which has no variance, is left to the averages."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if self.training and len(rows) == 1:
            return nn.functional.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias).view_as(
                x
            )
        return super().forward(rows).view_as(x)


class Bypass(nn.Module):
    """A layer around a bottleneck, and a bypass beside it."""

    def __init__(self, inputs: int, outputs: int, activation: bool = True) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Linear(inputs, INNER), Norm(INNER), nn.ReLU(), nn.Linear(INNER, outputs), Norm(outputs)
        )
        self.bypass = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x) + self.bypass(x)
        return y.relu() if self.activation else y


class DenseBlock(nn.Module):
    """Layers that see the outputs of all layers before them; the last is linear and normalised."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers, total = [], inputs
        for width in widths[:-1]:
            layers.append(nn.Sequential(nn.Linear(total, width), Norm(width), nn.ReLU()))
            total += width
        self.layers = nn.ModuleList(layers)
        self.last = nn.Sequential(nn.Linear(total, widths[-1]), Norm(widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], -1)
        return self.last(x)


Networks = tuple[nn.Module, nn.Module, nn.Module, nn.Module, int]


def _plain(d: int) -> Networks:
    def layers(inputs: int, count: int) -> list[nn.Module]:
        widths = [inputs] + [WIDTH] * count
        return [part for one, other in pairwise(widths) for part in (nn.Linear(one, other), Norm(other), nn.ReLU())]

    decoder = nn.Sequential(*layers(LATENT + 2 * d, 3), nn.Linear(WIDTH, d))
    return nn.Sequential(*layers(3 * d, 3)), nn.Linear(WIDTH, LATENT), nn.Linear(WIDTH, LATENT), decoder, LATENT


def _residual(d: int) -> Networks:
    encoder = nn.Sequential(Bypass(3 * d, WIDTH), Bypass(WIDTH, WIDTH), Bypass(WIDTH, WIDTH))
    heads = Bypass(WIDTH, LATENT, False), Bypass(WIDTH, LATENT, False)
    decoder = nn.Sequential(
        Bypass(LATENT + 2 * d, WIDTH), Bypass(WIDTH, WIDTH), Bypass(WIDTH, WIDTH), Bypass(WIDTH, d, False)
    )
    return encoder, *heads, decoder, LATENT


def _residual_extended(d: int) -> Networks:
    def stack(widths: Sequence[int], last: bool) -> nn.Sequential:
        pairs = list(pairwise(widths))
        return nn.Sequential(*(Bypass(a, b, last or i + 1 < len(pairs)) for i, (a, b) in enumerate(pairs)))

    up = [64, 64, 128, 128, 256, 256, 512, 512]
    heads = stack([512] * 4, False), stack([512] * 4, False)
    return stack([3 * d, *up], True), *heads, stack([512 + 2 * d, *up[::-1][1:], d], False), 512


def _dense(d: int) -> Networks:
    encoder = nn.Sequential(
        DenseBlock(3 * d, [32, 32, 32, 128]), DenseBlock(128, [64, 64, 256]), DenseBlock(256, [128, 128, 512])
    )
    heads = DenseBlock(512, [128, 128, 128]), DenseBlock(512, [128, 128, 128])
    decoder = nn.Sequential(
        DenseBlock(128 + 2 * d, [64, 64, 256]), DenseBlock(256, [64, 64, 128]), DenseBlock(128, [32, 32, 32, d])
    )
    return encoder, *heads, decoder, 128


NETWORKS = {"plain": _plain, "residual": _residual, "residual-extended": _residual_extended, "dense": _dense}


def _start(module: nn.Module) -> None:
    """The original's start values: Xavier weights, biases N(0, 1), normalisation weights N(1, 0.02)."""
    if isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.normal_(module.bias)
