"""The whole study on the smoke profile, as a reader runs it: `make book`, killed once, finished, changed, and read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from browser import browser  # noqa: F401: the fixture
from bs4 import BeautifulSoup
from page_checks import dead_links, faults_of, find_pages
from test_reports import KEY, chat_server, completion

from xai.profiles import NINE

REPOSITORY = Path(__file__).parent.parent
PARTS = ("Makefile", "Snakefile", "pyproject.toml", "requirements.lock", "_config.yml", "_toc.yml", "xai", "book", "notebooks", "profiles", "results", "CITATION.cff")
TRAININGS_BEFORE_THE_KILL = 4

pytestmark = [pytest.mark.graph, pytest.mark.timeout(3600)]  # the smoke book: 12 minutes, and more than 30 on old processors beside other tests


def environment(folder: Path) -> dict[str, str]:
    # Keys would start real writers; the copy of xai must win over the installed one.
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return kept | {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MPLBACKEND": "agg"}


def make_book(folder: Path, **options) -> subprocess.Popen:
    command = ["make", "book", "PROFILE=smoke", "CORES=2", "--old-file=.venv/ready"]  # the environment of these tests
    return subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, **options,
    )  # fmt: skip


def finished_trainings(study: Path) -> dict[str, int]:
    """Architecture -> modification time of its weights, for hybrids whose training is done."""
    states = {path.parent.name: json.loads(path.read_text()) for path in study.glob("models/*/state.json")}
    return {name: (study / "models" / name / "model.weights.h5").stat().st_mtime_ns for name, state in states.items() if state["done"]}


def jobs_of(folder: Path, **variables: str) -> set[str]:
    """Rules that would run, without the pseudo-rule `all`."""
    result = subprocess.run(
        ["snakemake", "--nolock", "--cores", "2", "--config", "study=runs/smoke", "--dry-run"],
        cwd=folder, env=environment(folder) | variables, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return set(re.findall(r"^(\w+) +\d+$", result.stdout + result.stderr, re.MULTILINE)) - {"all", "total"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished smoke study in a copy of the repository: killed during the fifth training, then resumed."""
    folder = tmp_path_factory.mktemp("clone")
    for name in PARTS:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("_build", "_source", "__pycache__"))
        elif source.exists():  # results may be none yet
            shutil.copy2(source, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)

    runs = folder / "runs" / "smoke"
    first = make_book(folder)
    while len(finished_trainings(runs)) < TRAININGS_BEFORE_THE_KILL or not running_training(runs):
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = finished_trainings(runs)

    second = make_book(folder)
    output, _ = second.communicate()
    assert second.returncode == 0, output[-6000:]
    (folder / "finished_before_the_kill.json").write_text(json.dumps(before))
    return folder


def running_training(runs: Path) -> bool:
    begun = {path.parent.name for path in runs.glob("models/*/.lock")}
    return bool(begun - set(finished_trainings(runs)))


@pytest.fixture(scope="module")
def pages(study) -> dict[str, BeautifulSoup]:
    html = study / "book" / "_build" / "html"
    return {str(path.relative_to(html)): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in html.rglob("*.html")}


def test_a_killed_run_does_not_repeat_finished_trainings(study):
    after = finished_trainings(study / "runs" / "smoke")
    before = json.loads((study / "finished_before_the_kill.json").read_text())
    assert len(before) >= TRAININGS_BEFORE_THE_KILL
    assert {name: after[name] for name in before} == before
    assert set(NINE) <= set(after)


def test_a_second_make_does_nothing(study):
    watched = [path for top in ("runs", "book") for path in (study / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    before = {path: path.stat().st_mtime_ns for path in watched}
    again = make_book(study)
    output, _ = again.communicate()
    assert again.returncode == 0 and "Nothing to be done" in output, output
    assert {path: path.stat().st_mtime_ns for path in watched} == before


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("xai/metrics/text.py", {"evaluation", "book"}),
        ("xai/atlas.py", {"atlas", "reports", "evaluation", "book"}),
        ("xai/masks.py", {"second_head", "thresholding", "atlas", "reports", "evaluation", "book"}),
        ("xai/plots.py", {"chapter_data", "leakage", "learning_curve", "second_head", "shuffled_labels", "saliency", "thresholding", "atlas", "reports", "evaluation", "book"}),
        ("book/index.md", {"book"}),
    ],
)
def test_only_what_a_change_touches_runs_again(study, module, expected):
    path = study / module
    text, times = path.read_text(encoding="utf-8"), path.stat()
    try:
        path.write_text(text + "\n# changed\n", encoding="utf-8")
        assert jobs_of(study) == expected
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert jobs_of(study) == set()


def test_a_change_of_a_knob_runs_what_reads_it(study):
    path = study / "runs" / "smoke" / "profile.yaml"
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(text.replace("opening_radius: 1", "opening_radius: 2"), encoding="utf-8")
        assert jobs_of(study) == {"second_head", "thresholding", "atlas", "reports", "evaluation", "book"}
    finally:
        path.write_text(text, encoding="utf-8")


