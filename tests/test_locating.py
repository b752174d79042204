"""From a mask to its anatomy: the plane is found where no source states it, and nothing is named where nothing was found."""

from __future__ import annotations

import numpy as np
import pytest

from xai.data.phantom import make_phantom
from xai.locating import NOT_LOCALISED, place
from xai.paths import PLANES
from xai.reports.phrases import phrases


@pytest.fixture(scope="module")
def slices():
    """One phantom slice for each plane, 96 px."""
    found = {}
    for item in make_phantom(subjects=9, slices_per_subject=1, image_size=96, seed=31):
        found.setdefault(item.plane, item)
    assert set(found) == set(PLANES)
    return found


@pytest.mark.parametrize("plane", PLANES)
def test_an_unknown_plane_is_found_and_said_to_be_found(slices, plane):
    item = slices[plane]
    anatomy, flags, found, where = place(item.image, item.mask > 0, "unknown", convention="radiological")
    assert found == where.plane == plane and "plane found by matching" in flags
    told, told_flags, same, _ = place(item.image, item.mask > 0, plane, convention="radiological")
    assert same == plane and "plane found by matching" not in told_flags
    assert anatomy["centroid_mni_mm"] == pytest.approx(told["centroid_mni_mm"]) and anatomy["regions"] == told["regions"]


def test_nothing_is_named_without_a_mask_or_a_head(slices):
    item = slices["axial"]
    anatomy, flags, plane, where = place(item.image, np.zeros_like(item.mask) > 0, "unknown", convention="radiological")
    assert anatomy == NOT_LOCALISED and flags == ["empty mask"] and plane == "unknown" and where is None
    noise = np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8)
    anatomy, flags, plane, where = place(noise, item.mask > 0, "unknown", convention="radiological")
    assert anatomy == NOT_LOCALISED and flags == ["slice could not be placed in the brain"] and plane == "unknown" and where is None


def test_reports_say_nothing_of_a_plane_that_nobody_knows():
    from test_findings import content
    from xai.findings import Findings
    from xai.metrics.facts import check_facts
    from xai.reports.template import template_report

    findings = Findings.model_validate(content(plane="unknown"))
    assert phrases(findings).plane == "2-D"
    text = template_report(findings)
    assert not any(name in text.lower() for name in (*PLANES, "unknown"))
    assert check_facts(text, findings).recall == 1.0
