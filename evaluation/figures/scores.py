"""Pictures behind scores: are responsibilities honest, and which code knows which factor?"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.answers import Answers
from evaluation.calibration import reliability_figure
from evaluation.disentanglement import mig
from evaluation.disentanglement.tables import varying
from evaluation.factors import LEAST_DATA, codes_and_factors
from evaluation.figures import figure
from evaluation.figures.canvas import blank
from evaluation.metrics import class_probabilities_of
from pyro_models.story import Clusters, Represents


@figure(
    "reliability",
    title="Are responsibilities honest?",
    caption="Held-out data by how sure the story is of their class (a cluster stands for its majority class): among "
    "those with confidence 0.8, eight in ten should be right. Bars: share of the data.",
    needs=(Clusters,),
    fields=("label",),
)
def reliability(answers: Answers, run: Any) -> Any:
    probabilities, labels = class_probabilities_of(answers)
    made, axes = blank(4.2, 4)
    reliability_figure(probabilities, labels, axis=axes[0, 0])
    return made


@figure(
    "factor-map",
    title="Which dimension knows which factor?",
    caption="Mutual information of every code dimension (row) with every factor (column), as a share of what there is "
    "to know. Disentangled codes have one bright square per column, and no row with two.",
    needs=(Represents,),
    fields=("factors",),
)
def factor_map(answers: Answers, run: Any) -> Any:
    codes, factors = codes_and_factors(answers)
    told = [column for column in range(factors.shape[1]) if len(np.unique(_known(factors[:, column]))) > 1]
    if len(codes) < LEAST_DATA or codes.shape[1] < 2 or not told or not varying(codes).any():
        return None
    found = mig(codes, factors[:, told])
    share = found.information / found.entropies
    made, axes = blank(0.55 * len(told) + 1.8, 0.3 * codes.shape[1] + 1.2)
    axis = axes[0, 0]
    drawn = axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(told)), [str(column) for column in told])
    axis.set_yticks(range(codes.shape[1]))
    axis.tick_params(labelsize=7)
    axis.set(xlabel="factor", ylabel="code dimension", title=f"MIG {found.value:.3f}")
    made.colorbar(drawn, ax=axis, shrink=0.8)
    return made


def _known(column: np.ndarray) -> np.ndarray:
    return column[~np.isnan(column)]
