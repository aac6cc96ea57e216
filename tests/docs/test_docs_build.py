"""The site is built from the pages without one warning, holds all of them, and needs no network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# What a browser would fetch by itself; a link that a reader follows may lead anywhere.
FETCHED = re.compile(
    r"<(?:script|img|source|iframe)\b[^>]*\ssrc=\"([^\"]+)\""
    r"|<link\b(?=[^>]*\brel=\"(?:stylesheet|preload|icon|modulepreload)\")[^>]*\shref=\"([^\"]+)\""
)


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does, but for the folders."""
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q"]
    command += ["-d", str(site.parent / "doctrees"), str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = build(DOCS, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")}
    assert len(pages) > 80
    assert {page for page in pages if not (site / page).is_file()} == set()


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = {
        found[1] or found[2]
        for page in site.rglob("*.html")
        for found in FETCHED.finditer(page.read_text())
    }
    assert any(each.endswith(".css?v=" + each.rpartition("=")[2]) for each in fetched)
    assert {each for each in fetched if re.match(r"(?:[a-z]+:)?//", each)} == set()
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^)'\"]+)", styles) == []


def test_formulae_are_mathml(site: Path) -> None:
    text = (site / "physics.html").read_text()
    assert text.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') > 5
    assert "$$" not in text


def test_modules_are_documented(site: Path) -> None:
    for page, name in (
        ("wire", "bellrelay.wire.frames.encode_frame"),
        ("physics", "bellrelay.physics.gains.gains"),
        ("distill", "bellrelay.distill.amplify.toeplitz_hash"),
        ("gateware", "bellrelay_gateware.dead_time.DeadTime"),
        ("plugins", "bellrelay.endpoint.sender_plugin.Sender.set_delay_ps"),
    ):
        text = (site / f"reference/api/{page}.html").read_text()
        assert f'id="{name}"' in text


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("[there](nowhere.md)\n", "nowhere"),
        ("[there](index.md#nowhere)\n", "nowhere"),
        ("$$\n\\frac{1}\n$$\n", "mfrac is incomplete"),
        ("So $\\nosuch{x}$.\n", "\\nosuch is not known"),
        ("So $\\left( x$.\n", "formula cannot be shown"),
        ("```json\n@@\n```\n", "json"),
        ("```{automodules} bellrelay.settings\n:only: nothing\n```\n", "no module nothing"),
        ("### A step left out\n", "header"),
    ],
)
def test_a_fault_of_a_page_is_told(tmp_path: Path, page: str, complaint: str) -> None:
    shutil.copytree(DOCS / "_sphinx", tmp_path / "docs/_sphinx")
    shutil.copy(DOCS / "conf.py", tmp_path / "docs/conf.py")
    (tmp_path / "docs/index.md").write_text(f"# Title\n\n{page}")
    built = build(tmp_path / "docs", tmp_path / "site")
    assert built.returncode != 0
    assert complaint in built.stderr
