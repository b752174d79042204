"""The book's scripts in a real browser: real clicks and keys on small pages made of what the notebooks and directives emit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Browser, browser  # noqa: F401: the fixture
from test_percentile_slider import markup, study  # noqa: F401: fixtures
from test_quiz import quiz_markup  # noqa: F401: fixture

from xai import plots
from xai.atlas_viewer import PlacedCase, View, as_page_data
from xai.interactive import InteractiveFigure
from xai.paths import PLANES
from xai.tables import show

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
    page.wait("document.querySelector('.percentile-curve .line').hasAttribute('d')")
    assert page.evaluate("document.querySelector('.percentile-curve .line').getAttribute('d').split('L').length") == 30, "percentiles 70 to 99"


def test_method_slice_and_clean_up_change_what_is_shown(opened, markup):  # noqa: F811
    page = opened(markup)
    seen = [page.evaluate(PICTURE)]
    for label in (1, 2):  # slice, method
        page.focus(f".percentile-controls label:nth-of-type({label}) select")
        page.press("ArrowDown")
        seen.append(page.evaluate(PICTURE))
    assert "90" in page.text(".percentile-controls button"), "the other method's own percentile"
    page.focus("input[type=range]")
    page.press("Home")
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


# ---------------------------------------------------------------- figures


def figure(width: int) -> str:
    drawing = f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='200'><rect width='100%' height='100%' fill='%2356b4e9'/></svg>"
    return f'<figure class="align-default"><img alt="a chart" src="data:image/svg+xml,{drawing}"><figcaption>{"What it shows. " * 20}</figcaption></figure>'


def test_a_wide_figure_scrolls_in_its_own_box_on_a_phone(opened):
    page = opened(figure(690), width=360)
    page.wait("document.querySelector('.figure-box').tabIndex === 0")
    assert fits(page) and page.evaluate("document.querySelector('img').getBoundingClientRect().width") == 608
    assert page.evaluate("document.querySelector('figcaption').getBoundingClientRect().right <= window.innerWidth"), "its caption stays where it is"
    assert page.evaluate("document.querySelector('.figure-box').classList.contains('more')")
    page.focus(".figure-box")
    page.press("ArrowRight", times=12)
    page.wait("!document.querySelector('.figure-box').classList.contains('more')")


@pytest.mark.parametrize(("drawn", "window"), [(690, 1440), (300, 360)])
def test_a_figure_that_fits_is_left_alone(opened, drawn, window):
    page = opened(figure(drawn), width=window)
    page.wait("document.querySelector('img').complete")
    assert page.evaluate("document.querySelector('img').getBoundingClientRect().width") == drawn and fits(page)
    assert page.evaluate("document.querySelector('.figure-box').getAttribute('role')") is None


# ---------------------------------------------------------------- quizzes


def test_a_picked_answer_is_checked_and_explained(opened, quiz_markup):  # noqa: F811
    page = opened(quiz_markup)
    page.click(".quiz-question button", 0)
    assert page.text(".quiz-said") == "Pick an answer first."
    page.click(".quiz-option", 1)
    page.click(".quiz-question button", 0)
    assert page.text(".quiz-said") == "Not this one. 2 × area / (area + area) is one."
    page.click(".quiz-option", 0)
    assert page.text(".quiz-said") == "", "another pick withdraws the verdict"
    page.click(".quiz-question button", 0)
    assert page.text(".quiz-said") == "Right. Identity, by definition."
    assert page.evaluate("[...document.querySelectorAll('.quiz-option.right')].map(o => o.textContent)") == ["Yes"]


def test_a_quiz_can_be_taken_by_keys_alone_and_counts(opened, quiz_markup):  # noqa: F811
    page = opened(quiz_markup)
    page.focus(".quiz-option input")
    page.press(" ")
    page.press("Tab")
    page.press("Enter")
    assert page.text(".quiz-said").startswith("Right.") and page.text(".quiz-total") == ""
    page.focus(".quiz-question:nth-of-type(2) input")
    page.press(" ")
    page.press("ArrowDown")
    page.press("Tab")
    page.press(" ")
    assert page.text(".quiz-total") == "1 of 2 right."
    page.click(".quiz-answer summary", 1)
    assert page.evaluate("document.querySelectorAll('.quiz-answer')[1].open")


# ---------------------------------------------------------------- tables

SCORES = pd.DataFrame({
    "architecture": ["vgg16", "resnet50v2", "resnet50", "xception"], "parameters": [9_000, 1_200_000, 75_000, 300],
    "accuracy": [0.9, 0.85, np.nan, 0.875], "accuracy_low": [0.1, 0.8, np.nan, 0.7], "accuracy_high": [0.95, 0.9, np.nan, 0.9],
})  # fmt: skip
FIRST_COLUMN = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent)"
SORTS = "[...document.querySelectorAll('th')].map(header => header.getAttribute('aria-sort'))"


def test_a_click_sorts_numbers_as_numbers_and_a_third_restores(opened):
    page = opened(show(SCORES)._repr_html_())
    before = page.evaluate(FIRST_COLUMN)
    page.click("th button", 1)
    assert page.evaluate(FIRST_COLUMN) == ["Xception", "VGG16", "ResNet50", "ResNet50V2"]
    assert page.evaluate(SORTS) == ["none", "ascending", "none"]
    page.click("th button", 2)
    assert page.evaluate(FIRST_COLUMN) == ["ResNet50V2", "Xception", "VGG16", "ResNet50"], "by value, not by interval; missing last"
    page.click("th button", 2)
    assert page.evaluate(FIRST_COLUMN) == ["VGG16", "Xception", "ResNet50V2", "ResNet50"], "missing stays last"
    page.click("th button", 2)
    assert page.evaluate(FIRST_COLUMN) == before and page.evaluate(SORTS) == ["none"] * 3


def test_a_table_sorts_by_keys_and_a_short_one_stays_as_it_is(opened):
    page = opened(show(SCORES)._repr_html_() + show(SCORES.head(1))._repr_html_())
    page.focus("th button")
    page.press("Enter")
    assert page.evaluate("[...document.querySelectorAll('table')[0].tBodies[0].rows].map(row => row.cells[0].textContent)") == ["ResNet50", "ResNet50V2", "VGG16", "Xception"]
    assert page.evaluate("document.querySelectorAll('table')[1].querySelectorAll('button').length") == 0


def test_a_table_says_that_columns_go_on_until_its_end_is_seen(opened):
    wide = pd.DataFrame({f"measure number {column}": [0.1, 0.2] for column in range(30)})
    page = opened(show(wide)._repr_html_() + show(SCORES)._repr_html_(), width=1440)
    more = "[...document.querySelectorAll('.study-table')].map(box => box.classList.contains('more'))"
    page.wait(f"{more}[0]")
    assert page.evaluate(more) == [True, False]
    page.evaluate("document.querySelector('.study-table').scrollLeft = 1e6")
    page.wait(f"!{more}[0]")


# ---------------------------------------------------------------- atlas viewer


def placed(name: str, heights: list[float]) -> PlacedCase:
    """An axial slice on a grey template of 40 x 30 pixels, its candidates at some rows of the other views."""
    lines = [np.array([[0.0, height], [39.0, height]]) for height in heights]
    square = np.array([[10.0, 10], [20, 10], [20, 20], [10, 20], [10, 10]])
    views = [
        View(plane, 4.0, np.full((30, 40), 90, np.uint8), [] if plane == "axial" else lines, np.empty((0, 2)) if plane == "axial" else np.concatenate(lines)[:2].repeat(2, axis=0),
             [square] if plane == "axial" else [], np.array([15.0, heights[0]]))
        for plane in PLANES
    ]  # fmt: skip
    return PlacedCase(name, "axial", -np.array(heights), np.full(len(heights), 1 / len(heights)), 2.0, views)


@pytest.fixture(scope="module")
def viewer_markup() -> str:
    cases = [placed("glioma, slice a", [10, 14]), placed("pituitary, slice b", [20, 22, 24])]
    return InteractiveFigure(kind="atlas", picture=plots.plot_places(cases), alt="two slices", caption="caption", data=as_page_data(cases)).as_html()


CHOSEN = "document.querySelectorAll('.atlas-view path.chosen')[0].getAttribute('d')"


def test_the_viewer_switches_slice_and_candidate_by_keys(opened, viewer_markup):
    page = opened(viewer_markup)
    assert page.text(".atlas-said") == "Candidate 1 of 2: mask at z = -10.0 mm, weight 50 %. Standard deviation over all candidates: 2.0 mm."
    assert page.evaluate("[...document.querySelectorAll('.atlas-view')].map(v => v.querySelectorAll('path.other, path.chosen').length)") == [0, 2, 2]
    first = page.evaluate(CHOSEN)
    page.focus("input[type=range]")
    page.press("ArrowRight")
    assert page.text(".atlas-said").startswith("Candidate 2 of 2: mask at z = -14.0 mm") and page.evaluate(CHOSEN) != first
    page.focus("select")
    page.press("ArrowDown")
    assert page.text(".atlas-said").startswith("Candidate 1 of 3: mask at z = -20.0 mm")
    page.focus("input[type=range]")
    page.press("End")
    assert page.text(".atlas-said").startswith("Candidate 3 of 3")
    assert page.evaluate("document.querySelector('image').getAttribute('href').startsWith('data:image/png')")


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (1440, 3)])
def test_the_planes_stand_side_by_side_where_there_is_room(opened, viewer_markup, width, columns):
    page = opened(viewer_markup, width=width)
    assert fits(page)
    assert page.evaluate("new Set([...document.querySelectorAll('.atlas-view')].map(v => Math.round(v.getBoundingClientRect().x))).size") == columns
