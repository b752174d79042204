"""The book's assembly: what readers see of executed notebooks, what is refused, and how the pages are put together."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jupytext
import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import yaml
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from pybtex.database import parse_file

from xai.bookbuild import assemble, draw_case, find_chapters, make_toc, median_case
from xai.bookchapters import TITLES, clean_notebook, fill_parameters, find_labels, make_own, refuse_unsafe
from xai.paths import Study, StudyError
from xai.profiles import NINE, Profile, save_profile

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))
# The graph watches book/ for changes, so importing from there must leave nothing behind.
writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
import study_api  # noqa: E402
import study_book  # noqa: E402
import study_pages  # noqa: E402

sys.dont_write_bytecode = writes_bytecode

SOURCE = """---
kernelspec: {name: python3, language: python, display_name: Python 3}
---

(ch-one)=
# One question

```{code-cell}
:tags: [parameters]
study = "runs/default"  # where
```

```{code-cell}
import sys
import pandas as pd
from tqdm import tqdm
for _ in tqdm(range(3)):
    pass
print("warned", file=sys.stderr)
print(" 10%\\r 50%\\r100% done")
print(study)
pd.DataFrame({"dice": [0.5]})
```
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> dict:
    """A notebook that papermill really ran."""
    folder = tmp_path_factory.mktemp("notebook")
    jupytext.write(jupytext.reads(SOURCE, "md:myst"), folder / "in.ipynb")
    papermill.execute_notebook(
        folder / "in.ipynb", folder / "out.ipynb", parameters={"study": "runs/quick"}, progress_bar=False, log_output=False
    )
    return json.loads((folder / "out.ipynb").read_text())


def notebook(*outputs: dict, count: int | None = 1, text: str = "# Title") -> dict:
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1", execution_count=count, outputs=list(outputs))]
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def display(data: dict[str, object]) -> dict:
    return nbformat.v4.new_output("display_data", data)


# ---------------------------------------------------------------- executed notebooks


def test_only_what_papermill_injected_is_hidden(executed):
    before = json.dumps(executed)
    shown = clean_notebook(executed, "one")
    tags = {cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"]): cell["metadata"]["tags"]
            for cell in shown["cells"] if cell["cell_type"] == "code"}  # fmt: skip
    hidden = [source for source, names in tags.items() if "remove-cell" in names]
    assert len(tags) == 3 and len(hidden) == 1
    assert [source for source, names in tags.items() if "parameters" in names] == ['study = "runs/quick"  # where']
    assert 'study = "runs/quick"' in hidden[0]
    assert json.dumps(executed) == before


def test_parameters_show_what_ran_and_keep_their_comments():
    defaults = 'study = "runs/#1"    # folder\nwriter = "template"\nstudy_two = None  # other'
    injected = '# Parameters\nstudy = "runs/mine"\nwriter = "smollm2"\n'
    filled = 'study = "runs/mine"    # folder\nwriter = "smollm2"\nstudy_two = None  # other'
    assert fill_parameters(defaults, injected) == filled


def test_stderr_and_progress_go_and_results_stay(executed):
    cell = clean_notebook(executed, "one")["cells"][-1]
    assert any(output.get("name") == "stderr" for output in executed["cells"][-1]["outputs"])
    assert [output["output_type"] for output in cell["outputs"]] == ["stream", "execute_result"]
    assert cell["outputs"][0]["text"] == "100% done\nruns/quick\n"
    assert "text/html" in cell["outputs"][1]["data"]


