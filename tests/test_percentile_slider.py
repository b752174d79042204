"""The percentile slider: what lies inside the page, and that its script cuts and counts as the package does."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from scipy.ndimage import gaussian_filter
from small_study import SIZE, write_small_study

from xai.bookchapters import refuse_unsafe
from xai.data.dataset import Dataset
from xai.interactive import InteractiveFigure, halves_as_text
from xai.masks import refine, threshold
from xai.metrics import overlap
from xai.percentile_slider import percentile_slider
from xai.plotting.data import plot_samples
from xai.profiles import Profile
from xai.shown import cases_to_show

SCRIPT = Path(__file__).parents[1] / "book" / "_static" / "percentile.js"
PROFILE = Profile(data={"image_size": SIZE}, training={"architectures": ["vgg16", "vgg19"]}, saliency={"test_slices": 9})
RULES = pd.DataFrame({"architecture": ["vgg16", "vgg19", "vgg19"], "method": ["gradcam", "gradcam", "scorecam"],
                      "percentile": [80, 90, 95], "dice": [0.2, 0.3, 0.4]})  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = write_small_study(tmp_path_factory.mktemp("slider") / "study")
    dataset = Dataset(study)
    for number, method in enumerate(("gradcam", "scorecam")):
        noise = np.random.default_rng(number).random((len(dataset.rows("test")), SIZE, SIZE))
        path = study.heatmaps("vgg19", method)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, gaussian_filter(noise + dataset.masks[dataset.rows("test")], (0, 2, 2)).astype(np.float16))
    return study


@pytest.fixture(scope="module")
def markup(study) -> str:
    return percentile_slider(study, PROFILE, RULES).as_html()


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(SIZE, SIZE)


def test_the_page_holds_the_studys_own_slices_and_heatmaps(study, markup):
    refuse_unsafe(markup, "cell")
    data = json.loads(BeautifulSoup(markup, "html.parser").figure["data-percentile"])
    dataset = Dataset(study)
    positions = cases_to_show(study, PROFILE)
    rows = dataset.rows("test")[positions]
    assert [method["key"] for method in data["methods"]] == ["scorecam", "gradcam"], "best on validation first, of the best network alone"
    assert data["methods"][0]["percentile"] == 95 and data["network"] == "VGG19"
    for row, position, shown in zip(rows, positions, data["slices"], strict=True):
        assert np.array_equal(unpacked(shown["image"]), dataset.images[row]) and np.array_equal(unpacked(shown["truth"]), dataset.masks[row])
        stored = np.load(study.heatmaps("vgg19", "gradcam"))[position]
        assert np.array_equal(np.frombuffer(base64.b64decode(shown["heat"]["gradcam"]), "<f2").reshape(SIZE, SIZE), stored)
        assert dataset.index["id"][row] in shown["name"]


def test_without_a_script_a_picture_with_words_and_caption_stays(markup):
    figure = BeautifulSoup(markup, "html.parser").figure
    assert figure.img["src"].startswith("data:image/png;base64,") and "Score-CAM" in figure.img["alt"]
    assert "oracle" in figure.figcaption.get_text()


def test_names_from_a_data_set_are_escaped():
    picture = plot_samples(np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8), ["glioma"], ["axial"])
    hostile = "'\"><script>alert(1)</script>"
    shown = InteractiveFigure(kind="percentile", picture=picture, alt=hostile, caption=hostile, data={"slices": [{"name": hostile}]}).as_html()
    refuse_unsafe(shown, "cell")
    figure = BeautifulSoup(shown, "html.parser").figure
    assert json.loads(figure["data-percentile"])["slices"][0]["name"] == hostile and figure.img["alt"] == hostile


def in_node(calls: list[dict]) -> list[dict]:
    if (node := shutil.which("node")) is None:
        pytest.skip("no node on this machine; install it to hold the slider's script against the package")
    program = f"""
        const p = require({json.dumps(str(SCRIPT))});
        const calls = JSON.parse(require("fs").readFileSync(0, "utf8"));
        console.log(JSON.stringify(calls.map((c) => {{
            const heat = p.decodeHalves(c.heat);
            const raw = p.threshold(heat, p.sort(heat), c.level);
            const mask = p.refine(raw, heat, c.size, c.radius);
            return {{ heat: Array.from(heat), raw: Array.from(raw), mask: Array.from(mask), score: p.score(mask, Uint8Array.from(c.truth)) }};
        }})));"""
    done = subprocess.run([node, "-e", program], input=json.dumps(calls), capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_the_script_cuts_cleans_and_counts_as_the_package_does():
    """On noise, on maps with a plateau of zeros, on maps whose background is a thousandth of the tumour's heat, and on a map without contrast."""
    draw = np.random.default_rng(7)
    size, calls, expected = 24, [], []
    for number in range(80):
        heat = gaussian_filter(draw.normal(size=(size, size)), number % 4)
        heat -= np.quantile(heat, 0.6) if number % 3 == 0 else heat.min()
        heat = np.maximum(heat, 0) ** (1 if number % 2 else 8)
        heat = (heat / heat.max() if number != 79 else np.zeros_like(heat)).astype(np.float16)
        truth = (draw.random((size, size)) < (0.2 if number % 5 else 0)).astype(np.uint8)
        level, radius = float(draw.choice(np.arange(50, 99.5, 0.5))), number % 3
        calls.append({"heat": halves_as_text(heat), "truth": truth.ravel().tolist(), "level": level, "radius": radius, "size": size})
        raw = threshold(heat[None], level)
        mask = refine(raw, heat[None], opening_radius=radius)
        scores = {name: getattr(overlap, name)(mask, truth[None])[0] for name in ("dice", "precision", "recall")}
        expected.append((heat, raw[0], mask[0], scores | {"pixels": mask.sum()}))
    assert len({raw.sum() for _, raw, *_ in expected}) > 20, "the cases must differ"
    for found, (heat, raw, mask, scores) in zip(in_node(calls), expected, strict=True):
        assert np.array_equal(np.array(found["heat"], np.float16), heat.ravel())
        assert np.array_equal(found["raw"], raw.ravel()) and np.array_equal(found["mask"], mask.ravel())
        assert found["score"] == pytest.approx(scores)


def test_the_picture_without_a_script_says_the_dice():
    from xai.plots import plot_percentile_examples

    truth = np.zeros((1, 16, 16), np.uint8)
    truth[0, 4:8, 4:8] = 1
    figure = plot_percentile_examples(truth * 255, truth, {80: truth, 95: truth * 0}, {80: [1.0], 95: [0.0]}, ["glioma"])
    assert [axes.get_title("left") or axes.get_title() for axes in figure.axes] == ["percentile 80, Dice 1.00", "percentile 95, Dice 0.00"]
