"""The phantom: same seed, same bytes; true positions; each class in its place, with its enhancement and shape."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn import datasets
from scipy import ndimage
from skimage.measure import label as label_regions
from skimage.measure import regionprops

from xai.data.phantom import PhantomSlice, make_phantom
from xai.paths import LABELS, PLANES

SELLA = np.array([0.0, 2.0, -33.0])


def _digest(slices: list[PhantomSlice]) -> str:
    state = hashlib.sha256()
    for item in slices:
        state.update(item.image.tobytes() + item.mask.tobytes() + item.mni.tobytes() + item.tumour_mni.tobytes())
        state.update(f"{item.label} {item.patient} {item.plane}".encode())
    return state.hexdigest()


def _phantom(**changes) -> list[PhantomSlice]:
    return list(make_phantom(**{"subjects": 3, "slices_per_subject": 3, "image_size": 48, "seed": 5, **changes}))


@pytest.fixture(scope="module")
def population() -> list[PhantomSlice]:
    return list(make_phantom(subjects=30, slices_per_subject=3, image_size=128, seed=1))


@pytest.fixture(scope="module")
def healthy() -> list[PhantomSlice]:
    return list(make_phantom(subjects=0, slices_per_subject=3, image_size=160, seed=2, tumour_free=3))


class Atlas:
    """The template, read through its own affine by code that shares nothing with the phantom's."""

    def __init__(self) -> None:
        image, mask = datasets.load_mni152_template(resolution=1), datasets.load_mni152_brain_mask(resolution=1)
        self.template, self.mask = image.get_fdata(), mask.get_fdata() > 0.5
        self.deep = ndimage.binary_erosion(self.mask, iterations=6)
        self.to_voxel = np.linalg.inv(image.affine)
        assert np.array_equal(image.affine, mask.affine)
        inside, outside = ndimage.distance_transform_edt(self.mask), ndimage.distance_transform_edt(~self.mask)
        self.from_surface = inside + outside  # one of the two is zero

    def read(self, volume: np.ndarray, points: np.ndarray, order: int = 1) -> np.ndarray:
        voxels = points @ self.to_voxel[:3, :3].T + self.to_voxel[:3, 3]
        return ndimage.map_coordinates(volume, np.moveaxis(voxels, -1, 0), order=order, output=float)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return Atlas()


