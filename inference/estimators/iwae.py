"""IWAE: the multi-sample bound for reparameterised sites."""

from __future__ import annotations

from inference.estimators.importance import ImportanceWeighted


class IWAE(ImportanceWeighted):
    """The multi-sample bound, pathwise where sites are reparameterised (discrete sites, if any, as in ``vimco``).

    Args:
        num_particles: K, at least 2.
    """

    citation = (
        "@inproceedings{burda2016iwae,\n  title={Importance Weighted Autoencoders},\n"
        "  author={Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan},\n  booktitle={International Conference on "
        "Learning Representations},\n  year={2016}\n}"
    )
