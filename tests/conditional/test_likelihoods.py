"""Conditional stories against exact densities, and the input they refuse."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

from evaluation.conditional import mask_gaps
from inference import fit
from pyro_models.conditional import exact
from pyro_models.conditional.columns import Columns
from pyro_models.conditional.cvae import CVAE
from pyro_models.conditional.direct import DirectConditional
from pyro_models.conditional.hidden import Hidden
from pyro_models.conditional.joint import JointCVAE
from pyro_models.conditional.original import OriginalCVAE
from pyro_models.datasets.data import Data
from pyro_models.errors import DataError, ModelsError
from tests.conditional.rows import KINDS, mixed_rows, rows, tied_to


@pytest.mark.parametrize("network", ["residual", "residual-extended", "dense"])
def test_the_other_original_networks(network):
    story = OriginalCVAE((3,), network=network)
    loss = Trace_ELBO().differentiable_loss(story.model, story.guide, rows(16, 3))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in story.parameters())


def test_the_original_loss_is_squared_error_plus_beta_kl():
    """Up to the factor 1 / beta and the constant of the fixed scale."""
    story, x = OriginalCVAE((3,), beta=0.5), rows(6, 3)
    given = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    known = torch.ones_like(given)
    torch.manual_seed(1)
    loss = Trace_ELBO().differentiable_loss(story.model, story.guide, x, known, given).item()
    torch.manual_seed(1)
    mean, log_variance = story._encoded(x, given, known)
    z = mean + (0.5 * log_variance).exp() * torch.randn(6, 64)
    error = (story._decoded(z, x, given) - x).square().sum()
    log_ratio = (0.5 * z.square() - 0.5 * (z - mean).square() / log_variance.exp() - 0.5 * log_variance).sum()
    by_hand = (error + 0.5 * log_ratio) / 0.5 + 18 * 0.5 * math.log(math.pi * 0.5)
    assert loss == pytest.approx(by_hand.item(), rel=1e-4)


@pytest.mark.parametrize("rank", [0, 2, 4])
def test_the_likelihood_under_masks_is_that_of_the_hidden_block(rank):
    torch.manual_seed(0)
    columns = Columns((0,) * 4)
    columns.centre.copy_(torch.randn(4))
    columns.spread.copy_(torch.rand(4) + 0.5)
    columns.double()
    mean, log_scale, x = torch.randn(7, 4).double(), torch.randn(7, 4).double() * 0.3, torch.randn(7, 4).double()
    factor = torch.randn(7, 4, rank).double() if rank else None
    given = torch.rand(7, 4) < 0.4
    scored = ~given & (torch.rand(7, 4) < 0.8)
    given[0], scored[0] = True, False
    found = Hidden(columns, mean, log_scale, x, given, scored, factor).log_prob(x)
    for row in range(7):
        on = scored[row]
        covariance = torch.diag((2 * log_scale[row]).exp())
        if factor is not None:
            covariance = covariance + factor[row] @ factor[row].T
        units = columns.spread
        covariance = covariance * units[:, None] * units
        expected = 0.0
        if on.any():
            expected = torch.distributions.MultivariateNormal(
                (columns.centre + units * mean[row])[on], covariance[on][:, on]
            ).log_prob(x[row][on])
        assert float(found[row]) == pytest.approx(float(expected), abs=1e-9)


def test_categories_are_scored_as_categories():
    columns = Columns(KINDS)
    assert columns.places == 9
    x, logits = mixed_rows(6), torch.randn(6, 9)
    scored = torch.tensor([False, True, False, True]).expand(6, 4)
    found = Hidden(columns, logits, torch.zeros(6, 2), x, ~scored, scored).log_prob(x)
    expected = logits[:, 1:3].log_softmax(-1)[range(6), x[:, 1].long()]
    expected = expected + logits[:, 4:].log_softmax(-1)[range(6), x[:, 3].long()]
    torch.testing.assert_close(found, expected)


def test_draws_of_hidden_values_have_the_stated_covariance():
    torch.manual_seed(0)
    columns, n = Columns((0, 0, 0)), 200_000
    factor = torch.tensor([[1.0], [0.5], [-0.5]])
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    law = Hidden(
        columns, torch.zeros(1, 3), torch.full((1, 3), -1.0), torch.zeros(1, 3), nothing, ~nothing, factor[None]
    )
    drawn = law.sample((n,))[:, 0].double()
    expected = factor @ factor.T + math.exp(-2) * torch.eye(3)
    # five standard errors of the largest element
    assert torch.allclose(drawn.T.cov(), expected.double(), atol=5 * 1.2 * math.sqrt(2 / n))


@pytest.mark.parametrize("build", [CVAE, JointCVAE])
def test_with_the_true_covariance_every_bound_is_exact(build):
    """Zero gap on every row and for every mask, from one sample: guide, prior and decoder fit together exactly."""
    law = exact.correlated(4, 1)
    story = build((4,), hidden=()).double().eval()
    tied_to(law, story, story.path)
    x = law.draw(20).double()
    from evaluation.conditional import conditional_bound

    for mask in exact.all_masks(4):
        given = torch.from_numpy(mask).expand(20, 4)
        found = conditional_bound(story, x, torch.ones_like(given), given)
        assert found.numpy() == pytest.approx(law.log_density(x, mask), abs=1e-6)


def test_training_reaches_the_exact_answer():
    """Smoke version of the experiment: AR(1) in four dimensions, from random start values."""
    law = exact.autoregressive(4)
    x = law.draw(20_000, torch.Generator().manual_seed(0))
    story = CVAE((4,), hidden=(), masks="subsets")
    fit(
        story,
        {"x": x},
        steps=500,
        batch_size=256,
        learning_rate=2e-2,
        schedule="cosine",
        validate_every=0,
        progress=False,
    )
    gaps = mask_gaps(story, law, rows=2000)
    assert gaps.mean < 0.01
    assert gaps.worst < 0.03
    assert gaps.by_count()[4] == pytest.approx(0.0, abs=1e-4)


def test_units_are_learned_from_the_data_and_densities_stay_in_them():
    x = rows(4000) * torch.tensor([1.0, 10.0, 0.1, 3.0]) + torch.tensor([0.0, 5.0, -1.0, 100.0])
    story = CVAE((4,), hidden=(8,))
    story.initialise(Data({"x": x}))
    assert story.columns.spread.tolist() == pytest.approx([1.0, 10.0, 0.1, 3.0], rel=0.1)
    given = torch.zeros_like(x, dtype=torch.bool)
    drawn = story.impute(x, given)[0]
    assert (drawn.std(0) / x.std(0)).log().abs().max() < 1.0


def test_incomplete_data_train_and_unknown_values_are_never_read():
    law = exact.autoregressive(3)
    x = law.draw(4000, torch.Generator().manual_seed(0))
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    story = CVAE((3,), hidden=(), masks="subsets", incomplete=True)
    hole = torch.where(mask, x, torch.zeros_like(x))
    fit(
        story,
        {"x": hole, "mask": mask},
        steps=500,
        batch_size=256,
        learning_rate=2e-2,
        schedule="cosine",
        progress=False,
    )
    assert mask_gaps(story, law, rows=2000).mean < 0.03


def test_stock_svi_with_conditions_of_ones_own():
    story, x = CVAE((4,), hidden=(8,)), rows(64)
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-2}), loss=Trace_ELBO())
    given = torch.zeros_like(x, dtype=torch.bool)
    given[:, :2] = True
    losses = [svi.step(x, torch.ones_like(given), given) for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_categories_unseen_and_constant_columns():
    story, x = CVAE((4,), hidden=(8,), columns=KINDS), mixed_rows()
    bad = x.clone()
    bad[5, 3] = 7
    with pytest.raises(DataError, match="column 3 holds the category 7, but the story knows 0 to 4"):
        story.impute(bad, torch.ones_like(x, dtype=torch.bool))
    x[:, 2] = 1.5
    with pytest.raises(DataError, match=r"constant in the training data \(number 2\)"):
        story.initialise(Data({"x": x}))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CVAE((1, 8, 8)), "reads rows of columns"),
        (lambda: CVAE((4,), path="teid"), "did you mean 'tied'"),
        (lambda: CVAE((4,), latent=0), "latent is 0"),
        (lambda: CVAE((4,), scale=-1.0), "scale is -1.0"),
        (lambda: CVAE((4,), hidden=(), path="none"), "there is no network"),
        (lambda: CVAE((4,), masks="unifrom"), "did you mean 'uniform'"),
        (lambda: CVAE((4,), masks="halves"), "is for images"),
        (lambda: CVAE((4,), columns=(0, 1, 0, 0)), "give 0 for a real column"),
        (lambda: CVAE((4,), columns=(0, 0)), "columns names 2 kinds"),
        (lambda: JointCVAE((4,), columns=KINDS), "real columns only"),
        (lambda: OriginalCVAE((4,), columns=KINDS), "real columns only"),
        (lambda: OriginalCVAE((4,), network="plane"), "did you mean 'plain'"),
        (lambda: DirectConditional((4,), rank=0), "rank is 0"),
        (lambda: CVAE((70,), masks="subsets").law(3, (70,), torch.device("cpu")), "use masks='uniform'"),
    ],
)
def test_wrong_options_are_refused(build, message):
    with pytest.raises(ModelsError, match=message):
        build()


def test_a_value_given_but_unknown_is_refused():
    story, x = CVAE((4,), hidden=(8,)), rows()
    given, known = torch.ones_like(x, dtype=torch.bool), torch.ones_like(x, dtype=torch.bool)
    known[1, 2] = False
    with pytest.raises(DataError, match="row 1 gives values that its mask calls unknown"):
        story.reconstruct(x, known, given)
