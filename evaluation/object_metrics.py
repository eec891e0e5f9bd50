"""What ``evaluate`` says of stories that count and locate objects, with trivial answers beside each number."""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation import objects
from evaluation.answers import Answers
from evaluation.metric import Score, metric
from pyro_models.story import Counts, Located, Locates

#: an object is found when its box overlaps this much (intersection over union)
OVERLAP = 0.5
CITATION = (
    "@inproceedings{eslami2016air, title={Attend, Infer, Repeat: Fast Scene Understanding with Generative Models}, "
    "author={Eslami, S. M. Ali and others}, booktitle={NeurIPS}, year={2016}}"
)


@metric("count", needs=(Counts,), fields=("count",), citation=CITATION, summary="share of images counted right")
def count(answers: Answers) -> dict[str, Score]:
    """How often the most probable number of objects is the true one."""
    true, found = answers["count"], answers.per_datum(answers.story.count)
    most = int(true.mode().values)
    share = {f"always {most}": objects.count_accuracy(true, torch.full_like(true, most)), "perfect": 1.0}
    return {"count_accuracy": Score(objects.count_accuracy(true, found), share, "argmax of q(n | x)")}


@metric(
    "objects", needs=(Locates,), fields=("boxes", "count", "segments"), citation=CITATION,
    summary="boxes (F1, IoU), pixels (ARI) and classes of the objects found",
)  # fmt: skip
def located(answers: Answers) -> dict[str, Score]:
    """Boxes matched one-to-one within each image, pixels of the true objects, classes after one global mapping."""
    boxes, segments = answers["boxes"], answers["segments"]
    present = torch.arange(boxes.shape[1]) < answers["count"][:, None]
    found = locate(answers)
    matches = objects.match(boxes, present, found.boxes, found.present)
    whole = torch.tensor([0.0, 0.0, *segments.shape[:0:-1]]).expand(len(boxes), 1, 4)
    trivial = objects.match(boxes, present, whole, torch.ones(len(boxes), 1))
    rule = f"Hungarian matching in each image, found when IoU >= {OVERLAP}"
    scores = {
        "f1_iou50": Score(matches.f1(OVERLAP), {"one box, the whole image": trivial.f1(OVERLAP), "perfect": 1.0}, rule),
        "matched_iou": Score(float(matches.iou.mean()) if len(matches.iou) else 0.0, {"perfect": 1.0}, "mean of pairs"),
    }
    if bool((answers["count"] > 1).any()):
        scores["pixel_ari"] = Score(
            objects.pixel_ari(segments, found.segments),
            {"chance": 0.0, "perfect": 1.0},
            "pixels of true objects, scenes of two or more",
        )
    if found.classes is not None and "classes" in answers.data:
        classes = answers["classes"]
        share = torch.bincount(classes[present]).max() / present.sum()
        scores["class_accuracy"] = Score(
            objects.object_class_accuracy(matches, classes, found.classes, OVERLAP),
            {"most frequent class": float(share), "perfect": 1.0},
            "of all true objects; one global Hungarian mapping of prototypes to classes",
        )
    return scores


def locate(answers: Answers) -> Located:
    """``story.locate`` over all data in chunks, on the CPU."""
    parts: list[Located] = []
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(answers.seed)
        for batch in answers.batches():
            parts.append(answers.story.locate(*batch))

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name).cpu() for part in parts])

    classes = joined("classes") if parts[0].classes is not None else None
    return Located(joined("boxes"), joined("present"), joined("segments"), classes)
