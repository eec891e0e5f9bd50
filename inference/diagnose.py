"""Finds out where a number stopped being finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro import poutine
from torch import Tensor


@torch.no_grad()
def first_bad_number(story: Any, batch: Sequence[Tensor]) -> str:
    """One sentence that names the first parameter or sample site with a NaN or an infinity.

    Looks, in this order, at the batch, the story's parameters, the guide's sites and the model's sites.
    """
    for name, values in zip(story.fields, batch, strict=False):
        if values.is_floating_point() and not torch.isfinite(values).all():
            return f"the batch field '{name}' holds {_kind(values)}; clean the data"
    bad = [name for name, p in story.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        return f"the parameter '{bad[0]}'{more} is not finite: an earlier gradient was; lower the learning rate or clip"
    try:
        guide = poutine.trace(story.guide).get_trace(*batch)
        site = _first_bad_site(guide)
        if site is not None:
            return f"the guide site {site}"
        site = _first_bad_site(poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(*batch))
    except (ValueError, RuntimeError) as error:
        return f"running the story failed: {str(error).splitlines()[0]}"
    if site is not None:
        return f"the model site {site}"
    return "no site is at fault on a second draw of the same batch: a rare sample; clip the gradient or lower the rate"


def _first_bad_site(trace: poutine.Trace) -> str | None:
    nodes: dict[str, Any] = dict(trace.nodes)
    for name, site in nodes.items():
        if site["type"] != "sample" or not isinstance(site["value"], Tensor):
            continue
        kind = f"'{name}' ({type(site['fn']).__name__} of shape {tuple(site['value'].shape)})"
        if site["value"].is_floating_point() and not torch.isfinite(site["value"]).all():
            return f"{kind} drew {_kind(site['value'])}"
        log_prob = site["fn"].log_prob(site["value"])
        if not torch.isfinite(log_prob).all():
            return f"{kind} has the log probability {_kind(log_prob)}"
    return None


def _kind(values: Tensor) -> str:
    nans, infinities = int(values.isnan().sum()), int(values.isinf().sum())
    return f"{nans} NaN and {infinities} infinite of {values.numel()} numbers"
