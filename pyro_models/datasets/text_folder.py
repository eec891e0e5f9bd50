"""A folder of plain text files as a dataset: ``text:PATH``."""

from __future__ import annotations

from pathlib import Path

from pyro_models.datasets.cards import Card
from pyro_models.datasets.splits import Parts
from pyro_models.datasets.text import TextData, as_numbers, words_of
from pyro_models.errors import DataError

ENDINGS = (".txt", ".md", ".rst", "")
#: names of subfolders that are official parts, not classes
TRAIN, TEST, VALIDATION = "train", "test", "validation"


def text_folder(path: str | Path, form: str = "bag", vocabulary: int = 2000, length: int = 200) -> TextData | Parts:
    """A document per file, ``label`` where files lie in folders, one per class; hidden files are left out.

    ``PATH/train``, ``PATH/test`` and ``PATH/validation`` are kept as official parts, the vocabulary that of the
    training part. Files are read as UTF-8; what is not becomes a mark that counts as no letter.

    Args:
        form: ``bag``, ``x [N, V]`` counts of words, or ``sequence``, ``x [N, length]`` words in order.
        vocabulary: words, at most.
        length: words per document, for sequences.
    """
    base = Path(path).expanduser()
    if not base.is_dir():
        raise DataError(f"there is no folder {base} (looked in {Path.cwd()}); give the folder that holds the texts.")
    options = {"form": form, "size": vocabulary, "length": length}
    if not (base / TRAIN).is_dir():
        documents, labels, classes = _read(base)
        return as_numbers(documents, labels, base.name, classes, **options)  # type: ignore[arg-type]
    made: dict[str, TextData] = {}
    for part in (TRAIN, TEST, VALIDATION):
        if (base / part).is_dir():
            documents, labels, classes = _read(base / part)
            if part != TRAIN and classes != made[TRAIN].classes:
                raise DataError(
                    f"{base / part} has the class folders {', '.join(classes) or 'none'}, but {base / TRAIN} has "
                    f"{', '.join(made[TRAIN].classes) or 'none'}; give every part the same ones."
                )
            words = made[TRAIN].words if part != TRAIN else None
            made[part] = as_numbers(documents, labels, base.name, classes, words=words, **options)  # type: ignore[arg-type]
    return Parts(made[TRAIN], made.get(TEST), made.get(VALIDATION))


def _read(base: Path) -> tuple[list[list[str]], list[int] | None, tuple[str, ...]]:
    """The words of every file in order of names, class numbers, class names."""
    files = sorted(
        file
        for file in base.rglob("*")
        if file.is_file()
        and file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(base).parts)
    )
    if not files:
        raise DataError(f"{base} holds no texts; put .txt files there, or into one folder per class.")
    tops = [file.relative_to(base).parts for file in files]
    loose = [file for file, parts in zip(files, tops, strict=True) if len(parts) == 1]
    if loose and len(loose) < len(files):
        raise DataError(
            f"{base} holds texts beside class folders ({loose[0].name}, for one); move them into a folder, or give a "
            "folder without subfolders."
        )
    documents = [words_of(file.read_text(encoding="utf-8", errors="replace")) for file in files]
    if loose:
        return documents, None, ()
    classes = tuple(sorted({parts[0] for parts in tops}))
    return documents, [classes.index(parts[0]) for parts in tops], classes


text_folder.card = Card(  # type: ignore[attr-defined]  # the catalogue reads a loader's card from the function
    name="text:PATH",
    what="your documents: PATH/*.txt, or PATH/CLASS/*.txt; PATH/train and PATH/test are kept apart where they exist",
    size="as many as there are, 2000 words",
    licence="yours",
    source="your disk",
    files="txt, md, rst, or names without an ending",
)
