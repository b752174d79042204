"""How much does a page of the book load, and how soon can it be used? Read in Chromium from a server on this machine, nothing cached.

    python benchmarks/book_pages.py book/_build/html

Prints, for each page, MB received, and milliseconds from the start of navigation until it has loaded and until it can be used: sliders, viewers,
quizzes and sortable tables are there, the browser has drawn a frame and is idle. Beside them the milliseconds that all processes of the browser
computed meanwhile, which a busy machine leaves as they are. The median of some rounds. Exit status 1 if a page is over a limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import psutil

sys.path.append(str(Path(__file__).parents[1] / "tests"))

PAGE_MB, BOOK_MB, SECONDS = 3.0, 60.0, 2.0
READY = """
const unready = () =>
  [...document.querySelectorAll("figure.interactive")].some((figure) => !figure.querySelector("input, select"))
  || [...document.querySelectorAll(".percentile-curve .line")].some((line) => !line.hasAttribute("d"))
  || [...document.querySelectorAll(".quiz-question")].some((question) => !question.querySelector("button"))
  || [...document.querySelectorAll(".study-table table")].some((table) => table.tBodies[0].rows.length > 1 && !table.querySelector("button"));
window.usable = new Promise((resolve) => addEventListener("load", () => {
  const look = () => (unready() ? setTimeout(look, 10) : requestAnimationFrame(() => setTimeout(() => resolve(performance.now()))));
  look();
}));
"""


class Quiet(SimpleHTTPRequestHandler):
    """A folder over HTTP, without a line for each file."""

    def log_message(self, *arguments: object) -> None:
        pass


def measure(browser, address: str) -> tuple[float, float, float, float]:
    """MB received, ms until the page has loaded, ms until it can be used, ms computed for that."""
    before = computed(browser.process.pid)
    browser.open(address, width=1440)
    usable = browser.evaluate("window.usable")
    after = computed(browser.process.pid)
    return browser.received / 1e6, browser.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"), usable, 1000 * (after - before)


def computed(process: int) -> float:
    """Seconds that a process and those it started have computed."""
    parent = psutil.Process(process)
    return sum(sum(each.cpu_times()[:2]) for each in (parent, *parent.children(recursive=True)))


def main() -> int:
    """Measure every page of a built book."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path, help="folder of a built book, such as book/_build/html")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="measure pages whose path holds this")
    options = parser.parse_args()
    from browser import CHROMIUM, Browser
    from page_checks import find_pages

    if CHROMIUM is None:
        sys.exit("error: no Chromium on this machine; install it (Debian: apt install chromium).")
    pages = [page.relative_to(options.html) for page in find_pages(options.html) if options.only in str(page)]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=options.html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    over = 0
    print(f"{'page':45}{'MB':>7}{'loaded ms':>11}{'usable ms':>11}{'computed ms':>13}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder))
        browser.call("Network.setCacheDisabled", cacheDisabled=True)
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=READY)
        for page in pages:
            rounds = [measure(browser, f"http://127.0.0.1:{server.server_port}/{page.as_posix()}") for _ in range(options.rounds)]
            size, loaded, usable, work = map(median, zip(*rounds))
            broken = size > PAGE_MB or usable > 1000 * SECONDS
            over += broken
            print(f"{page.as_posix():45}{size:7.2f}{loaded:11.0f}{usable:11.0f}{work:13.0f}{'  over the limit' if broken else ''}", flush=True)
        browser.close()
    server.shutdown()
    whole = sum(file.stat().st_size for file in options.html.rglob("*") if file.is_file()) / 1e6
    print(f"{len(pages)} pages, {over} over {PAGE_MB:.0f} MB or {SECONDS:.0f} s; the whole book {whole:.1f} MB, limit {BOOK_MB:.0f} MB")
    return int(over > 0 or whole > BOOK_MB)


if __name__ == "__main__":
    raise SystemExit(main())
