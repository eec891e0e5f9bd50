"""Gumbel-Rao: straight-through with the noise that the hard value does not need averaged out."""

from __future__ import annotations

from torch import Tensor

from inference.estimators.discrete import Family
from inference.estimators.relaxed import Relaxed
from pyro_models.errors import EstimatorError


class GumbelRao(Relaxed):
    r"""Straight-through whose derivative is :math:`E[\partial v_\tau(z) | b]`, by a mean over draws of z given b.

    The same mean as ``straight-through`` (hence the same bias) and less variance, at no further run of the model.

    Args:
        draws: of z given b.
        temperature, final_temperature: as for ``straight-through``; low temperatures become affordable.
    """

    citation = (
        "@inproceedings{paulus2021gumbelrao,\n  title={{R}ao-{B}lackwellizing the Straight-Through "
        "{G}umbel-Softmax Gradient "
        "Estimator},\n  author={Paulus, Max B. and Maddison, Chris J. and Krause, Andreas},\n  "
        "booktitle={International "
        "Conference on Learning Representations},\n  year={2021}\n}"
    )

    def __init__(
        self,
        draws: int = 10,
        temperature: float = 0.5,
        final_temperature: float | None = None,
        num_particles: int = 1,
        max_plate_nesting: int | None = None,
    ) -> None:
        super().__init__(temperature, final_temperature, num_particles, max_plate_nesting)
        if draws < 1:
            raise EstimatorError(f"draws is {draws}; it must be at least 1 (1 is 'straight-through').")
        self.draws = draws

    def stand_in(self, family: Family, logits: Tensor) -> Tensor:
        fixed = logits.detach()
        hard = family.harden(family.perturb(fixed, family.noise(fixed)))
        many = fixed.expand(self.draws, *fixed.shape)
        z = family.conditional(many, hard.expand_as(many), family.noise(many))
        # the derivative of the unconditional z = l + noise, at noise that is known to give b
        z = logits + (z - fixed)
        soft = family.soften(z, self.temperature.value).mean(0)
        return hard + (soft - soft.detach())
