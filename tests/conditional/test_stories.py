"""The conditional stories: contracts, masks, what an index does."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.infer import Predictive, Trace_ELBO, TraceEnum_ELBO, config_enumerate

from inference import estimators
from pyro_models.conditional.cvae import CVAE
from pyro_models.conditional.direct import DirectConditional
from pyro_models.conditional.joint import JointCVAE
from pyro_models.conditional.original import OriginalCVAE
from pyro_models.datasets.cells import MixedData
from pyro_models.datasets.data import Data
from pyro_models.errors import DataError
from pyro_models.story import Conditions
from tests.conditional.rows import KINDS, mixed_rows, rows
from tests.core.cases import StoryCase


class ConditionalCase(StoryCase):
    def data(self) -> Data:
        return Data({"x": rows()}, "rows")

    def test_given_values_are_copied_and_hidden_ones_not_read(self, story, batch):
        x = batch[0]
        assert isinstance(story, Conditions)
        given = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        torch.manual_seed(0)
        drawn = story.eval().impute(x, given, 3)
        assert drawn.shape == (3, *x.shape)
        assert torch.equal(drawn[:, given], x[given].expand(3, -1))
        spoilt = torch.where(given, x, torch.nan)
        torch.manual_seed(0)
        assert torch.equal(story.impute(spoilt, given, 3), drawn)

    def test_nan_behind_a_mask_reaches_no_gradient(self, story, batch):
        x = batch[0].clone()
        x[0, 1] = x[3, 2] = torch.nan
        loss = self.loss(story, [x])
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in story.parameters() if p.grad is not None)

    def test_the_multi_sample_bound_is_one_for_each_mask(self, story, batch):
        """Particles of a datum share its mask, or their average would be a bound on nothing."""
        estimator = estimators.get("iwae")(num_particles=3, max_plate_nesting=1)
        assert torch.isfinite(estimator.differentiable_loss(story.model, story.guide, *batch))
        trace = pyro.poutine.trace(pyro.plate("particles", 3, dim=-2)(story.guide)).get_trace(*batch)
        given = trace.nodes["given"]["value"]
        assert given.shape == (3, *batch[0].shape)
        assert torch.equal(given[0], given[2])

    def test_stock_predictive_completes_rows(self, story, batch):
        x, given = batch[0], torch.zeros_like(batch[0], dtype=torch.bool)
        given[:, 0] = True
        drawn = Predictive(pyro.poutine.uncondition(story.eval().model), guide=story.guide, num_samples=3)(
            x, given, given
        )
        assert torch.equal(drawn["x"][..., 0], x[:, 0].expand(3, -1))
        assert (drawn["x"][..., 2].std(0) > 0).all()

    def test_bad_masks_are_refused(self, story, batch):
        x = batch[0]
        with pytest.raises(DataError, match=r"'given' has the shape .*one truth value per value of x"):
            story.impute(x, torch.ones(len(x), 2, dtype=torch.bool))
        with pytest.raises(DataError, match="'mask' has the shape"):
            story.features(x, torch.ones(3, 4)) if hasattr(story, "features") else story.reconstruct(
                x, torch.ones(3, 4)
            )
        bad = x.clone()
        bad[2, 0] = torch.nan
        with pytest.raises(DataError, match="holds nan in row 2, column 0, which is given"):
            story.impute(bad, torch.ones_like(x, dtype=torch.bool))


class LatentCase(ConditionalCase):
    def test_a_row_with_nothing_hidden_costs_nothing(self, story, batch):
        x = batch[0]
        full = torch.ones_like(x, dtype=torch.bool)
        loss = Trace_ELBO().loss(story.eval().model, story.guide, x, full, full)
        assert loss == pytest.approx(0.0, abs=1e-4)

    def test_without_news_the_guide_is_the_prior(self, story, batch):
        x = batch[0]
        given = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        prior, posterior = story.prior(x, given), story.posterior(x, given, given)
        torch.testing.assert_close(prior.mean, posterior.mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prior.root, posterior.root, atol=1e-5, rtol=1e-4)


class TestCVAE(LatentCase):
    def make(self):
        return CVAE((4,), hidden=(16,))


class TestConditionalPriorCVAE(LatentCase):
    def make(self):
        return CVAE((4,), hidden=(16,), prior="conditional", likelihood="low-rank", masks="bernoulli", beta=2.0)


class TestDiagonalPathlessCVAE(LatentCase):
    def make(self):
        return CVAE((4,), latent=3, hidden=(16,), path="none", guide="diagonal", likelihood="full", masks="chain")


class TestFreePathCVAE(LatentCase):
    def make(self):
        return CVAE((4,), hidden=(16,), path="free", masks="subsets")


class TestMixtureCVAE(LatentCase):
    def make(self):
        return CVAE((4,), latent=3, hidden=(16,), components=3, prior="conditional")

    def test_a_row_with_nothing_hidden_costs_nothing(self, story, batch):
        x = batch[0]
        full = torch.ones_like(x, dtype=torch.bool)
        elbo = TraceEnum_ELBO(max_plate_nesting=1)
        loss = elbo.loss(story.eval().model, config_enumerate(story.guide), x, full, full)
        assert loss == pytest.approx(0.0, abs=1e-4)

    test_without_news_the_guide_is_the_prior = None  # needs a value of c

    def test_without_news_the_index_of_the_guide_is_that_of_the_prior(self, story, batch):
        x = batch[0]
        given = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        assert torch.equal(story.index_logits(x, given, given), story.index_logits(x, given))


class TestEnergyMixtureCVAE(TestMixtureCVAE):
    def make(self):
        return CVAE((4,), latent=3, hidden=(16,), components=3, prior="conditional", assign="energy")


def test_the_index_goes_to_whoever_explains_the_row():
    torch.manual_seed(0)
    story = CVAE((4,), latent=2, hidden=(16,), path="none", prior="conditional", components=3,
                 assign="energy", beta=0.5).eval()  # fmt: skip
    x = rows()
    given, known = torch.zeros_like(x, dtype=torch.bool), torch.ones_like(x, dtype=torch.bool)
    given[:6, 1] = True
    expected = story.index_logits(x, given).log_softmax(-1)
    for c in range(3):
        q, p = (
            torch.distributions.MultivariateNormal(each.mean, each.covariance_matrix)
            for each in (story.posterior(x, given, known, torch.tensor(c)), story.prior(x, given, torch.tensor(c)))
        )
        explained = story.decode(q.mean, x, given, known, torch.tensor(c)).log_prob(x) / 0.5
        expected[:, c] += explained - torch.distributions.kl_divergence(q, p)
    found = story.index_logits(x, given, known).softmax(-1)
    torch.testing.assert_close(found, expected.softmax(-1), rtol=1e-3, atol=1e-5)


class TestMixedCVAE(LatentCase):
    def make(self):
        return CVAE((4,), latent=3, hidden=(16,), columns=KINDS)

    def data(self):
        return MixedData({"x": mixed_rows()}, "mixed", kinds=KINDS)


class TestIncompleteCVAE(LatentCase):
    def make(self):
        return CVAE((4,), hidden=(16,), incomplete=True)

    def data(self):
        return Data({"x": rows(), "mask": torch.rand(12, 4, generator=torch.Generator().manual_seed(3)) < 0.7})


class TestJointCVAE(ConditionalCase):
    def make(self):
        return JointCVAE((4,), hidden=(16,))


class TestDirect(ConditionalCase):
    def make(self):
        return DirectConditional((4,), hidden=(16,))


class TestOriginal(ConditionalCase):
    def make(self):
        return OriginalCVAE((4,))
