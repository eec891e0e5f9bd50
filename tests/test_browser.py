"""Reports and comparisons in a real browser: no console error, every image loads, prints to PDF."""

from __future__ import annotations

import pytest

from evaluation import report
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
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = [
        fit("mixture-vae", "digits", estimator, steps=12, seed=seed, run_dir=folder / f"{estimator}-{seed}",
            log_every=2, validate_every=4, story_options={"clusters": 3, "latent": 2, "hidden": [8]})
        for estimator in ("exact", "rloo")
        for seed in (0, 1)
    ]  # fmt: skip
    for run in made:
        report(run)
    return folder


@pytest.fixture(scope="module")
def pages(runs, tmp_path_factory):
    return {
        "report": runs / "exact-0/report.html",
        "comparison": compare(runs).write(tmp_path_factory.mktemp("comparison")),
    }


@pytest.mark.parametrize("kind", ["report", "comparison"])
@pytest.mark.parametrize("width", [1100, 420])
def test_shows_without_errors(pages, kind, width):
    seen = look(pages[kind], width)
    assert seen.console == []
    assert seen.broken == []
    assert seen.images == pages[kind].read_text().count("<img ") >= 3
    assert not seen.wide, "wide tables scroll inside their box, the page does not"


@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_prints(pages, kind, tmp_path):
    assert 2 <= print_to_pdf(pages[kind], tmp_path / "page.pdf") <= 12


def test_a_broken_page_would_be_noticed(pages, tmp_path):
    page = pages["report"].read_text()
    first = page.index("data:image/png;base64,") + len("data:image/png;base64,")
    broken = page[:first] + "AAAA" + page[first + 400 :]
    (tmp_path / "page.html").write_text(broken.replace("</body>", "<script>nothing.there()</script></body>"))
    seen = look(tmp_path / "page.html")
    assert seen.broken == ["Reconstructions"]
    assert any("nothing is not defined" in line for line in seen.console)
