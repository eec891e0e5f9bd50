"""Repulsion, starts, moves and neighbours against what they must be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from evaluation.clustering import hungarian_accuracy
from pyro_models.anchors.crossing import improve
from pyro_models.anchors.mixture import AnchorMixture
from pyro_models.anchors.moves import Moves
from pyro_models.anchors.nebula import Nebula
from pyro_models.anchors.neighbours import affinity, information, joint_of, merger_gains, nearest, partition, settled
from pyro_models.anchors.repulsion import (
    REPULSIONS,
    AnchorPrior,
    published_energy,
    refuse_runaway,
    repel,
    squared_distances,
)
from pyro_models.anchors.start import Components, em, from_codes, from_groups, log_joint
from pyro_models.datasets.data import Data
from pyro_models.errors import OptionError, TrainingError, UnknownName

PROPER = [name for name in REPULSIONS if name != "published"]


def prior(repulsion: str, clusters: int = 6, latent: int = 2, spacing: float = 3.0) -> AnchorPrior:
    return AnchorPrior(repulsion, clusters, latent, spacing, torch.zeros(()))


@pytest.mark.parametrize("repulsion", PROPER)
def test_priors_are_bounded_far_away_and_finite_where_anchors_meet(repulsion):
    there = prior(repulsion)
    anchors = torch.randn(6, 2)
    assert there.log_prob(1000 * anchors) < there.log_prob(anchors)
    assert there.log_prob(torch.zeros(6, 2)).isfinite()


@pytest.mark.parametrize("repulsion", ["log-gas", "hinge", "dpp", "soft-core"])
def test_repulsion_pushes_close_anchors_apart(repulsion):
    anchors = torch.tensor([[0.0, 0.0], [0.1, 0.0]], requires_grad=True)
    repel(repulsion, anchors, 3.0).backward()
    assert anchors.grad[0, 0] < 0 < anchors.grad[1, 0]


def test_log_gas_mode_has_the_spacing_asked_for():
    """The scaling identity at the mode: mean |a|^2 = t^2 (K - 1), so the mean squared distance is about spacing^2."""
    there = prior("log-gas", clusters=5, latent=3, spacing=4.0)
    torch.manual_seed(0)
    anchors = torch.randn(5, 3, requires_grad=True)
    optimiser = torch.optim.LBFGS([anchors], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = -there.log_prob(anchors)
        loss.backward()
        return loss

    optimiser.step(closure)
    mean = float(anchors.detach().square().sum(1).mean())
    assert mean == pytest.approx(there.confinement**2 * 4, rel=1e-3)
    # Every pair counts in the identity with its own weight; among K anchors 1 - 1/K of the square is between them.
    assert float(squared_distances(anchors.detach()).mean()) == pytest.approx(16 * 5 / 4, rel=0.02)


def test_prior_samples_have_its_moments():
    """By the scaling of the log-gas density, sum |a|^2 / 2 t^2 is gamma distributed with shape K D / 2 + pairs."""
    there = prior("log-gas", clusters=3)
    torch.manual_seed(0)
    drawn = there.sample((400,))
    energy = drawn.square().sum((1, 2)) / (2 * there.confinement**2)
    shape = 3 + 3
    # The standard error is sqrt(6 / 400) = .12; the chain starts below and must have come up.
    assert float(energy.mean()) == pytest.approx(shape, abs=0.6)


def test_published_energy_changes_sign_and_runs_away():
    """Attractive to more distance and to more mass as soon as anchors are further apart than 1."""
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    near, far = 0.1 * torch.eye(3, 4), 5.0 * torch.eye(3, 4)
    assert published_energy(z, near) > 0 > published_energy(z, far)
    assert published_energy(z, 10 * far) < published_energy(z, far)
    with pytest.raises(TrainingError, match="unbounded below; use repulsion='log-gas'"):
        refuse_runaway(1000 * far, 2.0)
    refuse_runaway(0.5 * far, 2.0)


def test_unknown_repulsion_is_refused():
    with pytest.raises(UnknownName, match="log-gas"):
        prior("loggas")


def test_mixture_density_integrates_to_one_and_its_samples_follow_it():
    torch.manual_seed(0)
    mixture = AnchorMixture(torch.tensor([0.3, 0.7]).log(), torch.tensor([[-1.0], [2.0]]), torch.tensor([[0.5], [1.0]]))
    grid = torch.linspace(-8, 10, 4001).unsqueeze(1)
    assert float(mixture.log_prob(grid).exp().sum() * 18 / 4000) == pytest.approx(1, abs=1e-4)
    drawn = mixture.sample((40_000,))
    # mean 0.3 (-1) + 0.7 2 = 1.1; variance 0.3 (.25 + 1) + 0.7 (1 + 4) - 1.21 = 2.665
    assert float(drawn.mean()) == pytest.approx(1.1, abs=5 * math.sqrt(2.665 / 40_000))
    hard = AnchorMixture(mixture.log_weights, mixture.anchors, mixture.scales, hard=True)
    assert (hard.log_prob(grid) <= mixture.log_prob(grid)).all()
    assert (mixture.log_prob(grid) - hard.log_prob(grid) <= math.log(2) + 1e-6).all()


def blobs(count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (count,), generator=generator)
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return centres[label] + torch.randn(count, 2, generator=generator), label


def test_starts_find_blobs():
    torch.manual_seed(0)
    codes, label = blobs()
    for found in (from_codes(codes, 3), from_codes(codes, 3, spherical=True), from_groups(codes, label, 3)):
        own = log_joint(codes, found).argmax(1)
        for group in range(3):
            assert len(own[label == group].unique()) <= 2
        assert float(found.weights.sum()) == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(found.scales, torch.ones(3, 2), atol=0.2, rtol=0)


def test_em_never_loses_likelihood():
    codes, _ = blobs()
    now = Components(
        torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.ones(3, 2), torch.full((3,), 1 / 3)
    )
    values = []
    for _ in range(15):
        values.append(float(log_joint(codes, now).logsumexp(1).mean()))
        now = em(codes, now, 1)
    assert all(after >= before - 1e-3 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0] + 0.1


def arcs(count: int = 900) -> tuple[torch.Tensor, np.ndarray]:
    """Three half circles around each other: no mixture of Gaussians separates them."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) % 3
    angle = math.pi * torch.rand(count, generator=generator)
    radius = 1.0 + 2.0 * label + 0.25 * torch.randn(count, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), label.numpy()


