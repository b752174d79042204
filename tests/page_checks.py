"""What every page of a built book has to keep, checked in a real browser and in the files.

    python tests/page_checks.py book/_build/html

prints each fault with its page and ends with exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from browser import CHROMIUM, Browser
from bs4 import BeautifulSoup

WIDTHS = (360, 1440)
GRAVE = ("serious", "critical")
PARTS_OF_THEMES = {"_static"}  # macros of the theme, no pages

# What unfolds fades in; half-way its colours are too pale.
STILL = "document.head.append(Object.assign(document.createElement('style'), {textContent: '* { animation: none !important; transition: none !important; }'}))"
OPEN_FOLDED = "[...document.querySelectorAll('details')].slice(0, 60).forEach(e => e.open = true)"  # the package reference has a thousand alike
# What sticks out of the window and is not inside a box that scrolls by itself.
WIDE = """(() => {
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= limit) return [];
  const scrolls = e => e && e !== document.body && (/auto|scroll|hidden|clip/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const wide = [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > limit + 1 && !scrolls(e.parentElement));
  return (wide.length ? wide : [document.body]).slice(-3).map(e => e.outerHTML.slice(0, 90));
})()"""
# A picture counts when it says what it shows; one that is only decoration says so by an empty alt and role.
MUTE = """[...document.querySelectorAll('img, svg[role=img], canvas, [role=img]')].filter(e =>
  !(e.getAttribute('alt') || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || (e.tagName === 'svg' && e.querySelector('title'))
    || e.closest('[aria-hidden=true]') || e.getAttribute('role') === 'presentation')).map(e => e.outerHTML.slice(0, 90))"""
BROKEN = "[...document.images].filter(e => e.complete && e.naturalWidth === 0 && e.getClientRects().length).map(e => e.src.slice(0, 90))"


@cache
def axe_source() -> str:
    """The script of axe-core, from the package that carries it; the package itself needs Playwright and is not imported."""
    package = find_spec("axe_playwright_python")
    assert package is not None, "axe-playwright-python is not installed; it is among the test dependencies"
    return (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def grave_violations(browser: Browser, *rules: str) -> list[str]:
    """Serious and critical violations of axe-core on the open page, one line each; `rules` names those to run, else all."""
    if browser.evaluate("typeof axe") == "undefined":
        browser.evaluate(axe_source() + "; 0")
    options = {"resultTypes": ["violations"], "elementRef": False} | ({"runOnly": list(rules)} if rules else {})
    found = json.loads(browser.evaluate(f"axe.run(document, {json.dumps(options)}).then(r => JSON.stringify(r.violations))"))
    return [
        f"axe {each['id']} ({each['impact']}, {len(each['nodes'])} x): {each['help']}: {each['nodes'][0]['html'][:140]}; {says(each['nodes'][0])}"
        for each in found if each["impact"] in GRAVE
    ]  # fmt: skip


def says(node: dict) -> str:
    """Why axe-core refuses one element."""
    return next((check["message"] for kind in ("any", "all", "none") for check in node[kind]), "")


def faults_of(browser: Browser, page: Path) -> list[str]:
    """What is wrong with one page: errors logged, requests to other hosts, width, pictures without words, axe-core in both colour modes."""
    faults = []
    for width in WIDTHS:
        browser.open(page, width=width)
        browser.evaluate(STILL)
        browser.evaluate(OPEN_FOLDED)
        faults += [f"{width} px: wider than the window: {element}" for element in browser.evaluate(WIDE)]
        faults += [f"console: {error}" for error in browser.errors] + [f"asks another host: {url}" for url in browser.foreign_requests()]
    faults += [f"picture without words: {element}" for element in browser.evaluate(MUTE)]
    faults += [f"picture not found: {source}" for source in browser.evaluate(BROKEN)]
    browser.evaluate("document.documentElement.dataset.theme = 'light'")
    faults += grave_violations(browser)
    browser.evaluate("document.documentElement.dataset.theme = 'dark'")
    faults += [f"dark: {fault}" for fault in grave_violations(browser, "color-contrast")]
    return list(dict.fromkeys(faults))


def find_pages(html: Path) -> list[Path]:
    """The pages of a built book."""
    return [page for page in sorted(html.rglob("*.html")) if not PARTS_OF_THEMES & set(page.relative_to(html).parts)]


def dead_links(html: Path) -> list[str]:
    """Links of a built book to a file or an anchor of its own that is not there, as ``page: link``."""
    pages = {page: BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in find_pages(html)}
    anchors = {page: {tag.get(name) for tag in soup.find_all(True) for name in ("id", "name")} for page, soup in pages.items()}
    dead = []
    for page, soup in pages.items():
        for tag, name in ((tag, name) for tag in soup.find_all(True) for name in ("href", "src", "poster", "data", "xlink:href") if tag.get(name)):
            link = urlsplit(tag[name])
            if link.scheme or link.netloc:
                continue
            target = Path(os.path.normpath(page.parent / unquote(link.path))) if link.path else page
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(link.fragment)
            if not target.exists() or html.resolve() not in target.resolve().parents:
                dead.append(f"{page.relative_to(html)}: {tag[name]}")
            elif anchor and target in anchors and anchor not in anchors[target] and not re.match(r"top$", anchor):
                dead.append(f"{page.relative_to(html)}: {tag[name]} (no such anchor)")
    return dead


def main() -> int:
    """Check all pages of a built book."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path, help="folder of a built book, such as book/_build/html")
    parser.add_argument("--only", default="", help="check pages whose path this regular expression finds")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("error: no Chromium on this machine; install it (Debian: apt install chromium).")
    faults = dead_links(options.html)
    print(*faults, sep="\n", end="\n" if faults else "", flush=True)
    pages = sorted((page for page in find_pages(options.html) if re.search(options.only, page.as_posix())), key=lambda page: page.stat().st_size)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder))
        for page in pages:
            print(page.relative_to(options.html), file=sys.stderr, flush=True)
            found = [f"{page.relative_to(options.html)}: {fault}" for fault in faults_of(browser, page.resolve())]
            print(*found, sep="\n", end="\n" if found else "", flush=True)
            faults += found
        browser.close()
    print(f"{len(pages)} pages, {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
