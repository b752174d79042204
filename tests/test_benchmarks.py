"""The benchmarks run and print what they say they print; what they measure is not asserted here."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from xai.atlas_synthesis import Head, known_slices
from xai.data.phantom_canvas import LOWER_MM
from xai.data.phantom_head import load_head

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name: str, *arguments: str) -> str:
    result = subprocess.run([sys.executable, BENCHMARKS / name, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_the_store_benchmark_has_a_row_for_each_count():
    header, *rows = run("store.py", "--counts", "30", "60", "--image-size", "32").splitlines()
    assert header.split() == ["slices", "prepare", "ms", "iterate", "ms", "private", "MiB", "resident", "MiB"]
    assert [int(row.split()[0]) for row in rows] == [30, 60]
    assert all(float(value) >= 0 for row in rows for value in row.split())


@pytest.mark.parametrize("name", sorted(path.name for path in BENCHMARKS.glob("[!_]*.py")))
def test_every_benchmark_has_help(name):
    assert "usage:" in run(name, "--help")


def test_the_saliency_benchmark_counts_in_forward_passes():
    lines = run("saliency.py", "vgg16", "--image-size", "32", "--images", "2", "--rounds", "1").strip().splitlines()
    assert lines[0].startswith("vgg16, 32 px, 128 channels at evidence")
    rows = [line for line in lines if line.rstrip().endswith("passes")]
    assert [row.split("  ")[1] for row in rows][:3] == ["forward", "gradcam + gradcampp", "scorecam"]
    assert all(float(row.split()[-3]) > 0 for row in rows)


def test_the_writers_benchmark_keeps_its_reports(tmp_path):
    arguments = ("writers.py", "--writers", "template", "--findings", "3", "--folder", str(tmp_path))
    lines = run(*arguments).splitlines()
    assert lines[0] == "template: complete" and lines[1].split() == ["template"]
    shown = {line[:22].strip(): line[22:].split() for line in lines[2:]}
    assert shown["reports"] == ["3"] and shown["precision"] == ["1", "[1,", "1]"] and shown["sentences as template"] == ["1", "[1,", "1]"]
    kept = (tmp_path / "template.jsonl").read_bytes()
    assert kept.count(b"\n") == 3
    run(*arguments, "--to", str(tmp_path / "tables"))
    assert (tmp_path / "template.jsonl").read_bytes() == kept
    table = pd.read_csv(tmp_path / "tables" / "writers.csv")
    assert table["writer"].tolist() == ["template"] and table["precision"].tolist() == [1.0]
    assert pd.read_csv(tmp_path / "tables" / "inventions.csv").columns.tolist() == ["writer", "kind", "reason", "claims", "reports", "example"]
    assert {"date", "commit", "device", "findings", "seed"} <= set(json.loads((tmp_path / "tables" / "writers.json").read_text()))


@pytest.fixture(scope="module")
def localisation():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import localisation
    finally:
        sys.path.remove(str(BENCHMARKS))
    return localisation


def test_the_width_of_intervals_is_found_where_errors_follow_it(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import interval_width

    generator = np.random.default_rng(5)
    parts = []
    for kind, size in (("head", 1.0), (interval_width.REAL, 3.0)):
        own, detail = generator.uniform(1, 6, 4000), generator.uniform(0.1, 0.2, 4000) / size
        error = generator.normal(size=4000) * 0.1 * own**1.5 / detail
        told = {"heads": kind, "kind": kind, "chosen": np.arange(4000) % 2 == 0, "plane": "axial"}
        parts.append(pd.DataFrame(told | {"best": error, "middle": error, "sd": own, "detail": detail}))
    rows = pd.concat(parts, ignore_index=True)
    table = interval_width.held(rows, interval_width.fitted(rows)).set_index(["heads", "role"])
    for role in ("chosen on", "held out"):
        assert table.loc[("head", role), "90 % interval holds the level"] == pytest.approx(interval_width.TARGET, abs=0.03)
        assert table.loc[(interval_width.REAL, role), "90 % interval holds the level"] == pytest.approx(interval_width.TARGET_REAL, abs=0.03)
        assert table.loc[("head", role), "slices"] == 2000


def test_slices_of_known_place_are_placed_by_every_method(localisation):
    """The template's own head, warped: near for the methods, far for the naive way."""
    head = load_head()
    signal = ndimage.gaussian_filter(head.signal, 1.0)[::2, ::2, ::2]
    brain = (head.brain > 0).astype(np.float32)
    known = Head("phantom", signal / np.median(signal[brain > 0]), brain, LOWER_MM, 2.0)
    found = localisation.unseen(known_slices(known, 9, seed=4), "patients, held out")
    assert len(found.errors) == 9 * 4 and set(found.points["plane"]) == {"axial", "coronal", "sagittal"}
    table = localisation.unseen_summary(found.errors, found.named)
    assert set(table["heads"]) == {"patients, held out", "patients, all"} and (table["slices"] == 3).all()
    median = table[table["heads"] == "patients, all"].groupby("method")["through plane, median mm"].mean()
    assert median["both"] < 8 < median["naive"]
    assert (localisation.regions(found.named)["heads"] == "patients").all()
    cells = localisation.error_map(found.points)
    assert cells.groupby("view")["points"].sum().eq(len(found.points)).all() and set(cells["view"]) == {"axial", "coronal", "sagittal"}
    one = cells[cells["view"] == "axial"].iloc[0]
    inside = found.points[found.points["plane"] == one["plane"]].query("abs(x - @one.across) < 6 and abs(y - @one.along) < 6")
    assert len(inside) == one["points"] and inside["mm"].mean() == pytest.approx(one["mm"], abs=0.06)


