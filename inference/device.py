"""Where to compute, and in which precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_models.errors import OptionError


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU; anything else must be a device that is there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu"]
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        found += ["mps"] if torch.backends.mps.is_available() else []
        raise OptionError(
            f"device '{name}' cannot be used here ({str(error).splitlines()[0]}); found: {', '.join(found)}; "
            f"'auto' takes the best of them."
        ) from error
    return device


def wrap_in_autocast(story: nn.Module, device_type: str) -> None:
    """Runs the story's networks (its direct children) in bfloat16 and hands float32 back to the densities.

    A child that says ``needs_float32 = True`` is left alone.
    """
    for child in story.children():
        if any(True for _ in child.parameters()) and not getattr(child, "needs_float32", False):
            child.forward = _autocast(child.forward, device_type)  # type: ignore[method-assign]


def _autocast(forward: Any, device_type: str) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            result = forward(*args, **kwargs)
        return result.float() if isinstance(result, Tensor) else result

    return run


def fast_precision(device: str) -> str:
    """``bf16`` where products in bfloat16 are faster: on GPUs and on CPUs with matrix units for them; else
    ``float32``."""
    if choose_device(device).type == "cuda":
        return "bf16"
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return "bf16" if supported is not None and supported() else "float32"
