"""Quizzes: what can be asked, what is refused, and that every quiz of the book can be answered without a script."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jupytext
import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the graph watches book/ for changes
from study_quiz import QuizError, parse_quiz  # noqa: E402

sys.dont_write_bytecode = writes_bytecode

PAGE = """# Page

```{quiz}
? Is *Dice* of `a` and `a` equal to one?
+ Yes :: Identity, by
  definition.
- No, never :: 2 × area / (area + area) is one.

? And without any overlap?
- One :: Nothing is shared.
- A half :: Nothing is shared.
+ Zero :: The numerator is zero.
```

```{quiz}
? Another quiz?
+ Yes :: Its buttons are its own.
- No :: It is.
```
"""


def build(folder: Path, page: str) -> str:
    """The article of one page, rendered as the book renders it but without its theme."""
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "index.md").write_text(page, encoding="utf-8")
    with docutils_namespace():
        app = Sphinx(
            folder / "source", None, folder / "html", folder / "trees", "html", status=None, warningiserror=True, freshenv=True,
            confoverrides={"extensions": ["myst_parser", "study_quiz"], "html_theme": "basic"},
        )  # fmt: skip
        app.build()
    return (folder / "html" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def quiz_markup(tmp_path_factory) -> str:
    page = BeautifulSoup(build(tmp_path_factory.mktemp("quiz"), PAGE), "html.parser")
    return "".join(str(quiz) for quiz in page.select(".quiz"))


def test_questions_options_and_reasons_are_read():
    first, second = parse_quiz(PAGE.splitlines()[3:12])
    assert first.text == "Is *Dice* of `a` and `a` equal to one?"
    assert [(option.text, option.right) for option in first.options] == [("Yes", True), ("No, never", False)]
    assert first.options[0].why == "Identity, by definition."
    assert [option.right for option in second.options] == [False, False, True]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([], "asks nothing"),
        (["+ yes :: because"], "before any question"),
        (["words"], "begins with 'words'"),
        (["? q", "+ yes", "- no :: why"], "says not why"),
        (["? q", "+ yes :: why"], "at least two options"),
        (["? q", "+ yes :: why", "+ no :: why"], "exactly one"),
        (["? q", "- yes :: why", "- no :: why"], "exactly one"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(lines, named):
    with pytest.raises(QuizError, match=re.escape(named)):
        parse_quiz(lines)


def test_a_malformed_quiz_stops_the_build(tmp_path):
    with pytest.raises(Exception, match="exactly one of them right"):
        build(tmp_path, "# Page\n\n```{quiz}\n? q\n- a :: b\n- c :: d\n```\n")


def test_without_a_script_the_answers_unfold(quiz_markup):
    quizzes = BeautifulSoup(quiz_markup, "html.parser").select(".quiz")
    questions = quizzes[0].select("fieldset")
    assert len(quizzes) == 2 and len(questions) == 2
    assert questions[0].legend.get_text() == "Is Dice of a and a equal to one?" and questions[0].legend.em.get_text() == "Dice"
    assert questions[0].details.get("open") is None
    assert [entry["class"] for entry in questions[1].select("details li")] == [["wrong"], ["wrong"], ["right"]]
    assert "The numerator is zero." in questions[1].select_one("li.right").get_text()
    names = [{button["name"] for button in box.select("input")} for box in BeautifulSoup(quiz_markup, "html.parser").select("fieldset")]
    assert all(len(name) == 1 for name in names) and len(set.union(*names)) == 3


CHAPTERS = sorted([*(ROOT / "notebooks").glob("*.md"), *(ROOT / "book" / "overviews").glob("*.md")])


def quizzes_of(file: Path) -> list[str]:
    return re.findall(r"^```\{quiz\}\n(.*?)^```$", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_chapter_ends_with_a_quiz_of_three_questions_or_four():
    with_quiz = {file.stem: [len(parse_quiz(quiz.splitlines())) for quiz in quizzes_of(file)] for file in CHAPTERS if quizzes_of(file)}
    # Chapters that run once for each network or writer have theirs on the overview.
    assert set(with_quiz) == {file.stem for file in CHAPTERS}
    assert all(counts in ([3], [4]) for counts in with_quiz.values()), with_quiz


def test_the_right_answer_has_no_fixed_place():
    places = [[option.right for option in question.options].index(True) for file in CHAPTERS for quiz in quizzes_of(file) for question in parse_quiz(quiz.splitlines())]
    assert max(places.count(place) for place in range(4)) <= 0.5 * len(places)


def test_every_chapter_has_exercises_whose_solutions_run_folded():
    found: dict[str, int] = {}
    for file in (ROOT / "notebooks").glob("*.md"):
        cells = jupytext.read(file).cells
        for before, cell in zip(cells, cells[1:]):
            if cell.cell_type != "code" or "hide-cell" not in cell.metadata.get("tags", []):
                continue
            asked = re.findall(r"^### Exercise (\d+): ", before.source, re.MULTILINE)
            prompt = cell.metadata["mystnb"]["code_prompt_show"]
            assert asked and prompt == f"Solution of exercise {asked[-1]}", f"{file.name}: {prompt} stands below no exercise of that number"
            found[file.stem[:2]] = found.get(file.stem[:2], 0) + 1
    assert set(found) == {f"0{number}" for number in range(1, 8)} and min(found.values()) >= 3
