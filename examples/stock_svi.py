"""Our story and our estimator under Pyro's own ``SVI``: nothing of our training loop is needed.

python examples/stock_svi.py [--steps 200]
"""

import argparse

import pyro
from pyro.infer import SVI

from inference import estimators
from pyro_models.catalogue import STORIES
from pyro_models.datasets import load


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args(arguments).steps
    pyro.set_rng_seed(0)
    train = load("digits").train
    story = STORIES.get("mixture-vae").build(train, hidden=[128], warm_up=0.0)
    estimator = estimators.get("exact")(max_plate_nesting=1)
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-3}), loss=estimator)
    for step, batch in zip(range(steps), train.batches(128, seed=0), strict=False):
        loss = svi.step(batch["x"]) / 128
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:4}  minus ELBO {loss:.2f} nats per digit")
    return loss


if __name__ == "__main__":
    main()