def test_the_area_parts_what_lies_outside_from_cortex(localisation):
    table = pd.DataFrame({"heads": "patients, held out", "tissue": ["cortex"] * 4 + ["cerebellum"] * 4, "outside": [0.1, 0.2, 0.3, 0.8, 0.4, 0.9, 0.9, 1.0]})
    cerebellum, sella = localisation.outside_summary(table).to_dict("records")
    assert cerebellum["area under the ROC curve"] == round(15 / 16, 3) and cerebellum["points"] == cerebellum["points of cortex"] == 4
    assert sella["points"] == 0 and np.isnan(sella["area under the ROC curve"])


def test_three_planes_agree_where_each_finds_the_level_that_the_others_see(localisation):
    """Coronal levels are 6 mm too far back, everything else is right but for 2 mm between axial and coronal slices."""
    rows = []
    for number in range(5):
        truth = np.array([number, 10.0 * number, -5.0])
        for plane, shift in {"axial": (1, 1, 0), "coronal": (-1, -6, 0), "sagittal": (0, -1, 0)}.items():
            axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
            stated = {"middle": truth[axis] + shift[axis], "sd": 3.0 + number % 2}  # 90 % reach 4.9 or 6.6 mm
            rows.append({"patient": str(number), "label": "glioma", "plane": plane, **dict(zip("xyz", truth + shift))} | stated)
    rows.append({"patient": "seen from above alone", "label": "meningioma", "plane": "axial", "x": 50.0, "y": 50.0, "z": 50.0, "middle": 50.0, "sd": 3.0})
    apart = localisation.levels(pd.DataFrame(rows))
    assert len(apart) == 15 and "patient" not in apart
    table = localisation.agreement(apart).set_index(["plane", "tumours"])
    assert table.loc["coronal", "all"].tolist() == [5, -6, 6, 6, 2, 0.4]
    assert table.loc["axial", "glioma"].tolist() == [5, 0, 0, 0, 0, 1] and table.loc["sagittal", "all"]["the other two apart, median mm"] == 2
    assert table.loc["axial", "meningioma"]["patients"] == 0


def test_all_slices_are_placed_or_refused(localisation, tmp_path):
    cv2.imwrite(str(tmp_path / "noise.png"), np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "mask.png"), np.eye(96, dtype=np.uint8))
    pd.DataFrame([{"image": "noise.png", "mask": "mask.png", "plane": "coronal"}] * 20).to_csv(tmp_path / "index.csv", index=False)
    table = localisation.all_placed(tmp_path).set_index("plane")
    assert table["slices"].tolist() == [0, 20, 0, 20] and table["refused"].tolist() == [0, 20, 0, 20] and table.loc["all", "share"] == 1


def test_planes_are_read_without_being_told(localisation, tmp_path, monkeypatch):
    rows = []
    for number, item in enumerate(localisation.no_heads(2)["photographs, drawings, noise, shapes"]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), item)
        rows.append({"id": str(number), "image": f"{number}.png", "plane": "axial"})
    pd.DataFrame(rows).to_csv(tmp_path / "index.csv", index=False)
    found = localisation.planes_read(tmp_path)
    assert found["read"].tolist() == ["no head", "no head"]
    table = localisation.planes_summary(pd.concat([found, found.assign(read="axial", plane="coronal")]))
    assert table["plane"].tolist() == ["axial", "coronal", "sagittal", "all"] and table["read as no head"].tolist() == [2, 0, 0, 2]
    assert table["slices"].tolist() == [2, 2, 0, 4] and table["right"].iloc[-1] == 0
    monkeypatch.setattr(localisation, "ANEW_COUNT", 2)
    assert localisation.no_head_placed(33)[["pictures", "placed"]].to_numpy().tolist()[0] == [31, 0]
