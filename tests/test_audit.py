"""The audit finds what was planted, and counts as an independent count does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_slice, prepare_small

from xai.data import audit, class_plane_table, dataset_table, tumour_places
from xai.data.dataset import Dataset, Slice, prepare
from xai.paths import LABELS, PLANES, Study


def _dataset(root: Path, images: list[np.ndarray], patients: list[str], splits: list[str], masks: list[np.ndarray] | None = None) -> Dataset:
    masks = masks or [np.ones_like(image) for image in images]
    stream = [
        Slice(f"s{n:04d}", image, mask, LABELS[n % 3], patient, PLANES[n % 3])
        for n, (image, mask, patient) in enumerate(zip(images, masks, patients))
    ]
    study = Study(root)
    prepare(study, stream, count=len(stream), image_size=len(images[0]), source="planted", assign_splits=lambda index: splits)
    return Dataset(study)


def _found(dataset: Dataset, **options) -> dict[str, float]:
    table = audit(dataset, **options)
    assert list(table.columns) == ["check", "found", "expected", "meaning"]
    return dict(zip(["crossing", "identical", "across", "within", "leaked"], table["found"]))


def _noisy(image: np.ndarray) -> np.ndarray:
    return np.clip(image.astype(int) + np.random.default_rng(5).integers(-3, 4, image.shape), 0, 255).astype(np.uint8)


def test_a_clean_dataset_has_nothing_to_find(tmp_path):
    images = [draw_slice(n)[0] for n in range(9)]
    found = _found(_dataset(tmp_path, images, [f"P{n}" for n in range(9)], ["train"] * 5 + ["validation"] * 2 + ["test"] * 2))
    assert found == {"crossing": 0, "identical": 0, "across": 0, "within": 0, "leaked": 0}


def test_planted_leaks_are_counted(tmp_path):
    images = [draw_slice(n)[0] for n in range(12)]
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    images[8] = images[0].copy()  # identical, train and test
    images[9] = _noisy(images[1])  # nearly, train and test
    images[7] = _noisy(images[6])  # nearly, within validation
    images[3] = images[2].copy()  # identical, within train
    patients = [f"P{n}" for n in range(12)]
    patients[10] = "P4"  # train and test
    patients[11] = patients[7] = "P5"  # in all three
    found = _found(_dataset(tmp_path, images, patients, splits))
    assert (found["crossing"], found["identical"], found["across"], found["within"]) == (2, 1, 2, 2)
    # A lower bar finds the same pairs here, for noise correlates with nothing; no bar finds every pair.
    loose = _found(Dataset(Study(tmp_path)), duplicate_correlation=-1.1)
    across = sum(splits[a] != splits[b] for a in range(12) for b in range(a))
    assert (loose["across"], loose["within"]) == (across, 66 - across)


def test_brightness_and_contrast_do_not_hide_a_duplicate(tmp_path):
    image = draw_slice(1)[0]
    images = [image, (image // 2 + 60).astype(np.uint8), draw_slice(2)[0]]
    assert _found(_dataset(tmp_path, images, ["A", "B", "C"], ["train", "test", "validation"]))["across"] == 1


def test_duplicates_far_apart_in_the_index_are_found_once(tmp_path):
    """More slices than one block of the comparison holds."""
    images = [draw_slice(n, 24)[0] for n in range(1100)]
    images[1050], images[600] = images[3].copy(), images[599].copy()
    images[20] = images[19].copy()
    splits = ["train"] * 900 + ["test"] * 200
    found = _found(_dataset(tmp_path, images, [f"P{n}" for n in range(1100)], splits))
    assert (found["across"], found["within"], found["identical"]) == (1, 2, 1)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_leak_of_a_split_by_slice_by_an_independent_count(tmp_path, seed):
    patients = [f"P{n // 2}" if n < 10 else f"single{n}" for n in range(20)]
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 6
    found = _found(_dataset(tmp_path, [draw_slice(n, 24)[0] for n in range(20)], patients, splits), seed=seed)
    order = np.random.default_rng(seed).permutation(20)
    redrawn = [splits[place] for place in order]
    assert sorted(redrawn) == sorted(splits)
    leaked = [
        any(redrawn[other] == "train" and patients[other] == patients[place] for other in range(20))
        for place in range(20) if redrawn[place] == "test"
    ]  # fmt: skip
    assert len(leaked) == 6 and 0 < sum(leaked) < 6, "a seed that shows nothing would test nothing"
    assert found["leaked"] == round(100 * sum(leaked) / 6, 1)


def test_one_long_series_leaks_wholly(tmp_path):
    images = [draw_slice(n, 24)[0] for n in range(10)]
    found = _found(_dataset(tmp_path, images, ["P1"] * 10, ["train"] * 5 + ["test"] * 5))
    assert found["leaked"] == 100 and found["crossing"] == 1


def test_places_are_the_centroids_of_the_masks(tmp_path):
    masks = [np.zeros((24, 24), np.uint8) for _ in range(4)]
    masks[0][3, 20] = 1
    masks[1][2:5, 10:12] = 1
    masks[2][0, 0] = masks[2][23, 1] = masks[2][23, 2] = 1
    dataset = _dataset(tmp_path, [draw_slice(n, 24)[0] for n in range(4)], list("ABCD"), ["train"] * 4, masks)
    places = tumour_places(dataset)
    assert list(places.columns) == ["label", "plane", "row", "column"]
    assert np.allclose(places[["row", "column"]], [(3, 20), (3, 10.5), (46 / 3, 1), (np.nan, np.nan)], equal_nan=True)
    assert list(places["label"]) == [*LABELS, "glioma"] and list(places["plane"]) == [*PLANES, "axial"]


def test_counts_of_slices_and_patients(tmp_path):
    patients = {"glioma-1": 3, "glioma-2": 2, "meningioma-1": 4, "pituitary-1": 1, "pituitary-2": 1}
    splits = {"glioma-1": "train", "glioma-2": "train", "meningioma-1": "validation", "pituitary-1": "test", "pituitary-2": "test"}
    index = Dataset(prepare_small(tmp_path, patients, splits)).index
    table = dataset_table(index)
    assert list(table.columns) == ["split", "label", "slices", "patients"] and len(table) == 10
    expected = {("train", "glioma"): (5, 2), ("validation", "meningioma"): (4, 1), ("test", "pituitary"): (2, 2), ("all", "all"): (11, 5)}
    for row in table.itertuples():
        assert (row.slices, row.patients) == expected.get((row.split, row.label), (0, 0))
    planes = class_plane_table(index)
    # Slices take the planes in turn, whatever their class: 0-4 glioma, 5-8 meningioma, 9-10 pituitary.
    assert planes.loc["glioma"].to_dict() == {"axial": 2, "coronal": 2, "sagittal": 1}
    assert planes.loc["meningioma"].to_dict() == {"axial": 1, "coronal": 1, "sagittal": 2}
    assert planes.loc["pituitary"].to_dict() == {"axial": 1, "coronal": 1, "sagittal": 0}
    assert isinstance(planes, pd.DataFrame) and planes.to_numpy().sum() == 11
