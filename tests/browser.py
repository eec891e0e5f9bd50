"""A real headless browser for the pages we write: what it logs, what it shows, what it prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
#: put into a copy of the page: looks at all images and leaves what it finds in the title
LOOK = """<script>
addEventListener("load", () => {  // the event waits for all images, and a broken one has no size
  const images = [...document.images];
  const broken = images.filter(image => !image.complete || image.naturalWidth === 0).map(image => image.alt);
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.title = JSON.stringify({images: images.length, broken, wide});
});
</script>"""


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass(frozen=True)
class Seen:
    """``console``: lines the page logged; ``images``: how many; ``broken``: alt texts; ``wide``: scrolls sideways."""

    console: list[str]
    images: int
    broken: list[str]
    wide: bool


def look(page: Path, width: int = 1100) -> Seen:
    """Opens a page and reports."""
    with tempfile.TemporaryDirectory() as profile:
        copy = Path(profile) / "page.html"
        copy.write_text(page.read_text().replace("</body>", f"{LOOK}</body>"))
        done = _run(profile, f"--window-size={width},1000", "--enable-logging=stderr", "--dump-dom", copy.as_uri())
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert found, f"the page never finished loading: {done.stderr[-500:]}"
    told = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(console, told["images"], told["broken"], told["wide"])


def print_to_pdf(page: Path, pdf: Path) -> int:
    """Prints a page; returns the number of sheets."""
    with tempfile.TemporaryDirectory() as profile:
        _run(profile, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    return len(re.findall(rb"/Type\s*/Page\b", content))


def _run(profile: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    browser = find_browser()
    assert browser is not None
    command = [browser, *FLAGS, f"--user-data-dir={profile}/user", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
