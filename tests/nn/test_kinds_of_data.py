"""Networks and densities for words, sequences, clouds and voxels: each density against an independent computation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare, multinomial

from pyro_models.errors import OptionError
from pyro_models.nn import make_likelihood
from pyro_models.nn.bag import BagEncoder, Multinomial, WordCounts
from pyro_models.nn.points import Cloud, PointNet, SoftChamfer
from pyro_models.nn.sequence import END, READERS, UNKNOWN, SequenceEncoder, Spelling, WordByWord
from pyro_models.nn.voxels import VoxelDecoder, VoxelEncoder


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# --- bags of words ---


def test_counts_have_the_multinomial_law():
    logits, counts = torch.randn(5, 7), torch.randint(0, 4, (5, 7)).float()
    found = WordCounts(logits, 10).log_prob(counts)
    for row in range(5):
        p = logits[row].double().softmax(-1).numpy()
        true = multinomial.logpmf(counts[row].numpy(), int(counts[row].sum()), p / p.sum())
        assert float(found[row]) == pytest.approx(true, abs=1e-4)


def test_a_document_without_words_is_certain():
    assert float(WordCounts(torch.randn(4), 10).log_prob(torch.zeros(4))) == pytest.approx(0, abs=1e-6)
    assert BagEncoder(4, (8,), 3)(torch.zeros(2, 4)).isfinite().all()


def test_drawn_documents_have_the_usual_length():
    law = Multinomial(12)(torch.randn(3, 6))
    assert law.sample((2,)).sum(-1).tolist() == [[12.0] * 3] * 2
    torch.testing.assert_close(Multinomial(12).mean(torch.randn(3, 6)).sum(-1), torch.full((3,), 12.0))


def test_the_bag_encoder_sees_which_words_not_how_many():
    encoder, counts = BagEncoder(6, (8,), 3), torch.tensor([[1.0, 1, 0, 0, 0, 0], [7, 7, 0, 0, 0, 0]])
    one, seven = encoder(counts)
    torch.testing.assert_close(one, seven)
    encoder.meet(torch.tensor([[1.0, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]]))
    weight = encoder.rarity
    assert float(weight[0]) == pytest.approx(1)
    assert weight[0] < weight[1] < weight[3]


# --- clouds ---


def test_the_density_of_clouds_is_a_mixture_point_by_point():
    centres, x, width = torch.randn(2, 5, 3), torch.randn(2, 4, 3), torch.tensor(0.3)
    each = torch.distributions.Normal(centres[:, None], width).log_prob(x[:, :, None]).sum(-1)
    brute = (each.logsumexp(-1) - math.log(5)).sum(-1)
    torch.testing.assert_close(SoftChamfer(centres, width, 4).log_prob(x), brute, atol=1e-3, rtol=1e-4)


def test_a_narrow_density_is_the_chamfer_distance():
    centres, x, width = torch.randn(6, 3), torch.randn(9, 3), torch.tensor(0.02)
    nearest = torch.cdist(x, centres).square().amin(1).sum()
    constant = -9 * (math.log(6) + 3 * math.log(0.02) + 1.5 * math.log(2 * math.pi))
    found = (constant - SoftChamfer(centres, width, 9).log_prob(x)) * 2 * width**2
    torch.testing.assert_close(found, nearest, atol=1e-2, rtol=1e-3)


def test_drawn_points_lie_around_the_centres():
    """Their mean squared distance from the only centre: 3 sd^2 (3000 points, five deviations)."""
    law = SoftChamfer(torch.ones(1, 3), torch.tensor(0.5), 3000)
    squares = (law.sample() - 1).square().sum(-1)
    assert float(squares.mean()) == pytest.approx(0.75, abs=5 * 0.25 * math.sqrt(6 / 3000))


def test_the_order_of_points_does_not_matter():
    encoder, x = PointNet(3, (8, 16), (16,), 5), torch.randn(2, 3, 10, 3)
    torch.testing.assert_close(encoder(x), encoder(x[..., torch.randperm(10), :]))
    assert encoder(x).shape == (2, 3, 5)


@pytest.mark.parametrize("centres", [3, 8, 20])
def test_expected_clouds_have_as_many_points_as_the_data(centres):
    output = torch.randn(2, centres, 3)
    mean = Cloud(8).mean(output)
    assert mean.shape == (2, 8, 3)
    if centres == 8:
        assert torch.equal(mean, output)
    with pytest.raises(OptionError, match="width of the density is 0"):
        Cloud(8, 0.0)


# --- voxels ---


@pytest.mark.parametrize("fire", [False, True])
@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (2, 7, 10, 5)])
def test_voxel_networks_reach_every_size(shape, fire):
    x = torch.rand(2, 3, *shape)
    code = VoxelEncoder(shape, (4, 6), 8, 5, fire)(x)
    assert code.shape == (2, 3, 5)
    assert VoxelDecoder(5, 8, (4, 6), shape, fire)(code).shape == x.shape


def test_fire_stages_have_few_weights():
    plain, squeezed = (VoxelEncoder((1, 8, 8, 8), (64, 128), 8, 5, fire) for fire in (False, True))
    weights = [sum(p.numel() for p in net.net[:4].parameters()) for net in (plain, squeezed)]
    assert weights[1] < weights[0] / 3


def test_voxel_networks_refuse_images():
    shape = (1, 16, 16, 16)
    with pytest.raises(OptionError, match="reads grids of shape"):
        VoxelEncoder(shape[1:], (4,), 8, 5)


# --- sequences ---


@pytest.fixture(params=sorted(READERS))
def reader(request):
    return READERS[request.param](4, 8, 3)


def every_sequence(words: int, length: int) -> torch.Tensor:
    """All rows of ``length`` numbers that are zero from some place on, the last included."""
    rows = []
    for count in range(length):
        for chosen in itertools.product(range(1, words), repeat=count):
            rows.append([*chosen, *[END] * (length - count)])
    return torch.tensor(rows)


def test_probabilities_of_all_sequences_sum_to_one(reader):
    rows = every_sequence(4, 4)
    law = WordByWord(reader, torch.randn(2, 3).unsqueeze(1), 4)
    torch.testing.assert_close(law.log_prob(rows).logsumexp(-1), torch.zeros(2), atol=1e-5, rtol=0)


def test_words_are_drawn_by_their_law(reader):
    """Counts of whole sequences against their probabilities (chance of failure 2e-5)."""
    rows, context = every_sequence(4, 3), torch.randn(3)
    law = WordByWord(reader, context, 3)
    drawn = law.sample((4000,))
    counts = (drawn[:, None] == rows).all(-1).sum(0)
    assert int(counts.sum()) == 4000
    p = law.log_prob(rows).double().exp()
    assert chisquare(counts.numpy(), (4000 * p / p.sum()).detach().numpy()).pvalue > 2e-5


def test_a_word_is_foretold_from_those_before_it(reader):
    ids, context = torch.tensor([[2, 3, 1, 2, 0]]), torch.randn(1, 3)
    logits = reader(ids, context)
    for place in range(5):
        other = ids.clone()
        other[0, place:] = 3
        torch.testing.assert_close(reader(other, context)[:, : place + 1], logits[:, : place + 1])
        if place < 4:
            assert not torch.allclose(reader(other, context)[:, place + 1 :], logits[:, place + 1 :])


def test_words_drop_out_in_training_only(reader):
    likelihood, ids, context = Spelling(reader, 6, 0.5), torch.tensor([[2, 3, 2, 3, 2, 0]] * 8), torch.randn(8, 3)
    likelihood.train()
    same = context[:1].expand(8, -1)
    assert float(likelihood(same).log_prob(ids).detach().std()) > 0
    likelihood.eval()
    assert float(likelihood(same).log_prob(ids).detach().std()) < 1e-5
    with pytest.raises(OptionError, match="word dropout is 1"):
        Spelling(reader, 6, 1.0)


def test_the_likeliest_sequence(reader):
    context = torch.randn(2, 5, 3)
    words = Spelling(reader, 6).mean(context)
    assert words.shape == (2, 5, 6)
    assert not (words == UNKNOWN).any()
    first = reader(words.reshape(-1, 6), context.reshape(-1, 3))[:, 0]
    first[:, UNKNOWN] = -torch.inf
    assert torch.equal(first.argmax(-1), words[..., 0].reshape(-1))


def test_the_sequence_encoder_ignores_what_follows_the_end():
    encoder, ids = SequenceEncoder(9, 8, 16, 5), torch.tensor([[3, 4, 0, 0, 0], [3, 4, 5, 6, 0]])
    whole = encoder(ids)
    torch.testing.assert_close(whole[0], encoder(ids[:1, :3])[0], atol=1e-5, rtol=1e-4)
    assert encoder(ids.expand(4, 2, 5)).shape == (4, 2, 5)
    assert not torch.allclose(encoder(torch.tensor([[3, 4, 0]])), encoder(torch.tensor([[4, 3, 0]])))


def test_transformers_refuse_what_they_cannot_read():
    with pytest.raises(OptionError, match="cannot be shared by 4 heads"):
        READERS["transformer"](4, 6, 3)
    with pytest.raises(OptionError, match="longer than 512"):
        READERS["transformer"](4, 8, 3)(torch.zeros(1, 600, dtype=torch.long), torch.zeros(1, 3))


def test_a_scale_that_is_given_is_the_one_used():
    assert float(make_likelihood("gaussian", 1, 0.25).scale) == pytest.approx(0.25)
    assert float(Cloud(8, 0.01).width.detach()) == pytest.approx(0.01)
    # a learned one stays above the smallest, also where a call puts numbers in its place
    learned = make_likelihood("gaussian", 1)
    assert float(learned.scale.detach()) > 0.3
    swapped = torch.func.functional_call(learned, {"log_scale": torch.tensor(-torch.inf)}, torch.zeros(2))
    assert float(swapped.base_dist.scale[0]) == pytest.approx(1 / 256)
