"""From a set as published to train, validation and test: by seed, reproducibly, each class in proportion.

A part is drawn in two moves: the data are put in a random order (a function of the seed alone), sorted by label where
there are labels, and every ``n / count``-th one is taken. Each class is thus represented in proportion, to within one
datum, and each datum has the same chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_models.datasets.data import Data, Splits
from pyro_models.errors import DataError, OptionError, unknown_name

#: shares used where neither the publisher nor the caller says otherwise
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1

#: offsets that keep the draws of the three roles apart under one seed
_TEST, _SIZE, _VALIDATION = 1, 2, 3


@dataclass(frozen=True)
class Parts:
    """A set as its loader gives it: the data, and the official test (and validation) part where one was published."""

    train: Data
    test: Data | None = None
    validation: Data | None = None

    def each(self, change: Callable[[Data], Data]) -> Parts:
        """The same change applied to every part that is there."""
        return Parts(*(None if part is None else change(part) for part in (self.train, self.test, self.validation)))  # type: ignore[arg-type]  # train is never None


def split(
    data: Data | Parts,
    validation: float | int | None = None,
    test: float | int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> Splits:
    """Train, validation and test parts.

    Args:
        data: one set, or one whose official parts are kept.
        validation: share (below 1) or number of the training data to hold back for choices; by default the official
            validation part, or a tenth.
        test: share or number of data to report on; by default the whole official test part, or a fifth of the data.
            With an official test part, the number or share is drawn from that part.
        size: keep only so many data for training and validation together; the test part does not depend on it.
        seed: which data go where.
    """
    parts = data if isinstance(data, Parts) else Parts(data)
    rest = parts.train
    if parts.test is None:
        share = TEST_SHARE if test is None else test
        tested, rest = _divide(rest, _count(share, len(rest), "test", rest.name), seed, _TEST)
    elif test is not None and test != len(parts.test):
        tested = _divide(parts.test, _count(test, len(parts.test), "test", rest.name), seed, _TEST)[0]
    else:
        tested = parts.test
    if size is not None and size != len(rest):
        if not isinstance(size, int) or not 2 <= size < len(rest):
            raise OptionError(
                f"size={size} asks for data that {rest.name} does not have: {len(rest)} are there for training and "
                f"validation; choose a size from 2 to {len(rest)}."
            )
        rest = _divide(rest, size, seed, _SIZE)[0]
    if parts.validation is not None and validation is None:
        return Splits(rest, parts.validation, tested)
    share = VALIDATION_SHARE if validation is None else validation
    held_back, train = _divide(rest, _count(share, len(rest), "validation", rest.name), seed, _VALIDATION)
    return Splits(train, held_back, tested)


def _count(share: float | int, total: int, part: str, name: str) -> int:
    if isinstance(share, float) and share > 1.0 and share.is_integer():  # a number of data, as a command line reads it
        share = int(share)
    if isinstance(share, bool) or share < 0 or (isinstance(share, float) and not share < 1.0):
        raise OptionError(f"{part}={share!r} is neither a share between 0 and 1 nor a number of data (1, 2, ...).")
    count = round(share * total) if isinstance(share, float) else share
    if not 0 < count < total:
        raise DataError(
            f"{part}={share!r} leaves an empty split: {count} of {total} data of {name} for {part}, {total - count} "
            f"for the rest; choose a share between 0 and 1, or a number from 1 to {total - 1}."
        )
    return count


def _divide(data: Data, count: int, seed: int, role: int) -> tuple[Data, Data]:
    """``count`` data drawn by seed, and all others, both in their original order."""
    # A label that would have to be read from a stream, datum by datum, is not worth the wait: then without strata.
    labels = data.fields.get("label")
    chosen = draw(len(data), count, seed * 4 + role, labels)
    mask = torch.zeros(len(data), dtype=torch.bool)
    mask[chosen] = True
    return data.take(mask.nonzero()[:, 0]), data.take((~mask).nonzero()[:, 0])


def draw(total: int, count: int, seed: int, labels: Tensor | None = None) -> Tensor:
    """``count`` of ``total`` indices, chosen by seed; with whole-number labels every class in proportion."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(total, generator=generator)
    if labels is not None and labels.ndim == 1 and not labels.is_floating_point():
        order = order[torch.argsort(labels.cpu()[order], stable=True)]
    # Systematic sampling: a datum is taken whenever the running quota passes a whole number; the random start gives
    # every datum the same chance, whatever the sizes of the classes.
    quota = torch.arange(total + 1) * count + torch.randint(total, (1,), generator=generator)
    return order[quota[1:] // total > quota[:-1] // total]


def select_classes(data: Data, classes: Sequence[str | int] | str | int) -> Data:
    """The data of some classes, given by name or number; their labels become 0, 1, ... in the order asked for.

    One string may hold several, separated by commas, as a command line gives them.
    """
    if isinstance(classes, str):
        classes = [name.strip() for name in classes.split(",") if name.strip()]
    elif isinstance(classes, int):
        classes = [classes]
    if "label" not in data:
        raise DataError(
            f"{data.name} is unlabelled, so classes={list(classes)} cannot be selected; leave out classes, or choose "
            "a labelled set."
        )
    labels = data["label"]
    if labels.ndim != 1 or labels.is_floating_point():
        raise DataError(f"classes of {data.name} cannot be selected: its labels are not whole numbers, one per datum.")
    names = data.classes or tuple(str(number) for number in range(int(labels.max()) + 1))
    wanted = [_class_number(name, names, data.name) for name in classes]
    if not wanted or len(set(wanted)) < len(wanted):
        raise OptionError(f"classes={list(classes)} must name at least one class, each once.")
    new_label = torch.full((max(len(names), int(labels.max()) + 1),), -1, dtype=torch.long, device=labels.device)
    new_label[wanted] = torch.arange(len(wanted), device=labels.device)
    keep = (new_label[labels.long()] >= 0).nonzero()[:, 0]
    if len(keep) == 0:
        raise DataError(f"{data.name} has no datum of the classes {list(classes)}; choose others.")
    chosen = data.take(keep)
    fields = {**chosen.fields, "label": new_label[labels[keep].long()]}
    return replace(chosen, fields=fields, classes=tuple(names[number] for number in wanted))


def _class_number(name: str | int, names: Sequence[str], data_name: str) -> int:
    """The label of a class called ``name``, or numbered so."""
    text = str(name)
    if text in names:
        return names.index(text)
    folded = [known.casefold() for known in names]
    if text.casefold() in folded:
        return folded.index(text.casefold())
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise unknown_name(f"class of {data_name}", text, names)
