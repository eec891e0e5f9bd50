"""The bound on held-out data while a story trains."""

from __future__ import annotations

from collections.abc import Callable

import torch

from inference.estimators.base import is_discrete, latent_sites, trace_pair
from inference.estimators.exact import Exact
from pyro_models.datasets.data import Data
from pyro_models.story import Story, batch_arguments

#: data used for a validation bound; more would cost time and say the same
VALIDATION_SIZE = 2000
#: data per pass
CHUNK = 500


def validation_bound(story: Story, data: Data, device: torch.device) -> Callable[[], float]:
    """A function that returns minus the ELBO per datum on (at most 2000 of) the data, with every KL term at full
    weight.

    Few-valued discrete sites are summed over, whatever estimator trains, so that the curves of different estimators are
    curves of the same quantity. The noise is the same at every call, and the training's random stream is not touched.
    """
    data = data.take(slice(0, VALIDATION_SIZE)).to(device)
    first = batch_arguments(story, data.batch(slice(0, 2)))
    was_training = story.training
    story.eval()  # a look must not move running averages
    with torch.no_grad(), torch.random.fork_rng():
        model_trace, guide_trace = trace_pair(story.model, story.guide, tuple(first), {})
    story.train(was_training)
    sites = {**latent_sites(model_trace), **latent_sites(guide_trace)}.values()
    enumerator = Exact(max_plate_nesting=story.max_plate_nesting) if any(map(is_discrete, sites)) else None

    @torch.no_grad()
    def bound() -> float:
        was_training, total = story.training, 0.0
        story.eval()
        story.at(1.0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for batch in data.chunks(CHUNK):
                fields = batch_arguments(story, batch)
                if enumerator is not None:
                    total += enumerator.loss(story.model, story.guide, *fields)
                else:
                    model_trace, guide_trace = trace_pair(story.model, story.guide, tuple(fields), {})
                    total += float(guide_trace.log_prob_sum() - model_trace.log_prob_sum())
        story.train(was_training)
        return total / len(data)

    return bound
