"""A story of your own in its own file, outside the package.

    pyro-models train examples/own_story.py:FactorAnalysis --data digits --steps 500

Everything else (batches, checkpoints, metrics, pictures, report) follows from ``model``, ``guide`` and the two
answers below.
"""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_models.story import Story


class FactorAnalysis(Story):
    """z ~ N(0, I), x | z ~ N(W z + b, s^2 I): probabilistic PCA with an amortised guide."""

    def __init__(self, shape, factors=16):
        super().__init__()
        self.shape, self.factors = tuple(shape), factors
        self.decoder = nn.Linear(factors, math.prod(shape))
        self.encoder = nn.Linear(math.prod(shape), factors)
        self.log_noise, self.log_spread = nn.Parameter(torch.tensor(-1.0)), nn.Parameter(torch.zeros(factors))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.factors), 1.0).to_event(1))
            mean = self.decoder(z).unflatten(-1, self.shape)
            pyro.sample("x", dist.Normal(mean, self.log_noise.exp()).to_event(len(self.shape)), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.features(x), self.log_spread.exp()).to_event(1))

    def features(self, x):
        return self.encoder(x.flatten(1))

    def reconstruct(self, x):
        return self.decoder(self.features(x)).unflatten(-1, self.shape)
