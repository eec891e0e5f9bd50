"""Pictures of latent flows: strips, predictions, flows that take turns and act together, switches over time, fields in
the plane; and animated GIFs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from evaluation import flows as scores
from evaluation.answers import Answers
from evaluation.figures import figure, is_image
from evaluation.figures.canvas import COLOURS, blank, plain_axes, show, tile
from pyro_models.story import Activates, Drives, EncodesFrames, MovesCodes, Reconstructs, Transports

#: sequences shown in a strip, in predictions and in the chart of switches
STRIPS, PREDICTED, CHARTED = 4, 6, 3
#: arrows per side of a vector field, and milliseconds a frame of an animation is shown
ARROWS, PAUSE = 15, 160
#: pixels that the pictures of an animation are enlarged to, about
HEIGHT = 128


def _has_images(answers: Answers) -> bool:
    return "frames" in answers.data and is_image(tuple(answers.data.shape("frames")[1:]))


@figure(
    "flow-strips",
    title="What each flow does",
    caption="A row per flow and first frame: the held-out frame on the left, carried along by one flow alone, 2 "
    "steps longer than in training. Beside this picture in the run's folder: flow-0.gif and so on, the same in motion.",
    needs=(Transports,),
    fields=("frames",),
)
def flow_strips(answers: Answers, run: Any) -> Any:
    if not _has_images(answers):
        return None
    frames = answers["frames"][:STRIPS]
    steps = frames.shape[1] + 1
    moved = traversal(answers, frames[:, 0], steps)
    if run is not None and run.path is not None:
        write_gifs(moved, run.file("figures"))
    flows = moved.shape[1]
    rows = torch.cat([frames[:, None, :1].expand(-1, flows, -1, -1, -1, -1), moved], 2)
    sheet = tile(rows.transpose(0, 1).flatten(0, 2), steps + 2)
    made, axes = blank(8, 8 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    for flow in range(flows):
        height = sheet.shape[0] / flows
        axes[0, 0].text(-3, (flow + 0.5) * height, f"flow {flow}", ha="right", va="center", fontsize=8)
    return made


@figure(
    "flow-predictions",
    title="Sequences foretold",
    caption="Upper row of each pair: a held-out sequence. Below: what the story makes of its first frame and the flows "
    "it is told or infers.",
    needs=(Transports, Reconstructs),
    fields=("frames",),
)
def flow_predictions(answers: Answers, run: Any) -> Any:
    if not _has_images(answers):
        return None
    some = Answers(answers.story, answers.data.take(slice(0, PREDICTED)), answers.seed)
    pairs = torch.stack([some["frames"], some.reconstructions], 1)
    sheet = tile(pairs.flatten(0, 2), pairs.shape[2])
    made, axes = blank(6, 6 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    return made


@figure(
    "flow-switching",
    title="Flows in turns and together",
    caption="A held-out frame on the left, carried along by flow A alone, by flow B alone, by A and half-way on by B, "
    "and by both at once.",
    needs=(Drives,),
    fields=("frames",),
)
def flow_switching(answers: Answers, run: Any) -> Any:
    story, flows = answers.story, getattr(answers.story, "flows", 1)
    if not _has_images(answers) or flows < 2:
        return None
    first = answers.data.batch(slice(0, 1))["frames"][:, 0].cpu()
    steps = answers.data.shape("frames")[0] - 1
    if steps < 2:
        return None
    late = torch.arange(steps) >= steps // 2
    controls = torch.zeros(4, steps, flows)
    controls[0, :, 0], controls[1, :, 1] = 1.0, 1.0
    controls[2, ~late, 0], controls[2, late, 1] = 1.0, 1.0
    controls[3, :, :2] = 1.0
    with torch.no_grad():
        driven = story.drive(first.expand(4, *first.shape[1:]).to(answers.device), controls.to(answers.device)).cpu()
    rows = torch.cat([first.expand(4, *first.shape[1:]).unsqueeze(1), driven], 1)
    sheet = tile(rows.flatten(0, 1), steps + 2)
    made, axes = blank(7, 7 * sheet.shape[0] / sheet.shape[1])
    show(axes[0, 0], sheet)
    for row, words in enumerate(("A: flow 0", "B: flow 1", "A, then B", "A and B")):
        axes[0, 0].text(-2, (row + 0.5) * sheet.shape[0] / 4, words, ha="right", va="center", fontsize=8)
    return made


@figure(
    "spikes-over-time",
    title="Which flows act when",
    caption="Bars: the true factors of held-out sequences. Dots: posterior probability of the flow matched with each.",
    needs=(Activates,),
    fields=("spikes",),
)
def spikes_over_time(answers: Answers, run: Any) -> Any:
    found = answers.per_datum(lambda *batch: answers.story.activity(*batch)[0])
    truth = answers["spikes"]
    if found.shape[-1] < truth.shape[-1]:
        return None
    flow_of = scores.match_flows(found, truth).flow_of
    count, (steps, factors) = min(CHARTED, len(truth)), truth.shape[1:]
    made, axes = blank(7, 0.5 + 0.35 * count * factors, count * factors, 1)
    for row, axis in enumerate(axes[:, 0]):
        sequence, k = divmod(row, factors)
        colour = COLOURS[k % len(COLOURS)]
        axis.bar(np.arange(1, steps + 1), truth[sequence, :, k], width=0.9, color=colour, alpha=0.3)
        axis.plot(np.arange(1, steps + 1), found[sequence, :, flow_of[k]], "o", color=colour, markersize=4)
        axis.set_ylim(-0.1, 1.1)
        axis.set_yticks([])
        word = answers.data.classes[k] if k < len(answers.data.classes) else f"factor {k}"
        axis.set_ylabel(word, rotation=0, ha="right", va="center", fontsize=8)
        axis.set_xticks([] if row < count * factors - 1 else np.arange(1, steps + 1))
        plain_axes(axis)
    return made


@figure(
    "vector-fields",
    title="The learned fields",
    caption="How far each flow carries a code of two numbers in its first step, over the region that the codes of the "
    "data visit.",
    needs=(EncodesFrames, MovesCodes),
    fields=("frames",),
)
def vector_fields(answers: Answers, run: Any) -> Any:
    story = answers.story
    if getattr(story, "latent", 2) != 2:
        return None  # without encoding every frame first
    points = answers.per_datum(lambda *batch: story.codes(batch[0])).flatten(0, 1)
    if points.shape[-1] != 2:
        return None
    low, high = points.quantile(0.02, 0), points.quantile(0.98, 0)
    across, up = (torch.linspace(float(low[i]), float(high[i]), ARROWS) for i in (0, 1))
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).reshape(-1, 2)
    with torch.no_grad():
        velocity = story.velocities(grid.to(answers.device)).cpu()
    flows = velocity.shape[1]
    made, axes = blank(2.6 * flows, 2.8, 1, flows)
    for flow, axis in enumerate(axes[0]):
        axis.quiver(*grid.T.numpy(), *velocity[:, flow].T.numpy(), color=COLOURS[flow % len(COLOURS)], angles="xy")
        axis.set_title(f"flow {flow}", fontsize=8)
        axis.set_aspect("equal")
        plain_axes(axis)
    return made


def traversal(answers: Answers, first: Tensor, steps: int) -> Tensor:
    """``[B, K, steps + 1, *frame]`` on the CPU."""
    with torch.no_grad():
        return answers.story.traverse(first.to(answers.device), steps).cpu()


def write_gifs(moved: Float[Tensor, "sequence flow time channel height width"], folder: str | Path) -> list[Path]:
    """``flow-0.gif``, ``flow-1.gif``, ...: what each flow makes of the first frames, side by side."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    beside = torch.cat(list(moved), -1)
    zoom = max(1, HEIGHT // moved.shape[-2])
    return [write_gif(frames, target / f"flow-{flow}.gif", zoom) for flow, frames in enumerate(beside)]


def write_gif(frames: Tensor, path: str | Path, zoom: int = 4) -> Path:
    """Images ``[time, channel, height, width]`` as an endless animation, there and back."""
    from PIL import Image

    there = frames.detach().cpu().clamp(0, 1).mul(255).round().byte()
    pictures = []
    for image in torch.cat([there, there.flip(0)[1:-1]]):
        pixels = image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
        array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
        pictures.append(Image.fromarray(array))
    target = Path(path)
    pictures[0].save(target, save_all=True, append_images=pictures[1:], duration=PAUSE, loop=0)
    return target
