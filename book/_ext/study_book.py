"""Sphinx extension of the book: formulas as MathML, no script that asks another host or weighs more than a page, names for what the theme leaves unnamed."""

from __future__ import annotations

import html
import re
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

# LaTeX that docutils does not know -> what it does; MathML stretches delimiters by itself, so \big and kin may go.
EQUIVALENTS = (
    (r"\\([bB]igg?[lrm]?|middle|limits)(?![a-zA-Z])", ""),
    (r"\\(begin|end)\{(?:align|gather|alignat|multline)\*?\}", r"\\\1{aligned}"),
    (r"\\(begin|end)\{equation\*?\}", ""),
    (r"\\stackrel(?![a-zA-Z])", r"\\overset"),
    (r"\\textbf(?![a-zA-Z])", r"\\mathbf"),
    (r"\\texttt(?![a-zA-Z])", r"\\mathtt"),
)


def to_mathml(formula: str, *, display: bool, location: nodes.Node | None = None) -> str:
    """Return LaTeX `formula` as MathML; one that cannot be read is a warning and stays visible as source.

    Browsers draw MathML themselves, so a formula needs neither MathJax nor a network.
    """
    known = formula
    for unknown, equivalent in EQUIVALENTS:
        known = re.sub(unknown, equivalent, known)
    try:
        return latex2mathml.tex2mathml(known.strip(), as_block=display)
    except (MathError, IndexError) as error:  # docutils lets some malformed input through to an IndexError
        logger.warning("formula %r is not understood: %s", formula, error, location=location)
        return f"<code>{html.escape(formula)}</code>"


def visit_math(translator, node: nodes.math) -> None:
    """Write an inline formula."""
    translator.body.append(to_mathml(node.astext(), display=False, location=node))
    raise nodes.SkipNode


def visit_math_block(translator, node: nodes.math_block) -> None:
    """Write a displayed formula, with its number where it has one, in a box that scrolls on a phone."""
    translator.body.append(translator.starttag(node, "div", CLASS="math-block"))
    translator.body.append(to_mathml(node.astext(), display=True, location=node))
    if node.get("number"):
        translator.body.append(f'<span class="eqno">({node["number"]})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def drop_thebe(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Leave out the scripts of sphinx-thebe, which Jupyter Book always loads: the pages have no kernel."""
    files = context.get("script_files", [])
    context["script_files"] = [file for file in files if "thebe" not in f"{file}{getattr(file, 'attributes', '')}"]


def drop_icon_script(app: Sphinx, error: Exception | None) -> None:
    """Take the theme's 1.5 MB of scripted icons off every page: its style sheet draws the same ones from a font."""
    scripts = Path(app.outdir) / "_static" / "scripts"
    if error is None and (scripts / "fontawesome.js").exists():
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(re.sub(r"<script[^>]*/fontawesome\.js[^>]*></script>", "", text), encoding="utf-8")
        for file in scripts.glob("fontawesome.js*"):
            file.unlink()


def name_toggles(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Say in words what the arrows of the sidebar unfold; the theme leaves them to the eye."""
    if draw := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda kind, **options: name_summaries(draw(kind, **options)) if kind == "sidebar" else draw(kind, **options)


def name_summaries(listing: object) -> str:
    """Return the HTML of a list of pages in which each arrow is named after the link before it."""
    soup = BeautifulSoup(str(listing), "html.parser")
    for summary in soup.select("li > a + details > summary"):
        summary["aria-label"] = f"Pages under {summary.find_parent('li').a.get_text(strip=True)}"
    return str(soup)


def drop_list_role(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Let a bibliography be entries without a list around them: docutils says "list" and puts no list items in it."""
    if "body" in context:
        context["body"] = context["body"].replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def shorten_authors(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Write "et al." for BibTeX's "and others", which sphinxcontrib-bibtex prints as it stands."""
    for text in list(doctree.findall(nodes.Text)):
        if " and others" in text and any(isinstance(node, nodes.reference | nodes.citation) for node in _parents(text)):
            text.parent.replace(text, nodes.Text(re.sub(r" and others\.?", " et al.", text)))


def _parents(node: nodes.Node):
    while node := node.parent:
        yield node


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer and the clean-up."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit_math, None), block_renderers=(visit_math_block, None))
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", name_toggles, priority=900)
    app.connect("html-page-context", drop_list_role, priority=900)
    app.connect("doctree-resolved", shorten_authors)
    app.connect("build-finished", drop_icon_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
