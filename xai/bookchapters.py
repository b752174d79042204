"""An executed notebook -> the chapter that readers see."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

from xai.paths import StudyError
from xai.tables import NAMES

TITLES = NAMES | {"openai_compatible": "Any compatible server"}
UNSAFE_TAGS = {"script", "iframe", "object", "embed", "form", "base", "meta", "link"}
LABEL = r"[A-Za-z][\w.-]*"
DEFINITION = re.compile(rf"^\((?P<target>{LABEL})\)=\s*$|^:name:\s*(?P<name>{LABEL})\s*$", re.MULTILINE)


def clean_notebook(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an executed notebook as readers should see it.

    The parameters cell shows the values this run had, and the cell by which papermill injected them is hidden;
    stderr, progress bars and widget state are left out.

    Raises
    ------
    StudyError
        If a cell ended in an error, nothing was executed, or an output holds active or remote HTML.
    """
    notebook = json.loads(json.dumps(notebook))
    notebook["metadata"].pop("widgets", None)
    executed = False
    parameters = None
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        where = f"{name}.ipynb, cell {number}"
        executed |= cell.get("execution_count") is not None
        tags = cell.setdefault("metadata", {}).setdefault("tags", [])
        if "parameters" in tags:
            parameters = cell
        if "injected-parameters" in tags:
            tags.append("remove-cell")
            if parameters is not None:
                parameters["source"] = fill_parameters(_text(parameters["source"]), _text(cell["source"]))
        cell["outputs"] = [kept for output in cell["outputs"] if (kept := clean_output(output, where))]
    if not executed:
        raise StudyError(f"{name}.ipynb was never executed; run the study before rendering its book.")
    return notebook


def fill_parameters(defaults: str, injected: str) -> str:
    """Return the source of a parameters cell with each default replaced by the injected value; comments stay."""
    for name, value in re.findall(r"^(\w+) = (.+)$", injected, re.MULTILINE):
        line = re.compile(rf"^{name} = (?:[^#\n\"']|\"[^\"\n]*\"|'[^'\n]*')*?(?P<comment>[ \t]*#.*)?$", re.MULTILINE)
        defaults = line.sub(lambda match: f"{name} = {value}{match['comment'] or ''}", defaults)
    return defaults


def find_labels(notebook: dict[str, Any]) -> list[str]:
    """Return the labels a notebook defines: MyST targets, directive names, and figures of code cells."""
    labels = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            labels += [match["target"] or match["name"] for match in DEFINITION.finditer(_text(cell["source"]))]
        figure = cell.get("metadata", {}).get("mystnb", {}).get("figure", {})
        labels += [figure["name"]] if "name" in figure else []
    return labels


def make_own(notebook: dict[str, Any], child: str) -> dict[str, Any]:
    """Return one run of a repeated chapter with labels and a title of its own.

    Papermill changes parameters, not prose: nine trainings come out with the same labels and the same heading,
    which would be ambiguous in a book. Each label gets the suffix ``-child``, the heading the child's name.
    """
    notebook = json.loads(json.dumps(notebook))
    title = TITLES.get(child, child)
    labels = find_labels(notebook)
    inside = re.compile(rf"(?<=[(`<#])({'|'.join(map(re.escape, labels))})(?=[)`>])|(?<=:name: )({LABEL})$", re.MULTILINE)
    titled = False
    for cell in notebook["cells"]:
        figure = cell.get("metadata", {}).get("mystnb", {}).get("figure", {})
        if "name" in figure:
            figure["name"] += f"-{child}"
        if cell["cell_type"] != "markdown":
            continue
        source = _text(cell["source"])
        source = inside.sub(lambda match: f"{match[0]}-{child}", source) if labels else source
        if not titled and (heading := re.search(r"^# .+$", source, re.MULTILINE)):
            titled = True
            if title.lower() not in heading[0].lower():
                source = source[: heading.end()] + f": {title}" + source[heading.end() :]
        cell["source"] = source
    return notebook


def clean_output(output: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Return one output without what a page cannot show, or None when nothing is left."""
    kind = output["output_type"]
    if kind == "error":
        raise StudyError(
            f"{where} ended in {output['ename']}: {output['evalue']}; repair the chapter and run it again."
        )
    if kind == "stream":
        if output["name"] == "stderr":
            return None
        # A progress bar rewrites its line with carriage returns; only its last state is text to keep.
        lines = [line.rstrip("\r\n").split("\r")[-1] for line in _text(output["text"]).split("\n")]
        text = "\n".join(lines)
        return {**output, "text": text} if text.strip() else None
    data = {mime: value for mime, value in output["data"].items() if "widget" not in mime}
    if not data or (len(data) < len(output["data"]) and set(data) == {"text/plain"}):
        return None
    for mime in ("text/html", "text/markdown"):
        if mime in data:
            refuse_unsafe(_text(data[mime]), where)
    return {**output, "data": data}


def refuse_unsafe(markup: str, where: str) -> None:
    """Raise `StudyError` if `markup` holds active content or loads something from another host.

    Text of language models reaches the pages through outputs, so one that was not escaped must not get through.
    """
    scanner = _Scanner()
    scanner.feed(markup)
    if scanner.found:
        raise StudyError(f"{where} puts {scanner.found} into the page; escape the text or leave it out of the output.")


class _Scanner(HTMLParser):
    found: str | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in UNSAFE_TAGS:
            self.found = self.found or f"<{tag}>"
        for attribute, value in attributes:
            target = (value or "").strip().lower()
            loads = attribute in ("src", "srcset", "poster", "data") and re.match(r"(https?:)?//", target)
            if attribute.startswith("on") or target.startswith(("javascript:", "vbscript:")) or loads:
                self.found = self.found or f'{attribute}="{target[:40]}"'

    handle_startendtag = handle_starttag


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
