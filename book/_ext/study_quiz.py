"""Sphinx extension of the book: multiple-choice questions that need no server.

```{quiz}
? A question
- a wrong answer :: why it is wrong
+ the right answer :: why it is right
```

Longer texts go on in the next line; each text may hold inline Markdown. Without a script the answers unfold; with one
(``book/_static/quiz.js``) an answer can be picked and checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class QuizError(ValueError):
    """A quiz that cannot be asked, told in one sentence."""


@dataclass
class Option:
    """One answer to pick, and what to say about it."""

    text: str
    why: str
    right: bool


@dataclass
class Question:
    """A question and its options in the order they are shown."""

    text: str
    options: list[Option] = field(default_factory=list)


def parse_quiz(lines: list[str]) -> list[Question]:
    """Return the questions of a quiz.

    Raises
    ------
    QuizError
        If there is no question, a question has fewer than two options or not exactly one right one, or an option says not why.
    """
    entries: list[list[str]] = []
    for line in filter(str.strip, lines):
        if line[:2] in ("? ", "- ", "+ "):
            entries.append([line[0], line[2:].strip()])
        elif entries:
            entries[-1][1] += " " + line.strip()
        else:
            raise QuizError(f"the quiz begins with {line.strip()!r}, expected a question: a line that begins with '? '")
    questions: list[Question] = []
    for mark, text in entries:
        if mark == "?":
            questions.append(Question(text))
            continue
        option, separator, why = (part.strip() for part in text.partition(" :: "))
        if not (questions and separator and why):
            raise QuizError(f"the option {text!r} stands before any question or says not why; write it as 'option :: why'")
        questions[-1].options.append(Option(option, why, mark == "+"))
    for question in questions:
        if len(question.options) < 2 or sum(option.right for option in question.options) != 1:
            raise QuizError(f"the question {question.text!r} needs at least two options, exactly one of them right (marked +)")
    if not questions:
        raise QuizError("the quiz asks nothing; begin a line with '? '")
    return questions


class Quiz(SphinxDirective):
    """``{quiz}``: questions, options to pick, and answers that unfold."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            questions = parse_quiz(list(self.content))
        except QuizError as error:
            raise self.error(f"{error}.") from error
        box = nodes.container(classes=["quiz"])
        quiz = self.env.new_serialno("quiz")
        for number, question in enumerate(questions):
            box.extend(self.ask(question, f"quiz-{quiz}-{number}"))
        return [box]

    def ask(self, question: Question, name: str) -> list[nodes.Node]:
        """Nodes of one question; `name` ties its radio buttons together."""
        parts = [_html('<fieldset class="quiz-question"><legend>'), self.inline(question.text), _html("</legend>")]
        for option in question.options:
            parts += [_html(f'<label class="quiz-option"><input type="radio" name="{name}">'), self.inline(option.text), _html("</label>")]
        parts.append(_html('<details class="quiz-answer"><summary>Answer</summary><ul>'))
        for option in question.options:
            verdict = "Right" if option.right else "Not this one"
            parts += [
                _html(f'<li class="{"right" if option.right else "wrong"}">'), self.inline(option.text), nodes.Text(" "),
                nodes.inline("", "", nodes.strong("", f"{verdict}."), nodes.Text(" "), self.inline(option.why), classes=["quiz-why"]), _html("</li>"),
            ]  # fmt: skip
        return [*parts, _html("</ul></details></fieldset>")]

    def inline(self, text: str) -> nodes.inline:
        """`text` with its inline Markdown."""
        parsed = self.parse_text_to_nodes(text)
        children = parsed[0].children if parsed and isinstance(parsed[0], nodes.paragraph) else [nodes.Text(text)]
        return nodes.inline("", "", *children)


def _html(markup: str) -> nodes.raw:
    return nodes.raw("", markup, format="html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("quiz", Quiz)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
