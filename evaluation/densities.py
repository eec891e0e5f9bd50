"""The log-density of a whole trace, per particle and datum, with enumerated sites summed out plate by plate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence

from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from pyro.poutine import Trace
from torch import Tensor

from evaluation.traces import plates_of, sample_sites


def log_density(trace: Trace, keep: Sequence[str], without: Collection[str] = ()) -> Tensor:
    r"""Sum of a trace's log-densities with one dimension for every plate named in ``keep``, in that order.

    For sites :math:`c` that were enumerated (values along a dimension of their own, not drawn) this is

    .. math:: \log \sum_c p(c) \prod_s p(s \mid c),

    contracted by Pyro's plated sum-product: a plate inside which c is constant is multiplied over before c is summed,
    one that c is repeated in afterwards. Other plates are summed over. Masks count, but not for enumerated sites, as in
    ``TraceEnum_ELBO``: a masked-out site that is summed over still sums to one.

    Args:
        trace: every site inside all plates named in ``keep``.
        keep: names of plates.
        without: names of sites left out.
    """
    trace.compute_log_prob()
    trace.pack_tensors()
    symbols = trace.plate_to_symbol
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    sizes: dict[str, int] = {}
    dims: set[str] = set()
    for name, site in sample_sites(trace).items():
        plates = plates_of(site, particles=True)
        sizes.update({symbols[plate.name]: plate.size for plate in plates})
        if name in without:
            continue
        enumerated = site["infer"].get("_enumerate_dim") is not None
        term = site["packed"]["unscaled_log_prob" if enumerated else "log_prob"]
        dims.update(term._pyro_dims)
        sizes.update(zip(term._pyro_dims, term.shape, strict=True))
        tree.setdefault(frozenset(symbols[plate.name] for plate in plates), []).append(term)
    target = [symbols[name] for name in keep]
    ring = LogRing(dim_to_size=sizes)
    total = contract_to_tensor(tree, dims - set(symbols.values()), frozenset(target), ring=ring)
    return total.permute([total._pyro_dims.index(symbol) for symbol in target])
