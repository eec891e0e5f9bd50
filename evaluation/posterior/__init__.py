"""Posteriors one can look at, in ArviZ and by themselves.

idata = to_inference_data(story, batch)            every draw, prediction and datum, with names
save_netcdf(idata, path); load_netcdf(path)        one file, whole or not at all
pareto_k(log_weights); pareto_report(k, S)         is the guide good enough, datum by datum?
simulation_based_calibration(model, guide, x)      does the guide know what it does not know?
ppc, pit, tail_probabilities                       would the model have produced such data?
loo, waic, marginal_score                          which model predicts better? (read their caveat)
align_labels(draws)                                cluster 3 of one draw is cluster 7 of the next
"""

from evaluation.posterior.adapter import group, group_names, load_netcdf, save_netcdf, variable
from evaluation.posterior.calibration import Calibration, simulation_based_calibration, uniform_band
from evaluation.posterior.figures import figure_calibration, figure_pareto_k, figure_pit
from evaluation.posterior.inference_data import to_inference_data
from evaluation.posterior.information import ConditionalLikelihood, loo, marginal_score, waic
from evaluation.posterior.labels import align_labels, permute_clusters
from evaluation.posterior.pareto import pareto_k, pareto_report
from evaluation.posterior.predictive import pit, ppc, tail_probabilities
from evaluation.posterior.statistics import DEFAULT_STATISTICS

__all__ = [
    "DEFAULT_STATISTICS",
    "Calibration",
    "ConditionalLikelihood",
    "align_labels",
    "figure_calibration",
    "figure_pareto_k",
    "figure_pit",
    "group",
    "group_names",
    "load_netcdf",
    "loo",
    "marginal_score",
    "pareto_k",
    "pareto_report",
    "permute_clusters",
    "pit",
    "ppc",
    "save_netcdf",
    "simulation_based_calibration",
    "tail_probabilities",
    "to_inference_data",
    "uniform_band",
    "variable",
    "waic",
]
