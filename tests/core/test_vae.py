"""The VAE and the mixture VAE."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine

from inference import estimators
from pyro_models.anchors.mixture_vae import MixtureVAE
from pyro_models.anchors.vae import VAE
from pyro_models.datasets.data import Data
from pyro_models.errors import ModelsError, OptionError, UnknownName
from tests.core.cases import StoryCase

SHAPE = (1, 8, 8)


class TestVAE(StoryCase):
    def make(self):
        return VAE(SHAPE, latent=3, hidden=(16,))


class TestConvolutionalGaussianVAE(StoryCase):
    def make(self):
        return VAE(SHAPE, latent=3, hidden=(16,), channels=(4, 6), network="convolutional", likelihood="gaussian")


class TestFullCovarianceVAE(StoryCase):
    def make(self):
        return VAE(SHAPE, latent=3, hidden=(16,), guide="full", beta=4.0)


class TestVAEOfVectors(StoryCase):
    def make(self):
        return VAE((5,), latent=1, hidden=(16,), likelihood="gaussian", scale=0.5, guide="full")

    def data(self):
        return Data({"x": torch.randn(9, 5, generator=torch.Generator().manual_seed(0))})


class TestMixtureVAE(StoryCase):
    def make(self):
        return MixtureVAE(SHAPE, clusters=4, latent=3, hidden=(16,))


class TestAmortisedMixtureVAE(StoryCase):
    def make(self):
        return MixtureVAE(SHAPE, clusters=4, latent=3, hidden=(16,), guide="amortized")


class TestCollapsedMixtureVAE(StoryCase):
    def make(self):
        return MixtureVAE(SHAPE, clusters=4, latent=3, hidden=(16,), guide="collapsed")

    test_two_stories_train_side_by_side_under_svi = None  # stock Trace_ELBO cannot sum out a model site


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 9, 13)])
def test_convolutions_reach_every_image_size(size):
    story = VAE(size, latent=2, hidden=(8,), channels=(4, 4, 4), network="convolutional")
    assert story.generate(2).shape == (2, *size)
    assert story.reconstruct(torch.rand(2, *size)).shape == (2, *size)


def test_the_loss_is_the_textbook_formula():
    """Closed-form KL plus cross-entropy, on the very noise that the guide drew."""
    story = VAE(SHAPE, latent=3, hidden=(16,))
    x = torch.rand(6, *SHAPE)
    estimator = estimators.get("pathwise")()
    estimator.prepare(story.model, story.guide, x)
    torch.manual_seed(3)
    loss = estimator.differentiable_loss(story.model, story.guide, x)
    torch.manual_seed(3)
    q = story.posterior(story.encoder(x)).base_dist
    z = q.rsample()
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(story.decoder(z), x, reduction="sum")
    kl = 0.5 * (q.loc.square() + q.scale.square() - 1 - 2 * q.scale.log()).sum()
    torch.testing.assert_close(loss, cross_entropy + kl)


def test_beta_weighs_the_kl_term_only():
    x = torch.rand(6, *SHAPE)
    losses = []
    for beta in (1.0, 3.0, 5.0):
        torch.manual_seed(0)
        story = VAE(SHAPE, latent=3, hidden=(16,), beta=beta)
        torch.manual_seed(1)
        estimator = estimators.get("pathwise")()
        losses.append(estimator.differentiable_loss(story.model, story.guide, x).item())
    assert losses[1] - losses[0] == pytest.approx(losses[2] - losses[1], rel=1e-4)
    assert losses[1] > losses[0]


def test_the_encodings_of_the_mixture_agree():
    """Summing the index out of the model, enumerating its exact posterior in the guide, and a hand-written sum."""
    x = torch.rand(6, *SHAPE)
    found, grads = {}, {}
    for guide in ("bayes", "collapsed"):
        torch.manual_seed(0)
        story = MixtureVAE(SHAPE, clusters=4, latent=3, hidden=(16,), guide=guide).double()
        story.weight_logits.data = torch.tensor([0.3, -1.0, 0.5, 2.0], dtype=torch.double)
        estimator = estimators.get("exact")(max_plate_nesting=1)
        torch.manual_seed(1)
        loss = estimator.differentiable_loss(story.model, story.guide, x.double())
        loss.backward()
        found[guide], grads[guide] = loss.detach(), [p.grad for p in story.parameters()]
    torch.manual_seed(1)
    q = story.posterior(story.encoder(x.double()))
    z = q.rsample()
    log_prior = story.index_logits(z).logsumexp(-1)
    by_hand = (q.log_prob(z) - log_prior - story.likelihood(story.decoder(z)).log_prob(x.double())).sum()
    torch.testing.assert_close(found["bayes"], by_hand.detach())
    torch.testing.assert_close(found["collapsed"], by_hand.detach())
    for one, other in zip(grads["bayes"], grads["collapsed"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


def test_placing_components_recovers_separated_clusters():
    """An identity 'encoder' on three clouds: the fitted prior sits on them."""
    torch.manual_seed(0)
    centres = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0]])
    label = torch.arange(300) % 3
    x = centres[label] + 0.3 * torch.randn(300, 2)
    story = MixtureVAE((2,), clusters=3, latent=2, hidden=(4,), likelihood="gaussian")
    story.features = lambda batch: batch
    story.place_components(Data({"x": x}))
    nearest = torch.cdist(centres, story.means.detach()).min(1).values
    assert (nearest < 0.2).all()
    assert story.weight_logits.softmax(0).detach() == pytest.approx([1 / 3] * 3, abs=0.01)
    assert story.log_scales.exp().mean().item() == pytest.approx(0.3, abs=0.05)


def test_the_recipe_reaches_the_full_bound():
    story = MixtureVAE(SHAPE, clusters=4, latent=3, hidden=(16,), warm_up=0.2)
    weights = []
    for progress in (0.0, 0.1, 0.3, 0.4, 1.0):
        story.at(progress)
        weights.append(story.kl_weight)
    assert weights == pytest.approx([1e-3, 1e-3, 0.5, 1.0, 1.0])


def test_full_posterior_is_a_proper_covariance():
    story = VAE(SHAPE, latent=4, hidden=(16,), guide="full")
    q = poutine.trace(story.guide).get_trace(torch.rand(2, *SHAPE)).nodes["z"]["fn"]
    assert (torch.linalg.eigvalsh(q.covariance_matrix) > 0).all()
    assert q.covariance_matrix[0, 0, 1].abs() > 0
    assert torch.isfinite(q.entropy()).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VAE(SHAPE, latent=0), "latent is 0"),
        (lambda: VAE(SHAPE, beta=-1.0), "beta is -1.0; it must be positive"),
        (lambda: VAE(SHAPE, network="cnn"), "no network is called 'cnn'"),
        (lambda: VAE(SHAPE, likelihood="gausian"), "did you mean 'gaussian'"),
        (lambda: VAE(SHAPE, scale=0.1), "a Bernoulli likelihood has no scale"),
        (lambda: VAE(SHAPE, likelihood="gaussian", scale=-1.0), "scale is -1.0; it must be positive"),
        (lambda: VAE((5,), network="convolutional"), "reads images of shape"),
        (lambda: VAE(SHAPE, hidden=(0,)), "layer sizes must be positive"),
        (lambda: MixtureVAE(SHAPE, clusters=1), "clusters is 1; a mixture needs at least 2"),
        (lambda: MixtureVAE(SHAPE, warm_up=2.0), "warm_up is 2.0"),
        (lambda: VAE(SHAPE, latnt=3), "unexpected keyword argument 'latnt'; its options are shape"),
    ],
)
def test_wrong_options_are_refused(build, message):
    with pytest.raises(ModelsError, match=message):
        build()


def test_build_refuses_unknown_options_and_guides():
    data = Data({"x": torch.rand(4, *SHAPE)})
    with pytest.raises(UnknownName, match=r"no option of VAE is called 'latnt'; did you mean 'latent'\?"):
        VAE.build(data, latnt=3)
    with pytest.raises(UnknownName, match=r"no guide of VAE is called 'diagnal'; did you mean 'diagonal'\?"):
        VAE.build(data, guide="diagnal")


def test_a_story_without_guides_says_so():
    from examples.own_story import FactorAnalysis

    with pytest.raises(OptionError, match="FactorAnalysis has a single guide"):
        FactorAnalysis.build(Data({"x": torch.rand(4, *SHAPE)}), guide="full")
