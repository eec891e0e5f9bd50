"""The nebula on words, sequences, clouds and voxels: what every story must do, and what each kind adds."""

from __future__ import annotations

import pytest
import torch

from evaluation.answers import Answers
from evaluation.clustering import hungarian_accuracy
from evaluation.figures import draw
from evaluation.figures.shapes import anchor_words
from evaluation.measure import evaluate
from inference import fit
from pyro_models.anchors import words
from pyro_models.anchors.nebula import FIRST_KL_WEIGHT, Nebula
from pyro_models.anchors.networks import kind_of, suited
from pyro_models.anchors.views import _seen
from pyro_models.anchors.words import fit_groups, merge_words, settled_words, word_groups
from pyro_models.datasets.solids import solids
from pyro_models.datasets.topics import topics
from pyro_models.errors import OptionError, UnknownName
from pyro_models.story import Completes
from tests.core.cases import StoryCase

SMALL = {"clusters": 3, "latent": 2, "hidden": (16,)}


class TestBags(StoryCase):
    def make(self):
        return Nebula.build(self.data(), **SMALL, start="neighbours", views=("neighbours",))

    def data(self):
        return topics(24)


class TestBagsFromWords(StoryCase):
    def make(self):
        return Nebula.build(self.data(), **SMALL, start="words")

    def data(self):
        return topics(24)


class TestSequences(StoryCase):
    def make(self):
        torch.manual_seed(0)
        return Nebula.build(self.data(), **SMALL, network_options={"width": 8}, free_bits=1.0)

    def data(self):
        return topics(24, form="sequence", length=8, vocabulary=20)


class TestClouds(StoryCase):
    def make(self):
        return Nebula.build(self.data(), **SMALL, network_options={"shared": (8, 8), "centres": 6})

    def data(self):
        return solids(24, points=12)


class TestVoxels(StoryCase):
    def make(self):
        torch.manual_seed(0)  # so few units may all be off
        return Nebula.build(self.data(), **SMALL, channels=(3, 4), start="neighbours")

    def data(self):
        return solids(24, form="voxels", side=5)


class TestFireVoxels(TestVoxels):
    def make(self):
        torch.manual_seed(0)
        options = {"channels": (8, 8), "network_options": {"fire": True}}
        return Nebula.build(self.data(), **SMALL, **options, start="neighbours")


@pytest.mark.parametrize(
    ("data", "kind", "network"),
    [
        (topics(20), "counts", "bag"),
        (topics(20, form="sequence", length=8), "tokens", "gru"),
        (solids(20, points=8), "points", "pointnet"),
        (solids(20, form="voxels", side=4), "voxels", "voxels"),
    ],
)
def test_the_network_follows_from_the_data(data, kind, network):
    assert (kind_of(data), suited(data)) == (kind, network)


def test_a_transformer_spells_too():
    data = topics(24, form="sequence", length=8, vocabulary=20)
    run = fit(
        "nebula",
        data,
        steps=3,
        batch_size=8,
        progress=False,
        validate_every=0,
        story_options={**SMALL, "network": "transformer", "network_options": {"width": 8}},
    )
    assert run.story.reconstruct(data["x"]).shape == data["x"].shape


def test_options_of_the_networks_are_checked():
    with pytest.raises(OptionError, match="does not know how many words"):
        Nebula((8,), **SMALL, network="gru")
    with pytest.raises(UnknownName, match="network option is called 'depth'"):
        Nebula((8,), **SMALL, network="bag", network_options={"depth": 3})
    with pytest.raises(UnknownName, match="soft-chamfer"):
        Nebula((8, 3), **SMALL, network="pointnet", likelihood="gaussian")
    with pytest.raises(OptionError, match="reads clouds"):
        Nebula((8,), **SMALL, network="pointnet")
    with pytest.raises(OptionError, match="has one dimension"):
        Nebula((8, 3), **SMALL, network="bag")


def test_free_bits_hold_the_weight_of_the_kl_down_until_the_code_costs_them():
    data = topics(24, form="sequence", length=8, vocabulary=20)
    story = Nebula.build(
        data, **SMALL, network_options={"width": 8}, free_bits=3.0, warm_up=0.0, ramp=0.0, start="random"
    )
    story.at(0.5)
    assert story.kl_weight == FIRST_KL_WEIGHT
    for _ in range(3):
        story.guide(data["x"])
    with torch.no_grad():
        q = story.encode(data["x"])
        price = torch.stack([(q.log_prob(z) - story.mixture().log_prob(z)).mean() for z in q.sample((400,))]).mean()
    assert float(story.rate) == pytest.approx((1 - 0.9**3) * float(price), rel=0.3)
    story.rate.fill_(3.1)
    story.at(0.5)
    assert story.kl_weight == 1
    story.rate.zero_()
    story.at(1.0)  # what is reported is the bound
    assert story.kl_weight == 1


def test_neighbours_are_looked_for_where_data_can_be_compared():
    """The nearest clouds and grids of a solid are of its kind, whatever its size and turn."""
    for data, least in ((solids(240), 0.9), (solids(240, form="voxels"), 0.8)):
        encoder = Nebula.build(data, **SMALL).encoder
        nearest = torch.cdist(*(2 * [_seen(data, encoder.look)])).fill_diagonal_(torch.inf).argmin(1)
        assert float((data["label"][nearest] == data["label"]).float().mean()) > least


