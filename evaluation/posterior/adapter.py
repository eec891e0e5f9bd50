"""One shape for two ArviZ: ``InferenceData`` (arviz 0.x) and ``xarray.DataTree`` (arviz 1.x, Python >= 3.12).

Groups are built here as ordinary ``xarray.Dataset`` and only wrapped at the end, because ``from_dict`` takes other
arguments in each version and the old one accepts the new form without complaint, with another meaning. Nothing else in
the library asks which arviz is installed.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pyro_models.errors import DataError, MetricError

if TYPE_CHECKING:
    import xarray

#: the order in which groups are stored and shown
GROUPS = (
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "sample_stats",
    "prior",
    "prior_predictive",
    "observed_data",
    "constant_data",
)
#: netCDF-4 with groups; both arviz lines read it with any engine
ENGINE = "netcdf4"


def arviz() -> ModuleType:
    """The installed arviz; the once-a-day notice of 0.23 about its successor is not passed on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        import arviz as az
    return az


def returns_trees() -> bool:
    """True for arviz 1.x, whose container is the ``DataTree``."""
    return int(arviz().__version__.split(".")[0]) >= 1


def wrap(groups: Mapping[str, xarray.Dataset], attributes: Mapping[str, Any]) -> Any:
    """The container of the installed arviz around datasets by group name."""
    ordered = {name: groups[name] for name in GROUPS if name in groups}
    if returns_trees():
        import xarray as xr

        tree = xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in ordered.items()})
        tree.attrs.update(attributes)
        return tree
    return arviz().InferenceData(attrs=dict(attributes), **ordered)


def group_names(idata: Any) -> list[str]:
    """Names of the groups present, whichever container it is."""
    return list(idata.children) if hasattr(idata, "children") else list(idata.groups())


def group(idata: Any, name: str) -> xarray.Dataset:
    """A group as a plain dataset, or an error that names those present."""
    if name not in group_names(idata):
        raise MetricError(
            f"there is no group '{name}'; this posterior holds {', '.join(group_names(idata)) or 'none'}."
        )
    found = idata[name]
    return found.to_dataset() if hasattr(found, "to_dataset") else found


def variable(idata: Any, group_name: str, name: str) -> xarray.DataArray:
    """A variable of a group, or an error that names those present."""
    dataset = group(idata, group_name)
    if name not in dataset:
        raise MetricError(f"group '{group_name}' has no variable '{name}'; it has {', '.join(map(str, dataset))}.")
    return dataset[name]


def save_netcdf(idata: Any, path: str | os.PathLike[str]) -> Path:
    """Writes every group to one netCDF-4 file, whole or not at all: a crash leaves the old file as it was.

    ``arviz.from_netcdf(path)`` opens it, in either version and without this library.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"cannot write {path}: the folder {path.parent} does not exist; make it first.")
    if path.is_dir():
        raise DataError(f"cannot write {path}: it is a folder; name a file, such as {path / 'posterior.nc'}.")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    except OSError as error:
        raise DataError(f"cannot write in {path.parent}: {error.strerror}; choose another folder.") from error
    os.close(handle)
    partial = Path(name)
    try:
        idata.to_netcdf(str(partial), engine=ENGINE)
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_netcdf(path: str | os.PathLike[str]) -> Any:
    """What :func:`save_netcdf` wrote, read into memory (the file is closed again)."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file '{path}'; write one with save_netcdf(idata, path).")
    try:
        if returns_trees():
            import xarray as xr

            with xr.open_datatree(path, engine=ENGINE) as tree:
                found = tree.load()
        else:
            with arviz().rc_context({"data.load": "eager"}):
                found = arviz().InferenceData.from_netcdf(str(path), engine=ENGINE)
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{path}' cannot be read as a netCDF file: {error}. It may be incomplete; write it again."
        ) from error
    if not group_names(found):
        raise DataError(f"'{path}' holds no group of an ArviZ posterior; write it with save_netcdf(idata, path).")
    return found


def _umask() -> int:
    """The process's mask; temporary files are private, the finished file should be as any other."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
