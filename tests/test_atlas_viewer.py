"""The atlas viewer: lines lie where the candidates' slices cross a view, and a place in millimetres is at its pixel of the template."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup
from small_study import SIZE, write_small_study

from xai import atlas_viewer
from xai.atlas import Candidate, NotLocalisable, Place
from xai.atlas_reference import BRIGHTEST, Templates
from xai.bookchapters import refuse_unsafe
from xai.data.dataset import Dataset
from xai.profiles import Profile
from xai.shown import cases_to_show

PROFILE = Profile(data={"image_size": SIZE}, training={"architectures": ["vgg16"]}, saliency={"test_slices": 9})
LOWER = np.array([-30.0, -40.0, -20.0], np.float32)
SPOT = np.array([8.0, -6.0, 12.0])  # MNI mm of the one bright voxel, where the middle of the mask will be
LEVELS = {12.0: 0.75, 16.0: 0.25}  # of two candidates: z of the slice and weight


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """A template that is dark but for one voxel, and two known candidates, the second tilted."""
    signal = np.zeros((31, 41, 31), np.float32)
    signal[tuple(((SPOT - LOWER) / 2).astype(int))] = BRIGHTEST
    templates = Templates(signal, signal, signal, np.ones(signal.shape, bool), LOWER)

    def localise(image, *, plane, exclude):
        # Rows run from front to back, columns from the patient's right to the left, a millimetre each.
        row, column = np.argwhere(exclude).mean(axis=0)
        maps = [np.array([[0, -1, SPOT[0] + column], [-1, 0, SPOT[1] + row], [tilt, 0, level - tilt * row]]) for level, tilt in zip(LEVELS, (0, 0.1))]
        candidates = tuple(Candidate(weight, matrix) for weight, matrix in zip(LEVELS.values(), maps))
        return Place("axial", 12.0, candidates, 0.9, 1.0)

    monkeypatch.setattr(atlas_viewer, "load_templates", lambda: templates)
    monkeypatch.setattr(atlas_viewer, "localise", localise)
    monkeypatch.setattr(atlas_viewer, "name_regions", lambda *_, **__: SimpleNamespace(through_plane_sd_mm=np.sqrt(3.0)))


@pytest.fixture
def case() -> atlas_viewer.PlacedCase:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[10:15, 6:11] = True
    return atlas_viewer.place_case("a case", np.zeros((SIZE, SIZE), np.uint8), mask, "axial", PROFILE)


def test_each_view_cuts_the_template_through_the_middle_of_the_mask(case):
    assert [(view.plane, view.level_mm) for view in case.views] == [("axial", 12.0), ("coronal", -6.0), ("sagittal", 8.0)]
    for view in case.views:
        row, column = np.unravel_index(view.image.argmax(), view.image.shape)
        assert view.image.max() == 255 and (view.image > 0).sum() == 1
        assert view.point == pytest.approx([column, row]), "the bright voxel is where the point says"
    axial, coronal, _ = case.views
    # 60 mm across and a margin of 14 mm on both sides: x = 44 mm is at the left, x = 8 mm 18 pixels of 2 mm to its right.
    assert axial.image.shape == (55, 45) and coronal.image.shape == (45, 45)
    assert axial.point[0] == pytest.approx(18)


def test_candidates_are_lines_where_their_slices_cross_a_view(case):
    assert case.positions_mm == pytest.approx([12, 16]) and case.weights == pytest.approx([0.75, 0.25])
    axial, coronal, sagittal = case.views
    assert axial.lines == [] and len(axial.outlines) == 1 and len(axial.band) == 0
    top = 54.0  # z of the first row
    assert np.concatenate(coronal.lines)[:, 1] == pytest.approx([(top - 12) / 2] * 2 + [(top - 16) / 2] * 2)
    # The second slice falls by 0.1 mm for each mm towards the front, because rows run backwards and rise.
    (front, first), (back, last) = sorted(map(tuple, sagittal.lines[1]))
    assert (last - first) / (back - front) == pytest.approx(-0.1)
    height_at_spot = first + (sagittal.point[0] - front) * -0.1
    assert top - 2 * height_at_spot == pytest.approx(16)


def test_the_band_is_the_mean_and_a_standard_deviation(case):
    heights = 54 - 2 * case.views[1].band[:, 1]
    assert sorted(set(np.round(heights, 3))) == pytest.approx([13 - np.sqrt(3), 13 + np.sqrt(3)], abs=1e-3), "mean 13 mm, standard deviation sqrt(3)"


def test_the_outline_surrounds_the_point(case):
    axial = case.views[0]
    across, down = axial.outlines[0].T
    assert (across.min() + across.max()) / 2 == pytest.approx(axial.point[0]) and (down.min() + down.max()) / 2 == pytest.approx(axial.point[1])
    assert np.ptp(across) == pytest.approx(5 / 2), "five pixels of a millimetre are two and a half of the template's"


def with_masks(study):
    dataset = Dataset(study)
    masks = np.asarray(dataset.masks[dataset.rows("test")])
    study.cam_masks("vgg16", "gradcam").parent.mkdir(parents=True)
    np.save(study.cam_masks("vgg16", "gradcam"), masks)
    return masks


@pytest.fixture
def study(tmp_path):
    return write_small_study(tmp_path / "study")


def test_the_shown_slices_become_inert_markup(study):
    with_masks(study)
    markup = atlas_viewer.atlas_viewer(study, PROFILE, ("vgg16", "gradcam")).as_html()
    refuse_unsafe(markup, "cell")
    figure = BeautifulSoup(markup, "html.parser").figure
    cases = json.loads(figure["data-atlas"])["cases"]
    index = Dataset(study).index
    ids = index.loc[Dataset(study).rows("test")[cases_to_show(study, PROFILE)], "id"]
    assert [case["name"].split()[-1] for case in cases] == list(ids)
    assert [len(view["lines"]) for view in cases[0]["views"]] == [0, 2, 2]
    assert "z = 12 mm" in figure.img["alt"]


def test_slices_without_mask_or_place_are_left_out(study, monkeypatch):
    masks = with_masks(study)
    first, *rest = cases_to_show(study, PROFILE)
    masks[first] = 0
    np.save(study.cam_masks("vgg16", "gradcam"), masks)
    assert len(atlas_viewer.atlas_viewer(study, PROFILE, ("vgg16", "gradcam")).data["cases"]) == len(rest)

    def nowhere(*_, **__):
        raise NotLocalisable("no head")

    monkeypatch.setattr(atlas_viewer, "localise", nowhere)
    assert atlas_viewer.atlas_viewer(study, PROFILE, ("vgg16", "gradcam")) is None
