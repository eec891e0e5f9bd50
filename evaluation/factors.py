"""The registered metric ``disentanglement``: a story's features against the factors that the data are known to have."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluation import disentanglement as scores
from evaluation.answers import Answers
from evaluation.disentanglement.tables import varying
from evaluation.metric import Score, metric
from pyro_models.story import EncodesFrames, Represents

#: data used: the scores change little beyond, and their time grows with it
FACTOR_DATA = 3000
#: fewer data leave classifiers and tables of counts nothing to learn from
LEAST_DATA = 200
#: which frame stands for each sequence
FRAME_SEED = 0
LOWER = ("code_correlation", "total_correlation")
#: what each score is, in words, beside its number
RULES = {
    "beta_vae": "held-out accuracy of naming the factor held fixed, linear classifier",
    "factor_vae": "held-out accuracy of naming the factor held fixed, steadiest dimension",
    "mig": "gap of information between the best and the second dimension, 20 bins",
    "sap": "gap of predictability between the best and the second dimension",
    "dci_disentanglement": "random forest, 10 trees",
    "dci_completeness": "random forest, 10 trees",
    "dci_informativeness": "random forest, 10 trees; held-out, above the best constant guess",
    "modularity": "dimensions that know anything; 20 bins",
    "explicitness": "held-out area under the ROC curve, linear",
    "irs": "0.99 quantile",
    "code_correlation": "mean absolute rank correlation between dimensions",
    "total_correlation": "of a Gaussian with the codes' covariance, nats",
}


def codes_and_factors(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``[N, D]`` and factors ``[N, F]`` of the first data.

    Of a sequence, whose factors ``[N, T + 1, F]`` are those of its frames, one frame stands for all: frames of one
    sequence are no independent data. It is drawn once for all stories, and a late one as often as the first, so that
    what every sequence starts with alike varies too; its code is the story's for this frame alone. There are no factors
    (F = 0) for a story that has no codes of single frames.
    """
    factors = answers["factors"][:FACTOR_DATA].double()
    if factors.ndim == 1:
        factors = factors.unsqueeze(1)
    if factors.ndim == 3 and not isinstance(answers.story, EncodesFrames):
        factors = factors[:, 0, :0]
    if factors.ndim == 2:
        return answers.features.flatten(1).double().numpy()[:FACTOR_DATA], factors.numpy()
    count, frames, _ = factors.shape
    chosen = torch.randint(frames, (count,), generator=torch.Generator().manual_seed(FRAME_SEED))
    codes: list[Tensor] = []
    for batch in answers.batches(count):
        rows = torch.arange(len(batch[0]))
        one = batch[0][rows, chosen[sum(map(len, codes)) :][: len(rows)]]
        codes.append(answers.story.codes(one).cpu())
    return torch.cat(codes).double().numpy(), factors[torch.arange(count), chosen].numpy()


@metric(
    "disentanglement",
    needs=(Represents,),
    fields=("factors",),
    least=LEAST_DATA,
    summary="MIG, DCI, SAP, FactorVAE and eight more scores",
    citation="""@inproceedings{locatello2019challenging,
  title={Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations},
  author={Locatello, Francesco and Bauer, Stefan and Lucic, Mario and R{\\"a}tsch, Gunnar and others},
  booktitle={International Conference on Machine Learning},
  year={2019}
}""",
)
def disentanglement(answers: Answers) -> dict[str, Score]:
    """Every disentanglement score that the codes and factors allow, beside noise and beside the factors themselves."""
    codes, factors = codes_and_factors(answers)
    factors = factors[:, [len(np.unique(column[~np.isnan(column)])) > 1 for column in factors.T]]
    names = [
        name
        for name in scores.SCORES
        if (codes.shape[1] > 1 or name not in ("mig", "sap"))
        and (factors.shape[1] > 1 or name not in ("beta_vae", "factor_vae", "modularity"))
    ]
    if factors.shape[1] == 0 or not varying(codes).any():
        return {}
    found = scores.disentanglement(codes, factors, metrics=names, seed=answers.seed)
    noise = scores.random_codes(factors, codes.shape[1], answers.seed)
    trivial = scores.disentanglement(noise, factors, metrics=names, seed=answers.seed)
    of_frames = "; a frame drawn from each sequence" if answers["factors"].ndim == 3 else ""
    known = ~np.isnan(factors).any(1)
    perfect: dict[str, float] = {}
    if known.sum() >= LEAST_DATA and factors.shape[1] > 1:
        perfect = scores.disentanglement(factors[known], factors[known], metrics=names, seed=answers.seed)
    return {
        key: Score(
            value,
            {"noise": trivial[key]} | ({"the factors themselves": perfect[key]} if key in perfect else {}),
            RULES[key] + of_frames,
            "lower" if key in LOWER else "higher",
            len(codes),
            (0, np.inf) if key == "total_correlation" else (0, 1),
        )
        for key, value in found.items()
    }
