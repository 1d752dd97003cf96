"""The documentation builds without a warning, its links lead somewhere, nothing is left out."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import sklearn_ssl
from sklearn_ssl import inspection, metrics, views

ROOT = Path(__file__).parents[1]
MADE = shutil.ignore_patterns("_build", "auto_examples", "generated")


class Page(HTMLParser):
    """The links of a page, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.add(value)


def broken_links(site):
    """Yield links of the pages in a folder to missing files or anchors, except external links."""
    site = site.resolve()
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert site / "index.html" in pages
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else None
            if not target.is_file() or (known and unquote(parts.fragment) not in known):
                yield path.name, link


@pytest.mark.slow
def test_pages_build_without_broken_links(tmp_path):
    pytest.importorskip("sphinx_gallery", reason='needs pip install ".[docs]"')
    for folder in ("docs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=MADE)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", "html"]
    command += ["-D", "plot_gallery=0", "docs", "html"]  # examples are run in test_examples.py
    subprocess.run(command, cwd=tmp_path, check=True)
    assert sorted(broken_links(tmp_path / "html")) == []


@pytest.mark.parametrize("module", [sklearn_ssl, inspection, metrics, views])
def test_the_reference_has_every_public_name(module):
    assert set(module.__all__) <= set((ROOT / "docs" / "api.rst").read_text().split())
