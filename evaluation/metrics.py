"""The metrics that ``evaluate`` knows: array functions wrapped with what they need, their baselines and their rules."""

from __future__ import annotations

import numpy as np
import torch

from evaluation import clustering as clusters
from evaluation import conditional, likelihood
from evaluation.answers import Answers
from evaluation.calibration import class_probabilities, expected_calibration_error
from evaluation.correlations import latent_correlations
from evaluation.metric import Score, metric
from evaluation.shapes import shape_distribution
from pyro_models.datasets.text import TextData
from pyro_models.story import Clusters, Conditions, Reconstructs, Represents, SplitsBound

#: data and particles of the importance-weighted bound: its cost is their product
BOUND_DATA, PARTICLES = 1000, 100
#: samples of the guide behind rate and distortion, and data whose weights are looked at one by one
RATE_PARTICLES, KHAT_DATA = 10, 200
#: data of the k-means baseline
KMEANS_DATA = 5000

#: draws per hidden value, and columns up to which joint regions of them mean something
IMPUTATIONS, REGION_COLUMNS = 100, 20

HUNGARIAN = "one-to-one: each cluster is one class, Hungarian assignment on the same split"
MAJORITY = "many-to-one: each cluster takes its majority class on the same split"


@metric(
    "clustering",
    needs=(Clusters,),
    fields=("label",),
    summary="accuracy, purity, NMI, ARI, usage of the clusters",
    citation="@article{vinh2010information, title={Information Theoretic Measures for Clusterings Comparison}, "
    "author={Vinh, Nguyen Xuan and Epps, Julien and Bailey, James}, journal={JMLR}, volume={11}, year={2010}}",
)
def clustering(answers: Answers) -> dict[str, Score]:
    """Agreement of the most responsible cluster with the labels."""
    from sklearn.cluster import KMeans

    labels, responsibilities = answers["label"].numpy(), answers.responsibilities.numpy()
    scores = clusters.clustering_scores(labels, responsibilities)
    trivial = {
        name: KMeans(responsibilities.shape[1], n_init=4, random_state=answers.seed)
        .fit(values[:KMEANS_DATA])
        .predict(values)
        for name, values in trivial_features(answers).items()
    }
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
            baselines = {f"k-means on {name}": float(function(labels, guess)) for name, guess in trivial.items()}
            if key in rules:
                baselines |= share
        usage = key.startswith("usage")
        bounds = (1.0, float(responsibilities.shape[1])) if usage else (-0.5 if key == "ari" else 0.0, 1.0)
        found[key] = Score(value, baselines, rules.get(key, ""), "neither" if usage else "higher", bounds=bounds)
    return found


def is_cloud(x: torch.Tensor) -> bool:
    """Points in space without an order, ``[N, P, 3]``."""
    return x.ndim == 3 and x.shape[2] == 3 and x.is_floating_point()


def trivial_features(answers: Answers) -> dict[str, np.ndarray]:
    """What k-means is tried on beside a story: the raw data, or the usual descriptors where those are not comparable
    (words: latent semantic analysis; clouds: histograms of distances)."""
    x = answers.x
    if is_cloud(x):
        return {
            "distances of points (D2)": shape_distribution(x.numpy()),
            "distances of points, size taken out": shape_distribution(x.numpy(), scaled=True),
        }
    if isinstance(answers.data, TextData):
        counts = (x if x.is_floating_point() else answers["counts"]).numpy()
        return {"the raw data": counts, "latent semantic analysis": latent_semantics(counts, answers.seed)}
    return {"the raw data": x.flatten(1).numpy()}


