"""What the library costs per step: ``fit`` on ``vae`` (784-400-20) against a hand-written PyTorch loop of the same
model.

    python benchmarks/overhead.py [--data-root DIR] [--threads 1] [--repeats 9] [--json results/overhead.json]

Both loops read the same images from memory in the same way (one permutation per epoch, batches by index), use one
fused Adam, and run
in turns in one process; the ratio is taken pair by pair. Without a data folder random images of MNIST's size stand
in: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference import fit
from pyro_models.datasets.data import Data, Splits

BATCH, WARM, TIMED = 128, 100, 300


class HandWritten(nn.Module):
    """784-400-20-400-784, the loss as one would write it without any library."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def loss(self, x: Tensor) -> Tensor:
        mean, log_scale = self.encoder(x).chunk(2, -1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        error = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * (1 + 2 * log_scale - mean.square() - (2 * log_scale).exp()).sum()
        return (error + kl) / len(x)


def hand_written(images: Tensor) -> float:
    """Seconds per step."""
    model = HandWritten()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    order, began = torch.randperm(len(images)), 0.0
    for step in range(WARM + TIMED):
        if step == WARM:
            began = time.perf_counter()
        start = step * BATCH % (len(images) - BATCH)
        x = images[order[start : start + BATCH]].float().div_(255.0).flatten(1)
        optimiser.zero_grad(set_to_none=True)
        loss = model.loss(x)
        loss.backward()
        optimiser.step()
    return (time.perf_counter() - began) / TIMED


def ours(data: Data, seed: int) -> float:
    """Seconds per step, read from the run's own log."""
    run = fit(
        "vae",
        Splits(data, data, data),
        steps=WARM + TIMED,
        batch_size=BATCH,
        seed=seed,
        validate_every=0,
        log_every=WARM,
        progress=True,
    )
    seconds = {row["step"]: row["seconds"] for row in run.rows}
    return (seconds[WARM + TIMED] - seconds[WARM]) / TIMED


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.data_root:
        from pyro_models.datasets import load

        images = load("mnist", root=given.data_root).train.fields["x"]
    else:
        images = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8)
    data = Data({"x": images}, "mnist")
    pairs = [(hand_written(images), ours(data, seed)) for seed in range(given.repeats)]
    ratios = [mine / theirs for theirs, mine in pairs]
    result = {
        "hand_written_ms": round(1000 * statistics.median(a for a, _ in pairs), 3),
        "fit_ms": round(1000 * statistics.median(b for _, b in pairs), 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "threads": given.threads,
        "repeats": given.repeats,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
