"""Strict settings and shared helpers for all tests."""

from __future__ import annotations

import os

import pyro
import pytest
import torch
from jaxtyping import install_import_hook

# Where shapes are annotated they are checked, and dimensions of one name must agree: in tests only, and before the
# packages are imported. Packages that answer wrong types with an error of their own are left out.
CHECKED = ["pyro_models.nn", "pyro_models.anchors", "pyro_models.prototypes", "inference.estimators"]
install_import_hook(CHECKED, "beartype.beartype").__enter__()

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def classifier_cache(tmp_path_factory):
    """Feature networks that metrics train are shared by the tests of a session, and nobody's own are touched."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["PYRO_MODELS_CACHE"] = str(shared / "classifiers")


@pytest.fixture(autouse=True)
def clean_slate():
    """Every test starts from the same seed, an empty parameter store and validation on."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pyro.enable_validation(True)
    yield
    pyro.enable_validation(True)
