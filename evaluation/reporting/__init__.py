"""One self-contained HTML page per run: pictures first, then numbers, configuration, citation and environment."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import yaml

from evaluation.answers import Answers
from evaluation.cite import cite
from evaluation.figures import draw
from evaluation.measure import choose_split, evaluate
from inference.checkpoint import write_atomically
from inference.run import Run
from pyro_models.datasets.data import Data, Splits

#: data behind the pictures and tables of the page
PICTURED = 2000
#: metrics shown large at the top, when they were computed, with their names in words
HEADLINE = {
    "accuracy": "clustering accuracy",
    "purity": "purity",
    "nmi": "mutual information (NMI)",
    "elbo": "ELBO, nats per datum",
    "squared_error": "squared error",
}


def report(run: Run, data: Data | Splits | None = None, *, split: str = "test") -> Path:
    """Writes ``report.html`` and ``figures/*.png`` into the run's folder and returns the page's path.

    Runs ``evaluate`` first when the run has no metrics yet.
    """
    page = run.file("report.html")
    data = run.data() if data is None else data
    if not run.metrics:
        evaluate(run, data, split=split)
    answers = Answers(run.story, choose_split(data, split).take(slice(0, PICTURED)))
    folder = run.file("figures")
    folder.mkdir(exist_ok=True)
    pictures = []
    for maker, picture in draw(answers, run):
        png = png_bytes(picture)
        (folder / f"{maker.name}.png").write_bytes(png)
        pictures.append(picture_block(maker.title, maker.caption, png))
    config = {key: value for key, value in run.config.items() if key != "environment"}
    text = render(
        title=f"{config['story']['name']} on {config['data']['name']}",
        lead=f"estimator {config['estimator']['name']}, seed {config['training']['seed']}, {run.step} steps, "
        f"measured on {run.metrics['n']} data of the {run.metrics['split']} split",
        notes=[],
        headline=[
            {"name": words, "value": number(run.metrics["metrics"][key])}
            for key, words in HEADLINE.items()
            if key in run.metrics["metrics"]
        ],
        pictures=pictures,
        tables=[metrics_table(run.metrics)],
        blocks=[
            {"title": "Configuration", "text": yaml.safe_dump(config, sort_keys=False)},
            {
                "title": "To cite",
                "text": cite(config["story"]["name"], config["estimator"]["name"], *_metric_names(run)),
            },
            {
                "title": "Environment of the training",
                "text": yaml.safe_dump(run.config.get("environment", {}), sort_keys=False),
            },
        ],
    )
    write_atomically(page, lambda temporary: temporary.write_text(text))
    return page


def _metric_names(run: Run) -> list[str]:
    """The registered metrics behind the run's numbers."""
    from evaluation.metric import METRICS

    return [name for name in dict.fromkeys(run.metrics.get("from", {}).values()) if name in METRICS]


def metrics_table(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics with what trivial and perfect predictors reach beside each, and the rule behind it."""
    arrows = {"higher": "↑", "lower": "↓", "neither": ""}
    rows, said = [], ""
    source = metrics.get("from", {})
    # Numbers of one metric stand together, and a rule that several share is said once.
    for key in sorted(metrics["metrics"], key=lambda key: (source.get(key, ""), metrics["rules"].get(key, ""))):
        value, rule = metrics["metrics"][key], metrics["rules"].get(key, "")
        beside = ", ".join(f"{name} {number(v)}" for name, v in metrics["baselines"].get(key, {}).items())
        name = f"{key} {arrows[metrics['better'].get(key, 'neither')]}"
        rows.append([name, number(value), beside, "" if rule == said else rule])
        said = rule
    return {
        "title": "Measurements",
        "caption": f"{metrics['n']} data, {metrics['split']} split. Arrows say which way is better.",
        "columns": ["metric", "value", "beside it", "rule"],
        "rows": rows,
    }


def number(value: float) -> str:
    """Four significant digits, no exponents for everyday sizes; a dash for what is not a number."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def png_bytes(picture: Any) -> bytes:
    """A matplotlib figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def picture_block(title: str, caption: str, png: bytes) -> dict[str, str]:
    return {"title": title, "caption": caption, "png": base64.b64encode(png).decode()}


def render(**content: Any) -> str:
    """The page template filled; everything escaped."""
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("report.html.jinja").read_text()
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(template).render(**content)