def test_nearest_are_the_nearest():
    x, _ = blobs(300)
    found = nearest(x, 5)
    table = torch.cdist(x - x.mean(0), x - x.mean(0)).square().fill_diagonal_(torch.inf)
    by_hand = table.topk(5, largest=False)
    torch.testing.assert_close(found.distance, by_hand.values, atol=1e-3, rtol=1e-3)
    with pytest.raises(OptionError, match="choose from 1 to 299"):
        nearest(x, 300)


def test_groups_of_the_graph_follow_chains_of_neighbours():
    x, label = arcs()
    graph = affinity(nearest(x))
    found, value = partition(graph, 3, restarts=4)
    assert hungarian_accuracy(label, found.numpy()) > 0.9
    assert value == pytest.approx(information(joint_of(graph, found.numpy(), 3)))
    mixture = from_codes_groups(x)
    assert value > information(joint_of(graph, mixture, 3)) + 0.1
    assert hungarian_accuracy(label, mixture) < 0.8


def test_two_partitions_that_are_wrong_in_different_places_make_a_right_one():
    import scipy.sparse

    piece = np.arange(60) // 10
    pair = piece // 2
    weight = 0.02 + 0.3 * (pair[:, None] == pair) + 0.7 * (piece[:, None] == piece)
    graph = scipy.sparse.csr_matrix(weight)
    wrong = [np.array(groups)[piece] for groups in ([0, 0, 1, 2, 1, 2], [0, 1, 0, 1, 2, 2])]
    found = [(information(joint_of(graph, one, 3)), one) for one in wrong]
    value, better = improve(found, lambda pieces: settled(pieces, graph, 3), 3)
    assert value > max(one for one, _ in found) + 0.1
    assert hungarian_accuracy(pair, better) == 1
    assert improve([(value, better)], lambda pieces: settled(pieces, graph, 3), 3)[0] == value
    with pytest.raises(OptionError, match="restarts is 0"):
        partition(graph, 3, restarts=0)


def from_codes_groups(x: torch.Tensor) -> np.ndarray:
    torch.manual_seed(0)
    return log_joint(x, from_codes(x, 3)).argmax(1).numpy()


def test_information_of_known_tables():
    assert information(np.eye(4)) == pytest.approx(math.log(4))
    assert information(np.ones((4, 4))) == pytest.approx(0, abs=1e-12)


def test_gains_of_mergers_are_differences_of_information():
    joint = np.random.default_rng(0).random((5, 5)) ** 3
    joint += joint.T
    joint[0, 3] = joint[3, 0] = 0
    joint /= joint.sum()
    gain = merger_gains(joint)
    for one, other in itertools.combinations(range(5), 2):
        member = np.eye(5)
        member[other] = member[one]
        merged = (member.T @ joint @ member)[:, np.arange(5) != other][np.arange(5) != other]
        assert gain[one, other] == pytest.approx(information(merged) - information(joint), abs=1e-12)
        assert gain[other, one] == pytest.approx(gain[one, other])


def test_a_move_frees_a_wasted_anchor_and_leaves_a_good_solution_alone():
    """Two anchors share one blob and one has to serve two blobs: no gradient mends that."""
    codes, label = blobs()
    story = Nebula((1, 2, 2), clusters=3, latent=2, hidden=(4,))
    two = torch.tensor([[0.3, 0.0], [-0.3, 0.0], [3.0, 3.0]])
    story.take_components(Components(two, torch.tensor([[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]), torch.full((3,), 1 / 3)))
    better = Moves(3).propose(story, codes)
    assert better is not None
    own = log_joint(codes, better).argmax(1)
    assert len({int(own[label == group].mode().values) for group in range(3)}) == 3
    story.take_components(from_groups(codes, label, 3))
    assert Moves(3).propose(story, codes) is None


class Codes(torch.nn.Module):
    """An encoder for data that are codes already."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.zeros_like(x)], -1)


def test_training_moves_a_wasted_anchor_and_the_optimiser_forgets_the_old_one():
    codes, label = blobs()
    data = Data({"x": codes})
    story = Nebula((2,), clusters=3, latent=2, hidden=(4,), likelihood="gaussian")
    story.encoder = Codes()
    two = torch.tensor([[0.3, 0.0], [-0.3, 0.0], [3.0, 3.0]])
    story.take_components(Components(two, torch.tensor([[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]), torch.full((3,), 1 / 3)))
    optimiser = torch.optim.Adam(story.component_parameters())
    sum(p.sum() for p in story.component_parameters()).backward()
    optimiser.step()
    moves = story.moves
    moves.revise(story, 0.5, 0.501, data, optimiser)  # no look is due
    assert int(moves.kept) == 0
    moves.revise(story, 0.499, 0.501, data, optimiser)
    assert int(moves.kept) == 1
    own = story.responsibilities(codes).argmax(1)
    assert len({int(own[label == group].mode().values) for group in range(3)}) == 3
    assert all(not optimiser.state[p]["exp_avg"].any() for p in story.component_parameters())
    assert story.training
