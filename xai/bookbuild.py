"""Executed chapters and prose pages -> one Jupyter Book.

``python -m xai.bookbuild --study runs/quick`` assembles ``book/_source/`` from the pages in ``book/`` and the
notebooks the study executed, then renders it to ``book/_build/html/`` with warnings as errors.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from xai.bookchapters import TITLES, clean_notebook, find_labels, make_own
from xai.findings import json_schema
from xai.paths import Study, StudyError
from xai.profiles import load_profile

CHAPTERS = (
    "01_data", "02_training", "02_leakage", "02_learning_curve", "02_second_head", "03_saliency", "03_shuffled_labels", "04_thresholding", "05_atlas", "06_reports", "07_evaluation",
)
# Chapters that papermill runs once for each architecture or writer: an overview stands above the runs.
REPEATED = ("02_training", "03_saliency", "06_reports")
PAGES = {
    "The study": ("paper", "figures_and_tables"),
    "Use it": ("explain", "reproduce", "teach", "limits"),
    "Look it up": ("glossary", "api", "bibliography"),
}


def find_chapters(study: Study) -> dict[str, list[str]]:
    """Return chapter -> names of its executed notebooks, in the order of the book and of the profile.

    What belongs to the study is what its profile names; notebooks left by an earlier profile are not shown.

    Raises
    ------
    StudyError
        If the study has no profile, or a notebook that the profile asks for is missing.
    """
    profile = load_profile(study.need(study.profile, "01_data"))
    runs = {
        "02_training": profile.training.architectures,
        "03_saliency": profile.training.architectures,
        "06_reports": profile.reports.writers,
    }
    found: dict[str, list[str]] = {}
    for chapter in CHAPTERS:
        found[chapter] = [f"{chapter}_{child}" for child in runs.get(chapter, ())] or [chapter]
        for name in found[chapter]:
            if not study.notebook(name).exists():
                raise StudyError(
                    f"{study.notebook(name)} is missing; run `make book STUDY={study.name}`, which runs the chapters "
                    "before it renders them."
                )
    return found


def make_toc(chapters: dict[str, list[str]]) -> dict[str, Any]:
    """Return the table of contents (jb-book format) of a book that holds `chapters`."""
    entries: list[dict[str, Any]] = []
    overviews = {chapter[:2]: chapter for chapter in REPEATED if chapter in chapters}
    # Chapters that share an overview's number stand below it, so that the book's numbers are those the text speaks of.
    below = {chapter: overviews[chapter[:2]] for chapter in chapters if chapter[:2] in overviews and chapter not in REPEATED}
    for chapter, names in chapters.items():
        if chapter in below:
            continue
        entry: dict[str, Any] = {"file": f"chapters/{chapter}"}
        if chapter in REPEATED:
            children = [name.removeprefix(f"{chapter}_") for name in names]
            entry["sections"] = [{"file": f"chapters/{name}"} for name, overview in below.items() if overview == chapter]
            entry["sections"] += [
                {"file": f"chapters/{name}", "title": TITLES.get(child, child)} for name, child in zip(names, children)
            ]
        entries.append(entry)
    captions = list(PAGES)
    parts = [{"caption": captions[0], "chapters": [{"file": page} for page in PAGES[captions[0]]]}]
    parts.append({"caption": "Chapters", "numbered": 1, "chapters": entries})
    parts += [{"caption": caption, "chapters": [{"file": page} for page in PAGES[caption]]} for caption in captions[1:]]
    return {"format": "jb-book", "root": "index", "parts": parts}


# ---------------------------------------------------------------- one case for the landing page


def median_case(study: Study) -> dict[str, Any] | None:
    """Return the case in the middle, carried through every stage, or None if no slice has findings.

    Of all slices with a report (of all findings where no writer ran), ordered by the Dice of their mask against the truth, the middle one is neither the best nor
    the worst that the landing page could have shown. Keys: findings, image, heatmap, mask, truth (arrays S x S),
    dice, label, reports (writer -> text), count.
    """
    index = pd.read_csv(study.index, dtype={"id": str}).set_index("id")
    tests = index.index[index["split"] == "test"]
    truths = np.load(study.masks, mmap_mode="r")
    texts: dict[str, dict[str, str]] = {}
    for file in sorted((study.root / "reports").glob("*.jsonl")):
        for line in filter(str.strip, file.read_text(encoding="utf-8").splitlines()):
            report = json.loads(line)
            texts.setdefault(report["id"], {})[file.stem] = report["text"]
    cases = []
    for file in sorted((study.root / "findings").glob("*.json")):
        if texts and file.stem not in texts:
            continue
        findings = json.loads(file.read_text(encoding="utf-8"))
        method = (findings["model"], findings["cam_method"])
        row, place = index.index.get_loc(findings["id"]), tests.get_loc(findings["id"])
        mask = np.load(study.cam_masks(*method), mmap_mode="r")[place] > 0
        truth = truths[row] > 0
        dice = 2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1)
        cases.append((float(dice), findings["id"], row, place, mask, truth, findings))
    if not cases:
        return None
    dice, identifier, row, place, mask, truth, findings = sorted(cases, key=lambda case: case[:2])[(len(cases) - 1) // 2]
    heatmap = np.load(study.heatmaps(findings["model"], findings["cam_method"]), mmap_mode="r")[place]
    return {
        "findings": findings, "image": np.load(study.images, mmap_mode="r")[row], "heatmap": np.nan_to_num(np.float32(heatmap)),
        "mask": mask, "truth": truth, "dice": dice, "label": index.loc[identifier, "label"], "reports": texts.get(identifier, {}),
        "count": len(cases),
    }  # fmt: skip


def draw_case(case: dict[str, Any], folder: Path) -> None:
    """Write ``slice.png``, ``heatmap.png`` and ``mask.png`` (512 px) and ``case.json`` of one case into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("slice", "heatmap", "mask"):
        figure = Figure(figsize=(2.56, 2.56), dpi=200)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(case["image"], cmap="gray", interpolation="bicubic")
        if name == "heatmap":
            axes.imshow(case["heatmap"], cmap="inferno", alpha=0.25 + 0.6 * case["heatmap"], interpolation="bicubic")
        if name == "mask":
            axes.contour(case["truth"], [0.5], colors="white", linewidths=1.2, linestyles="dashed")
            axes.contour(case["mask"], [0.5], colors="#56B4E9", linewidths=2)
        figure.savefig(folder / f"{name}.png")
    facts = {key: case[key] for key in ("findings", "dice", "label", "reports", "count")}
    _write(folder / "case.json", json.dumps(facts, indent=1))


