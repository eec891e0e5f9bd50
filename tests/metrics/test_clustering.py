"""Agreement of clusters and classes: scikit-learn, brute force, hand-computed tables and invariances."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from evaluation import clustering as c
from pyro_models.errors import MetricError
from tests.metrics.case import MetricTestCase

# class 0: 5 in cluster 0 and 1 in cluster 1; class 1: 2 and 4
LABELS, CLUSTERS = [0] * 6 + [1] * 6, [0] * 5 + [1] + [0] * 2 + [1] * 4

pairs = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n) for _ in range(2)])
)
quick = settings(deadline=None, max_examples=60, derandomize=True)


def labelled(random):
    labels = random.integers(4, size=200)
    return labels, np.where(random.random(200) < 0.6, (labels + 1) % 4, random.integers(4, size=200))


class Agreement(MetricTestCase):
    finite = ()

    def example(self, random):
        return labelled(random)


class TestHungarianAccuracy(Agreement):
    def score(self, *arrays):
        return c.hungarian_accuracy(*arrays)


class TestPurity(Agreement):
    def score(self, *arrays):
        return c.purity(*arrays)


class TestNMI(Agreement):
    def score(self, *arrays):
        return c.nmi(*arrays)


class TestARI(Agreement):
    bounds = (-0.5, 1.0)

    def score(self, *arrays):
        return c.ari(*arrays)


class TestSilhouette(MetricTestCase):
    bounds = (-1.0, 1.0)

    def example(self, random):
        groups = random.integers(3, size=90)
        return random.standard_normal((90, 2)) + 4 * groups[:, None], groups

    def score(self, *arrays):
        return c.silhouette(*arrays)

    def test_by_hand(self):
        # a = 1, 1, 0 (alone); b = 9, 10 from the pair to the single point at 10
        value = c.silhouette([[0.0], [1.0], [10.0]], [0, 0, 1])
        assert value == pytest.approx(((10 - 1) / 10 + (9 - 1) / 9 + 0) / 3)

    def test_limit_draws_by_seed(self):
        features, groups = self.arrays()
        assert c.silhouette(features, groups, limit=40, seed=1) == c.silhouette(features, groups, limit=40, seed=1)
        assert c.silhouette(features, groups, limit=40, seed=1) != c.silhouette(features, groups, limit=40, seed=2)

    def test_one_cluster_is_refused(self):
        with pytest.raises(MetricError, match=r"1 cluster.*needs from 2 to N-1"):
            c.silhouette(np.eye(5), [3] * 5)


class TestUsagePerplexity(MetricTestCase):
    bounds = (1.0, 4.0)
    paired = False

    def example(self, random):
        return (random.dirichlet(np.ones(4), 50),)

    def score(self, *arrays):
        return c.usage_perplexity(*arrays)

    def test_by_hand(self):
        assert c.usage_perplexity(np.eye(4)) == pytest.approx(4)
        assert c.usage_perplexity([[1.0, 0.0], [1.0, 0.0]]) == 1.0
        assert c.usage_perplexity([[0.5, 0.5, 0.0]] * 3) == pytest.approx(2)


def test_the_table_by_hand():
    np.testing.assert_array_equal(c.contingency(LABELS, CLUSTERS), [[5, 1], [2, 4]])
    assert c.hungarian_accuracy(LABELS, CLUSTERS) == pytest.approx(9 / 12)
    assert c.purity(LABELS, CLUSTERS) == pytest.approx(9 / 12)


def test_more_clusters_than_classes_count_as_errors_but_not_in_purity():
    labels, clusters = [0, 0, 0, 1, 1, 1], [0, 0, 1, 2, 2, 3]
    assert c.hungarian_accuracy(labels, clusters) == pytest.approx(4 / 6)
    assert c.purity(labels, clusters) == 1.0


def test_fewer_clusters_than_classes():
    labels, clusters = [0, 0, 0, 1, 1, 2], [0] * 6
    assert c.hungarian_accuracy(labels, clusters) == c.purity(labels, clusters) == pytest.approx(3 / 6)


def test_hungarian_and_majority_differ_where_two_clusters_share_a_class():
    labels, clusters = [0] * 8 + [1] * 2, [0] * 4 + [1] * 4 + [1] * 2
    assert c.hungarian_accuracy(labels, clusters) == pytest.approx(6 / 10)
    assert c.purity(labels, clusters) == pytest.approx(8 / 10)
    assert c.cluster_to_class(labels, clusters) == {0: 0, 1: 1}
    assert c.cluster_to_class(labels, clusters, "majority") == {0: 0, 1: 0}


def test_an_unmatched_cluster_has_no_class_and_names_are_kept():
    mapping = c.cluster_to_class(["cat", "cat", "dog"], [7, 7, 9])
    assert mapping == {7: "cat", 9: "dog"}
    assert c.cluster_to_class([0, 0, 0], [0, 0, 1]) == {0: 0, 1: None}


@quick
@given(pairs)
def test_sklearn_agrees(pair):
    labels, clusters = pair
    np.testing.assert_array_equal(c.contingency(*pair), sklearn_metrics.cluster.contingency_matrix(*pair))
    assert c.nmi(*pair) == pytest.approx(sklearn_metrics.normalized_mutual_info_score(labels, clusters), abs=1e-9)
    assert c.ari(*pair) == pytest.approx(sklearn_metrics.adjusted_rand_score(labels, clusters), abs=1e-9)


@quick
@given(pairs)
def test_accuracy_is_the_best_of_all_matchings(pair):
    labels, clusters = np.array(pair[0]), np.array(pair[1])
    best = max(np.mean(np.array(order)[clusters] == labels) for order in permutations(range(5)))
    assert c.hungarian_accuracy(labels, clusters) == pytest.approx(best)


@quick
@given(pairs, st.permutations(range(5)), st.permutations(range(5)))
def test_numbering_does_not_matter(pair, of_classes, of_clusters):
    renamed = np.array(of_classes)[pair[0]], np.array(of_clusters)[pair[1]] + 100
    for function in (c.hungarian_accuracy, c.purity, c.nmi, c.ari):
        assert function(*renamed) == pytest.approx(function(*pair), abs=1e-12)


def test_a_single_class():
    assert c.nmi([1, 1, 1], [0, 1, 2]) == c.ari([1, 1, 1], [0, 1, 2]) == 0.0
    assert c.nmi([1, 1], [0, 0]) == c.ari([1, 1], [0, 0]) == 1.0


class TestScores:
    soft = np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])

    def test_accuracy_only_for_equal_numbers(self):
        scores = c.clustering_scores([0, 0, 1, 1], self.soft)
        assert set(scores) == {"purity", "nmi", "ari", "usage_perplexity"}  # three clusters, two classes
        assert c.clustering_scores([0, 0, 1, 1], self.soft, classes=3)["accuracy"] == 1.0
        assert c.clustering_scores([0, 0, 1, 2], self.soft)["accuracy"] == pytest.approx(3 / 4)

    def test_an_empty_cluster_is_no_error(self):
        assert c.clustering_scores([0, 0, 1, 1], self.soft)["purity"] == 1.0

    def test_logits_are_refused(self):
        with pytest.raises(MetricError, match=r"no probabilities.*softmax"):
            c.clustering_scores([0, 1], [[2.0, 1.0], [0.0, 3.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c.purity([0, 1], [0]), r"labels 2, assignments 1"),
        (lambda: c.nmi([0.5, 1], [0, 1]), "not whole"),
        (lambda: c.ari([[0, 1], [1, 0]], [0, 1]), r"argmax\(1\)"),
        (lambda: c.hungarian_accuracy([0, 1, 2], [0, 1, 2], classes=2), "3 classes occur, but classes=2"),
        (lambda: c.cluster_to_class([0], [0], rule="best"), "'hungarian'.*'majority'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MetricError, match=message):
        call()