def test_same_seed_gives_identical_bytes_even_in_another_process() -> None:
    here = _digest(_phantom())
    assert _digest(_phantom()) == here
    code = "from test_phantom import _digest, _phantom; print(_digest(_phantom()))"
    tests = Path(__file__).parent
    other = subprocess.run([sys.executable, "-c", code], cwd=tests.parent, capture_output=True, text=True,
                           env={**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"})  # fmt: skip
    assert other.stdout.strip() == here, other.stderr


def test_another_seed_gives_other_patients() -> None:
    first, second = _phantom(subjects=1), _phantom(subjects=1, seed=6)
    assert not any(np.array_equal(a.image, b.image) or np.array_equal(a.mni, b.mni) for a, b in zip(first, second))


def test_a_patient_does_not_depend_on_how_many_there_are() -> None:
    few, many = _phantom(subjects=2), _phantom(subjects=4, tumour_free=1)
    assert _digest(few) == _digest(many[: len(few)])
    assert _digest(_phantom(subjects=0, tumour_free=2)[:3]) == _digest(many[-3:])


def test_a_patient_is_the_same_at_each_image_size() -> None:
    for small, large in zip(_phantom(image_size=48), _phantom(image_size=144)):
        # The centre of a 48-pixel image's pixel is the centre of the middle one of three by three.
        assert np.allclose(small.mni, large.mni[1::3, 1::3], atol=1e-3)


def test_classes_planes_and_names_take_turns() -> None:
    slices = _phantom(subjects=6, slices_per_subject=4, image_size=32, tumour_free=1)
    assert Counter(item.label for item in slices) == {**dict.fromkeys(LABELS, 8), "none": 4}
    assert {item.patient for item in slices} == {f"phantom-{n:04d}" for n in range(1, 7)} | {"phantom-free-0001"}
    assert [item.plane for item in slices[:4]] == ["axial", "coronal", "sagittal", "axial"]
    one_each = _phantom(subjects=9, slices_per_subject=1, image_size=32)
    assert Counter((item.label, item.plane) for item in one_each) == {(c, p): 1 for c in LABELS for p in PLANES}


def test_slices_of_one_plane_are_parallel_and_apart() -> None:
    axial = [s for s in _phantom(subjects=1, slices_per_subject=9) if s.plane == "axial"]
    heights = [item.mni[24, 24, 2] for item in axial]
    assert len(axial) == 3 and np.diff(heights).min() > 2
    steps = np.stack([b.mni - a.mni for a, b in zip(axial, axial[1:])])
    assert (steps[..., 2] > 0.5).all()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(32, 100))
def test_every_slice_holds_tumour_and_every_image_is_whole(seed: int, size: int) -> None:
    for item in make_phantom(subjects=3, slices_per_subject=1, image_size=size, seed=seed):
        assert item.image.shape == item.mask.shape == (size, size) and item.mni.shape == (size, size, 3)
        assert (item.image.dtype, item.mask.dtype, item.mni.dtype) == (np.uint8, np.uint8, np.float32)
        assert set(np.unique(item.mask)) == {0, 1} and item.image.max() == 255
        border = np.concatenate([item.mask[[0, -1]].ravel(), item.mask[:, [0, -1]].ravel()])
        assert border.sum() == 0 and item.mask.mean() < 0.15
        assert np.isfinite(item.mni).all()
        assert size < 80 or item.mask.sum() >= 4


def test_tumour_free_slices_have_no_mask_and_no_centre(healthy: list[PhantomSlice]) -> None:
    assert all(item.mask.sum() == 0 and np.isnan(item.tumour_mni).all() and item.label == "none" for item in healthy)


def _best_shift(slices: list[PhantomSlice], atlas: Atlas, axis: int, near_tumour: bool) -> tuple[float, float]:
    """Shift (mm) along one MNI axis at which the template fits the images best, and the mean correlation there."""
    shifts = np.arange(-3, 3.5, 0.5)
    fit = np.zeros(len(shifts))
    for item in slices:
        inside = atlas.read(atlas.deep, item.mni, order=0) > 0.5
        if near_tumour:
            away = ndimage.distance_transform_edt(item.mask == 0) * 240 / len(item.mask)
            inside &= (away > 4) & (away < 25)
        image = item.image[inside].astype(float)
        for k, shift in enumerate(shifts):
            fit[k] += np.corrcoef(image, atlas.read(atlas.template, item.mni[inside] + shift * np.eye(3)[axis]))[0, 1]
    best = int(np.argmax(fit))
    assert 0 < best < len(shifts) - 1, f"the best shift is {shifts[best]} mm or more"
    left, middle, right = fit[best - 1 : best + 2]
    return shifts[best] + 0.25 * (left - right) / (left - 2 * middle + right), fit[best] / len(slices)


@pytest.mark.parametrize("axis", (0, 1, 2))
def test_truth_is_within_a_millimetre_of_what_the_image_shows(healthy, atlas: Atlas, axis: int) -> None:
    """The template, read at the stated positions plus a shift, fits the image best at a shift of zero."""
    shift, correlation = _best_shift(healthy, atlas, axis, near_tumour=False)
    assert abs(shift) < 0.15 and correlation > 0.85


@pytest.mark.parametrize("axis", (0, 1, 2))
def test_truth_follows_the_mass_effect(population, atlas: Atlas, axis: int) -> None:
    """The same within 25 mm of meningiomas, which push the brain by up to 5 mm."""
    shift, correlation = _best_shift(_of(population, "meningioma"), atlas, axis, near_tumour=True)
    assert abs(shift) < 0.3 and correlation > 0.8


def test_a_tumour_lies_at_its_stated_centre(population: list[PhantomSlice]) -> None:
    for patient in {item.patient for item in population}:
        slices = [item for item in population if item.patient == patient]
        nearest = min(slices, key=lambda item: np.linalg.norm(item.mni - item.tumour_mni, axis=-1).min())
        distance = np.linalg.norm(nearest.mni - nearest.tumour_mni, axis=-1)
        from_mask = ndimage.distance_transform_edt(nearest.mask == 0) * 2
        assert from_mask[np.unravel_index(distance.argmin(), distance.shape)] <= 8
        covered = np.concatenate([item.mni[item.mask == 1] for item in slices])
        assert np.linalg.norm(covered.mean(0) - slices[0].tumour_mni) < 18


def test_orientation_spacing_and_no_folds(population: list[PhantomSlice]) -> None:
    """Anterior or superior is up; axial and coronal are radiological; sagittal looks to the left, as figshare's do."""
    axes = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}
    for item in population:
        up, left = axes[item.plane]
        down_rows, along_columns = np.diff(item.mni, axis=0), np.diff(item.mni, axis=1)
        assert down_rows[..., up].mean() < -1.5 and along_columns[..., left].mean() < -1.5
        pixel = 240 / 128
        for steps in (down_rows, along_columns):
            spacing = np.linalg.norm(steps, axis=-1)
            assert 0.85 * pixel < spacing.mean() < 1.18 * pixel and spacing.max() < 2.2 * pixel
        a, b = down_rows[:, :-1], along_columns[:-1]
        assert (a[..., up] * b[..., left] - a[..., left] * b[..., up] > 0.1 * pixel**2).all()