# ---------------------------------------------------------------- assemble and build


def assemble(study: Study, book: Path, source: Path) -> None:
    """Write everything the book is rendered from into `source`: pages, cleaned chapters, tables, one case.

    `source` is made anew, so that nothing of an earlier study stays.

    Parameters
    ----------
    study : Study
        A study whose chapters ran.
    book : Path
        Folder of the prose pages.
    source : Path
        Folder to make; what it holds is lost.

    Raises
    ------
    StudyError
        If a chapter is missing or unfit to be shown.
    """
    chapters = find_chapters(study)
    shutil.rmtree(source, ignore_errors=True)
    for name, file in _pages(book).items():
        _write(source / name, file.read_bytes())
    places: dict[str, list[str]] = {}
    for chapter, names in chapters.items():
        for name in names:
            notebook = clean_notebook(_read(study.notebook(name)), name)
            if chapter in REPEATED:
                notebook = make_own(notebook, name.removeprefix(f"{chapter}_"))
            for label in find_labels(notebook):
                places.setdefault(label, []).append(f"chapters/{name}")
            _write(source / "chapters" / f"{name}.ipynb", json.dumps(notebook, indent=1))
    _write(source / "findings.schema.json", json.dumps(json_schema(), indent=1))
    for table in study.tables.glob("*.csv"):
        _write(source / "_study" / "tables" / table.name, table.read_bytes())
    if case := median_case(study):
        draw_case(case, source / "_study" / "case")
    facts = {"name": study.name, "labels": places, "chapters": chapters, "titles": TITLES}
    _write(source / "_study" / "study.json", json.dumps(facts, indent=1))
    _write(source / "_toc.yml", yaml.safe_dump(make_toc(chapters), sort_keys=False))


def build(source: Path, output: Path, config: Path) -> Path:
    """Render `source` to ``output/_build/html`` with warnings as errors and return its ``index.html``.

    Always from nothing: Sphinx remembers pages it warned about as done, so a second build would pass, and it
    leaves the pages and pictures of earlier studies in place.

    Raises
    ------
    StudyError
        If Jupyter Book warned or failed.
    """
    shutil.rmtree(output / "_build", ignore_errors=True)
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(source), "--path-output", str(output)]
    # Compiled extensions would land beside their sources in book/, which the graph watches for changes.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([*command, "--config", str(config), "-W", "-n", "--keep-going", "-q"], env=environment)
    if result.returncode:
        raise StudyError("jupyter-book warned or failed; its messages stand above and name the page and line.")
    return output / "_build" / "html" / "index.html"


def _pages(book: Path) -> dict[str, Path]:
    """Return path below the source folder -> file of `book`; overviews stand with the chapters they lead to."""
    files = [*book.glob("*.*"), *(book / "_static").rglob("*.*")]
    pages = {file.relative_to(book).as_posix(): file for file in files if file.is_file()}
    return pages | {f"chapters/{file.name}": file for file in (book / "overviews").glob("*.md")}


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(f"{file} is not a readable notebook ({error}); delete it and run the study again.") from error


def _write(target: Path, content: str | bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)


def main(arguments: list[str] | None = None) -> int:
    """Assemble and render the book of one study; the exit status is 1 if something is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m xai.bookbuild", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True, help="folder of a study that ran, such as runs/quick")
    parser.add_argument("--repository", type=Path, default=Path("."), help="folder that holds _config.yml and book/")
    options = parser.parse_args(arguments)
    book = options.repository / "book"
    try:
        assemble(Study(options.study), book, book / "_source")
        index = build(book / "_source", book, options.repository / "_config.yml")
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The book is ready: {index}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
