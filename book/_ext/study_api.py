"""Sphinx extension of the book: the package's reference, read from the sources without importing them.

``{study-api}`` lists every public function and class with its signature and docstring. Sources are parsed, not
imported, so the page needs neither TensorFlow nor the seconds it takes to load; docstrings are shown as text, so
no docstring can break a build that treats warnings as errors.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# The order of data through the package; modules not named follow.
ORDER = ["paths", "profiles", "data", "models", "training", "saliency", "masks", "atlas", "findings", "reports", "metrics"]
SECTION = re.compile(r"^(?P<title>[A-Z][A-Za-z ]+)\n-{3,}\s*$", re.MULTILINE)


def public_items(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Return the documented functions and classes of a module whose names are public, in the order of the source."""
    return [
        node for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node)
    ]  # fmt: skip


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return a signature as written, such as ``dice(found: Array, truth: Array) -> Array``."""
    if isinstance(node, ast.ClassDef):
        init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
        if init is None:
            return f"class {node.name}"
        arguments = ast.unparse(init.args).removeprefix("self").removeprefix(", ")
        return f"class {node.name}({arguments})"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def split_docstring(docstring: str) -> list[tuple[str | None, str]]:
    """Return (section title or None, text) pairs of a numpydoc docstring."""
    pieces, start, title = [], 0, None
    for match in SECTION.finditer(docstring):
        pieces.append((title, docstring[start : match.start()].strip()))
        start, title = match.end(), match["title"]
    pieces.append((title, docstring[start:].strip()))
    return [(title, text) for title, text in pieces if text]


def inline(text: str) -> list[nodes.Node]:
    """Return `text` with what stands in backquotes as code."""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", " ".join(text.split()))
    parts = re.split(r"``?([^`]+)``?", text)
    return [nodes.literal("", part) if place % 2 else nodes.Text(part) for place, part in enumerate(parts) if part]


def paragraphs(text: str) -> Iterator[nodes.Node]:
    """Yield the blocks of a description; indented ones and examples keep their lines."""
    for block in filter(str.strip, re.split(r"\n\s*\n", text)):
        if block.startswith((" ", ">>>")) or "\n    " in block:
            yield nodes.literal_block("", inspect.cleandoc(block), language="python", classes=["api-example"])
        else:
            yield nodes.paragraph("", "", *inline(block))


def definitions(text: str) -> nodes.definition_list:
    """Return a section such as Parameters: a line at the margin names, indented lines explain."""
    listing = nodes.definition_list(classes=["api-list"])
    for entry in re.split(r"\n(?=\S)", text):
        name, _, explanation = entry.partition("\n")
        item = nodes.definition_list_item("", nodes.term("", "", *inline(name)))
        item += nodes.definition("", nodes.paragraph("", "", *inline(explanation)))
        listing += item
    return listing


def describe(node: ast.FunctionDef | ast.ClassDef) -> list[nodes.Node]:
    """Return one function or class, folded: name and first sentence are seen, signature and the rest open."""
    (_, text), *rest = split_docstring(ast.get_docstring(node))
    summary, _, description = text.partition("\n\n")
    inner = [nodes.literal_block("", signature(node), language="python", classes=["api-signature"]), *paragraphs(description)]
    for title, text in rest:
        inner.append(nodes.paragraph("", title, classes=["api-section"]))
        inner.extend([definitions(text)] if re.search(r"^    ", text, re.MULTILINE) else paragraphs(text))
    return [
        nodes.raw("", '<details class="api-item"><summary>', format="html"),
        nodes.paragraph("", "", nodes.literal("", node.name), nodes.Text(" "), *inline(summary)),
        nodes.raw("", "</summary>", format="html"),
        *inner,
        nodes.raw("", "</details>", format="html"),
    ]


class StudyApi(SphinxDirective):
    """``{study-api}``: a section for each module of the package."""

    def run(self) -> list[nodes.Node]:
        root = Path(__file__).parents[2] / "xai"
        files = {".".join(file.relative_to(root).with_suffix("").parts): file for file in root.rglob("*.py")}
        files = {name: file for name, file in files.items() if not name.endswith("__main__")}  # commands, not a library
        place = {name: number for number, name in enumerate(ORDER)}
        sections = []
        for name in sorted(files, key=lambda name: (place.get(name.split(".")[0], len(place)), name)):
            tree = ast.parse(files[name].read_text(encoding="utf-8"))
            items = public_items(tree)
            if not items:
                continue
            module = f"xai.{name}".removesuffix(".__init__")
            section = nodes.section(ids=[nodes.make_id(module)], names=[module])
            section += nodes.title("", module)
            if docstring := ast.get_docstring(tree):
                section.extend(paragraphs(docstring))
            for item in items:
                section.extend(describe(item))
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("study-api", StudyApi)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
