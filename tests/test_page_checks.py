"""The checks of built pages find what is planted in a page, and nothing in a sound one."""

from __future__ import annotations

import pytest
from browser import browser  # noqa: F401: the fixture
from page_checks import dead_links, faults_of, find_pages

SOUND = '<main><h1>Title</h1><p id="here"><a href="#here">words</a> <a href="two.html#there">two</a></p><img src="dot.svg" alt="a dot" width="20"></main>'
TWO = '<main><h1 id="there">Two</h1><a href="./index.html">back</a> <a href="https://doi.org/10.1000/1">elsewhere</a> <a href="mailto:a@b.example">mail</a></main>'
DOT = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><circle r="1"/></svg>'


def write_book(folder, body: str = SOUND):
    """Two pages and a picture; `body` is the first page's."""
    head = '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>t</title><link rel="icon" href="data:,"></head>'
    (folder / "_static").mkdir()
    (folder / "_static" / "macros.html").write_text('<a href="nowhere.html">part of a theme</a>', encoding="utf-8")
    (folder / "dot.svg").write_text(DOT, encoding="utf-8")
    for name, inside in (("index", body), ("two", TWO)):
        (folder / f"{name}.html").write_text(f"{head}<body>{inside}</body></html>", encoding="utf-8")
    return folder


def test_a_sound_book_has_no_fault(browser, tmp_path):  # noqa: F811
    book = write_book(tmp_path)
    assert dead_links(book) == []
    assert [faults_of(browser, page) for page in find_pages(book)] == [[], []]


PLANTED = {
    "wide": ('<div style="width: 900px">wide</div>', "360 px: wider than the window: <div style"),
    "wide inside a folded part": ("<details><summary>more</summary><div style='width: 900px'>wide</div></details>", "360 px: wider"),
    "no words": ('<img src="dot.svg" width="20">', "picture without words: <img"),
    "empty words": ('<img src="dot.svg" alt="" width="20">', "picture without words: <img"),
    "canvas": ("<canvas></canvas>", "picture without words: <canvas"),
    "no picture": ('<img src="lost.png" alt="lost" width="20">', "picture not found"),
    "an error": ("<script>undefined.x</script>", "console: TypeError"),
    "another host": ('<img src="http://127.0.0.1:9/dot.svg" alt="far">', "asks another host: http://127.0.0.1:9/dot.svg"),
    "a button without name": ("<button></button>", "axe button-name (critical, 1 x)"),
    "pale": ('<p style="color: #bbb; background: white">pale</p>', "axe color-contrast (serious, 1 x)"),
    "pale in the dark": ("<style>[data-theme=dark] p {color: #333; background: black}</style><p>dark</p>", "dark: axe color-contrast"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(browser, tmp_path, name):  # noqa: F811
    markup, expected = PLANTED[name]
    book = write_book(tmp_path, SOUND.replace("</main>", f"{markup}</main>"))
    assert any(expected in fault for fault in faults_of(browser, book / "index.html"))


def test_what_scrolls_in_its_own_box_is_not_too_wide(browser, tmp_path):  # noqa: F811
    box = '<div style="overflow-x: auto" tabindex="0"><div style="width: 900px">wide</div></div>'
    assert faults_of(browser, write_book(tmp_path, SOUND.replace("</main>", f"{box}</main>")) / "index.html") == []


@pytest.mark.parametrize("markup, expected", [
    ('<a href="three.html">x</a>', "index.html: three.html"),
    ('<a href="#nowhere">x</a>', "index.html: #nowhere (no such anchor)"),
    ('<a href="two.html#nowhere">x</a>', "index.html: two.html#nowhere (no such anchor)"),
    ('<img src="lost.png" alt="x">', "index.html: lost.png"),
    ('<a href="../outside.html">x</a>', "index.html: ../outside.html"),
])  # fmt: skip
def test_a_dead_link_is_named_with_its_page(tmp_path, markup, expected):
    (tmp_path / "outside.html").write_text("not part of the book", encoding="utf-8")
    (tmp_path / "book").mkdir()
    assert dead_links(write_book(tmp_path / "book", SOUND.replace("</main>", f"{markup}</main>"))) == [expected]
