"""The guarded import of torchvision, each case in a process of its own, mostly on fake packages."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

#: a package that imports its shape rules the way torchvision does
INIT = "from torchvision import extension, _meta_registrations, datasets\n"
HEALTHY = "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\nkernels = 'registered'\n"
WITHOUT_OPERATORS = "raise RuntimeError('operator torchvision::qnms does not exist')\n"


def write_packages(folder: Path, init: str, shape_rules: str, cuda: str | None = None) -> None:
    """A fake torchvision, and a fake torch that only knows how it was built."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision/__init__.py").write_text(init)
    (folder / "torchvision/_meta_registrations.py").write_text(shape_rules)
    (folder / "torchvision/extension.py").write_text(
        "import builtins\nbuiltins.tries = getattr(builtins, 'tries', 0) + 1\n"
    )
    (folder / "torchvision/datasets.py").write_text("MNIST = 'a reader'\n")
    (folder / "torch").mkdir()
    (folder / "torch/__init__.py").write_text("from torch import version\n")
    (folder / "torch/version.py").write_text(f"cuda, hip = {cuda!r}, None\n")


def run(code: str, *first_on_path: Path) -> str:
    """What a fresh interpreter prints."""
    paths = os.pathsep.join(map(str, [*first_on_path, REPOSITORY]))
    done = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom pyro_models import vision\n" + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=first_on_path[0] if first_on_path else REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


TELL_ERROR = """
    try:
        vision.torchvision()
        print("imported")
    except vision.VisionError as error:
        print(error)
    print(sorted(name for name in sys.modules if name.startswith("torchvision")))
"""


def test_a_healthy_install_is_not_touched(tmp_path):
    write_packages(tmp_path, INIT, HEALTHY)
    out = run(
        """
        module = vision.torchvision()
        again = vision.torchvision()
        rules = sys.modules[vision.SHAPE_RULES]
        import builtins
        print(module.datasets.MNIST, module is again is sys.modules["torchvision"], rules.kernels, builtins.runs)
        print("torch" in sys.modules)
        """,
        tmp_path,
    )
    assert out.split("\n")[:2] == ["a reader True registered 1", "False"]


def test_without_operators_the_shape_rules_are_left_out(tmp_path):
    write_packages(tmp_path, INIT, WITHOUT_OPERATORS)
    out = run(
        """
        try:
            import torchvision
        except RuntimeError as error:
            print(error)
        module = vision.torchvision()
        import torchvision
        print(module.datasets.MNIST, module is torchvision, module is vision.torchvision())
        import builtins
        print(builtins.tries)  # once in the failed imports, once more after they were forgotten
        print([name for name in vars(sys.modules[vision.SHAPE_RULES]) if not name.startswith("__")])
        """,
        tmp_path,
    )
    assert out.split("\n")[:4] == ["operator torchvision::qnms does not exist", "a reader True True", "2", "[]"]


def test_a_torch_for_gpus_is_not_patched_over(tmp_path):
    write_packages(tmp_path, INIT, WITHOUT_OPERATORS, cuda="13.0")
    out = run(TELL_ERROR, tmp_path)
    assert "operator torchvision::qnms does not exist" in out
    assert "install the two of one release" in out


def test_another_runtime_error_is_not_patched_over(tmp_path):
    write_packages(tmp_path, INIT, "raise RuntimeError('the disk is on fire')\n")
    out = run(TELL_ERROR, tmp_path)
    assert "RuntimeError: the disk is on fire" in out
    assert "_meta_registrations" not in out


@pytest.mark.parametrize("error", ["ImportError('undefined symbol: c10')", "OSError('libcudart.so.13 not found')"])
def test_a_library_that_does_not_load_is_a_clear_error(tmp_path, error):
    write_packages(tmp_path, f"raise {error}\n", HEALTHY)
    out = run(TELL_ERROR, tmp_path)
    assert error.split("'")[1] in out
    assert "install the two of one release" in out


def test_when_leaving_out_does_not_help_nothing_stays_behind(tmp_path):
    write_packages(tmp_path, WITHOUT_OPERATORS, HEALTHY)
    out = run(TELL_ERROR, tmp_path).split("\n")
    assert "operator torchvision::qnms does not exist" in out[0]
    assert out[1] == "[]"


def test_not_installed():
    out = run("sys.modules['torchvision'] = None\n" + textwrap.dedent(TELL_ERROR))
    assert out.startswith("torchvision is not installed; install it with `pip install torchvision`.")


def test_the_torchvision_of_this_machine():
    """Whatever is installed here (beside a CPU torch: the package index's build, which does not import by itself)."""
    pytest.importorskip("torch")
    out = run(
        """
        module = vision.torchvision()
        import torch, torchmetrics.image.fid
        from torchvision.transforms import v2
        grid = module.utils.make_grid(torch.rand(4, 3, 8, 8), nrow=2)
        flipped = v2.functional.horizontal_flip(grid)
        print(tuple(grid.shape), bool((flipped.flip(-1) == grid).all()), module.datasets.MNIST.__name__)
        """
    )
    assert out == "(3, 22, 22) True MNIST\n"
