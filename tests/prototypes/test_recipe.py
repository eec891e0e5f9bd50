"""The recipe's moves, its schedule, and what training with it reaches."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from evaluation import evaluate
from evaluation.answers import Answers
from evaluation.experiments import prototype_cost
from evaluation.figures import draw
from evaluation.reproduce import Setting
from inference import fit, resume
from inference.restarts import fit_best, minus_bound
from pyro_models.errors import ModelsError
from pyro_models.prototypes.bank import FreePixels, Generator, spread_out
from pyro_models.prototypes.candidates import Candidates
from pyro_models.prototypes.dvae import DVAE
from pyro_models.prototypes.dvae_st import DVAEST
from pyro_models.prototypes.recipe import Recipe, make_recipe
from tests.prototypes.made import TINY, bound, shapes, small

#: every estimator that can handle a categorical site
ESTIMATORS = (
    "exact",
    "reinforce",
    "nvil",
    "rloo",
    "vimco",
    "concrete",
    "straight-through",
    "gumbel-rao",
    "rebar",
    "relax",
    "reweighted-wake-sleep",
)


def test_the_recipe_ends_in_the_plain_model():
    recipe = Recipe()
    assert recipe.variance_factor(0.0) == 20
    assert recipe.variance_factor(0.15) == pytest.approx(math.sqrt(20))
    assert recipe.variance_factor(0.3) == recipe.variance_factor(1.0) == 1
    assert [recipe.clusters(p, 10) for p in (0.0, 0.29, 0.6, 1.0)] == [20, 20, 10, 10]
    counts = [recipe.clusters(p / 100, 10) for p in range(101)]
    assert all(a >= b >= a - 1 for a, b in itertools.pairwise(counts))
    assert [recipe.transforms(p, 2) for p in (0.0, 0.1, 0.3, 1.0)] == [0, 1, 2, 2]
    assert recipe.transforms(1.0, 5) == 5
    assert recipe.floor_weight(0.0) == 25
    assert recipe.floor_weight(0.5) == 0


def test_the_original_recipe_is_plain_from_the_start():
    recipe = make_recipe("original")
    assert recipe.variance_factor(0.0) == 1
    assert recipe.clusters(0.0, 10) == 10
    assert recipe.transforms(0.0, 2) == 2
    assert recipe.floor_weight(0.0) == 0
    assert not recipe.moves
    assert not recipe.placed
    assert make_recipe("original", anneal=3.0).variance_factor(0.0) == 3


def test_annealing_a_bernoulli_tempers_it():
    story = DVAE((1, 8, 8), clusters=2, spare=0, likelihood="bernoulli", guide="collapsed")
    x = torch.rand(3, 1, 8, 8)
    plain = story.energies(x)
    story.at(0.0)
    torch.testing.assert_close(story.energies(x), plain / 20)


# -- the bound ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_collapsed_dvae_has_the_exact_evidence(likelihood):
    story = DVAE((1, 8, 8), clusters=3, spare=2, likelihood=likelihood, guide="collapsed")
    story.active[1] = False
    x = torch.rand(7, 1, 8, 8)
    images = story.cluster_means()
    if likelihood == "gaussian":
        each = torch.distributions.Normal(images, 0.15**0.5).log_prob(x.unsqueeze(1))
    else:
        logits = images.logit()
        each = -torch.nn.functional.binary_cross_entropy_with_logits(
            logits.expand(7, -1, -1, -1, -1), x.unsqueeze(1).expand(-1, 4, -1, -1, -1), reduction="none"
        )
    evidence = (each.flatten(2).sum(2).logsumexp(1) - math.log(4)).sum()
    torch.testing.assert_close(bound(story, x), evidence, rtol=1e-4, atol=1e-2)


def sure(story: DVAEST) -> DVAEST:
    """A posterior over transforms that is as narrow as it may be, with weights that do something."""
    with torch.no_grad():
        story.head_weights.normal_(0, 0.05)
        story.head_biases[:, story.transformer.size :] = -6.0
        story.prior_shift.normal_(0, 0.5)
        story.prior_log_scale.normal_(0, 0.5)
        if story.prior_below is not None:
            story.prior_below.normal_(0, 0.2)
    return story


def test_the_prior_of_transforms_has_a_covariance_per_cluster():
    story = sure(DVAEST((1, 8, 8), clusters=3, spare=0, **TINY))
    centre, scale = story.prior_of_clusters()
    root = story.prior_root() / scale.unsqueeze(-1)
    z = torch.eye(3)
    exact = torch.distributions.MultivariateNormal(centre, precision_matrix=root @ root.mT)
    t = centre + 0.1 * torch.randn_like(centre)
    torch.testing.assert_close(story.transform_prior(z).log_prob(t), exact.log_prob(t), rtol=1e-4, atol=1e-2)
    mean, narrow = t.expand(2, 3, -1), 0.02 + 0.1 * torch.rand(2, 3, t.shape[-1])
    found = story.transform_kl(mean, narrow, torch.arange(3))
    for n in range(2):
        q = torch.distributions.MultivariateNormal(mean[n], torch.diag_embed(narrow[n] ** 2))
        torch.testing.assert_close(found[n], torch.distributions.kl_divergence(q, exact), rtol=1e-4, atol=1e-2)


def test_transforms_that_are_off_do_not_correlate():
    story = sure(DVAEST((1, 8, 8), clusters=3, spare=0, **TINY))
    story.transformer.active = 1
    off = story.in_use() == 0
    root = story.prior_root()[:, off]
    assert off.any()
    torch.testing.assert_close(root, torch.eye(len(off))[off].expand_as(root))


@pytest.mark.parametrize("guide", DVAEST.guides)
def test_the_bound_of_the_dvae_st_is_the_sum_over_clusters(guide):
    story = sure(DVAEST((1, 8, 8), clusters=3, spare=1, candidates=0, guide=guide, **TINY))
    story.active[2] = False
    x = shapes(9)["x"]
    constant = 32 * math.log(2 * math.pi * 0.15)
    energies = story.energies(x)[:, story.active] + math.log(3) + constant
    q = story.responsibilities(x)
    by_hand = -(q * energies + torch.special.xlogy(q, q)).sum()
    # the draws of t still vary by e^-6 prior scales, in 38 dimensions, in the KL term by 1/2 chi^2 around its mean
    assert bound(story, x).item() == pytest.approx(by_hand.item(), abs=3 * 9 * math.sqrt(38 / 2))
    terms = story.bound_terms(x)
    total = -(terms["nll"] + terms["kl"] + constant).sum()
    assert total.item() == pytest.approx(by_hand.item(), abs=2.0)


def test_candidates_are_a_distribution_over_the_likeliest():
    logits = torch.randn(5, 7)
    q = Candidates(logits, 3)
    values = q.enumerate_support()
    assert values.shape == (3, 5, 7)
    torch.testing.assert_close(q.log_prob(values).exp().sum(0), torch.ones(5))
    kept = values.sum(0).bool()
    expected = logits.softmax(-1)
    for row in range(5):
        assert set(expected[row].topk(3).indices.tolist()) == set(kept[row].nonzero().flatten().tolist())
    torch.testing.assert_close(q.probs[kept], (expected / (expected * kept).sum(1, keepdim=True))[kept])
    assert q.expand((4, 5)).sample().shape == (4, 5, 7)


def test_leaving_out_candidates_costs_what_is_said():
    story = DVAE((1, 8, 8), clusters=6, spare=0, guide="collapsed", variance=3.0)
    x = torch.rand(4, 1, 8, 8)
    full = bound(story, x)
    left_out = 1 - story.responsibilities(x).topk(2, dim=1).values.sum(1)
    assert left_out.max() > 0.05
    everything = story.index_posterior
    story.index_posterior = lambda logits, count=None: everything(logits, 2)
    torch.testing.assert_close(full - bound(story, x), -torch.log1p(-left_out).sum(), rtol=1e-3, atol=1e-3)


def test_prototypes_are_decoded_once_per_step_whatever_the_batch():
    story, counts = DVAE((1, 8, 8), clusters=4, spare=0, prototypes="generator"), []
    story.prototypes.output.register_forward_hook(lambda module, args, output: counts.append(len(output)))
    for size in (2, 64):
        bound(story, torch.rand(size, 1, 8, 8))
    assert set(counts) == {4}


def test_the_usage_floor_is_a_hinge_and_fades():
    story = DVAE((1, 8, 8), clusters=4, spare=0, guide="amortized")
    x = torch.rand(40, 1, 8, 8)
    even = torch.zeros(40, 4)
    one = torch.tensor([30.0, 0, 0, 0]).repeat(40, 1)
    losses = {}
    for name, logits in (("even", even), ("one", one)):
        story.index_logits = lambda x, logits=logits: logits
        story.at(0.3)
        weight = story.floor_weight
        with_floor = -bound(story, x)
        story.floor_weight = 0.0
        losses[name] = (with_floor + bound(story, x)).item() / 40
    assert weight == pytest.approx(10)
    assert losses["even"] == pytest.approx(0, abs=1e-4)
    assert losses["one"] == pytest.approx(10 * 3 * 0.125, rel=1e-3)


# -- start values -------------------------------------------------------------------------------------------------


def test_start_values_are_far_apart():
    """Three tight groups: k-means++ takes one of each, drawing blindly would miss one in most cases."""
    for seed in range(5):
        torch.manual_seed(seed)
        centres = torch.tensor([0.1, 0.5, 0.9]).repeat_interleave(torch.tensor([60, 3, 3]))
        chosen = spread_out(centres[:, None, None, None] + 0.001 * torch.rand(66, 1, 4, 4), 3)
        assert sorted(chosen.mean((1, 2, 3)).round(decimals=1).tolist()) == pytest.approx([0.1, 0.5, 0.9])
    assert len(spread_out(torch.ones(5, 1, 2, 2), 4)) == 4


@pytest.mark.parametrize("bank", [FreePixels, Generator])
def test_a_bank_takes_on_the_images_it_is_given(bank):
    images = shapes(4)["x"]
    made = bank(4, (1, 8, 8))
    made.place(images)
    assert (made() - images).abs().mean() < 0.06


# -- training -----------------------------------------------------------------------------------------------------


def test_training_removes_the_spare_clusters_and_finds_the_shapes():
    run = fit("dvae-st", shapes(), steps=240, batch_size=60, validate_every=0, progress=False, learning_rate=3e-3,
              story_options={"clusters": 3, "spare": 5, "transforms": ["affine", "thin-plate"],
                             "transform_scales": [0.3, 0.05], **TINY})  # fmt: skip
    story, test = run.story, shapes(90, seed=1)
    assert int(story.active.sum()) == 3
    assert story.cluster_means().shape == (3, 1, 8, 8)
    r = story.responsibilities(test["x"])
    assert r.shape == (90, 3)
    table = torch.zeros(3, 3)
    table.index_put_((r.argmax(1), test["label"]), torch.ones(90), accumulate=True)
    assert table.max(1).values.sum() / 90 > 0.9
    assert (story.reconstruct(test["x"]) - test["x"]).square().mean() < 0.6 * test["x"].var()


def test_an_interrupted_run_goes_on_with_the_same_moves(tmp_path):
    """Killed between removals and moves, it ends with the numbers of the run that was not."""
    data, options = (
        shapes(120),
        {"clusters": 3, "spare": 3, "transforms": ["affine", "thin-plate"], "transform_scales": [0.3, 0.05], **TINY},
    )
    common = {"batch_size": 40, "progress": False, "validate_every": 0, "checkpoint_every": 33, "log_every": 33}

    def story() -> DVAEST:
        torch.manual_seed(5)
        return DVAEST.build(data, **options)

    class Killed(Exception):
        pass

    def dies(progress: float) -> None:
        if progress >= 0.8:
            raise Killed
        DVAEST.at(killed, progress)

    whole = fit(story(), data, steps=100, run_dir=tmp_path / "whole", **common)
    killed = story()
    killed.at = dies
    with pytest.raises(Killed):
        fit(killed, data, steps=100, run_dir=tmp_path / "killed", **common)
    again = resume(tmp_path / "killed", data)
    assert again.step == 100
    assert int(again.story.active.sum()) == 3
    expected = whole.story.state_dict()
    for name, value in again.story.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)


@pytest.mark.parametrize("name", ["dvae", "dvae-st"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_trains_it(name, estimator):
    guide = "amortized" if name == "dvae" else "per-cluster"
    options = {"clusters": 3, "spare": 2, "guide": guide, **(TINY if name == "dvae-st" else {"hidden": (8,)})}
    common = {"steps": 6, "batch_size": 20, "validate_every": 0, "progress": False}
    run = fit(name, shapes(60), estimator, story_options=options, **common)
    assert math.isfinite(run.rows[-1]["loss"])
    assert int(run.story.active.sum()) == 3


def test_the_best_of_several_starts_is_the_one_of_the_best_bound():
    data = shapes(60)
    common = {"steps": 12, "batch_size": 30, "validate_every": 0, "progress": False}
    options = {"clusters": 3, "spare": 0, "placed": False, "anneal": 1.0}
    singles = [fit("dvae", data, seed=seed, story_options=options, **common) for seed in (6, 7, 8)]
    bounds = [minus_bound(run, data) for run in singles]
    by_hand = [-bound(run.story.eval(), data["x"]).item() / 60 for run in singles]
    assert bounds == pytest.approx(by_hand, rel=1e-4)
    assert len(set(bounds)) == 3
    best = fit_best("dvae", data, restarts=3, seed=2, story_options=options, **common)
    assert best.training.seed == 6 + bounds.index(min(bounds))
    with pytest.raises(ModelsError, match="restarts is 0"):
        fit_best("dvae", data, restarts=0)
    with pytest.raises(ModelsError, match="leave out run_dir"):
        fit_best("dvae", data, run_dir="somewhere")


def test_its_metrics_and_figures_are_made():
    data = shapes(60)
    story = small().eval()
    found = evaluate(story, data)["metrics"]
    assert {"accuracy", "purity", "nll", "kl", "elbo", "squared_error"} <= set(found)
    constant = 32 * math.log(2 * math.pi * 0.15)
    # a bound by 100 draws of t, against one draw and the KL term in closed form
    assert found["elbo"] == pytest.approx(-(found["nll"] + found["kl"] + constant), abs=1.5)
    names = [maker.name for maker, _ in draw(Answers(story, data))]
    assert {"cluster-means", "explanations", "traversals", "surest-errors", "confusion"} <= set(names)
    labels, pictures = story.traversals(5)
    assert pictures.shape == (len(labels), 5, 1, 8, 8)
    torch.testing.assert_close(
        pictures[:, 2], story.cluster_means()[:1].expand(len(labels), -1, -1, -1), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_images_of_all_sizes_and_colours(shape):
    story = DVAEST(shape, clusters=3, spare=0, transforms=("colour", "affine", "thin-plate"), **TINY)
    x = torch.rand(4, *shape)
    assert torch.isfinite(bound(story, x))
    assert story.reconstruct(x).shape == x.shape


def test_costs_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(prototype_cost, "CLUSTERS", (10, 20))
    monkeypatch.setattr(prototype_cost, "REPEATS", 1)
    found = prototype_cost.dvae_st_cost(Setting([0], tmp_path)).metrics
    assert all(value[0] > 0 for key, value in found.items() if key != "exponent")
    assert found["epoch_seconds/K=10"][0] == pytest.approx(found["ms_step/K=10"][0] / 1000 * 60_000 / 128)
