"""torchvision, importable also where a plain ``import torchvision`` fails.

The torchvision of the package index is built for CUDA. Beside a CPU-only torch its compiled operators cannot be loaded;
it goes on without them, and then stops at registering shape rules for operators that are not there
(``RuntimeError: operator torchvision::nms does not exist``). Nothing that this library uses (dataset readers,
transforms, Inception) needs those operators. :func:`torchvision` therefore leaves out the shape rules, but only after
the plain import has failed in exactly this way: a healthy install is never touched. Whoever imports torchmetrics or
another package that imports torchvision by itself calls :func:`torchvision` before.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from pyro_models.errors import ModelsError

#: the module that registers shape rules for compiled operators; nothing else imports from it
SHAPE_RULES = "torchvision._meta_registrations"


class VisionError(ModelsError, ImportError):
    """torchvision is missing, or does not fit the installed torch."""


def torchvision() -> ModuleType:
    """The torchvision module, ready to use; raises :class:`VisionError` where there is none that works."""
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise _broken(error) from error
        raise VisionError("torchvision is not installed; install it with `pip install torchvision`.") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _torch_has_gpu_code():
            raise _broken(error) from error
    except (ImportError, OSError, AttributeError) as error:
        raise _broken(error) from error
    _forget()
    sys.modules[SHAPE_RULES] = ModuleType(SHAPE_RULES, "Left out: the operators it describes are not in this torch.")
    try:
        return importlib.import_module("torchvision")
    except Exception as error:
        _forget()
        raise _broken(error) from error


def _torch_has_gpu_code() -> bool:
    import torch

    return torch.version.cuda is not None or torch.version.hip is not None


def _forget() -> None:
    """Removes what a failed import left behind, so that the next one starts afresh."""
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _broken(error: BaseException) -> VisionError:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("torch", "torchvision"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} (version unknown)")
    return VisionError(
        f"torchvision cannot be imported ({' beside '.join(found)}): {type(error).__name__}: {error}; install the two "
        "of one release, from one index: `pip install --upgrade torch torchvision`, on a machine without GPU with "
        "`--index-url https://download.pytorch.org/whl/cpu`."
    )
