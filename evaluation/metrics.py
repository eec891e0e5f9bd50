"""The metrics that ``evaluate`` knows: array functions wrapped with what they need, their baselines and their rules."""

from __future__ import annotations

import torch

from evaluation import clustering as clusters
from evaluation import likelihood
from evaluation.answers import Answers
from evaluation.metric import Score, metric
from pyro_models.story import Clusters, Reconstructs, Represents

#: data and particles of the importance-weighted bound: its cost is their product
BOUND_DATA, PARTICLES = 1000, 100
#: data of the k-means baseline
KMEANS_DATA = 5000

HUNGARIAN = "one-to-one: each cluster is one class, Hungarian assignment on the same split"
MAJORITY = "many-to-one: each cluster takes its majority class on the same split"


@metric("clustering", needs=(Clusters,), fields=("label",), summary="accuracy, purity, NMI, ARI, usage of the clusters")
def clustering(answers: Answers) -> dict[str, Score]:
    """Agreement of the most responsible cluster with the labels."""
    from sklearn.cluster import KMeans

    labels, responsibilities = answers["label"].numpy(), answers.responsibilities.numpy()
    scores = clusters.clustering_scores(labels, responsibilities)
    some = answers.x.flatten(1)[:KMEANS_DATA].numpy()
    guess = (
        KMeans(responsibilities.shape[1], n_init=4, random_state=answers.seed)
        .fit(some)
        .predict(answers.x.flatten(1).numpy())
    )
    share = {"largest class": torch.bincount(answers["label"].long()).max().item() / len(answers)}
    rules = {"accuracy": HUNGARIAN, "purity": MAJORITY}
    found = {}
    for key, value in scores.items():
        baselines: dict[str, float] = {}
        if key in ("accuracy", "purity", "nmi", "ari"):
            function = {
                "accuracy": clusters.hungarian_accuracy,
                "purity": clusters.purity,
                "nmi": clusters.nmi,
                "ari": clusters.ari,
            }[key]
            baselines = {"k-means on the raw data": float(function(labels, guess))}
            if key in rules:
                baselines |= share
        found[key] = Score(value, baselines, rules.get(key, ""), "neither" if key.startswith("usage") else "higher")
    return found


@metric(
    "bound",
    summary="ELBO and importance-weighted bound on log p(x)",
    citation="@inproceedings{burda2016iwae, title={Importance Weighted Autoencoders}, author={Burda, Yuri and Grosse, "
    "Roger and Salakhutdinov, Ruslan}, booktitle={ICLR}, year={2016}}",
)
def bound(answers: Answers) -> dict[str, Score]:
    """Lower bounds on log p(x), nats per datum; discrete sites outside the guide are summed out."""
    story = answers.story
    total_elbo, total_iwae, count = 0.0, 0.0, 0
    for batch in answers.batches(BOUND_DATA, chunk=100):
        weights = likelihood.log_weights(story.model, story.guide, batch, PARTICLES)
        total_elbo += float(weights.mean(0).sum())
        total_iwae += float((weights.logsumexp(0) - torch.tensor(float(PARTICLES)).log()).sum())
        count += weights.shape[1]
    rule = f"mean over the first {count} data, {PARTICLES} samples of the guide each; nats"
    return {
        "elbo": Score(total_elbo / count, rule=rule, n=count),
        f"iwae_{PARTICLES}": Score(total_iwae / count, rule=rule, n=count),
    }


@metric("reconstruction", needs=(Reconstructs,), summary="squared error of reconstructions")
def reconstruction(answers: Answers) -> dict[str, Score]:
    """Squared error per datum, summed over its values, beside the mean datum and the perfect answer."""
    x = answers.x
    error = (x - answers.reconstructions).square().flatten(1).sum(1).mean()
    mean = (x - x.mean(0)).square().flatten(1).sum(1).mean()
    baselines = {"mean of the split": float(mean), "perfect": 0.0}
    return {"squared_error": Score(float(error), baselines, "sum over the values of a datum", "lower")}


@metric("latents", needs=(Represents,), summary="active latent dimensions")
def latents(answers: Answers) -> dict[str, Score]:
    """How many latent dimensions the encoder uses (variance of the posterior mean above 0.01)."""
    active = int((answers.features.var(0) > likelihood.ACTIVE_VARIANCE).sum())
    return {
        "active_units": Score(active, {"available": answers.features.shape[1]}, "variance over data > 0.01", "neither")
    }
