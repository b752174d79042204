"""Sphinx extension of the book: directives that put a study's own results into the prose pages.

``{study-table} name``      a table of the study, looking as it does in the notebooks
``{study-children} stage``  cards that lead to the runs of a chapter that was run several times
``{study-case}``            one case, carried through every stage
``{study-index} kind``      where each figure or table stands (kind: figures or tables)

They read ``_study/`` beside the pages, which ``xai.bookbuild`` fills, and nothing else.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).parents[2]))  # Sphinx runs beside the package, installed or not

from xai.tables import LESS_IS_BETTER, NAMES, show  # noqa: E402


def pipe_table(rows: list[list[str]]) -> str:
    """Return `rows` (header first) of Markdown cells as a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


class StudyDirective(SphinxDirective):
    """What the directives share: the folder of the study, and Markdown as their output."""

    required_arguments = 0
    optional_arguments = 1

    @property
    def folder(self) -> Path:
        return Path(self.env.srcdir) / "_study"

    def load(self, name: str) -> dict:
        """Read a JSON file of the study."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def markdown(self, text: str) -> list[nodes.Node]:
        """Parse MyST Markdown where the directive stands."""
        return self.parse_text_to_nodes(text)


class StudyTable(StudyDirective):
    """``{study-table} classification``; options: columns to show, one to sort by, those to mark the best of."""

    option_spec = {
        "columns": directives.unchanged,
        "sort": directives.unchanged,
        "mark": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        file = self.folder / "tables" / f"{name}.csv"
        if not file.exists():
            return self.markdown(f"*This run made no table `{name}`.*")
        frame = pd.read_csv(file)
        if (sort := self.options.get("sort")) in frame.columns:
            frame = frame.sort_values(sort, ascending=sort in LESS_IS_BETTER, kind="stable").reset_index(drop=True)
        columns, mark = (self.names(option, frame) for option in ("columns", "mark"))
        return [nodes.raw("", show(frame, columns=columns or None, mark=mark)._repr_html_(), format="html")]

    def names(self, option: str, frame: pd.DataFrame) -> list[str]:
        """Return the columns an option lists, as far as this study has them."""
        return [name for name in re.split(r"\W+", self.options.get(option, "")) if name in frame.columns]


class StudyChildren(StudyDirective):
    """``{study-children} 02_training``: one card for each run, in the order of the book."""

    def run(self) -> list[nodes.Node]:
        facts = self.load("study.json")
        stage = self.arguments[0]
        cards = []
        for name in facts["chapters"][stage]:
            child = name.removeprefix(f"{stage}_")
            title = facts["titles"].get(child, child)
            cards.append(f":::{{grid-item-card}} {title}\n:link: /chapters/{name}\n:link-type: doc\n:::")
        return self.markdown("::::{grid} 2 2 3 3\n:gutter: 2\n:class-container: children\n\n" + "\n".join(cards) + "\n::::")


class StudyIndex(StudyDirective):
    """``{study-index} figures``: number, title and place of each figure (or table)."""

    def run(self) -> list[nodes.Node]:
        facts = self.load("study.json")
        listing = Path(self.env.srcdir) / "figures_and_tables.yml"
        rows = [["No.", "What it shows", "Where"]]
        for number, entry in yaml.safe_load(listing.read_text(encoding="utf-8"))[self.arguments[0]].items():
            label = entry["label"]
            order = [label, *(f"{label}-{child}" for child in facts["titles"])]
            found = sorted((pair for pair in facts["labels"].items() if pair[0] in order), key=lambda pair: order.index(pair[0]))
            rows.append([f"**{number}**", entry["shows"], self.links(found, facts) or "*not in this run*"])
        return self.markdown(pipe_table(rows))

    @staticmethod
    def links(found: list[tuple[str, list[str]]], facts: dict) -> str:
        """Return links to (label, pages) pairs, such as ``Chapter 3: VGG16, VGG19`` with a link on each name."""
        chapters: dict[int, list[str]] = {}
        for label, (page, *_) in found:
            name = page.removeprefix("chapters/")
            stage = next(stage for stage in facts["chapters"] if name.startswith(stage))
            child = name.removeprefix(stage).lstrip("_")
            title = facts["titles"].get(child, child) or f"Chapter\u00a0{int(stage[:2])}"
            chapters.setdefault(int(stage[:2]), []).append(f"[{title}](#{label})")
        texts = [", ".join(links) for links in chapters.values()]
        return "; ".join(
            text if text.startswith("[Chapter") else f"Chapter\u00a0{chapter}: {text}" for chapter, text in zip(chapters, texts)
        )


class StudyCase(StudyDirective):
    """``{study-case}``: slice, heatmap, mask, anatomy and report of the case in the middle."""

    def run(self) -> list[nodes.Node]:
        if not (self.folder / "case" / "case.json").exists():
            return []
        case, titles = self.load("case/case.json"), self.load("study.json")["titles"]
        strip = nodes.container(classes=["case"])
        for title, picture, alt, note in case_pictures(case, titles):
            image = nodes.image(uri=f"_study/case/{picture}.png", alt=alt)
            strip += panel(title, image, nodes.paragraph("", note))
        regions = nodes.bullet_list(classes=["case-regions"])
        named = [(name, share) for name, share in case_regions(case["findings"]["anatomy"]) if share is not None]
        for name, share in named:
            line = nodes.paragraph("", "", nodes.inline("", name), nodes.Text(" "), nodes.strong("", f"{share:.0%}"))
            regions += nodes.list_item("", line)
        flags = ", ".join(case["findings"]["quality_flags"]) or "no region named"
        note = "Harvard-Oxford regions, probability" if named else f"not placed: {flags}"
        strip += panel("Anatomy", *([regions] if named else []), nodes.paragraph("", note))
        if report := choose_report(case["reports"], titles):
            writer, text = report
            strip += panel("Report", nodes.paragraph("", text, classes=["case-text"]), nodes.paragraph("", writer))
        middle = nodes.paragraph(classes=["case-caption"])
        middle += nodes.Text(
            f"Case {case['findings']['id']} of this run, not picked by hand: of {case['count']} slices with a report it is "
            f"the median by overlap (Dice {case['dice']:.2f}), so about half came out better and half worse."
        )
        return [strip, middle]


def panel(title: str, *content: nodes.Node) -> nodes.container:
    """Return one panel of the case: its title, then `content`."""
    return nodes.container("", nodes.paragraph("", title, classes=["case-title"]), *content, classes=["case-panel"])


def case_pictures(case: dict, titles: dict[str, str]) -> list[tuple[str, str, str, str]]:
    """Return title, file, alternative text and note of the three pictures."""
    findings = case["findings"]
    network, method = titles.get(findings["model"], findings["model"]), NAMES[findings["cam_method"]]
    label, plane = findings["prediction"]["label"], findings["plane"]
    share = findings["prediction"]["probabilities"][label]
    verdict = "right" if label == case["label"] else f"wrong, it is {case['label']}"
    return [
        ("Slice", "slice", f"Contrast-enhanced T1 slice, {plane}", f"T1 with contrast, {plane}"),
        ("Saliency", "heatmap", f"{method} heatmap laid over the slice", f"{network}: {label} {share:.0%} ({verdict})"),
        ("Mask", "mask", "Outline of the found mask beside the drawn outline of the tumour", "found (blue), truth (dashed)"),
    ]  # fmt: skip


def case_regions(anatomy: dict) -> list[tuple[str, float]]:
    """Return at most three regions with their probability, then the probability of lying outside the atlas."""
    def name(region: dict) -> str:
        side = region.get("hemisphere")
        return f"{region['name']}, {side}" if side in ("left", "right") else region["name"]

    regions = [(name(region), region["probability"]) for region in anatomy["regions"][:3]]
    return [*regions, ("Outside the atlas", anatomy["outside_atlas_probability"])]


def choose_report(reports: dict[str, str], titles: dict[str, str], length: int = 230) -> tuple[str, str] | None:
    """Return writer and the impression it wrote, language models before the template, or None without a report."""
    known = list(titles)
    order = sorted(reports, key=lambda name: (name == "template", known.index(name) if name in known else len(known), name))
    for writer in order:
        text = re.split(r"impression\W*", reports[writer], maxsplit=1, flags=re.IGNORECASE)[-1]
        text = re.split(r"limitations\W*", text, maxsplit=1, flags=re.IGNORECASE)[0]
        text = " ".join(re.sub(r"[*#]+", "", text).split())
        if text:
            short = text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"
            return f"Impression, by {titles.get(writer, writer)}", short
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    for name, directive in {
        "study-table": StudyTable, "study-children": StudyChildren, "study-index": StudyIndex, "study-case": StudyCase,
    }.items():  # fmt: skip
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
