"""Reports and comparisons in a real browser: no console error, every image loads, prints to PDF."""

from __future__ import annotations

import pytest

from evaluation import evaluate, report
from evaluation.compare import compare
from inference import fit
from tests.browser import find_browser, look, print_to_pdf

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no browser is installed: `apt-get install chromium` (or Google Chrome) to run these tests",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of each of two estimators, one of them reported, and their comparison."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        fit("mixture-vae", "digits", estimator, steps=12, run_dir=folder / estimator, log_every=2, validate_every=4,
            story_options={"clusters": 3, "latent": 2, "hidden": [8]})
        for estimator in ("exact", "rloo")
    ]  # fmt: skip
    for run in runs:
        evaluate(run, metrics=["clustering", "reconstruction"], limit=100)
    report(runs[0])
    compare(folder).write(folder / "comparison")
    return folder


@pytest.mark.parametrize("name", ["exact/report.html", "comparison/comparison.html"])
def test_shows_without_errors_and_prints(folder, tmp_path, name):
    page = folder / name
    for width in (1100, 420):
        seen = look(page, width)
        assert seen.console == []
        assert seen.broken == []
        assert seen.images == page.read_text().count("<img ") >= 3
        assert not seen.wide, "wide tables scroll inside their box, the page does not"
    assert 2 <= print_to_pdf(page, tmp_path / "page.pdf") <= 12


def test_a_broken_page_would_be_noticed(folder, tmp_path):
    page = (folder / "exact/report.html").read_text()
    first = page.index("data:image/png;base64,") + len("data:image/png;base64,")
    broken = page[:first] + "AAAA" + page[first + 400 :]
    (tmp_path / "page.html").write_text(broken.replace("</body>", "<script>nothing.there()</script></body>"))
    seen = look(tmp_path / "page.html")
    assert seen.broken == ["Reconstructions"]
    assert any("nothing is not defined" in line for line in seen.console)