def test_a_key_that_was_set_runs_its_writer(study):
    assert jobs_of(study, GROQ_API_KEY="dummy") == {"reports", "evaluation", "book"}


def test_redrawing_a_chapter_trains_and_explains_nothing_again(study):
    """An edit of the notebook alone re-executes it, and the fingerprints keep weights and heatmaps."""
    runs = study / "runs" / "smoke"
    kept = [runs / "models/vgg16/model.weights.h5", runs / "saliency/vgg16/gradcam.npy"]
    before = [path.stat().st_mtime_ns for path in kept]
    for chapter in ("02_training", "03_saliency"):
        result = papermill_alone(study, chapter, "-p", "architecture", "vgg16")
        assert result.returncode == 0, result.stderr[-3000:]
    assert [path.stat().st_mtime_ns for path in kept] == before


def papermill_alone(study: Path, chapter: str, *parameters: str) -> subprocess.CompletedProcess:
    command = f"jupytext --to ipynb --output - notebooks/{chapter}.md | papermill - alone.ipynb -p study runs/smoke " + " ".join(parameters)
    return subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=study, env=environment(study), capture_output=True, text=True)


@pytest.mark.parametrize("chapter", ["01_data", "02_leakage", "02_learning_curve", "02_second_head", "03_shuffled_labels", "04_thresholding", "05_atlas", "06_reports", "07_evaluation"])
def test_papermill_alone_runs_a_chapter(study, chapter):
    assert f"notebooks/{chapter}.md | papermill -" in (study / "notebooks" / f"{chapter}.md").read_text(encoding="utf-8")
    (study / "alone.ipynb").unlink(missing_ok=True)
    result = papermill_alone(study, chapter)
    assert result.returncode == 0, result.stderr[-3000:]
    notebook = json.loads((study / "alone.ipynb").read_text(encoding="utf-8"))
    assert any(cell.get("outputs") for cell in notebook["cells"])


