"""Makes the virtual environment that the Makefile works in. Needs nothing but Python.

* An interpreter that already has torch (a CPU-only build, say) keeps it: the environment sees it, and nothing
replaces it.
* Otherwise torch is installed at the version in constraints.txt, with which the tests were run.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 10)


def main(folder: str) -> None:
    if sys.version_info < OLDEST:
        sys.exit(f"Python {'.'.join(map(str, OLDEST))} or newer is needed; this is {sys.version.split()[0]}. "
                 f"Name another: make PYTHON=python3.12 ...")  # fmt: skip
    has_torch = importlib.util.find_spec("torch") is not None
    constraints = ROOT / "constraints.txt"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:
        if has_torch:
            print(f"keeping the torch {version('torch')} that is installed for {sys.executable}")
            kept.write(f"torch=={version('torch')}\n")
            kept.flush()
            constraints = Path(kept.name)
        venv.create(folder, with_pip=True, system_site_packages=has_torch)
        python = Path(folder).resolve() / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        print("installing (once; several minutes on a slow line) ...", flush=True)
        done = subprocess.run([*command, "-c", str(constraints), "-e", f"{ROOT}[test]"], check=False)
    if done.returncode:
        sys.exit("the installation failed; the lines above say why. Run make again to go on where it stopped.")


if __name__ == "__main__":
    main(sys.argv[1])
