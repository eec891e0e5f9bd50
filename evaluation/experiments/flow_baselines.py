"""What flows are worth: frames foretold by them and by the models that came before, at the same budget."""

from __future__ import annotations

from typing import Any

from evaluation.experiments.flows import MEASURED, NETWORK
from evaluation.measure import evaluate
from evaluation.reproduce import Outcome, Setting, columns
from inference import fit
from inference.device import fast_precision
from pyro_models.datasets import load

#: a story and what sets it apart from the others; networks and training are shared
COMPARED: dict[str, tuple[str, dict[str, Any]]] = {
    "flow-supervised": ("flow-supervised", {}),
    "poflow": ("flow-supervised", {"equation": "wave"}),
    "tvae": ("rolled-codes", {"latent": 129}),
    "slow-vae": ("frame-codes", {"prior": "slow"}),
    "vae": ("frame-codes", {"kl": 1.0}),
    "beta-vae": ("frame-codes", {"kl": 4.0}),
}
TRAINING: dict[str, Any] = {
    "steps": 2000,
    "batch_size": 256,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "validate_every": 0,
    "progress": False,
}


def baselines_mnist(setting: Setting) -> Outcome:
    """MNIST in motion, the transformation of every sequence known to whoever can use it."""
    data = load("flow-mnist", **setting.data_options(turn=10.0))
    single, precision = data.test.take(slice(0, MEASURED)), fast_precision(setting.device)

    def one(seed: int) -> dict[str, dict[str, float]]:
        row: dict[str, float] = {}
        beside: dict[str, float] = {}
        for name, (story, options) in COMPARED.items():
            run = fit(
                story,
                data,
                story_options={**NETWORK, **options},
                seed=seed,
                device=setting.device,
                precision=precision,
                threads=setting.threads,
                **TRAINING,
            )
            found = evaluate(run.story, single, metrics=["equivariance"])
            row |= {f"{key}/{name}": value for key, value in found["metrics"].items()}
            for key, trivial in found["baselines"].items():
                beside |= {f"{key}/{name}: {word}": value for word, value in trivial.items()}
        return {"row": row, "beside": beside}

    found, seconds = setting.each_seed(one)
    metrics = columns([each["row"] for each in found])
    notes = (
        f"equivariance/FACTOR/STORY: summed absolute error of frames 1 to 7 foretold from frame 0, held-out digits. "
        f"{TRAINING['steps']} steps of {TRAINING['batch_size']} sequences each, the same encoder and posed decoder, "
        f"codes of {NETWORK['latent']} numbers (tvae: three rings of 43), their divergence weighed by {NETWORK['kl']} "
        f"while training (vae: 1, beta-vae: 4). The codes of single frames (vae, beta-vae, slow-vae) are moved by the "
        f"mean change of the code under each transformation, read off the training data; poflow is flow-supervised "
        f"with the wave equation."
    )
    return Outcome(metrics, "test", MEASURED, seconds, found[-1]["beside"], notes=notes, headline=list(metrics))
