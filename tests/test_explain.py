"""`xai explain`: from a file to a page, on a network with random weights; what is said of what, and what is written where."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
import skimage.data
from bs4 import BeautifulSoup
from conftest import REPOSITORY, one_sentence
from PIL import Image
from scipy.special import log_softmax

import xai
from xai import explain as explain_module
from xai import outliers
from xai.calibration import fit_temperature, tempered
from xai.cli import main
from xai.data.dataset import Slice, prepare
from xai.data.phantom import make_phantom
from xai.explain import Explainer, choose, explain_file
from xai.findings import Findings
from xai.inputs import Scan, read_scan
from xai.outliers import Answers, Ordinary, judge, sureness, tumour_limit
from xai.pages import Entry, explanation_page, index_page
from xai.paths import Study, StudyError
from xai.profiles import Profile, save_profile
from xai.training import build

SIZE = 64
PROFILE = Profile(
    data={"image_size": SIZE}, training={"architectures": ["vgg16", "vgg19"]},
    saliency={"minimum_grid": 4, "scorecam_channels": 3, "validation_slices": 6},
)  # fmt: skip
NO_HEAD = ["no head", "not a slice of a head"]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Phantom slices, a VGG16 with random weights, and thresholds written by hand."""
    study = Study(tmp_path_factory.mktemp("own") / "mini")
    heads = list(make_phantom(subjects=9, slices_per_subject=2, image_size=SIZE, seed=3))
    slices = [Slice(f"p{number}", item.image, item.mask, item.label, item.patient, item.plane) for number, item in enumerate(heads)]
    splits = [("train", "validation", "test")[number // 6] for number in range(len(slices))]
    prepare(study, slices, count=len(slices), image_size=SIZE, source="phantom", assign_splits=lambda index: splits)
    save_profile(PROFILE, study.profile)
    study.model("vgg16").mkdir(parents=True)
    build(PROFILE, "vgg16").save_weights(study.weights("vgg16"))
    pd.DataFrame({"val_score": [0.5, 0.7], "val_accuracy": [0.5, 0.7], "val_dice": [0.1, 0.2]}).to_csv(study.history("vgg16"), index=False)
    study.tables.mkdir()
    pd.DataFrame({
        "architecture": "vgg16", "method": ["gradcam", "gradcampp", "scorecam"], "percentile": [90, 95, 97],
        "rule": ["validation", "fixed", "half maximum"], "outline": ["none", "superpixels", "none"], "dice": [0.3, 0.4, 0.35],
    }).to_csv(study.table("threshold_rules"), index=False)  # fmt: skip
    return study


@pytest.fixture(scope="module")
def explainer(study, tmp_path_factory) -> Explainer:
    """One for the module; every slice of a head is ordinary to it, because random weights find no tumour."""
    patch = pytest.MonkeyPatch()
    patch.setattr(outliers, "TUMOUR_FREE", 1)
    explainer = Explainer(study, store=tmp_path_factory.mktemp("raw"))
    object.__setattr__(explainer.ordinary, "limits", {"tumour": 0.0, "distance": 1e9})
    explainer.methods
    yield explainer
    patch.undo()


@pytest.fixture
def shared(monkeypatch, explainer):
    """The command with the module's network, so that each call need not load its own."""
    def same(study, **options):
        # What was asked for is checked as always; only the loaded network is shared.
        made = Explainer(study, **options)
        for name in ("model", "reader", "ordinary"):
            made.__dict__[name] = getattr(explainer, name)
        if made.channels == explainer.channels:
            made.__dict__["methods"] = explainer.methods
        return made

    monkeypatch.setattr(explain_module, "Explainer", same)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a head, a picture of noise, and text named .png; beside it a volume of three slices."""
    root = tmp_path_factory.mktemp("files")
    folder = root / "folder"
    folder.mkdir()
    head = next(make_phantom(subjects=1, slices_per_subject=1, image_size=128, seed=8))
    Image.fromarray(head.image).save(folder / "head <b>.png")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 70)).astype(np.uint8)).save(folder / "noise.png")
    (folder / "text.png").write_text("no picture")
    volume = np.zeros((128, 128, 3), np.float32)
    volume[..., 1] = head.image.T[:, ::-1][::-1]  # as read_scan will turn it back: axial, RAS
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 6, 1])), root / "volume.nii.gz")
    return SimpleNamespace(folder=folder, head=folder / "head <b>.png", noise=folder / "noise.png", volume=root / "volume.nii.gz", image=head.image)


# ---------------------------------------------------------------- calibration and verdicts


def test_the_temperature_is_the_one_with_the_least_cross_entropy():
    """Two of three slices are right at a logit of 4: calibrated means a probability of two thirds, so 4 / T = log 2."""
    logits = np.array([[4.0, 0.0]] * 3)
    labels = np.array([0, 0, 1])
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(4 / np.log(2), rel=1e-3)
    assert tempered(logits, temperature)[0] == pytest.approx([2 / 3, 1 / 3], rel=1e-3)
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(200, 3)) * 5, draw.integers(0, 3, 200)
    grid = np.geomspace(0.1, 20, 4000)
    losses = [-log_softmax(logits / one, axis=1)[np.arange(200), labels].mean() for one in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmin(losses)], rel=5e-3)


def test_a_network_without_errors_stays_within_bounds():
    assert fit_temperature(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([0, 1])) >= 0.05


def test_sureness_is_the_mean_of_the_surest_pixels():
    masks = np.zeros((2, 20, 20))
    masks[0, 3, 3:5] = 0.8  # 0.5 % of 400 pixels are two
    masks[1, 0, 0] = 1.0
    assert sureness(masks) == pytest.approx([0.8, 0.5])


def test_the_tumours_limit_passes_the_fewest_without_and_loses_at_most_a_tenth():
    with_tumour = np.linspace(0, 1, 101)
    assert tumour_limit(with_tumour, np.full(50, 0.05)) == pytest.approx(0.055, abs=0.006)  # just above all without
    assert tumour_limit(with_tumour, np.full(50, 0.5)) == pytest.approx(0.01, abs=0.001)  # beyond reach: lose no more than needed
    assert tumour_limit(np.full(9, 0.7), np.full(5, 0.1)) == pytest.approx(0.7)


def test_distance_is_mahalanobis():
    ordinary = Ordinary(1.0, {}, {}, np.array([1.0, 0.0]), np.diag([4.0, 1.0]))
    found = ordinary.scores(Answers(np.zeros((2, 3)), np.zeros((2, 8, 8)), np.array([[2.0, 0.0], [1.0, 3.0]])))
    assert found["distance"] == pytest.approx([2.0, 3.0])


def test_the_gravest_doubt_is_said_first():
    ordinary = Ordinary(1.0, {"tumour": 0.5, "distance": 5.0}, {}, np.zeros(1), np.eye(1))
    cases = [(0.9, 1.0, True, "ordinary"), (0.4, 1.0, True, "no tumour"), (0.4, 6.0, True, "unlike"), (0.9, 6.0, True, "unlike"), (0.9, 1.0, False, "no head")]
    for tumour, distance, is_head, kind in cases:
        verdict = judge(ordinary, {"tumour": tumour, "distance": distance}, is_head=is_head)
        assert verdict.kind == kind and verdict.class_said == (kind == "ordinary")


def test_what_is_ordinary_is_measured_once(study, explainer, monkeypatch):
    facts = explainer.ordinary.facts
    assert facts["free_slices"] == 3 and facts["validation_slices"] == facts["test_slices"] == 6
    monkeypatch.setattr(outliers, "measure", lambda *_: pytest.fail("measured again"))
    again = outliers.ordinary_of(study, PROFILE, "vgg16", explainer.reader)
    assert again.facts == facts and again.temperature == explainer.ordinary.temperature
    assert np.array_equal(again.precision, explainer.ordinary.precision)


def test_other_weights_are_measured_anew(study, explainer, monkeypatch):
    monkeypatch.setattr(outliers, "_fingerprint", lambda *_: "of other weights")
    monkeypatch.setattr(outliers, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outliers.ordinary_of(study, PROFILE, "vgg16", explainer.reader)


def test_both_heads_answer_as_the_network_does(explainer):
    images = np.stack([np.asarray(explainer.ordinary.mean[:1]).repeat(SIZE * SIZE).reshape(SIZE, SIZE), np.full((SIZE, SIZE), 90.0)])
    answers, outputs = explainer.reader(images), explainer.model(images[..., None].astype(np.float32), training=False)
    np.testing.assert_allclose(answers.logits, outputs["classification"], atol=1e-4)
    np.testing.assert_allclose(answers.masks, 1 / (1 + np.exp(-np.asarray(outputs["segmentation"])[..., 0])), atol=1e-4)
    assert answers.features.shape == (2, len(explainer.ordinary.mean))


# ---------------------------------------------------------------- one slice


@pytest.fixture(scope="module")
def found(explainer, files):
    return explainer.explain(read_scan(files.head))


def test_a_head_is_explained_placed_and_reported(found):
    assert found.verdict.kind == "ordinary" and sum(found.probabilities.values()) == pytest.approx(1)
    assert set(found.heatmaps) == set(found.masks) == {"gradcam", "gradcampp", "scorecam"} and found.method == "gradcampp"
    assert found.located.found.plane == found.findings.plane and found.findings.anatomy.hemisphere == "not determinable"
    assert found.findings.prediction.probabilities == pytest.approx(found.probabilities)
    assert found.findings.mask.segmentation_agreement_dice == pytest.approx(found.agreements["gradcampp"])
    assert "not for diagnosis" in found.report.text


def test_the_page_needs_nothing_else_and_escapes_everything(explainer, found):
    from dataclasses import replace

    hostile = replace(found, name='"><script>alert(1)</script>', notes=("<img src=x onerror=alert(1)>",))
    page = BeautifulSoup(explanation_page(hostile, b"png"), "html.parser")
    assert not page.find_all(["script", "link", "iframe", "form", "object"]) and len(page.find_all("img")) == 1
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in page.find_all("img"))
    assert not re.search(r"url\(|@import|https?://", str(page))
    assert not any(name.startswith("on") for tag in page.find_all(True) for name in tag.attrs)
    assert "<script>alert(1)</script>" in page.h1.text and page.html["lang"] == "en"
    assert page.find("meta", attrs={"name": "viewport"}) and str(page).count("not for diagnosis or treatment") == 2
    assert "default-src 'none'" in page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]


def test_a_doubtful_slice_gets_no_class_and_no_report(explainer, files, monkeypatch):
    monkeypatch.setitem(explainer.ordinary.limits, "tumour", 1.1)
    found = explainer.explain(read_scan(files.head))
    assert found.verdict.kind == "no tumour" and found.report is None and found.heatmaps
    assert "no tumour found" in found.findings.quality_flags
    page = BeautifulSoup(explanation_page(found, b""), "html.parser")
    assert page.find(class_="verdict").strong.text == "No tumour found" and "holds only if there is one" in page.find(class_="verdict").text
    monkeypatch.setattr(explainer, "anyway", True)
    assert "no tumour found" in explainer.explain(read_scan(files.head)).report.text


def test_what_is_no_head_is_said_to_be_none(explainer, files, tmp_path):
    found = explainer.explain(read_scan(files.noise))
    assert [found.verdict.kind, found.verdict.title] == NO_HEAD
    assert found.findings is None and found.report is None and found.figure() is None
    page = found.save(tmp_path)
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "figure.png", "arrays.npz", "result.json"}
    text = BeautifulSoup(page.read_text(), "html.parser").get_text()
    assert "Not a slice of a head" in text and not re.search("glioma|meningioma|pituitary", text)


def test_few_pixels_do_not_make_a_cat_a_head(explainer, tmp_path):
    Image.fromarray(skimage.data.cat()).save(tmp_path / "cat.png")
    verdict = explainer.explain(read_scan(tmp_path / "cat.png")).verdict
    assert [verdict.kind, verdict.title] == NO_HEAD, f"the network sees it at {SIZE} pixels, where it looks like one"


def test_a_slice_of_a_volume_is_upright_and_has_sides(explainer, files):
    scan = read_scan(files.volume)
    assert np.array_equal(scan.grey(1), files.image)
    assert explainer.slices(scan) == [1], "the other two are black"
    assert explainer.slices(scan, "0,2") == [0, 2] and explainer.slices(scan, "all") == [0, 1, 2]
    marked = np.zeros((4, SIZE, SIZE))
    for number, side in enumerate((10, 40, 20, 5)):  # the second is larger than any tumour learned
        marked[number, :side, :side] = 0.9
    explainer.__dict__["reader"], reader = (lambda images: Answers(None, marked, None)), explainer.reader
    largest = explainer.ordinary.facts["largest_area"]
    explainer.ordinary.facts["largest_area"] = 0.2
    try:
        assert explainer.slices(Scan(files.head, np.repeat(files.image[None], 4, axis=0))) == [2]
    finally:
        explainer.__dict__["reader"], explainer.ordinary.facts["largest_area"] = reader, largest
    for wanted in ("3", "-1", "x", "1,,2"):
        with pytest.raises(StudyError, match="expected a number from 0 to 2"):
            explainer.slices(scan, wanted)
    found = explainer.explain(scan, 1, convention="neurological")
    assert found.convention == "radiological" and "the convention given was not used" in found.notes[-1]
    assert found.name == "volume-slice001" and found.findings.plane == "axial"


def test_five_lines_of_python(shared, study, files):
    found = list(explain_file(files.head, study, writer=None, convention="radiological"))
    assert len(found) == 1 and found[0].convention == "radiological" and found[0].report is None


# ---------------------------------------------------------------- the command


def run(capsys, *arguments) -> tuple[int, list[str], list[str]]:
    """Exit status, lines on stdout, error lines on stderr."""
    status = main([str(argument) for argument in ("explain", *arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out.splitlines(), [line for line in re.split(r"[\r\n]+", err) if line.startswith("error:")]


def test_a_folder_with_one_bad_file(shared, study, files, tmp_path, capsys):
    status, lines, errors = run(capsys, files.folder, "--study", study.root, "--out", tmp_path / "out")
    assert status == 1 and len(errors) == 1 and "text.png is no picture" in one_sentence(errors[0])
    record = json.loads((tmp_path / "out" / "head-b" / "result.json").read_text())
    assert record["verdict"] == "ordinary" and lines[0].startswith("head-b: " + record["summary"])
    assert Findings.load(tmp_path / "out" / "head-b" / "findings.json").id == "head-b"
    arrays = np.load(tmp_path / "out" / "head-b" / "arrays.npz")
    assert {"image", "segmentation", "heatmap_gradcam", "mask_scorecam"} <= set(arrays) and arrays["image"].shape == (SIZE, SIZE)
    index = BeautifulSoup((tmp_path / "out" / "index.html").read_text(), "html.parser")
    assert [link["href"] for link in index.find_all("a")] == ["head-b/index.html", "noise/index.html"]
    assert "not a slice of a head" in index.get_text() and "is no picture" in index.get_text()
    assert all((tmp_path / "out" / link["href"]).exists() for link in index.find_all("a"))


def test_results_are_kept_until_told_otherwise(shared, study, files, tmp_path, capsys):
    common = (files.noise, "--plane", "axial", "--study", study.root, "--out", tmp_path)  # one plane to search, not three
    assert run(capsys, *common)[0] == 0
    page = tmp_path / "noise" / "index.html"
    page.write_text("mine")
    status, lines, _ = run(capsys, *common)
    assert status == 0 and "(kept)" in lines[0] and page.read_text() == "mine"
    status, _, errors = run(capsys, *common, "--convention", "radiological")
    assert status == 2 and "results of another file or of other options; give --overwrite" in one_sentence(errors[0])
    assert run(capsys, *common, "--convention", "radiological", "--overwrite")[0] == 0 and page.read_text() != "mine"
    (tmp_path / "noise" / "result.json").unlink()  # as a killed run leaves it
    page.write_text("half")
    assert run(capsys, *common)[0] == 0 and page.read_text() != "half"


def test_json_only_writes_nothing(shared, study, files, tmp_path, capsys):
    status, lines, _ = run(capsys, files.noise, "--plane", "axial", "--study", study.root, "--out", tmp_path / "out", "--json-only")
    told = json.loads(lines[0])
    assert status == 0 and told["verdict"] == "no head" and told["label"] is None and told["findings"] is None
    assert not (tmp_path / "out").exists()


def test_files_of_one_name_do_not_overwrite_each_other(shared, study, files, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (50, 50)).astype(np.uint8)).save(tmp_path / "b" / "noise.png")
    assert run(capsys, files.noise, tmp_path / "b" / "noise.png", "--plane", "axial", "--study", study.root, "--out", tmp_path / "out")[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"noise", "noise-2", "index.html"}


def test_a_fault_in_one_file_spares_the_others(shared, study, files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(outliers.Reader, "__call__", lambda *_: 1 / 0)
    status, _, errors = run(capsys, files.noise, "--study", study.root, "--out", tmp_path)
    assert status == 2 and "because of a fault in the program (ZeroDivisionError" in one_sentence(errors[0])


def test_a_writer_without_its_key_is_not_replaced(shared, study, files, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    status, _, errors = run(capsys, files.head, "--study", study.root, "--out", tmp_path, "--writer", "grok3")
    assert status == 2 and "its report was not written: writer grok3 needs a key" in one_sentence(errors[0])
    assert "set the environment variable XAI_API_KEY" in (tmp_path / "head-b" / "index.html").read_text()


@pytest.mark.parametrize("spoil, sentence", [
    (lambda study: None, "does not exist; make one with `make book`"),
    (lambda study: study.root.mkdir(), "profile.yaml is missing"),
    (lambda study: save_profile(PROFILE, study.profile), "holds no trained network"),
    (lambda study: _trained(study), "threshold_rules.csv is missing; it is made by chapter 04_thresholding"),
])  # fmt: skip
def test_a_study_that_is_not_ready_is_one_sentence(tmp_path, files, capsys, spoil, sentence):
    study = Study(tmp_path / "new")
    spoil(study)
    status, lines, errors = run(capsys, files.head, "--study", study.root, "--out", tmp_path / "out")
    assert status == 2 and not lines and sentence in one_sentence(errors[0]) and not (tmp_path / "out").exists()


def _trained(study: Study) -> None:
    save_profile(PROFILE, study.profile)
    study.model("vgg16").mkdir(parents=True)
    study.weights("vgg16").touch()
    study.history("vgg16").touch()


def test_what_is_asked_for_must_be_there(study, tmp_path, capsys, files):
    assert choose(study)[1:] == ("vgg16", "gradcampp"), "the best on validation of those trained"
    assert choose(study, method="gradcam")[1:] == ("vgg16", "gradcam")
    status, _, errors = run(capsys, files.head, "--study", study.root, "--architecture", "vgg19")
    assert status == 2 and "no trained network 'vgg19'" in one_sentence(errors[0]) and "choose one of vgg16" in errors[0]
    status, _, errors = run(capsys, tmp_path / "gone.png", "--study", study.root)
    assert status == 2 and "does not exist" in one_sentence(errors[0])
    for wrong in (["--architecture", "alexnet"], ["--scorecam-channels", "-1"], []):
        with pytest.raises(SystemExit) as caught:
            main(["explain", *(["x.png"] if wrong else []), *wrong])
        assert caught.value.code == 2
    capsys.readouterr()


def test_an_index_shows_what_is_there_and_escapes_it(tmp_path):
    page = index_page([Entry("gone", ""), Entry("<b>.png", "<script>", failed=True)], tmp_path)
    assert "<script>" not in page and "<b>.png" not in page and "1 slice explained, 1 file not" in page


def test_help_loads_no_network_library():
    """`python -m xai` is the command, and what only parses arguments must answer at once."""
    code = "import runpy, sys; sys.argv[1:] = ['--version']\ntry: runpy.run_module('xai', run_name='__main__')\nfinally: assert not {'keras', 'tensorflow', 'nilearn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"xai {xai.__version__}", "")


# ---------------------------------------------------------------- the book's page


def test_the_page_of_the_book_shows_the_help_as_it_is(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["explain", "--help"])
    shown = re.search(r"\$ xai explain --help\n(.*?)```", (REPOSITORY / "book" / "explain.md").read_text(), re.DOTALL)[1]
    assert caught.value.code == 0 and shown.split() == capsys.readouterr().out.split()


def test_the_python_of_the_book_runs(shared, study, files, tmp_path, monkeypatch):
    """Its two examples, on files of the names they use; the volume has three slices, so another number stands for 12."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quick").symlink_to(study.root)
    (tmp_path / "scan.png").write_bytes(files.head.read_bytes())
    (tmp_path / "head.nii.gz").write_bytes(files.volume.read_bytes())
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "book" / "explain.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("12)", "1)"), {})
    assert (tmp_path / "explained" / "scan" / "index.html").exists()
