r"""The toy problem on which estimators of discrete gradients are compared, many repetitions advanced together.

Minimise over the logits l of one categorical variable

.. math:: E_{z \sim \mathrm{Cat}(\mathrm{softmax}(l))}\Big[\tfrac1K \lVert z - t \rVert^2\Big],

from l = 0, by Adam with step 0.01 on single-sample gradients. The targets t are nearly uniform, so that the values of
z differ by little and most of what a plain estimator sees is noise. The problem is an ordinary Pyro program with an
outermost plate of repetitions, and the estimators are the library's own: every repetition has its own logits and, by
``replicas``, its own baselines, temperatures and control variates. The loss is a sum over repetitions, hence Adam
treats each of them as if it were alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from inference import estimators as catalogue
from inference.estimators.base import Estimator
from inference.study import clock
from pyro_models.arguments import option_names
from pyro_models.errors import OptionError

#: target of the replication experiment (K = 2) and of the other two (K = 3)
REPLICATION_TARGET = (0.499, 0.501)
TARGET = (0.34, 0.33, 0.33)
LEARNING_RATE = 0.01
#: fresh gradients per repetition that a variance is estimated from
VARIANCE_SAMPLES = 200
#: variances below this (no two of the fresh gradients differ) count as this, so that their logarithm is finite
VARIANCE_FLOOR = 1e-12
#: steps between two estimates of the variance
VARIANCE_EVERY = 250

#: the estimators compared, with the options that they have here
ESTIMATORS: dict[str, dict[str, Any]] = {
    "exact": {},
    "reinforce": {},
    "nvil": {"hidden": (), "learning_rate": 0.1},
    "concrete": {"temperature": 0.66},
    "rebar": {"learning_rate": 0.01},
    "relax": {"control": "network", "hidden": (10,), "learning_rate": 0.01},
    "rloo": {},
    "gumbel-rao": {"temperature": 0.1},
}


class Toy(nn.Module):
    """The problem for ``repetitions`` independent runs of ``batch`` samples each.

    ``logits`` [repetitions, 1, K]; sites in plates ``repetitions`` (dim -2) and ``samples`` (dim -1). The model's
    distribution of z is the guide's, cut from the graph, so that log p - log q is zero and the bound is minus the
    loss, summed over the samples: Adam does not mind the factor, and what an estimator learns (baselines, control
    variates) stays in the units of one sample whatever the batch.
    """

    def __init__(self, target: Sequence[float], repetitions: int, batch: int = 1) -> None:
        super().__init__()
        self.repetitions, self.batch = repetitions, batch
        self.logits = nn.Parameter(torch.zeros(repetitions, 1, len(target)))
        self.target: Tensor
        self.register_buffer("target", torch.tensor(tuple(target)))

    def rows(self) -> Tensor:
        """The logits of every sample, [repetitions, batch, K]."""
        return self.logits.expand(-1, self.batch, -1)

    def model(self, rows: Tensor) -> None:
        with (
            pyro.plate("repetitions", rows.shape[0], dim=-2),
            pyro.plate("samples", rows.shape[1], dim=-1),
        ):
            z = pyro.sample("z", dist.OneHotCategorical(logits=rows.detach()))
            pyro.factor("loss", -(z - self.target).square().mean(-1))

    def guide(self, rows: Tensor) -> None:
        with (
            pyro.plate("repetitions", rows.shape[0], dim=-2),
            pyro.plate("samples", rows.shape[1], dim=-1),
        ):
            pyro.sample("z", dist.OneHotCategorical(logits=rows))

    def values(self) -> Float[Tensor, " values"]:
        """The loss of every value of z."""
        return (torch.eye(len(self.target)) - self.target).square().mean(-1)

    @torch.no_grad()
    def expected_loss(self) -> Float[Tensor, " repetitions"]:
        """The exact objective of every repetition."""
        return self.logits.squeeze(1).softmax(-1) @ self.values()

    def optimum(self) -> float:
        """The smallest loss there is: all mass on the best value."""
        return float(self.values().min())


@dataclass
class Curves:
    """What one estimator did: expected loss [steps, repetitions], log variance of gradients [probes, repetitions]."""

    loss: Tensor
    log_variance: Tensor
    optimum: float
    seconds: float
    variance_every: int

    def err1000(self) -> Float[Tensor, " repetitions"]:
        """1000 times the mean over the steps of expected loss minus optimum."""
        return 1000 * (self.loss - self.optimum).mean(0)

    def final(self) -> Float[Tensor, " repetitions"]:
        """The expected loss at the end."""
        return self.loss[-1]

    def mean_log_variance(self) -> Float[Tensor, " repetitions"]:
        """ln of the total variance of the gradient, averaged over training."""
        return self.log_variance.mean(0)


@dataclass
class ToyResult:
    """Curves by estimator."""

    curves: dict[str, Curves] = field(default_factory=dict)

    def table(self) -> Any:
        """A pandas table: error, final loss and log variance with their spread over repetitions, seconds."""
        import pandas as pd

        rows = []
        for name, curves in self.curves.items():
            error, final, variance = curves.err1000(), curves.final(), curves.mean_log_variance()
            rows.append(
                {
                    "estimator": name,
                    "err1000": float(error.mean()),
                    "err1000 sd": _spread(error),
                    "final loss": float(final.mean()),
                    "final loss sd": _spread(final),
                    "log variance": float(variance.mean()),
                    "seconds": curves.seconds,
                }
            )
        return pd.DataFrame(rows).set_index("estimator")

    def long(self, points: int = 200) -> Any:
        """A pandas table with a row per step, repetition and estimator, thinned to ``points`` steps: for drawing."""
        import pandas as pd

        parts = []
        for name, curves in self.curves.items():
            stride = max(1, len(curves.loss) // points)
            loss = curves.loss[::stride]
            steps = torch.arange(0, len(curves.loss), stride).repeat_interleave(loss.shape[1])
            parts.append(pd.DataFrame({"step": steps, "value": loss.flatten(), "quantity": "expected loss"}))
            variance = curves.log_variance
            steps = (torch.arange(len(variance)) * curves.variance_every).repeat_interleave(variance.shape[1])
            parts.append(pd.DataFrame({"step": steps, "value": variance.flatten(), "quantity": "log variance"}))
            for part in parts[-2:]:
                part["estimator"] = name
        return pd.concat(parts, ignore_index=True)


def toy_experiment(
    estimators: Sequence[str] | Mapping[str, Any] = tuple(ESTIMATORS),
    repetitions: int = 50,
    steps: int = 5000,
    target: Sequence[float] = TARGET,
    batch: int = 1,
    seed: int = 0,
    variance_every: int = VARIANCE_EVERY,
) -> ToyResult:
    """Runs the problem for every estimator.

    ``estimators`` are names with this module's options, or ``{label: (name, options)}``; ``variance_every=0``
    measures no variance.
    """
    if repetitions < 1 or steps < 1 or batch < 1:
        raise OptionError(f"repetitions={repetitions}, steps={steps}, batch={batch}: all must be at least 1.")
    if isinstance(estimators, Mapping):
        chosen = {label: (name, dict(options)) for label, (name, options) in estimators.items()}
    else:
        chosen = {name: (name, ESTIMATORS.get(name, {})) for name in estimators}
    result = ToyResult()
    for label, (name, options) in chosen.items():
        result.curves[label] = _run(
            make_estimator(name, options), repetitions, steps, target, batch, seed, variance_every
        )
    return result


def make_estimator(name: str, options: Mapping[str, Any]) -> Estimator:
    """An estimator for the plates of :class:`Toy`, its own parameters per repetition."""
    kind = catalogue.get(name)
    own = {"replicas": "repetitions"} if "replicas" in option_names(kind) else {}
    return kind(**{"max_plate_nesting": 2, **own, **options})


def _run(
    estimator: Estimator,
    repetitions: int,
    steps: int,
    target: Sequence[float],
    batch: int,
    seed: int,
    variance_every: int,
) -> Curves:
    torch.manual_seed(seed)
    toy = Toy(target, repetitions, batch)
    estimator.prepare(toy.model, toy.guide, toy.rows())
    groups = [{"params": [toy.logits], "lr": LEARNING_RATE}]
    own = list(estimator.parameters())
    if own:
        groups.append({"params": own, "lr": estimator.learning_rate})
    optimiser = torch.optim.Adam(groups, fused=True)
    losses, variances, start = [], [], clock(toy.logits.device)
    with pyro.validation_enabled(False):
        for step in range(steps):
            estimator.at(step / steps)
            losses.append(toy.expected_loss())
            if variance_every and step % variance_every == 0:
                variances.append(log_variance(toy, estimator))
            optimiser.zero_grad(set_to_none=True)
            estimator.differentiable_loss(toy.model, toy.guide, toy.rows()).backward()
            optimiser.step()
    seconds = clock(toy.logits.device) - start
    losses.append(toy.expected_loss())
    probed = torch.stack(variances) if variances else torch.empty(0, repetitions)
    return Curves(torch.stack(losses), probed, toy.optimum(), seconds, variance_every)


def log_variance(toy: Toy, estimator: Estimator, samples: int = VARIANCE_SAMPLES) -> Float[Tensor, " repetitions"]:
    """ln of the total variance (over the classes) of the gradient of one step, from fresh gradients per repetition.

    All of them come from one backward pass: the logits are copied once per gradient. The estimator's averages stay as
    they are.
    """
    rows = toy.logits.detach().expand(-1, samples * toy.batch, -1).clone().requires_grad_()
    was_training = estimator.training
    estimator.eval()
    loss = estimator.differentiable_loss(toy.model, toy.guide, rows)
    estimator.train(was_training)
    (gradient,) = torch.autograd.grad(loss, rows)
    steps = gradient.reshape(toy.repetitions, samples, toy.batch, -1).mean(2)
    return steps.var(1).sum(-1).clamp(min=VARIANCE_FLOOR).log()


def _spread(values: Tensor) -> float:
    return float(values.std()) if len(values) > 1 else 0.0


def toy_figure(result: ToyResult) -> Any:
    """Expected loss and log variance over the steps, mean and standard deviation over repetitions."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    table, order = result.long(), list(result.curves)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for axis, quantity in zip(axes, ("expected loss", "log variance"), strict=True):
        rows = table[table["quantity"] == quantity]
        if quantity == "log variance":
            rows = rows[rows["estimator"] != "exact"]
        if len(rows):
            sns.lineplot(rows, x="step", y="value", hue="estimator", hue_order=order, errorbar="sd", ax=axis)
            axis.legend().set_visible(False)
        axis.set_ylabel(quantity)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(0.99, 0.5))
    figure.tight_layout()
    plt.close(figure)
    return figure
