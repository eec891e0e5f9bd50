"""Opens a posterior that this library wrote, with arviz alone: a summary and one figure.

    python examples/arviz_from_netcdf.py runs/mine/posterior.nc --figure predictive.png

Nothing of this library is imported: the file is an ordinary ArviZ netCDF, readable years from now. Works with arviz
0.23 (InferenceData) and with arviz 1.x (DataTree).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path, help="netCDF file, such as runs/NAME/posterior.nc")
    parser.add_argument("--figure", type=Path, default=Path("predictive.png"), help="where the figure goes")
    parser.add_argument("--variable", help="what to compare with its predictions; default: the first statistic stored")
    parser.add_argument("--data", type=int, default=3, help="how many data to summarise")
    options = parser.parse_args(argv)
    if not options.path.is_file():
        parser.error(f"there is no file {options.path}; 'pyro-models posterior RUN' writes one")

    import matplotlib

    matplotlib.use("Agg")
    import arviz as az
    import matplotlib.pyplot as plt

    idata = az.from_netcdf(str(options.path))
    is_tree = hasattr(idata, "children")
    groups = list(idata.children) if is_tree else list(idata.groups())
    print(f"{options.path}: {', '.join(groups)}")

    posterior = idata["posterior"]
    few = {"obs": posterior["obs"].values[: options.data]} if "obs" in posterior.dims else {}
    # Draws of a guide are independent: the columns about chains (r_hat, ess) say nothing here.
    print(az.summary(idata, coords=few, kind="stats"))
    if "constant_data" in groups and "pareto_k" in idata["constant_data"]:
        k = idata["constant_data"]["pareto_k"]

        print(
            f"k-hat of the guide: median {float(k.median()):.2f}, above 0.7 for {float((k > 0.7).mean()):.1%} of data"
        )

    observed, predicted = idata["observed_data"], idata["posterior_predictive"]
    both = [str(name) for name in predicted.data_vars if name in observed.data_vars]
    name = options.variable or min(both, key=lambda variable: observed[variable].ndim)
    if name not in both:
        parser.error(f"--variable {name}: not both observed and predicted; there are {', '.join(both)}")
    if is_tree:
        az.plot_ppc_dist(idata, var_names=name, num_samples=min(50, predicted.sizes["draw"]), backend="matplotlib")
    else:
        az.plot_ppc(idata, var_names=[name], num_pp_samples=min(50, predicted.sizes["draw"]))
    plt.gcf().savefig(options.figure, dpi=120)
    plt.close("all")
    print(f"wrote {options.figure}: {name}, observed against predicted")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
