"""What must be equal: the three encodings, the published code as a special case, VaDE's responsibilities."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td
from pyro.infer import Trace_ELBO

from inference import estimators
from pyro_models.anchors import factors
from pyro_models.anchors.nebula import Nebula
from pyro_models.anchors.presets import PRESETS
from pyro_models.anchors.repulsion import published_energy
from pyro_models.datasets.data import Data

SHAPE = (1, 4, 4)
SMALL = {"clusters": 4, "latent": 3, "hidden": (8,)}


@pytest.fixture(autouse=True)
def _double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def images(count: int = 7) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def unequal(story: Nebula) -> Nebula:
    """Weights and spreads that differ, so that a term left out or counted twice is seen."""
    with torch.no_grad():
        if "weight_logits" in dict(story.named_parameters()):
            story.weight_logits.copy_(torch.linspace(-1.5, 1.5, story.clusters))
        if "log_scales" in dict(story.named_parameters()):
            story.log_scales += 0.3 * torch.linspace(-1, 1, story.log_scales.numel()).reshape(story.log_scales.shape)
    return story


@pytest.mark.parametrize("anchors", ["map", "latent", "pseudo-inputs"])
def test_the_three_encodings_agree_in_loss_and_every_gradient(anchors):
    found = []
    options = {**SMALL, "anchors": anchors, "metric_weight": 1.0, "concentration": 3.0}
    torch.manual_seed(0)
    state = unequal(Nebula(SHAPE, **options)).state_dict()
    for encoding in ("mixture", "enumerate-model", "enumerate-guide"):
        story = Nebula(SHAPE, **options, encoding=encoding)
        story.load_state_dict(state)
        elbo = estimators.get(story.default_estimator)(max_plate_nesting=1)
        torch.manual_seed(5)
        loss = elbo.differentiable_loss(story.model, story.guide, images())
        loss.backward()
        found.append((loss.detach(), {name: p.grad for name, p in story.named_parameters()}))
    first_loss, first = found[0]
    assert first_loss.isfinite()
    for loss, gradients in found[1:]:
        torch.testing.assert_close(loss, first_loss, rtol=1e-12, atol=1e-10)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, first[name], rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_the_published_code_is_the_hard_special_case(strength):
    """KL to N(0, I) plus lambda min_k |z - a_k|^2 on the same noise, up to a constant, with all gradients."""
    spread = (1 + 2 * strength) ** -0.5
    options = {**PRESETS["nvc-published"], **SMALL, "spread": spread}
    story = Nebula(SHAPE, **options)
    x, differences, gradients = images(), [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            story.anchors.normal_()
        story.zero_grad()
        torch.manual_seed(9)
        ours = Trace_ELBO().differentiable_loss(story.model, story.guide, x)
        ours.backward()
        mine = {name: p.grad.clone() for name, p in story.named_parameters()}
        story.zero_grad()
        torch.manual_seed(9)
        q = story.encode(x).base_dist
        z = q.rsample()
        reconstruction = story.likelihood(story.decoder(z)).log_prob(x).sum()
        anchors = story.anchors / (1 - spread**2)  # the component means are 2 lambda / (1 + 2 lambda) times these
        near = (z.unsqueeze(1) - anchors).square().sum(-1).min(1).values.sum()
        sampled_kl = (q.log_prob(z) + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)).sum()
        published = -reconstruction + sampled_kl + strength * near
        published.backward()
        differences.append(float(ours.detach() - published.detach()))
        gradients.append((mine, {name: p.grad for name, p in story.named_parameters()}))
    # The constant is that of the densities: it is the same for other anchors.
    assert differences[0] == pytest.approx(differences[1], rel=1e-9)
    assert differences[0] == pytest.approx(len(x) * 3 * math.log(spread), rel=1e-9)
    for mine, theirs in gradients:
        for name, gradient in mine.items():
            torch.testing.assert_close(gradient, theirs[name], rtol=1e-8, atol=1e-9, msg=name)


def test_responsibilities_with_unequal_weights():
    """pi counts once, not once per dimension as in the published VaDE code."""
    torch.manual_seed(0)
    story = Nebula(SHAPE, **{**PRESETS["vade"], "clusters": 3, "latent": 10, "hidden": (8,)})
    share = torch.tensor([0.2, 0.3, 0.5])
    with torch.no_grad():
        story.weight_logits.copy_(share.log())
        story.anchors.copy_(torch.tensor([0.1, 0.0, -0.1]).unsqueeze(1).expand(3, 10))
    x = images()
    z = story.features(x)
    density = td.Normal(story.anchors, story.log_scales.exp()).log_prob(z.unsqueeze(1)).sum(-1).exp()
    by_hand = share * density / (share * density).sum(1, keepdim=True)
    torch.testing.assert_close(story.responsibilities(x), by_hand.detach())
    wrong = share**10 * density / (share**10 * density).sum(1, keepdim=True)
    assert (wrong - by_hand).abs().max() > 0.2


def test_pseudo_inputs_are_the_mean_posterior():
    torch.manual_seed(0)
    story = Nebula(SHAPE, **SMALL, anchors="pseudo-inputs", weights="uniform")
    z = torch.randn(5, 3)
    q = story.encode(story.pseudo_inputs)
    by_hand = torch.stack([q.log_prob(row) for row in z]).logsumexp(1) - math.log(4)
    torch.testing.assert_close(story.mixture().log_prob(z), by_hand)


def test_one_anchor_is_a_vae():
    torch.manual_seed(0)
    story = Nebula(SHAPE, **{**SMALL, **PRESETS["vae"]})
    z = torch.randn(5, 3)
    torch.testing.assert_close(story.mixture().log_prob(z), td.Normal(0.0, 1.0).log_prob(z).sum(1))


@pytest.mark.parametrize("encoding", ["mixture", "enumerate-model", "enumerate-guide"])
def test_an_auto_encoder_pays_nothing_for_its_codes(encoding):
    torch.manual_seed(0)
    story = Nebula(SHAPE, **{**SMALL, **PRESETS["ae"], "encoding": encoding})
    x = images()
    elbo = estimators.get(story.default_estimator)(max_plate_nesting=1)
    loss = elbo.differentiable_loss(story.model, story.guide, x)
    by_hand = story.likelihood(story.decoder(story.encode(x).mean)).log_prob(x).sum()
    torch.testing.assert_close(loss, -by_hand)
    data = Data({"x": images(40)})
    story.revise(0.9, 1.0, data, torch.optim.Adam(story.encoder.parameters()))
    assert story.responsibilities(x).shape == (7, 4)
    codes = story.features(data["x"])
    assert story.mixture().log_prob(codes).mean() > td.Normal(codes.mean(0), codes.std(0)).log_prob(codes).sum(1).mean()


def test_metric_learning_is_the_triple_sum():
    """Against the B x B x B table, with a data point that is not trusted."""
    torch.manual_seed(0)
    codes = torch.randn(9, 3, requires_grad=True)
    logs = (6 * torch.randn(9, 4)).log_softmax(-1)
    logs[2] = -math.log(4)
    softening = 0.7
    label, trusted = logs.argmax(1), logs.exp().amax(1) >= factors.CONFIDENCE
    assert 4 < trusted.sum() < 9
    total, count = torch.zeros(()), 0
    for a in range(9):
        for b in range(9):
            for c in range(9):
                ok = trusted[a] and trusted[b] and trusted[c]
                if ok and a != b and label[a] == label[b] and label[a] != label[c]:
                    near = (codes[a] - codes[b]).square().sum()
                    total = total + near / ((codes[a] - codes[c]).square().sum() + softening)
                    count += 1
    assert count > 10
    found = factors.metric(codes, logs, softening)
    torch.testing.assert_close(found, -total / count)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, codes, retain_graph=True)[0] for value in (found, -total / count))
    )


def test_metric_learning_without_triplets_is_silent():
    logs = torch.full((5, 3), -20.0)
    logs[:, 0] = 0
    codes = torch.randn(5, 2, requires_grad=True)
    found = factors.metric(codes, logs.log_softmax(-1), 1.0)
    assert float(found) == 0
    found.backward()
    assert codes.grad.isfinite().all()


def test_agreement_prefers_what_it_says():
    sure = torch.eye(4).repeat(3, 1).clamp_min(1e-12).log()
    shuffled = sure[torch.tensor([1, 2, 3, 0] * 3)]
    collapsed = sure[:1].expand(12, 4)
    assert factors.agreement(sure, sure) > factors.agreement(sure, shuffled)
    assert factors.agreement(sure, sure) > factors.agreement(collapsed, collapsed)
    assert float(factors.agreement(sure, sure)) == pytest.approx(factors.USAGE * math.log(4), rel=1e-6)


def test_agreement_has_a_slope_where_an_anchor_is_out_of_everyones_reach():
    scores = torch.tensor([[0.0, -1.0, -2000.0], [-2.0, 0.0, -1000.0]], requires_grad=True)
    logs = scores.log_softmax(-1)
    factors.agreement(logs, logs).backward()
    assert scores.grad.isfinite().all()


def loss_of(**options: object) -> tuple[Nebula, torch.Tensor]:
    torch.manual_seed(0)
    story = unequal(Nebula(SHAPE, **{**SMALL, **options}))
    story.data_size.fill_(70)
    torch.manual_seed(3)
    return story, Trace_ELBO().differentiable_loss(story.model, story.guide, images()).detach()


@pytest.mark.parametrize("repulsion", ["log-gas", "hinge", "dpp", "soft-core", "none"])
def test_priors_of_anchors_and_weights_are_in_the_loss_of_training(repulsion):
    """A batch of 7 of 70 data: the anchors' score counts as a share of the data, that of the weights once."""
    _, bare = loss_of(anchors="parameters", spacing=2.0)
    story, loss = loss_of(repulsion=repulsion, repulsion_strength=0.1, concentration=3.0, spacing=2.0)
    anchors = 0.1 * 7 * story.anchor_prior().log_prob(story.anchors)
    weights = 7 / 70 * 2 * story.weight_logits.log_softmax(-1).sum()
    torch.testing.assert_close(loss, bare - (anchors + weights).detach())
    story.eval()
    torch.manual_seed(3)
    reported = Trace_ELBO().differentiable_loss(story.model, story.guide, images()).detach()
    torch.testing.assert_close(reported, bare)


def test_the_published_repulsion_is_in_the_loss_of_training():
    _, bare = loss_of(anchors="parameters", spacing=2.0)
    story, loss = loss_of(repulsion="published", repulsion_strength=0.3, spacing=2.0)
    energy = published_energy(story.encode(images()).mean, story.anchors).detach()
    assert abs(energy) > 1
    torch.testing.assert_close(loss, bare + 0.3 * energy)
