"""Options of the latent flows outside what they can be: refused when the story is made, with what is allowed."""

from __future__ import annotations

import pytest

from pyro_models.errors import OptionError
from pyro_models.flows.frame_codes import FrameCodes
from pyro_models.flows.sparse import SparseFlowStory
from pyro_models.flows.supervised import SupervisedFlow
from pyro_models.flows.trajectories import TrajectoryFlow
from pyro_models.flows.weak import WeakFlow

FRAMES, POINTS = (4, 3, 8, 8), (5, 2)


@pytest.mark.parametrize(
    ("story", "shape", "options", "message"),
    [
        (TrajectoryFlow, POINTS, {"first_noise": 0}, "first_noise is 0 and tau is 0.141; the one is above 0"),
        (TrajectoryFlow, POINTS, {"tau": -1.0}, "tau is -1.0; the one is above 0, the other at least 0"),
        (TrajectoryFlow, POINTS, {"hidden": -1}, "hidden is -1; it is 0 or more"),
        (SupervisedFlow, FRAMES, {"diffusion": -1}, "diffusion is -1; it is 0 or more"),
        (SupervisedFlow, FRAMES, {"diffusion": float("nan")}, "diffusion is nan; it is 0 or more"),
        (SupervisedFlow, FRAMES, {"potential": -1}, "potential is -1; it is 0 or more"),
        (SupervisedFlow, FRAMES, {"pde": -0.1}, "pde is -0.1; it is 0 or more"),
        (WeakFlow, FRAMES, {"potential": -1}, "potential is -1; it is 0 or more"),
        (WeakFlow, FRAMES, {"hidden": (), "guide": "amortized"}, "hidden is empty; give one width or more"),
        (SparseFlowStory, FRAMES, {"potential": -1}, "potential is -1; it is 0 or more"),
        (SparseFlowStory, FRAMES, {"rotational": -2}, "rotational is -2; it is 0 or more"),
        (FrameCodes, FRAMES, {"prior": "slow", "rate": 0.0}, "rate is 0.0; the rate of a Laplace distribution"),
    ],
)
def test_wrong_options_are_refused(story, shape, options, message):
    with pytest.raises(OptionError, match=message):
        story(shape, **options)
