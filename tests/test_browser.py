"""The book's scripts in a real browser: real clicks and keys on small pages made of what the notebooks and directives emit."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser, browser  # noqa: F401: the fixture
from test_percentile_slider import markup, study  # noqa: F401: fixtures

STATIC = Path(__file__).parents[1] / "book" / "_static"


def write_page(folder: Path, body: str, *, scripts: bool = True) -> Path:
    """A page with the book's own styles and scripts around `body`."""
    loaded = "".join(f'<link rel="stylesheet" href="{file.as_uri()}">' for file in sorted(STATIC.glob("*.css")))
    loaded += "".join(f'<script src="{file.as_uri()}"></script>' for file in sorted(STATIC.glob("*.js")) if scripts)
    page = folder / "page.html"
    page.write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>test</title><link rel="icon" href="data:,">{loaded}</head><body style="margin: 8px"><article class="bd-article">{body}</article></body></html>',
        encoding="utf-8",
    )
    return page


@pytest.fixture
def opened(browser: Browser, tmp_path):  # noqa: F811
    """Open a page made of some markup; afterwards nothing may have been logged as an error or asked of another host."""

    def open_page(body: str, **options) -> Browser:
        browser.open(write_page(tmp_path, body), **options)
        return browser

    yield open_page
    assert browser.errors == [] and browser.foreign_requests() == []


def fits(browser: Browser) -> bool:  # noqa: F811
    return browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# ---------------------------------------------------------------- percentile slider

NUMBERS = "Object.fromEntries([...document.querySelectorAll('.percentile-numbers div')].map(d => [d.children[0].textContent, d.children[1].textContent]))"
PICTURE = "document.querySelector('.percentile-picture canvas').toDataURL()"


def test_keys_on_the_slider_move_mask_and_numbers_together(opened, markup):  # noqa: F811
    page = opened(markup)
    before, picture = page.evaluate(NUMBERS), page.evaluate(PICTURE)
    assert before["Percentile"] == "95.0", "it starts where validation left it"
    page.focus("input[type=range]")
    page.press("ArrowLeft", times=20)
    after = page.evaluate(NUMBERS)
    assert after["Percentile"] == "85.0" and int(after["Pixels"]) > int(before["Pixels"]) and after["Dice"] != before["Dice"]
    assert page.evaluate(PICTURE) != picture
    words = page.evaluate("document.querySelector('input[type=range]').getAttribute('aria-valuetext')")
    assert words == f"percentile 85, Dice {float(after['Dice']):.2f}"
    page.click(".percentile-controls button")
    assert page.evaluate(NUMBERS) == before


def test_method_slice_and_clean_up_change_what_is_shown(opened, markup):  # noqa: F811
    page = opened(markup)
    seen = [page.evaluate(PICTURE)]
    for label in (1, 2):  # slice, method
        page.focus(f".percentile-controls label:nth-of-type({label}) select")
        page.press("ArrowDown")
        seen.append(page.evaluate(PICTURE))
    assert "90" in page.text(".percentile-controls button"), "the other method's own percentile"
    pixels = page.evaluate(NUMBERS)["Pixels"]
    page.click(".checks input", 1)
    assert int(page.evaluate(NUMBERS)["Pixels"]) > int(pixels), "without clean-up all components stay"
    page.click(".checks input", 0)
    seen.append(page.evaluate(PICTURE))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("width", [360, 1440])
def test_the_slider_fits_and_its_controls_have_names(opened, markup, width):  # noqa: F811
    page = opened(markup, width=width)
    assert fits(page)
    assert page.evaluate("[...document.querySelectorAll('select, input')].every(e => e.labels.length === 1 && e.labels[0].textContent.trim())")
    assert page.evaluate("document.querySelector('.percentile-picture canvas').getAttribute('aria-label')").count("Dice") == 1


def test_without_scripts_the_picture_is_seen(browser, tmp_path, markup):  # noqa: F811
    browser.open(write_page(tmp_path, markup, scripts=False))
    assert browser.evaluate("document.querySelector('figure img').naturalWidth") > 500
    assert browser.evaluate("document.querySelector('canvas')") is None