def latent_semantics(counts: np.ndarray, seed: int, dimensions: int = 20) -> np.ndarray:
    """Weighted counts (tf-idf) on their leading axes, brought to length one (Deerwester and others 1990)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import normalize

    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    axes = TruncatedSVD(min(dimensions, counts.shape[1] - 1), random_state=seed)
    return normalize(axes.fit_transform(weighted))


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
    """Squared error per datum, summed over its values, beside the mean datum and the perfect answer.

    Nothing for words in order and for clouds, whose values cannot be compared place by place.
    """
    x = answers.explained
    if not x.is_floating_point() or is_cloud(x):
        return {}
    error = (x - answers.reconstructions).square().flatten(1).sum(1).mean()
    mean = (x - x.mean(0)).square().flatten(1).sum(1).mean()
    baselines = {"mean of the split": float(mean), "perfect": 0.0}
    return {
        "squared_error": Score(float(error), baselines, "sum over the values of a datum", "lower", bounds=(0, np.inf))
    }


@metric("terms", needs=(SplitsBound,), summary="the two halves of the bound: misfit of the data, KL of the causes")
def terms(answers: Answers) -> dict[str, Score]:
    """Nats per datum, in the scale of the story's own ``bound_terms``."""
    totals: dict[str, float] = {}
    with torch.random.fork_rng():
        torch.manual_seed(answers.seed)
        for batch in answers.batches():
            for name, values in answers.story.bound_terms(*batch).items():
                totals[name] = totals.get(name, 0.0) + float(values.double().sum())
    rule = "nats per datum; a Gaussian's constant is left out of nll"
    return {name: Score(total / len(answers), {}, rule, "lower") for name, total in totals.items()}


@metric(
    "latents",
    needs=(Represents,),
    summary="active latent dimensions",
    citation="@inproceedings{burda2016iwae, title={Importance Weighted Autoencoders}, author={Burda, Yuri and Grosse, "
    "Roger and Salakhutdinov, Ruslan}, booktitle={ICLR}, year={2016}}",
)
def latents(answers: Answers) -> dict[str, Score]:
    """How many latent dimensions the encoder uses (variance of the posterior mean above 0.01)."""
    active = int((answers.features.var(0) > likelihood.ACTIVE_VARIANCE).sum())
    found = {
        "active_units": Score(active, {"available": answers.features.shape[1]}, "variance over data > 0.01", "neither")
    }
    if active > 1:
        value = latent_correlations(answers.features.flatten(1).numpy()).mean_absolute
        rule = "mean absolute correlation of two active dimensions"
        found["correlation"] = Score(value, {"independent": 0.0}, rule, "lower", bounds=(0, 1))
    return found


@metric(
    "rate-distortion",
    summary="what the code costs and what it leaves open",
    citation="@inproceedings{alemi2018broken, title={Fixing a Broken {ELBO}}, author={Alemi, Alexander and Poole, Ben "
    "and Fischer, Ian and Dillon, Joshua and Saurous, Rif A. and Murphy, Kevin}, booktitle={ICML}, year={2018}}",
)
def rate_distortion(answers: Answers) -> dict[str, Score]:
    """KL of the guide from the prior and minus the expected log-likelihood: minus their sum is the ELBO."""
    story, parts = answers.story, []
    for batch in answers.batches(BOUND_DATA, chunk=100):
        parts.append(torch.stack(likelihood.rate_distortion(story.model, story.guide, batch, RATE_PARTICLES)))
    rate, distortion = torch.cat(parts, 1).double().mean(1).tolist()
    count = sum(part.shape[1] for part in parts)
    rule = f"nats per datum, mean over the first {count} data, {RATE_PARTICLES} samples of the guide each"
    return {
        "rate": Score(rate, {"a code that says nothing": 0.0}, rule, "neither", count),
        "distortion": Score(distortion, rule=rule, better="neither", n=count),
    }


@metric(
    "guide-fit",
    summary="data whose posterior the guide misses (Pareto k-hat)",
    citation="@inproceedings{yao2018yes, title={Yes, but Did It Work?: Evaluating Variational Inference}, author={Yao, "
    "Yuling and Vehtari, Aki and Simpson, Daniel and Gelman, Andrew}, booktitle={ICML}, year={2018}}",
)
def guide_fit(answers: Answers) -> dict[str, Score]:
    """Share of data for which importance sampling with the guide breaks down."""
    from evaluation.posterior.pareto import GOOD_K, pareto_k

    story = answers.story
    shapes = [
        pareto_k(likelihood.log_weights(story.model, story.guide, batch, PARTICLES))
        for batch in answers.batches(KHAT_DATA, chunk=100)
    ]
    found = torch.cat(shapes)
    rule = f"share of the first {len(found)} data whose weights have a tail of shape k > {GOOD_K}, {PARTICLES} draws"
    share = float((found > GOOD_K).double().mean())
    return {"khat_bad": Score(share, {"exact guide": 0.0}, rule, "lower", len(found), (0, 1))}


