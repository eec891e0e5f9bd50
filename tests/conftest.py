"""Strict settings and shared helpers for all tests."""

from __future__ import annotations

import pyro
import pytest
import torch
from jaxtyping import install_import_hook

# Where shapes are annotated they are checked, and dimensions of one name must agree: in tests only, and before the
# packages are imported. Packages that answer wrong types with an error of their own are left out.
CHECKED = ["pyro_models.nn", "pyro_models.anchors", "pyro_models.prototypes", "inference.estimators"]
install_import_hook(CHECKED, "beartype.beartype").__enter__()

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def clean_slate():
    """Every test starts from the same seed, an empty parameter store and validation on."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pyro.enable_validation(True)
    yield
    pyro.enable_validation(True)