@pytest.mark.parametrize("form", ["points", "voxels"])
def test_completions_fit_what_is_seen(form):
    data = solids(24, form=form, points=16, side=6, partial=True)
    run = fit("nebula", data, steps=3, batch_size=8, progress=False, validate_every=0, story_options={**SMALL})
    story = run.story
    assert isinstance(story, Completes)
    assert story.complete(data["x"], 5).shape == (5, *data["target"].shape)
    assert float(story.complete(data["x"], 5).std(0).max()) > 0
    found = evaluate(story, data, metrics=["shape", "reconstruction"])["metrics"]
    assert set(found) == ({"chamfer"} if form == "points" else {"iou", "squared_error"})
    assert {"shapes", "anchor-shapes", "shape-completions"} <= {made.name for made, _ in draw(Answers(story, data))}


def test_words_are_measured_and_shown():
    for form in ("bag", "sequence"):
        data = topics(60, form=form, length=12)
        run = fit("nebula", data, steps=3, batch_size=8, progress=False, validate_every=0, story_options={**SMALL})
        found = evaluate(run.story, data, metrics=["words", "clustering"])
        assert found["metrics"]["perplexity"] > 1
        assert found["metrics"]["nll"] > found["metrics"]["kl"] >= 0
        assert set(found["baselines"]["purity"]) >= {"k-means on latent semantic analysis"}
        answers = Answers(run.story, data)
        assert len(anchor_words(answers)) == 3
        assert "top-words" in {made.name for made, _ in draw(answers)}


def test_the_perplexity_of_a_uniform_law_is_the_number_of_words():
    data = topics(40)
    story = Nebula.build(data, **SMALL)
    with torch.no_grad():
        for parameter in (*story.decoder.parameters(), *story.encoder.parameters()):
            parameter.zero_()
        story.anchors.zero_()
        story.log_scales.zero_()
    story.eval()
    found = evaluate(story, data, metrics=["words"])["metrics"]
    words = float(data["x"].sum(1).mean())
    # the bound is that of the words plus a small price of the code (its posterior is narrower than the prior)
    expected = len(data.words) * torch.tensor(found["kl"] / words).exp()
    assert found["perplexity"] == pytest.approx(float(expected), rel=1e-3)


def test_pairs_explain_one_shape_by_another():
    data = solids(8, points=10, partial=True)
    story = Nebula.build(data, **SMALL)
    assert (story.shape, story.likelihood.points) == ((5, 3), 10)


def test_pieces_of_wrong_groups_of_documents_make_right_ones():
    """Six subjects of 20 words, two of them a group; each partition puts one subject where it does not belong."""
    subject = torch.arange(120) // 20
    pair = subject // 2
    words = torch.arange(120)
    rate = 0.2 + 1.5 * (words // 40 == pair[:, None]) + 0.5 * (words // 20 == subject[:, None])
    seen = torch.poisson(rate, generator=torch.Generator().manual_seed(0)).log1p()
    wrong = [torch.tensor(groups)[subject] for groups in ([0, 0, 1, 2, 1, 2], [0, 1, 0, 1, 2, 2])]
    assert [hungarian_accuracy(pair.numpy(), one.numpy()) for one in wrong] == pytest.approx([4 / 6, 4 / 6])
    pieces = torch.unique(wrong[0] * 3 + wrong[1], return_inverse=True)[1]
    assert hungarian_accuracy(pair.numpy(), merge_words(seen, pieces, 3).numpy()) == 1
    value, better = settled_words(seen, pieces, 3)
    assert hungarian_accuracy(pair.numpy(), better) == 1
    assert value > max(fit_groups(seen, one, 3, hot=1.0, steps=1)[0] for one in wrong) + 0.1


def test_mergers_start_from_so_many_pieces_at_most(monkeypatch):
    """Of two clear subjects two large pieces each and many of one document, which join the likeliest large one."""
    monkeypatch.setattr(words, "PIECES", 4)
    subject = torch.arange(20) // 10
    seen = torch.nn.functional.one_hot(subject).float().repeat_interleave(5, 1)
    pieces = torch.tensor([0, 0, 0, 1, 1, 1, 4, 5, 6, 7, 2, 2, 2, 3, 3, 3, 8, 9, 10, 11])
    found = merge_words(seen, pieces, 2)
    assert hungarian_accuracy(subject.numpy(), found.numpy()) == 1


def test_each_merger_of_documents_costs_the_least():
    generator = torch.Generator().manual_seed(1)
    seen, pieces = torch.rand(30, 7, generator=generator), torch.arange(30) % 5

    def likelihood(groups: torch.Tensor) -> float:
        member = torch.nn.functional.one_hot(groups).float()
        mass, size = member.T @ seen, member.sum(0)
        words = ((mass + 1) / (mass + 1).sum(1, keepdim=True)).log()
        return float((mass * words).sum() + (size * ((size + 1) / (30 + 4)).log()).sum())

    mergers = [torch.where(pieces == b, a, pieces) for a in range(5) for b in range(a + 1, 5)]
    best = max(likelihood(torch.unique(one, return_inverse=True)[1]) for one in mergers)
    assert likelihood(merge_words(seen, pieces, 4)) == pytest.approx(best, rel=1e-6)


def test_words_alone_find_most_topics():
    data = topics(400)
    found = word_groups(data["x"], 8, restarts=5)
    assert hungarian_accuracy(data["label"].numpy(), found.numpy()) > 0.85
    assert torch.equal(found, word_groups(data["x"], 8, restarts=5))
    clouds = solids(24, points=8)
    with pytest.raises(OptionError, match="groups counts of words"):
        Nebula.build(clouds, **SMALL, start="words").meet(clouds)
