"""Test cases to inherit: a new story's test is a subclass with one factory method."""

from __future__ import annotations

import copy
import pickle

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO

from inference import estimators, fit, resume
from pyro_models.datasets.data import Data
from pyro_models.story import (
    Clusters,
    Generates,
    Reconstructs,
    Represents,
    ShowsClusters,
    Story,
    dream,
)


class StoryCase:
    """What every story must do. Subclasses give ``make`` (and ``data`` when images of 8x8 are not what it reads)."""

    def make(self) -> Story:
        raise NotImplementedError("return the story under test")

    def data(self) -> Data:
        """A few data; the default is random 8x8 images."""
        generator = torch.Generator().manual_seed(0)
        return Data({"x": torch.rand(24, 1, 8, 8, generator=generator)}, "noise")

    @pytest.fixture
    def story(self) -> Story:
        return self.make()

    @pytest.fixture
    def batch(self, story) -> list[torch.Tensor]:
        data = self.data()
        return [data[name] for name in story.fields]

    def loss(self, story, batch) -> torch.Tensor:
        estimator = estimators.get(story.default_estimator)()
        estimator.prepare(story.model, story.guide, *batch)
        return estimator.differentiable_loss(story.model, story.guide, *batch)

    def test_loss_is_finite_and_reaches_every_parameter(self, story, batch):
        loss = self.loss(story, batch)
        assert torch.isfinite(loss)
        loss.backward()
        untouched = [n for n, p in story.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not untouched

    def test_plates_are_declared_right(self, story, batch):
        if story.max_plate_nesting is not None:
            guide = poutine.trace(story.guide).get_trace(*batch)
            model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(*batch)
            depth = max(len(site["cond_indep_stack"]) for site in model.nodes.values() if site["type"] == "sample")
            assert depth == story.max_plate_nesting

    def test_batch_rows_do_not_depend_on_each_other(self, story, batch):
        for name in ("responsibilities", "features", "reconstruct"):
            if hasattr(story, name):
                story.eval()
                whole = getattr(story, name)(*batch)
                part = getattr(story, name)(*(field[3:5] for field in batch))
                torch.testing.assert_close(whole[3:5], part, atol=1e-5, rtol=1e-4)

    def test_answers_have_their_shapes(self, story, batch):
        size, x = len(batch[0]), batch[0]
        if isinstance(story, Clusters):
            responsibilities = story.responsibilities(*batch)
            assert responsibilities.shape[0] == size
            torch.testing.assert_close(responsibilities.sum(1), torch.ones(size))
        if isinstance(story, Represents):
            assert story.features(*batch).shape[0] == size
            assert story.features(*batch).ndim == 2
        if isinstance(story, Reconstructs):
            assert story.reconstruct(*batch).shape == x.shape
        if isinstance(story, Generates):
            assert story.generate(3).shape == (3, *x.shape[1:])
        if isinstance(story, ShowsClusters):
            assert story.cluster_means().ndim == x.ndim
            assert story.cluster_means().shape[1] == x.shape[1]

    def test_it_dreams_up_data_of_the_right_shape(self, story, batch):
        dreamt = dream(story, batch)
        for name, field in zip(story.fields, batch, strict=True):
            if name in dreamt:
                assert dreamt[name].shape == field.shape

    def test_stock_pyro_works_on_it(self, story, batch):
        predictive = Predictive(poutine.uncondition(story.model), guide=story.guide, num_samples=2)
        samples = predictive(*batch)
        # Predictive keeps a dimension for every plate, also for those that a site is not in.
        assert samples[story.fields[0]].reshape(2, *batch[0].shape).isfinite().all()

    def test_stock_svi_trains_it(self, story, batch):
        """A plain module under SVI would silently not train."""
        before = copy.deepcopy(story.state_dict())
        estimator = estimators.get(story.default_estimator)()
        svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-2}), loss=estimator)
        svi.step(*batch)
        still = [n for n, p in story.named_parameters() if torch.equal(p, before[n])]
        assert not still

    def test_two_stories_train_side_by_side_under_svi(self, batch):
        for story in (self.make(), self.make()):
            before = copy.deepcopy(story.state_dict())
            SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-2}), loss=Trace_ELBO()).step(*batch)
            assert any(not torch.equal(v, before[n]) for n, v in story.state_dict().items())

    def test_state_and_arguments_make_it_again(self, story, batch):
        again = type(story)(**story.arguments)
        again.load_state_dict(story.state_dict())
        torch.manual_seed(0)
        first = self.loss(story, batch)
        torch.manual_seed(0)
        torch.testing.assert_close(self.loss(again, batch), first, atol=0, rtol=0)

    def test_resumed_equals_uninterrupted(self, tmp_path, monkeypatch):
        """Whatever the recipe gathers between steps is in the state (buffers), or a resumed run would differ."""
        data, kind = self.data(), type(self.make())
        settings = {"steps": 12, "batch_size": min(6, len(data)), "log_every": 1, "checkpoint_every": 1}
        settings |= {"validate_every": 0, "progress": False}

        def train(folder):
            torch.manual_seed(0)
            return fit(self.make(), data, run_dir=tmp_path / folder, **settings)

        whole = train("whole").story.state_dict()
        original = kind.at

        def interrupted(story, progress):
            if story.training and progress >= 7 / 12:
                raise KeyboardInterrupt
            original(story, progress)

        monkeypatch.setattr(kind, "at", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train("cut")
        monkeypatch.setattr(kind, "at", original)
        again = resume(tmp_path / "cut", data).story.state_dict()
        for name, value in whole.items():
            torch.testing.assert_close(again[name], value, atol=0, rtol=0, msg=f"{name} differs after resuming")

    def test_it_can_be_copied_and_pickled(self, story):
        for twin in (copy.deepcopy(story), pickle.loads(pickle.dumps(story))):
            assert twin.arguments == story.arguments

    def test_it_runs_on_one_datum(self, story, batch):
        assert torch.isfinite(self.loss(story, [field[:1] for field in batch]))

    def test_the_docstring_is_its_definition(self, story):
        assert story.citation
        assert "~" in type(story).__doc__
