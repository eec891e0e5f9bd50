"""Whatever a user has in hand as :class:`Data`: tensors, arrays, dictionaries of them, torch datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from pyro_models.datasets.data import PIXEL_FIELDS, Data, Splits
from pyro_models.datasets.stream import MEMORY_LIMIT, StreamedData
from pyro_models.errors import DataError

#: names given to the members of a tuple ``(x, label)``, torch's own convention
TUPLE_FIELDS = ("x", "label")


def as_data(
    source: Any, name: str = "data", classes: tuple[str, ...] = (), stream: bool | None = None
) -> Data | Splits:
    """Data made of what is at hand.

    * ``Data`` and ``Splits`` as they are;
    * a tensor or an array is the field ``x``, one row per datum;
    * a dictionary ``{field: tensor or array}``, with ``x`` (or the fields that a story names) and, if known, ``label``,
      ``factors``, ``mask``;
    * a torch ``Dataset`` whose items are tensors, images, ``(x, label)`` or dictionaries. It is read into memory once,
      and so is any random augmentation in it; ``stream=True`` reads batch by batch instead (see
      :class:`StreamedData`), which is also what happens by default with a set above 2 GiB.

    Bytes stay bytes in memory and count as pixels: arrays ``[N, H, W]`` get a channel axis, ``[N, H, W, C]`` are put
    channel first. Other numbers are taken as they are, in single precision. Labels become whole numbers; text labels
    become classes.
    """
    if isinstance(source, Data | Splits):
        return source
    if isinstance(source, Mapping):
        return from_arrays(source, name, classes)
    if isinstance(source, Tensor | np.ndarray):
        return from_arrays({"x": source}, name, classes)
    if isinstance(source, TensorDataset) and len(source.tensors) <= len(TUPLE_FIELDS) and not stream:
        return from_arrays(dict(zip(TUPLE_FIELDS, source.tensors, strict=False)), name, classes)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, str | list | tuple):
        streamed = StreamedData.over(Items(source), name, classes)
        large = len(streamed) * streamed.bytes_per_datum() > MEMORY_LIMIT
        return streamed if (large if stream is None else stream) else streamed.in_memory()
    raise DataError(
        f"{type(source).__name__} cannot be used as data; give a tensor, an array, a dictionary of them, a torch "
        "Dataset with a length, Data or Splits."
    )


def from_arrays(arrays: Mapping[str, Any], name: str, classes: tuple[str, ...] = ()) -> Data:
    """A dictionary of arrays as data, each field in the form that batches have (see :func:`as_data`)."""
    fields = {}
    for field, values in arrays.items():
        if field == "label":
            fields[field], found = labels(values, name)
            classes = classes or found
        else:
            fields[field] = field_tensor(values, field, name)
    return Data(fields, name, classes)


def field_tensor(values: Any, field: str, name: str) -> Tensor:
    """Numbers of a field as a tensor: pixels channel first, masks boolean, the rest in single precision."""
    tensor = _tensor(values, field, name)
    if field == "mask":
        return tensor.bool()
    if tensor.dtype == torch.uint8 and field in PIXEL_FIELDS:
        return _channel_first(tensor) if field == "x" else tensor
    if field in PIXEL_FIELDS or tensor.dtype == torch.float64:
        return tensor if tensor.is_complex() else tensor.float()
    return tensor


def labels(values: Any, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as whole numbers, and the class names where the labels are text."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "USO":
        names, numbers = np.unique(array.astype(str), return_inverse=True)
        return torch.from_numpy(numbers.reshape(-1).astype(np.int64)), tuple(names.tolist())
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise DataError(f"the labels of {name} are not whole numbers; put continuous targets into the field 'factors'.")
    if array.ndim != 1:
        raise DataError(f"the labels of {name} have the shape {array.shape}; one whole number per datum is needed.")
    if array.size and array.min() < 0:
        raise DataError(f"the labels of {name} go down to {array.min()}; number the classes 0, 1, 2, ...")
    return torch.from_numpy(array.astype(np.int64)), ()


class Items:
    """A torch dataset whose items come as ``{field: tensor}``."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = self.source[index]
        if isinstance(item, tuple | list):
            if len(item) > len(TUPLE_FIELDS):
                raise DataError(
                    f"an item of {type(self.source).__name__} has {len(item)} members; give (x, label) or a "
                    "dictionary with names."
                )
            item = dict(zip(TUPLE_FIELDS, item, strict=False))
        elif not isinstance(item, Mapping):
            item = {"x": item}
        # One datum is a batch of one: the same rules of form hold.
        return {field: self._field(values, field) for field, values in item.items()}

    def _field(self, values: Any, field: str) -> Tensor:
        if field == "label" and isinstance(values, int) and values >= 0:  # the usual case, without the detour by arrays
            return torch.tensor(int(values))
        one = values[None] if isinstance(values, Tensor | np.ndarray) else np.asarray(values)[None]
        name = type(self.source).__name__
        return (labels(one, name)[0] if field == "label" else field_tensor(one, field, name))[0]


def _tensor(values: Any, field: str, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise DataError(f"field '{field}' of {name} holds {array.dtype} values; numbers are needed.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch has few operations on wide unsigned integers
        array = array.astype(np.int64)
    # A copy: torch cannot share memory that is read-only, byte-swapped or strided backwards.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _channel_first(images: Tensor) -> Tensor:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3, 4) and images.shape[1] not in (1, 3, 4):
        return images.permute(0, 3, 1, 2).contiguous()
    return images
