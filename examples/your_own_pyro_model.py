"""A Pyro program of your own under any of our estimators and Pyro's own ``SVI``: the estimator is one word.

    python examples/your_own_pyro_model.py [--steps 1000]

Nothing here comes from this library but the estimator. The program is a mixture of three lines ("which machine made
this part?") in ordinary Pyro: global parameters in the store, an amortised guide, a plate over the data.
"""

import argparse

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from torch import nn

from inference import estimators

LINES = torch.tensor([[1.5, 2.0], [-1.0, 0.0], [0.5, -3.0]])  # slope and intercept


def measurements(count=300, seed=0):
    """Points of three noisy lines."""
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(count, generator=generator) - 2
    line = LINES[torch.randint(len(LINES), (count,), generator=generator)]
    return x, line[:, 0] * x + line[:, 1] + 0.3 * torch.randn(count, generator=generator)


def model(x, y):
    slope = pyro.param("slope", torch.zeros(3))
    intercept = pyro.param("intercept", torch.tensor([2.0, 0.0, -2.0]))
    noise = pyro.param("noise", torch.tensor(1.0), constraint=dist.constraints.positive)
    weights = pyro.param("weights", torch.ones(3) / 3, constraint=dist.constraints.simplex)
    with pyro.plate("parts", len(x)):
        machine = pyro.sample("machine", dist.OneHotCategorical(weights))
        mean = (machine * (slope * x[:, None] + intercept)).sum(-1)
        pyro.sample("y", dist.Normal(mean, noise), obs=y)


class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 3))

    def forward(self, x, y):
        pyro.module("guide", self)
        with pyro.plate("parts", len(x)):
            pyro.sample("machine", dist.OneHotCategorical(logits=self.net(torch.stack([x, y], -1))))


def train(name, steps, x, y):
    """The exact bound per datum after training under the named estimator."""
    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    guide = Guide()
    elbo = estimators.get(name)()  # the one word
    svi = SVI(model, guide, Adam(elbo.rates({"lr": 0.02})), loss=elbo)
    for _ in range(steps):
        svi.step(x, y)
    return -estimators.get("exact")().loss(model, guide, x, y) / len(x)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--estimators", nargs="+", default=["exact", "reinforce", "rloo", "relax"])
    options = parser.parse_args(arguments)
    x, y = measurements()
    bounds = {}
    for name in options.estimators:
        bounds[name] = train(name, options.steps, x, y)
        print(f"{name:12} ELBO {bounds[name]:.3f} nats per part")
    return bounds


if __name__ == "__main__":
    main()
