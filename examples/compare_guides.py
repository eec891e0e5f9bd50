"""Swaps the guide of a story and compares what each learns: mean and spread over seeds, on held-out data.

python examples/compare_guides.py [--steps 1500] [--seeds 3]
"""

import argparse

import pandas as pd

from evaluation import evaluate
from inference import fit
from pyro_models.catalogue import STORIES


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(arguments)
    rows = []
    for guide in STORIES.get("mixture-vae").guides:
        for seed in range(given.seeds):
            options = {"guide": guide, "hidden": [256, 128]}
            run = fit("mixture-vae", "digits", steps=given.steps, seed=seed, story_options=options, progress=False)
            rows.append({"guide": guide, "seed": seed, **evaluate(run, metrics=["clustering", "bound"])["metrics"]})
    table = pd.DataFrame(rows).groupby("guide")[["accuracy", "nmi", "elbo", "iwae_100"]].agg(["mean", "std"])
    print(table.round(3).to_string())
    return table


if __name__ == "__main__":
    main()
