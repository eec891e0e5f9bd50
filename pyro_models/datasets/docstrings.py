"""What Python's standard library says about itself: a document per docstring, its package the label.

Read from the source files of the Python that runs, so the set differs a little from version to version; the version is
part of its description. Nothing is imported or executed, the files are only parsed.
"""

from __future__ import annotations

import ast
import platform
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pyro_models.datasets.cards import Card
from pyro_models.datasets.text import TextData, as_numbers, words_of
from pyro_models.errors import DataError

#: the nine packages with most documents among those that every Python from 3.10 on has; IDLE, an application, left out
PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "tkinter", "unittest", "xml")
#: documents of fewer words are headlines
LEAST_WORDS = 8
#: packages with fewer documents are no class to be found (a Python built without tkinter has none of it)
LEAST_OF_A_CLASS = 20
#: tests of the packages say what is tested, not what the package is about
LEFT_OUT = ("test", "tests", "__pycache__")


def docstrings(form: str = "bag", vocabulary: int = 2000, length: int = 40) -> TextData:
    """Docstrings of modules, classes and functions, each text once; ``label``: the package.

    Args:
        form: ``bag``, ``x [N, V]`` counts of words, or ``sequence``, ``x [N, length]`` words in order.
        vocabulary: words, at most.
        length: words per document, for sequences.
    """
    found = collect()
    classes = tuple(name for name, texts in found.items() if len(texts) >= LEAST_OF_A_CLASS)
    if len(classes) < 2:
        raise DataError(
            f"the standard library of this Python ({sysconfig.get_path('stdlib')}) holds sources of {len(classes)} of "
            f"the packages {', '.join(PACKAGES)}; 'topics' can stand in, or use a Python with its sources."
        )
    documents = [words_of(text) for name in classes for text in found[name]]
    labels = [label for label, name in enumerate(classes) for _ in found[name]]
    version = f"docstrings of Python {platform.python_version()}'s standard library, {len(documents)} documents"
    return as_numbers(
        documents, labels, "docstrings", classes, form=form, size=vocabulary, length=length, description=version
    )


@lru_cache(maxsize=1)
def collect() -> dict[str, list[str]]:
    """``{package: its docstrings}``; a text that occurs twice counts where it occurs first."""
    base, seen = Path(sysconfig.get_path("stdlib")), set()
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        texts = found.setdefault(package, [])
        for path in sorted((base / package).rglob("*.py")):
            if any(part in LEFT_OUT for part in path.relative_to(base).parts):
                continue
            for text in docstrings_of(path.read_text(encoding="utf-8", errors="replace")):
                if text not in seen and len(words_of(text)) >= LEAST_WORDS:
                    seen.add(text)
                    texts.append(text)
    return found


def docstrings_of(source: str) -> Iterator[str]:
    """The docstrings in a source file: of the module, then of its classes and functions."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a file for another version of Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


docstrings.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="docstrings",
    what="docstrings of nine packages of Python's standard library, as bags of words or sequences; the package is the "
    "label",
    size="about 2100 documents (2058 in Python 3.11.7), 2000 words; differs with the Python version",
    licence="PSF licence (the texts are part of Python)",
    source="the source files of the Python that runs, parsed on the spot",
)