def test_a_chapter_that_failed_is_refused_in_one_sentence(tmp_path):
    jupytext.write(jupytext.reads(SOURCE.replace("import sys\n", "raise KeyError('lost')\n"), "md:myst"), tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    failed = json.loads((tmp_path / "out.ipynb").read_text())
    with pytest.raises(StudyError, match=r"^05_atlas\.ipynb, cell \d+ ended in KeyError: 'lost'; [^.]+ run it again\.$"):
        clean_notebook(failed, "05_atlas")


def test_a_notebook_that_never_ran_is_refused():
    with pytest.raises(StudyError, match="never executed"):
        clean_notebook(notebook(count=None), "01_data")


def test_widgets_without_a_kernel_are_dropped():
    widget = display({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "bar"})
    picture = display({"image/png": "aGk=", "text/plain": "<Figure>"})
    shown = clean_notebook(notebook(widget, picture), "one")["cells"][1]["outputs"]
    assert [set(output["data"]) for output in shown] == [{"image/png", "text/plain"}]


@pytest.mark.parametrize(
    "markup, named",
    [
        ("<p>fine<script>alert(1)</script>", "<script>"),
        ("<SCRIPT src=x></SCRIPT>", "<script>"),
        ("<img src=x onerror=alert(1)>", "onerror="),
        ("<svg/onload=alert(1)>", "onload="),
        ("<a href=' javascript:alert(1)'>x</a>", "href="),
        ("<img src='https://elsewhere.example/pixel.png'>", "src="),
        ("<img src='//elsewhere.example/pixel.png'>", "src="),
        ("<iframe></iframe>", "<iframe>"),
        ("Report in Markdown <img src=x onerror=alert(1)>", "onerror="),
    ],
)
def test_active_or_remote_html_is_refused(markup, named):
    kind = "text/markdown" if markup.startswith("Report") else "text/html"
    with pytest.raises(StudyError) as caught:
        clean_notebook(notebook(display({kind: markup})), "06_reports_grok3")
    assert str(caught.value).startswith(f"06_reports_grok3.ipynb, cell 2 puts {named}")


def test_our_own_html_passes():
    frame = pd.DataFrame({"a": [1.0]})
    for markup in (
        frame.to_html(), frame.style.highlight_max().to_html(), "<details><summary>x</summary>y</details>",
        '<a href="https://doi.org/10.1371/journal.pone.0140381">Cheng</a>', '<img src="data:image/png;base64,aGk=" alt="x">',
    ):  # fmt: skip
        refuse_unsafe(markup, "cell")


@given(st.text())
def test_escaped_text_always_passes(text):
    refuse_unsafe(f"<p>{html.escape(text)}</p>", "cell")


@given(st.text(alphabet=st.characters(exclude_characters="<>&", exclude_categories=["Cs"])))
def test_a_script_is_found_wherever_it_stands(text):
    with pytest.raises(StudyError):
        refuse_unsafe(f"<p>{text}</p>{text}<script>{text}</script>", "cell")


# ---------------------------------------------------------------- runs of one chapter


REPEATED_TEXT = """(ch-run)=
# Training one network

See [the curves](#fig-curves), {ref}`fig-curves`, {numref}`Figure <fig-curves>` and [the data](#ch-data); fig-curves is a word here.

:::{table} Scores
:name: tab-scores
:::
"""


def test_each_run_gets_labels_and_a_title_of_its_own():
    run = notebook(text=REPEATED_TEXT)
    run["cells"][1]["metadata"]["mystnb"] = {"figure": {"name": "fig-curves", "caption": "x"}}
    assert find_labels(run) == ["ch-run", "tab-scores", "fig-curves"]
    own = make_own(run, "vgg16")
    text = own["cells"][0]["source"]
    assert find_labels(own) == ["ch-run-vgg16", "tab-scores-vgg16", "fig-curves-vgg16"]
    assert "# Training one network: VGG16\n" in text
    assert "(#fig-curves-vgg16), {ref}`fig-curves-vgg16`, {numref}`Figure <fig-curves-vgg16>`" in text
    assert "[the data](#ch-data); fig-curves is a word here." in text


def test_a_label_that_begins_another_is_not_mistaken_for_it():
    run = notebook(text="(fig)=\n# A\n\n(fig-two)=\n[x](#fig) [y](#fig-two)")
    assert make_own(run, "vgg19")["cells"][0]["source"].endswith("(fig-two-vgg19)=\n[x](#fig-vgg19) [y](#fig-two-vgg19)")


def test_a_title_that_names_the_run_is_left_alone():
    assert make_own(notebook(text="# Training VGG16"), "vgg16")["cells"][0]["source"] == "# Training VGG16"


# ---------------------------------------------------------------- table of contents


def study_with(root: Path, architectures=("vgg16", "xception"), writers=("template",), extra=()) -> Study:
    study = Study(root)
    save_profile(Profile(training={"architectures": architectures}, reports={"writers": writers}), study.profile)
    names = ["01_data", "02_leakage", "02_learning_curve", "02_second_head", "03_shuffled_labels", "04_thresholding", "05_atlas", "07_evaluation"]
    names += [f"{chapter}_{name}" for chapter in ("02_training", "03_saliency") for name in architectures]
    names += [f"06_reports_{name}" for name in writers]
    for name in (*names, *extra):
        study.notebook(name).parent.mkdir(parents=True, exist_ok=True)
        study.notebook(name).write_text(json.dumps(notebook(text=f"(ch-{name})=\n# {name}")))
    return study


def test_the_committed_contents_are_those_of_a_full_study(tmp_path):
    study = study_with(tmp_path, NINE, ("template", "smollm2", "llama", "grok3", "mistral"))
    assert yaml.safe_load((ROOT / "_toc.yml").read_text()) == make_toc(find_chapters(study))


def test_a_smaller_study_has_its_own_contents(tmp_path):
    study = study_with(tmp_path, ("vgg16", "xception"), extra=("02_training_vgg19",))
    chapters = find_chapters(study)
    assert chapters["02_training"] == ["02_training_vgg16", "02_training_xception"]  # vgg19 is left from an earlier profile
    part = make_toc(chapters)["parts"][1]
    assert [chapter["file"][9:11] for chapter in part["chapters"]] == [f"0{number}" for number in range(1, 8)], "numbers as the text says them"
    sections = part["chapters"][1]["sections"]
    assert [section["file"] for section in sections[:3]] == [f"chapters/02_{name}" for name in ("leakage", "learning_curve", "second_head")]
    assert sections[4] == {"file": "chapters/02_training_xception", "title": "Xception"}
    assert "sections" not in part["chapters"][0]


def test_every_page_of_the_contents_exists(tmp_path):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = re.findall(r"file: (\S+)", yaml.safe_dump(toc)) + [toc["root"]]
    overviews = {f"chapters/{file.stem}" for file in (BOOK / "overviews").glob("*.md")}
    assert overviews == {"chapters/02_training", "chapters/03_saliency", "chapters/06_reports"}
    prose = {file for file in files if not file.startswith("chapters/")}
    assert prose == {file.stem for file in BOOK.glob("*.md")}


def test_a_missing_chapter_is_one_sentence(tmp_path):
    study = study_with(tmp_path)
    study.notebook("03_saliency_xception").unlink()
    with pytest.raises(StudyError, match=r"03_saliency_xception\.ipynb is missing; run `make book STUDY="):
        find_chapters(study)


# ---------------------------------------------------------------- the case of the landing page, and the assembly


@pytest.fixture
def study(tmp_path) -> Study:
    """Three test slices whose masks overlap the truth by Dice 1, 1/2 and 0; rows of the training split stand before."""
    study = study_with(tmp_path / "mine", ("vgg16",))
    truth = np.zeros((5, 8, 8), np.uint8)
    truth[2:, 2:4, 2:4] = 1
    masks = np.zeros((3, 8, 8), np.uint8)
    masks[0, 2:4, 2:4] = masks[1, 2:4, 3:5] = masks[2, 6:8, 6:8] = 1
    for path, array in {
        study.images: np.arange(5 * 64, dtype=np.uint16).reshape(5, 8, 8).astype(np.uint8), study.masks: truth,
        study.cam_masks("vgg16", "gradcampp"): masks, study.heatmaps("vgg16", "gradcampp"): masks.astype(np.float16),
    }.items():  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    names = ["0001", "0002", "a", "b", "c"]
    frame = pd.DataFrame({"id": names, "label": "glioma", "split": ["train"] * 2 + ["test"] * 3})
    frame.to_csv(study.index, index=False)
    for name in names[2:]:
        study.findings(name).parent.mkdir(exist_ok=True)
        study.findings(name).write_text(json.dumps({
            "id": name, "plane": "axial", "model": "vgg16", "cam_method": "gradcampp",
            "prediction": {"label": "glioma", "probabilities": {"glioma": 0.9}},
            "anatomy": {"regions": [{"name": "Insular Cortex", "probability": 0.4}], "outside_atlas_probability": 0.1},
        }))  # fmt: skip
    study.reports("template").parent.mkdir()
    texts = {"a": "Impression: Another.", "b": "Impression: A mass.", "c": "Impression: A third."}
    study.reports("template").write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    study.reports("grok3").write_text("")
    study.tables.mkdir()
    pd.DataFrame({"architecture": ["vgg16"], "accuracy": [0.5]}).to_csv(study.table("classification"), index=False)
    return study


def test_the_case_shown_is_the_median_one(study):
    case = median_case(study)
    assert (case["findings"]["id"], case["dice"], case["count"]) == ("b", 0.5, 3)
    assert np.array_equal(case["image"], np.load(study.images)[3])
    assert np.array_equal(case["heatmap"], case["mask"].astype(float))
    assert case["reports"] == {"template": "Impression: A mass."}


def test_a_study_without_findings_shows_no_case(study):
    for file in (study.root / "findings").iterdir():
        file.unlink()
    assert median_case(study) is None


def test_the_mask_picture_outlines_what_was_found(study, tmp_path):
    draw_case(median_case(study), tmp_path / "case")
    import matplotlib.image

    blue = np.array([0x56, 0xB4, 0xE9]) / 255
    picture = matplotlib.image.imread(tmp_path / "case" / "mask.png")[..., :3]
    assert picture.shape == (512, 512, 3)
    rows, columns = np.nonzero(np.abs(picture - blue).max(axis=2) < 0.02)
    # The mask of case b fills rows 2-3 and columns 3-4 of 8, so its outline is centred on 3/8 and 4/8 of the picture.
    assert abs((rows.min() + rows.max()) / 2 - 512 * 3 / 8) < 4 and abs((columns.min() + columns.max()) / 2 - 512 * 4 / 8) < 4


def test_assembly_is_complete_and_leaves_nothing_of_an_earlier_study(study, tmp_path):
    source = tmp_path / "source"
    (source / "chapters").mkdir(parents=True)
    (source / "chapters" / "02_training_vgg19.ipynb").write_text("old")
    assemble(study, BOOK, source)
    schema = json.loads((source / "findings.schema.json").read_text())
    assert schema["title"] == "Findings" and {"plane", "prediction", "anatomy"} <= set(schema["required"])
    assert "{download}`findings.schema.json`" in (source / "api.md").read_text()
    listed = re.findall(r"file: (\S+)", (source / "_toc.yml").read_text()) + ["index"]
    made = {path.relative_to(source).with_suffix("").as_posix() for path in source.rglob("*") if path.suffix in (".md", ".ipynb")}
    assert made == set(listed)
    facts = json.loads((source / "_study" / "study.json").read_text())
    assert facts["labels"]["ch-02_training_vgg16-vgg16"] == ["chapters/02_training_vgg16"]
    assert (source / "_study" / "tables" / "classification.csv").read_bytes() == study.table("classification").read_bytes()


def test_a_torn_notebook_is_one_sentence(study, tmp_path):
    study.notebook("05_atlas").write_text('{"cells": [')
    with pytest.raises(StudyError, match=r"05_atlas\.ipynb is not a readable notebook .*; delete it and run the study again\."):
        assemble(study, BOOK, tmp_path / "source")


# ---------------------------------------------------------------- tables and cards in the prose pages


def test_a_report_by_a_language_model_comes_before_the_template():
    reports = {"template": "Impression: plain.", "smollm2": "**Findings** x. **Impression:** A *mass*. Limitations: many."}
    assert study_pages.choose_report(reports, TITLES) == ("Impression, by SmolLM2", "A mass.")
    assert study_pages.choose_report({"template": ""}, TITLES) is None


def test_the_case_says_when_the_network_was_wrong(study):
    case = median_case(study) | {"label": "meningioma"}
    notes = [note for *_, note in study_pages.case_pictures(case, TITLES)]
    assert notes[1] == "VGG16: glioma 90% (wrong, it is meningioma)"
    assert study_pages.case_regions(case["findings"]["anatomy"]) == [("Insular Cortex", 0.4), ("Outside the atlas", 0.1)]


def test_the_index_links_every_place_a_figure_has():
    facts = {"chapters": {"01_data": [], "02_training": []}, "titles": TITLES}
    pages = {"fig-a": "01_data", "fig-a-vgg16": "02_training_vgg16", "fig-a-vgg19": "02_training_vgg19"}
    found = [(label, [f"chapters/{page}"]) for label, page in pages.items()]
    assert study_pages.StudyIndex.links(found, facts) == "[Chapter\u00a01](#fig-a); Chapter\u00a02: [VGG16](#fig-a-vgg16), [VGG19](#fig-a-vgg19)"


def test_the_list_of_figures_and_tables_is_complete():
    listing = yaml.safe_load((BOOK / "figures_and_tables.yml").read_text())
    assert list(listing["figures"]) == [f"F{number}" for number in range(1, 15)]
    assert list(listing["tables"]) == [f"T{number}" for number in range(1, 10)]
    labels = [entry["label"] for kind in listing.values() for entry in kind.values()]
    assert len(set(labels)) == 23


# ---------------------------------------------------------------- formulas, reference, sources


def test_formulas_become_mathml():
    tree = BeautifulSoup(study_book.to_mathml(r"\frac{a}{b} \Big( x \Big)", display=True), "html.parser")
    assert tree.math["display"] == "block"
    assert [child.get_text() for child in tree.mfrac.find_all(recursive=False)] == ["a", "b"]
    assert tree.math.get_text(strip=True).replace("\n", "").replace(" ", "").endswith("(x)")
    aligned = study_book.to_mathml(r"\begin{align*} a &= b \\ c &= d \end{align*}", display=True)
    assert len(BeautifulSoup(aligned, "html.parser").find_all("mtr")) == 2


def test_a_formula_that_cannot_be_read_is_a_warning_and_stays_harmless(monkeypatch):
    warned = []
    monkeypatch.setattr(study_book.logger, "warning", lambda *arguments, **_: warned.append(arguments))
    assert study_book.to_mathml(r"\nonsense<b>", display=False) == r"<code>\nonsense&lt;b&gt;</code>"
    assert len(warned) == 1


def test_arrows_of_the_sidebar_are_named_after_their_page():
    listing = '<ul><li><a href="a.html">2. Training</a><details><summary><span></span></summary><ul></ul></details></li><li><a href="b.html">3.</a></li></ul>'
    context = {"generate_toctree_html": lambda kind, **options: listing if kind == "sidebar" else options}
    study_book.name_toggles(None, "index", "page.html", context, None)
    tree = BeautifulSoup(context["generate_toctree_html"](kind="sidebar", maxdepth=1), "html.parser")
    assert [summary["aria-label"] for summary in tree.find_all("summary")] == ["Pages under 2. Training"]
    assert context["generate_toctree_html"](kind="raw", maxdepth=1) == {"maxdepth": 1}


def test_the_scripted_icons_leave_the_pages_and_nothing_else(tmp_path):
    scripts = tmp_path / "_static" / "scripts"
    scripts.mkdir(parents=True)
    for name in ("fontawesome.js", "fontawesome.js.map", "bootstrap.js"):
        (scripts / name).write_text("", encoding="utf-8")
    kept = '<script defer src="../_static/scripts/bootstrap.js?digest=1"></script><p>fontawesome.js</p>'
    (tmp_path / "chapters").mkdir()
    page = tmp_path / "chapters" / "one.html"
    page.write_text(f'<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>{kept}', encoding="utf-8")
    study_book.drop_icon_script(SimpleNamespace(outdir=tmp_path), None)
    assert page.read_text(encoding="utf-8") == kept
    assert [file.name for file in scripts.iterdir()] == ["bootstrap.js"]
    study_book.drop_icon_script(SimpleNamespace(outdir=tmp_path), None)  # a second rendering finds nothing to do


def test_docstrings_are_split_as_numpydoc_says():
    text = "Summary.\n\nMore, with `code`.\n\nParameters\n----------\nx : array\n    What it is.\n\nRaises\n------\nStudyError\n    When."
    assert study_api.split_docstring(text) == [
        (None, "Summary.\n\nMore, with `code`."), ("Parameters", "x : array\n    What it is."), ("Raises", "StudyError\n    When."),
    ]  # fmt: skip
    assert [node.astext() for node in study_api.inline("a `b` :func:`c`")] == ["a ", "b", " ", "c"]


def test_signatures_are_those_of_the_source():
    import ast

    tree = ast.parse('def f(a: int, *, b=1) -> str:\n    "Doc."\n\ndef _g():\n    "Doc."\n\ndef h(): pass\n\nclass C:\n    "Doc."\n    def __init__(self, x): pass')
    assert [study_api.signature(node) for node in study_api.public_items(tree)] == ["f(a: int, *, b=1) -> str", "class C(x)"]


def test_every_source_cited_is_in_the_bibliography_with_a_way_to_it():
    entries = parse_file(BOOK / "references.bib").entries
    pages = "".join(file.read_text() for file in [*BOOK.rglob("*.md"), *(ROOT / "notebooks").glob("*.md")])
    cited = {key.strip() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", pages) for key in keys.split(",")}
    assert cited - set(entries) == set()
    dois = [entry.fields["doi"] for entry in entries.values() if "doi" in entry.fields]
    assert len(set(dois)) == len(dois) and all(re.fullmatch(r"10\.\d{4,9}/\S+", doi) for doi in dois)
    assert all({"doi", "url"} & set(entry.fields) for entry in entries.values())


def test_the_books_own_files_load_nothing_from_another_host():
    for file in (BOOK / "_static").iterdir():
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", file.read_text())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"
    assert config["sphinx"]["config"]["html_math_renderer"] == "mathml" and config["sphinx"]["config"]["nb_ipywidgets_js"] == {}


def test_the_warning_against_medical_use_stands_once_on_the_landing_page():
    assert (BOOK / "index.md").read_text().count("not a medical device") == 1


@pytest.mark.parametrize("file", ["CITATION.cff", "environment.yml", ".github/workflows/test.yml", ".github/workflows/publish.yml"])
def test_files_for_other_tools_are_valid_yaml(file):
    content = yaml.safe_load((ROOT / file).read_text())
    if "jobs" in content:
        # Without a named bash, GitHub's steps do not fail on a broken pipe.
        assert content["defaults"]["run"]["shell"] == "bash"
    if file == "CITATION.cff":
        assert content["license"] == "MIT" and content["references"][0]["doi"] == "10.48550/arXiv.2605.06197"