@metric(
    "calibration",
    needs=(Clusters,),
    fields=("label",),
    summary="are responsibilities honest probabilities?",
    citation="@inproceedings{guo2017calibration, title={On Calibration of Modern Neural Networks}, author={Guo, Chuan "
    "and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.}, booktitle={ICML}, year={2017}}",
)
def calibration(answers: Answers) -> dict[str, Score]:
    """Expected calibration error of class probabilities made of responsibilities."""
    probabilities, labels = class_probabilities_of(answers)
    value = expected_calibration_error(probabilities, labels)
    hard = np.eye(probabilities.shape[1])[probabilities.argmax(1)]
    beside = {"the same predictions, always sure": expected_calibration_error(hard, labels), "perfect": 0.0}
    rule = "15 bins; a cluster stands for its majority class on the same split, one that no datum chose for the largest"
    return {"calibration_error": Score(value, beside, rule, "lower", bounds=(0, 1))}


@metric(
    "silhouette",
    needs=(Clusters, Represents),
    summary="how well clusters are apart in the features; no labels",
    citation="@article{rousseeuw1987silhouettes, title={Silhouettes: A Graphical Aid to the Interpretation and "
    "Validation of Cluster Analysis}, author={Rousseeuw, Peter J.}, journal={Journal of Computational and Applied "
    "Mathematics}, volume={20}, year={1987}}",
)
def silhouette(answers: Answers) -> dict[str, Score]:
    """Distance of features to their own cluster against the next; nothing to say when a single cluster is in use."""
    features, chosen = answers.features.flatten(1).numpy(), answers.responsibilities.argmax(1).numpy()
    if not 2 <= len(np.unique(chosen)) < min(len(chosen), clusters.SILHOUETTE_DATA):
        return {}
    shuffled = np.random.default_rng(answers.seed).permutation(chosen)
    beside = {"clusters dealt at random": clusters.silhouette(features, shuffled)}
    if "label" in answers.data:
        labels = answers["label"].numpy()
        if len(np.unique(labels)) > 1:
            beside["the labels as clusters"] = clusters.silhouette(features, labels)
    count = min(len(chosen), clusters.SILHOUETTE_DATA)
    rule = "Euclidean distances of the story's features"
    return {"silhouette": Score(clusters.silhouette(features, chosen), beside, rule, n=count, bounds=(-1, 1))}


def class_probabilities_of(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities ``[N, C]`` made of responsibilities, and labels 0 .. C-1 ``[N]``.

    A cluster stands for its majority class on the same data, one that no datum chose for the largest class.
    """
    names, labels = np.unique(answers["label"].numpy(), return_inverse=True)
    soft = answers.responsibilities.double().numpy()
    mapping = dict.fromkeys(range(soft.shape[1]), int(np.bincount(labels).argmax()))
    mapping |= clusters.cluster_to_class(labels, soft.argmax(1), rule="majority")
    return class_probabilities(soft, mapping, len(names)), labels


@metric("imputation", needs=(Conditions,), fields=("x",), summary="error and coverage of imputed values")
def imputation(answers: Answers) -> dict[str, Score]:
    """Hidden values against draws of them, under masks of the story's own law."""
    x, hidden, drawn = conditional.imputed(answers.story, answers.batches(BOUND_DATA), IMPUTATIONS)
    rule = f"hidden real values under the story's mask law, mean of {IMPUTATIONS} draws; each column over its spread"
    baseline = {"mean of the column": conditional.nrmse(x.mean(0).expand_as(x), x, hidden)}
    found = {"nrmse": Score(conditional.nrmse(drawn.mean(0), x, hidden), baseline, rule, "lower", len(x))}
    if x.shape[1] <= REGION_COLUMNS:
        rows = hidden.any(1)
        ranks = conditional.region_ranks(drawn[:, rows], x[rows], hidden[rows])
        share = conditional.coverage(ranks, (0.8,))[0.8]
        found["coverage_80"] = Score(
            share, {"perfect": 0.8}, "central regions of 80 % (Mahalanobis)", "neither", len(x)
        )
    return found