def test_the_contract_of_files(study):
    runs = study / "runs" / "smoke"
    index = pd.read_csv(runs / "data" / "index.csv", dtype={"id": str})
    tests = int((index["split"] == "test").sum())
    for architecture in NINE:
        for name in ("model.weights.h5", "history.csv", "predictions.csv", "seconds.json", "test_masks.npy"):
            assert (runs / "models" / architecture / name).stat().st_size > 0
        assert len(pd.read_csv(runs / "models" / architecture / "predictions.csv")) == tests
        for method in ("gradcam", "gradcampp", "scorecam"):
            assert (runs / "saliency" / architecture / f"{method}.npy").exists()
            assert (runs / "masks" / architecture / f"{method}.npy").exists()
    assert len(list((runs / "findings").glob("*.json"))) == min(tests, 6)
    for writer in ("template", "smollm2"):
        assert len((runs / "reports" / f"{writer}.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    for writer in ("llama", "grok3", "mistral"):
        assert (runs / "reports" / f"{writer}.jsonl").read_text() == ""
        assert (runs / "reports" / f"{writer}.status").read_text().startswith("not run: ")


KEY_COLUMNS = {
    "dataset": "split label slices patients", "architectures": "architecture parameters target_layer channels",
    "classification": "architecture accuracy accuracy_low accuracy_high precision recall f1 auc auc_low auc_high",
    "segmentation": "architecture dice iou hd95", "ablation": "architecture variant accuracy dice",
    "overlap": "architecture method threshold label dice iou pointing",
    "faithfulness": "architecture method insertion deletion aic sic",
    "localisation": "case plane through_plane_mm in_plane_mm top1 top3", "regions": "id region hemisphere probability overlap",
    "reports": "writer mtld ttr coherence flesch fkgl fact_precision fact_recall unsupported", "prior_work": "work accuracy",
}  # fmt: skip


@pytest.mark.parametrize("table", KEY_COLUMNS)
def test_every_table_is_there_as_a_file(study, table):
    found = pd.read_csv(study / "runs" / "smoke" / "tables" / f"{table}.csv")
    assert set(KEY_COLUMNS[table].split()) <= set(found.columns)
    assert len(found)


FIGURES = {
    "F1": "pipeline.svg", "F2": "samples.png", "F3": "hybrid.svg", "F4": "training_curves.svg", "F5": "confusions.*",
    "F6": "roc_calibration.svg", "F7": "cam_grid_vgg16.png", "F8": "mask_steps.png", "F9": "percentile_curves.svg", "F10": "atlas.png",
    "F11": "reports.svg", "F12": "writers.svg", "F13": "faithfulness_vgg16.svg", "F14": "sanity_vgg16.svg",
}  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_there_as_a_file(study, figure):
    assert list((study / "runs" / "smoke" / "figures").glob(FIGURES[figure]))


def test_every_figure_and_table_has_its_place_in_the_book(study, pages):
    listed = yaml.safe_load((study / "book" / "figures_and_tables.yml").read_text(encoding="utf-8"))
    assert list(listed["figures"]) == list(FIGURES) and len(listed["tables"]) == 9
    for kind in ("figures", "tables"):
        for number, entry in listed[kind].items():
            places = [(name, page.find(id=re.compile(f"^{entry['label']}(-vgg16)?$"))) for name, page in pages.items()]
            places = [(name, place) for name, place in places if place is not None]
            assert places, f"{number} ({entry['label']}) is on no page"
            text = places[0][1].parent.get_text() if kind == "tables" else places[0][1].get_text() + places[0][1].parent.get_text()
            assert (f"Table {number}." if kind == "tables" else f"Figure {number}.") in text, f"{number} on {places[0][0]}"


def test_a_figure_shows_a_picture_with_words_for_it(pages):
    for name, page in pages.items():
        for figure in page.select("main figure, article figure"):
            picture = figure.find("img")
            assert picture is not None and picture.get("alt", "").strip(), f"{name}: a figure without picture or alt text"


def test_pages_of_all_networks_and_writers(pages):
    for architecture in NINE:
        assert f"chapters/02_training_{architecture}.html" in pages and f"chapters/03_saliency_{architecture}.html" in pages
    for page in ("index.html", "glossary.html", "bibliography.html", "reproduce.html", "chapters/06_reports_llama.html"):
        assert page in pages
    assert "not run" in pages["chapters/06_reports_llama.html"].get_text()


def test_no_page_loads_from_another_host(pages):
    for name, page in pages.items():
        loaded = [tag.get(attribute) for tag in page.find_all(["script", "img", "link", "iframe", "source"]) for attribute in ("src", "href") if tag.get(attribute)
                  and tag.get("rel") != ["canonical"]]  # fmt: skip
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], name


def test_no_page_has_a_dead_link(study):
    assert dead_links(study / "book" / "_build" / "html") == []


@pytest.mark.parametrize("kind", ["prose", "chapters"])
def test_pages_work_in_a_browser(study, browser, kind):  # noqa: F811
    html = study / "book" / "_build" / "html"
    # Pages of the nine networks and of the writers differ in numbers alone, so one of each is looked at.
    alike = [name for name in (*NINE, "llama", "grok3", "mistral") if name != "vgg16"]
    wanted = [page for page in find_pages(html) if (page.parent == html) == (kind == "prose") and not page.stem.endswith(tuple(f"_{name}" for name in alike))]
    assert len(wanted) > 9
    assert {str(page.relative_to(html)): faults for page in wanted if (faults := faults_of(browser, page))} == {}


def test_the_cluster_profile_is_accepted(study):
    result = subprocess.run(
        ["snakemake", "--profile", "profiles/slurm", "--config", "study=runs/smoke", "--nolock", "--dry-run", "--forceall"],
        cwd=study, env=environment(study), capture_output=True, text=True,
    )  # fmt: skip
    text = result.stdout + result.stderr
    assert result.returncode == 0, text[-3000:]
    assert re.search(r"^training +9$", text, re.MULTILINE) and re.search(r"^saliency +9$", text, re.MULTILINE)
    profile = yaml.safe_load((study / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    rules = set(re.findall(r"^rule (\w+):", (study / "Snakefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(profile["set-resources"]) == set(profile["set-threads"]) == {"training", "ablation", "leakage", "learning_curve", "second_head", "shuffled_labels", "saliency"} <= rules
    assert all(resources["gpu"] == 1 for resources in profile["set-resources"].values())


def test_a_key_is_in_no_file_of_run_book_or_logs(study):
    """Last, because it changes the study: a service answers with the key, the page is rendered, and every file is searched."""
    runs, output = study / "runs" / "smoke", "runs/smoke/notebooks/06_reports_grok3.ipynb"
    variables = environment(study) | {"XAI_API_KEY": KEY}
    try:
        with chat_server(completion(f"The key is {KEY}.")) as (address, requests):
            chapter = ["python", "-m", "xai.chapter", "notebooks/06_reports.md", output, "-p", "study", "runs/smoke", "-p", "writer", "grok3"]
            for command in ([*chapter, "-p", "base_url", address], ["python", "-m", "xai.bookbuild", "--study", "runs/smoke"]):
                with open(runs / "logs" / "key.log", "a") as log:
                    subprocess.run(command, cwd=study, env=variables, stdout=log, stderr=log, check=True)
        assert len(requests) == 3 and all(KEY in str(request.headers) for request in requests)
        page = (study / "book/_build/html/chapters/06_reports_grok3.html").read_text(encoding="utf-8")
        assert "[key removed]" in page
        searched = [path for folder in ("runs", "book", ".snakemake") for path in (study / folder).rglob("*") if path.is_file()]
        assert len(searched) > 500 and not [path for path in searched if KEY.encode() in path.read_bytes()]
    finally:
        (runs / "reports" / "grok3.jsonl").unlink(missing_ok=True)
