"""Straight-through: hard values forward, relaxed ones backward."""

from __future__ import annotations

from torch import Tensor

from inference.estimators.discrete import Family
from inference.estimators.relaxed import Relaxed


class StraightThrough(Relaxed):
    r"""Straight-through Gumbel-softmax: the value is the hard draw b, its derivative that of the relaxed one
    :math:`v_\tau(z)`.

    The loss is an unbiased value of the discrete bound. The gradient is biased: it follows the tangent of the bound at
    b instead of the difference to the other values. As the temperature falls, both ends of an edge between two values
    are met equally often, which is the trapezoid rule: the bias vanishes where the bound is at most quadratic in the
    value (Gaussian likelihood, linear decoder), and stays elsewhere.

    Args:
        temperature, final_temperature: of the backward pass; lower has less bias and more variance.
    """

    citation = (
        "@inproceedings{jang2017gumbel,\n  title={Categorical Reparameterization with {G}umbel-Softmax},\n"
        "  author={Jang, Eric and Gu, Shixiang and Poole, Ben},\n  booktitle={International Conference on Learning "
        "Representations},\n  year={2017}\n}\n"
        "@article{bengio2013straight,\n  title={Estimating or Propagating Gradients Through Stochastic Neurons for "
        "Conditional Computation},\n  author={Bengio, Yoshua and L{\\'e}onard, Nicholas and Courville, Aaron},\n"
        "  journal={arXiv:1308.3432},\n  year={2013}\n}"
    )

    def stand_in(self, family: Family, logits: Tensor) -> Tensor:
        z = family.perturb(logits, family.noise(logits))
        soft = family.soften(z, self.temperature.value)
        return family.harden(z.detach()) + (soft - soft.detach())