def test_tilt_and_size_vary_within_what_heads_do(population: list[PhantomSlice]) -> None:
    steps = np.array([np.diff(item.mni, axis=0).mean((0, 1)) for item in population if item.plane == "axial"])
    tilt = np.degrees(np.arcsin(np.abs(steps[:, 2]) / np.linalg.norm(steps, axis=1)))
    assert tilt.max() < 13 and tilt.std() > 1


def _of(population: list[PhantomSlice], label: str) -> list[PhantomSlice]:
    return [item for item in population if item.label == label]


def test_place_of_each_class(population: list[PhantomSlice], atlas: Atlas) -> None:
    centroids = {}
    for item in _of(population, "pituitary"):
        centroids.setdefault(item.patient, []).append(item.mni[item.mask == 1].mean(0))
        assert np.linalg.norm(centroids[item.patient][-1] - SELLA) < 20  # a slice through its suprasellar part
    assert all(np.linalg.norm(np.mean(places, axis=0) - SELLA) < 15 for places in centroids.values())
    for item in _of(population, "glioma"):
        assert atlas.read(atlas.mask, item.mni[item.mask == 1], order=0).mean() >= 0.9
        assert np.linalg.norm(item.mni[item.mask == 1].mean(0) - SELLA) > 15
    gap = {}
    for item in _of(population, "meningioma"):
        gap[item.patient] = min(gap.get(item.patient, 99), atlas.read(atlas.from_surface, item.mni[item.mask == 1]).min())
    assert max(gap.values()) < 3


def _contrast(item: PhantomSlice) -> float:
    """Mean in the tumour over the median of a ring 4 to 16 mm outside it."""
    outside = ndimage.distance_transform_edt(item.mask == 0)
    ring = (outside > 2) & (outside < 9) & (item.image > 20)
    return item.image[item.mask == 1].mean() / np.median(item.image[ring])


def test_enhancement_of_each_class(population: list[PhantomSlice]) -> None:
    contrast = {label: np.array([_contrast(item) for item in _of(population, label)]) for label in LABELS}
    assert np.quantile(contrast["meningioma"], 0.1) > 1.3 and np.quantile(contrast["pituitary"], 0.1) > 1.3
    assert 0.7 < np.median(contrast["glioma"]) < 0.75 * np.median(contrast["meningioma"])
    spread = {label: np.median([item.image[item.mask == 1].std() / item.image[item.mask == 1].mean()
                                for item in _of(population, label)]) for label in LABELS}  # fmt: skip
    assert spread["glioma"] > 2 * spread["meningioma"]


def test_necrosis_is_darker_than_the_rim_of_gliomas(population: list[PhantomSlice]) -> None:
    darker = []
    for item in _of(population, "glioma"):
        depth = ndimage.distance_transform_edt(item.mask)
        core, rim = item.image[depth > 0.65 * depth.max()], item.image[(depth > 0) & (depth <= 2)]
        darker.append(core.mean() < 0.85 * rim.mean())
    assert np.mean(darker) > 0.6  # most gliomas have a ring; some enhance in patches or not at all


def test_meningiomas_are_rounder_than_gliomas(population: list[PhantomSlice]) -> None:
    solidity = {}
    for label in ("glioma", "meningioma"):
        largest = [max(regionprops(label_regions(item.mask)), key=lambda r: r.area) for item in _of(population, label)]
        solidity[label] = np.array([region.solidity for region in largest])
    assert np.median(solidity["meningioma"]) > np.median(solidity["glioma"]) + 0.01
    assert np.quantile(solidity["glioma"], 0.1) < np.quantile(solidity["meningioma"], 0.1)


def test_background_is_rician_noise() -> None:
    """Magnitude of complex noise without signal is Rayleigh: mean over standard deviation is sqrt(pi / (4 - pi))."""
    ratios = []
    for item in make_phantom(subjects=8, slices_per_subject=1, image_size=192, seed=3):
        if item.plane == "axial":
            corner = np.concatenate([item.image[:22, :22].ravel(), item.image[:22, -22:].ravel()]).astype(float)
            ratios.append(corner.mean() / corner.std())
    assert np.mean(ratios) == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), abs=0.15)


@pytest.mark.parametrize(
    ("name", "value"), [("subjects", -1), ("slices_per_subject", 0), ("image_size", 31), ("seed", -1), ("tumour_free", -2)]
)
def test_bad_numbers_are_told_at_the_call(name: str, value: int) -> None:
    arguments = {"subjects": 1, "slices_per_subject": 1, "image_size": 32, "seed": 0, name: value}
    with pytest.raises(ValueError, match=f"phantom {name} is {value}, expected at least"):
        make_phantom(**arguments)
