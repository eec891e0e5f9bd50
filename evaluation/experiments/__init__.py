"""The experiments behind the results tables, by name: ``pyro-models reproduce NAME``.

An experiment is a function ``(setting) -> Outcome`` registered here in one line. It runs all seeds of
``setting.seeds`` and returns one value per seed for every metric.
"""

from __future__ import annotations

from pyro_models.registry import Registry

EXPERIMENTS = Registry("experiment", "pyro_models.experiments")
for _name, _target, _summary in (
    ("flow-toy-2d", "flows:toy_2d", "sparse flows: three known fields found from 96 sequences, 24 restarts"),
    ("flow-supervised-mnist", "flows:supervised_mnist", "known transformations of MNIST digits: equivariance error"),
    ("flow-weak-mnist", "flows:weak_mnist", "latent transformations of MNIST digits, one a sequence"),
    ("flow-supervised-shapes3d", "flows:supervised_shapes3d", "a rendered room in motion, the moving factor known"),
    ("flow-sparse-shapes3d", "flows:sparse_shapes3d", "a rendered room in motion, nothing labelled"),
    ("flow-sparse-mnist", "flows:sparse_mnist", "several transformations of MNIST digits at once, unlabelled"),
    (
        "flow-baselines-mnist",
        "flow_baselines:baselines_mnist",
        "frames foretold by flows, TVAE, SlowVAE, VAE, ...",
    ),
    ("flow-cost", "flow_cost:flow_cost", "one step of the flow terms: stacked closed forms against loops of autograd"),
    ("vae-digits", "baselines:vae_digits", "VAE on scikit-learn's digits: the bound to beat"),
    ("vae-mnist", "baselines:vae_mnist", "VAE (784-400-20) on MNIST: the bound to beat"),
    ("toy-replication", "estimators:toy_replication", "gradient estimators on the toy of two values, 50 repetitions"),
    ("toy", "estimators:toy", "gradient estimators on the toy of three values, 50 repetitions"),
    ("toy-hyperparameters", "estimators:toy_hyperparameters", "the toy over batch sizes, rates and temperatures"),
    ("toy-speedup", "estimators:toy_speedup", "all repetitions of the toy in one computation against a loop of them"),
    ("estimator-bias", "estimators:estimator_bias", "every estimator against true gradients summed by hand"),
    ("estimator-cost", "estimators:estimator_cost", "cost and variance of every estimator on a D-VAE, K = 10 and 50"),
    ("mixture-vae-digits", "baselines:mixture_vae_digits", "mixture VAE on scikit-learn's digits"),
    ("disentanglement-sprites", "disentanglement:disentanglement_sprites", "do the scores order codes as they should?"),
    ("metrics-cost", "cost:metrics_cost", "seconds of every metric at 10 000 data; FID against scipy"),
    ("mixture-vae-mnist", "baselines:mixture_vae_mnist", "mixture VAE on MNIST"),
    ("cvae-gaussian", "conditional:gaussian", "cvae: gap to the exact conditional density over all masks"),
    ("cvae-gaussian-structured", "conditional:gaussian_structured", "cvae-joint without networks: the same gaps"),
    ("cvae-gaussian-original", "conditional:gaussian_original", "the published testbed's network: the same gaps"),
    ("cvae-rates", "conditional:rates", "cvae: rate per latent against reverse water-filling"),
    ("cvae-coverage", "conditional:coverage", "cvae: coverage of conditional regions"),
    ("cvae-two-component", "conditional_sets:two_component", "cvae: two narrow modes against the exact density"),
    ("cvae-rate-distortion", "conditional_sets:rate_distortion", "cvae: codes of manifolds against the best code"),
    ("cvae-copula", "conditional_sets:copula", "cvae: mixed columns by number given, beside the trivial predictor"),
    ("cvae-quadrants", "conditional_sets:quadrants", "cvae-image: MNIST with one, two or three quadrants given"),
    ("cvae-greedy", "conditional:greedy", "cvae: order of features against the analytic order"),
    ("air-multimnist", "objects:air_multimnist", "AIR: counting and locating MNIST digits, 0 to 2 and 3"),
    ("air-estimators", "object_estimators:air_estimators", "AIR: gradient noise and time to count, per estimator"),
    ("dair-multimnist", "objects:dair_multimnist", "DAIR: counting, locating and naming MNIST digits"),
    ("dvae-simplified-mnist", "prototypes:dvae_simplified_mnist", "D-VAE on the digits 2, 6, 9"),
    (
        "dvae-simplified-mnist-estimators",
        "prototypes:dvae_simplified_mnist_estimators",
        "D-VAE on the digits 2, 6, 9, every estimator",
    ),
    ("dvae-mnist", "prototypes:dvae_mnist", "D-VAE on MNIST: the optimum of k-means"),
    ("dvae-fashion-mnist", "prototypes:dvae_fashion_mnist", "D-VAE on Fashion-MNIST"),
    ("dvae-st-simplified-mnist", "prototypes:dvae_st_simplified_mnist", "D-VAE-ST on the digits 2, 6, 9"),
    ("dvae-st-mnist", "prototypes:dvae_st_mnist", "D-VAE-ST on MNIST: digits found without labels"),
    ("dvae-st-mnist-affine", "prototypes:dvae_st_mnist_affine", "D-VAE-ST on MNIST with affine transforms only"),
    ("dvae-st-fashion-mnist", "prototypes:dvae_st_fashion_mnist", "D-VAE-ST on Fashion-MNIST"),
    (
        "dvae-st-mnist-estimators",
        "prototypes:dvae_st_mnist_estimators",
        "D-VAE-ST on MNIST, every estimator, shortened",
    ),
    ("dvae-st-mnist-ablation", "prototypes:dvae_st_mnist_ablation", "D-VAE-ST without one ingredient, shortened"),
    ("dvae-st-cost", "prototype_cost:dvae_st_cost", "a step of D-VAE-ST for 5 to 100 clusters"),
    ("nebula-mnist", "anchors:nebula_mnist", "nebula on MNIST, started from the graph of neighbours; no labels"),
    ("nebula-mnist-augmented", "anchors:nebula_mnist_augmented", "the same with moved and bent views"),
    ("nebula-fashion-mnist", "anchors:nebula_fashion_mnist", "nebula on Fashion-MNIST"),
    ("vade-mnist", "anchors:vade_mnist", "VaDE (preset of nebula) on MNIST, started from the graph of neighbours"),
    (
        "vade-published-start-mnist",
        "anchors:vade_published_start_mnist",
        "VaDE on MNIST as published: auto-encoder, mixture, bound",
    ),
    ("ae-mnist", "anchors:ae_mnist", "auto-encoder on MNIST, then a Gaussian mixture on its codes"),
    ("nvc-published-mnist", "anchors:nvc_published_mnist", "NVC's released objective on MNIST, K = 10"),
    ("nebula-docstrings", "modalities:nebula_docstrings", "docstrings of Python's library clustered by package"),
    ("nebula-topics", "modalities:nebula_topics", "a generated corpus clustered by topic, the perfect reader beside"),
    ("nebula-voxels", "modalities:nebula_voxels", "solids on a grid clustered, and rebuilt"),
    ("nebula-points", "modalities:nebula_points", "solids as point clouds clustered, and rebuilt"),
    ("nebula-completion", "modalities:nebula_completion", "half of a solid seen, the whole explained, several draws"),
    ("nebula-sequence", "modalities:nebula_sequence", "documents spelled from a code, a language model beside"),
    ("nebula-repulsion", "anchors:nebula_repulsion", "priors over anchors and K from a random start: anchors used"),
    ("nebula-correlation", "anchors:nebula_correlation", "correlations and active dimensions of codes by preset"),
    ("overclustering-mnist", "prototypes:overclustering_mnist", "D-VAE-ST with more clusters than classes"),
):
    EXPERIMENTS.add(_name, f"evaluation.experiments.{_target}", _summary)
