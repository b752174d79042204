"""The audit finds what was planted, and counts as an independent count does."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import draw_slice, prepare_small
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as label_pieces
from skimage.measure import regionprops

from xai.data import audit, class_plane_table, dataset_table, tumour_places
from xai.data.audit import closest_pairs, duplicates_table, similar_slices
from xai.data.dataset import Dataset, Slice, prepare
from xai.data.shortcut import VIEWS, shortcut_predictions, shortcut_table
from xai.data.statistics import INTENSITY, MASK, mean_slices, outliers, planes_in, slice_statistics, statistics_table
from xai.paths import LABELS, PLANES, Study


def _dataset(
    root: Path, images: list[np.ndarray], patients: list[str], splits: list[str], masks: list[np.ndarray] | None = None, planes=PLANES,
) -> Dataset:  # fmt: skip
    masks = masks or [np.ones_like(image) for image in images]
    stream = [
        Slice(f"s{n:04d}", image, mask, LABELS[n % 3], patient, planes[n % len(planes)])
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


def test_duplicates_far_apart_in_the_index_are_found_once(tmp_path, monkeypatch):
    """More slices than one block of the comparison holds."""
    monkeypatch.setattr(sys.modules["xai.data.audit"], "COMPARED_AT_ONCE", 1100 * 512)
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


# Look-alikes


def _shifted_family(patients: int, size: int = 64) -> tuple[list[np.ndarray], list[str]]:
    """Three slices a patient: smooth noise of its own, each slice a little further along."""
    images, names = [], []
    for patient in range(patients):
        draw = np.random.default_rng(patient)
        base = cv2.GaussianBlur(draw.random((size, size)).astype(np.float32), (0, 0), 6)
        for step in range(3):
            image = base + step * 0.15 * cv2.GaussianBlur(draw.random((size, size)).astype(np.float32), (0, 0), 6)
            images.append(((image - image.min()) / np.ptp(image) * 255).astype(np.uint8))
            names.append(f"P{patient}")
    return images, names


@pytest.mark.parametrize("at_once", [2**24, 50])  # in one block, and in blocks of two rows
def test_nearest_slices_by_an_independent_search(tmp_path, monkeypatch, at_once):
    # The package exports the function `audit`, which hides the module of that name.
    monkeypatch.setattr(sys.modules["xai.data.audit"], "COMPARED_AT_ONCE", at_once)
    images, patients = _shifted_family(8)
    patients[23] = "alone"
    splits = ["train"] * 15 + ["validation"] * 3 + ["test"] * 6
    nearest, pairs = similar_slices(_dataset(tmp_path, images, patients, splits), correlation=0.8)
    # Area averaging of 64 px to 32 px is the mean of 2 x 2 pixels, rounded to whole grey values, halves up.
    small = np.floor(np.stack(images).reshape(24, 32, 2, 32, 2).mean(axis=(2, 4)) + 0.5).reshape(24, -1)
    expected = np.corrcoef(small)
    for row in range(24):
        siblings = [other for other in range(24) if other != row and patients[other] == patients[row]]
        strangers = [other for other in range(24) if patients[other] != patients[row]]
        for kind, others in (("within", siblings), ("across", strangers)):
            if not others:
                assert np.isnan(nearest.at[row, kind]) and nearest.at[row, f"{kind}_row"] == -1
                continue
            best = max(others, key=lambda other: expected[row, other])
            assert nearest.at[row, f"{kind}_row"] == best
            assert nearest.at[row, kind] == pytest.approx(expected[row, best], abs=5e-3)
    assert list(nearest["id"]) == [f"s{n:04d}" for n in range(24)]
    found = {(pair.first, pair.second): pair for pair in pairs.itertuples()}
    clear = {(a, b) for b in range(24) for a in range(b) if expected[a, b] > 0.805}
    assert clear <= set(found) <= {(a, b) for b in range(24) for a in range(b) if expected[a, b] > 0.795} and 5 < len(clear) < 100
    assert pairs["correlation"].is_monotonic_decreasing
    for (a, b), pair in found.items():
        assert (pair.same_patient, pair.same_split) == (patients[a] == patients[b], splits[a] == splits[b])


def test_pairs_are_counted_by_patient_and_split():
    rows = [  # correlation, same patient, same split, identical
        (1.0, True, True, True), (0.995, True, True, False), (0.98, False, False, False), (0.96, False, True, False), (0.9, True, False, False),
    ]  # fmt: skip
    table = duplicates_table(pd.DataFrame(rows, columns=["correlation", "same_patient", "same_split", "identical"]), (0.9, 0.97))
    assert list(table.columns) == [
        "pairs of slices", "one patient, one split", "one patient, two splits", "two patients, one split", "two patients, two splits"
    ]  # fmt: skip
    assert table.to_numpy().tolist() == [
        ["correlation above 0.9", 2, 0, 1, 1], ["correlation above 0.97", 2, 0, 0, 1], ["identical files", 1, 0, 0, 0],
    ]  # fmt: skip


def test_closest_pairs_take_each_patient_once():
    nearest = pd.DataFrame({
        "patient": list("AABBCCD"), "within": [0.9, 0.9, 0.99, 0.99, 0.5, 0.5, np.nan], "within_row": [1, 0, 3, 2, 5, 4, -1],
        "across": [0.7, 0.95, 0.95, 0.6, 0.8, 0.85, 0.85], "across_row": [2, 2, 1, 4, 3, 6, 5],
    })  # fmt: skip
    assert closest_pairs(nearest, "within", count=2).to_numpy().tolist() == [[2, 3, 0.99], [0, 1, 0.9]]
    assert closest_pairs(nearest, "across", count=9).to_numpy().tolist() == [[1, 2, 0.95], [5, 6, 0.85]]
    assert closest_pairs(nearest[["patient"]].assign(within=np.nan, within_row=-1), "within", count=3).empty


def test_pairs_found_before_are_not_searched_again(tmp_path):
    images = [draw_slice(n)[0] for n in range(9)]
    images[8] = images[0].copy()
    dataset = _dataset(tmp_path, images, [f"P{n}" for n in range(9)], ["train"] * 5 + ["validation"] * 2 + ["test"] * 2)
    pd.testing.assert_frame_equal(audit(dataset, pairs=similar_slices(dataset, correlation=0.3).pairs), audit(dataset))


# Statistics of slices and masks


def _random_slices(count: int, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Grey values on both sides of the background's limit, masks of several blobs, one of them empty."""
    draw = np.random.default_rng(3)
    images = draw.integers(0, 200, (count, size, size)) * (draw.random((count, size, size)) < 0.7)
    noise = np.stack([cv2.GaussianBlur(draw.random((size, size)).astype(np.float32), (0, 0), 2.5) for _ in range(count)])
    masks = noise > np.quantile(noise, 0.97)
    masks[1] = False
    return images.astype(np.uint8), masks.astype(np.uint8)


def test_statistics_by_an_independent_measurement(tmp_path):
    """More slices than one block holds; regions by scikit-image, grey values slice by slice."""
    images, masks = _random_slices(300)
    dataset = _dataset(tmp_path, list(images), [f"P{n}" for n in range(300)], ["train"] * 300, list(masks))
    found = slice_statistics(dataset)
    assert list(found["id"]) == list(dataset.index["id"]) and len(found) == 300
    pieces = []
    for number in range(300):
        image, mask, row = images[number].astype(float), masks[number] > 0, found.iloc[number]
        tissue = image[image > 15]
        assert (row["tissue_mean"], row["tissue_sd"]) == pytest.approx((tissue.mean(), tissue.std()))
        assert row["background_percent"] == pytest.approx(100 * (image <= 15).mean())
        assert row["area_percent"] == pytest.approx(100 * mask.mean())
        regions = regionprops(label_pieces(mask, connectivity=2))
        pieces.append(len(regions))
        assert row["components"] == len(regions) and row["in_pieces"] == (len(regions) > 1)
        assert row["touches_border"] == (mask[[0, -1]].any() or mask[:, [0, -1]].any())
        if not mask.any():
            assert row[["contrast_percent", "extent_percent", "largest_percent", "outside_percent", "row", "column"]].isna().all()
            continue
        rest = image[(image > 15) & ~mask]
        assert row["contrast_percent"] == pytest.approx(100 * (image[mask].mean() - rest.mean()) / rest.mean())
        top, left, bottom, right = regionprops(mask.astype(int))[0].bbox
        assert row["extent_percent"] == pytest.approx(100 * max(bottom - top, right - left) / 40)
        assert row["largest_percent"] == pytest.approx(100 * max(region.area for region in regions) / mask.sum())
        assert row["outside_percent"] == pytest.approx(100 * (image[mask] <= 15).mean())
        assert (row["row"], row["column"]) == pytest.approx(regionprops(mask.astype(int))[0].centroid)
    assert len(set(pieces)) > 3 and found["touches_border"].nunique() == 2, "slices that are all alike would test nothing"


def test_pieces_of_neighbouring_slices_are_not_joined(tmp_path):
    masks = [np.zeros((24, 24), np.uint8) for _ in range(3)]
    masks[0][4:8, 4:8] = masks[1][4:8, 4:8] = masks[2][4:8, 4:8] = 1
    masks[1][8, 8] = 1  # touches the square by a corner
    masks[2][10, 10] = 1
    found = slice_statistics(_dataset(tmp_path, [draw_slice(n, 24)[0] for n in range(3)], list("ABC"), ["train"] * 3, masks))
    assert found["components"].tolist() == [1, 1, 2] and found["largest_percent"].tolist() == pytest.approx([100, 100, 1600 / 17])
    assert found["extent_percent"].tolist() == pytest.approx([400 / 24, 500 / 24, 700 / 24])


def test_mean_slices_of_the_training_planes(tmp_path):
    images, masks = _random_slices(600, 24)
    splits = list(np.random.default_rng(0).permutation(["train"] * 400 + ["test"] * 200))
    dataset = _dataset(tmp_path, list(images), [f"P{n}" for n in range(600)], splits, list(masks), planes=["sagittal", "unknown", "axial", "unknown"])
    means = mean_slices(dataset)
    assert list(means) == ["axial", "sagittal", "unknown"]
    for plane, mean in means.items():
        rows = [n for n in range(600) if splits[n] == "train" and dataset.index["plane"][n] == plane]
        assert mean == pytest.approx(images[rows].mean(axis=0))


def _flat_study(root: Path, count: int, size: int = 64) -> Dataset:
    study = Study(root)
    study.data.mkdir(parents=True)
    np.save(study.images, np.random.default_rng(0).integers(0, 255, (count, size, size), np.uint8))
    np.save(study.masks, np.random.default_rng(1).integers(0, 2, (count, size, size), np.uint8))
    pd.DataFrame({
        "id": range(count), "label": "glioma", "patient": range(count), "plane": "axial", "fold": "", "split": "train", "source": "x", "sha256": "y",
    }).to_csv(study.index, index=False)  # fmt: skip
    return Dataset(study)


def test_statistics_need_one_block_of_memory_however_many_slices(tmp_path):
    peaks = []
    for count in (512, 1536):
        dataset = _flat_study(tmp_path / str(count), count)
        tracemalloc.start()
        slice_statistics(dataset)
        mean_slices(dataset)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1024 * 64 * 64 / 4, "the added slices alone are 4 MiB an array"


def test_tables_of_statistics_by_hand():
    statistics = pd.DataFrame({
        "label": ["glioma"] * 3 + ["pituitary"], "plane": ["axial", "axial", "unknown", "axial"], "split": ["train", "train", "test", "train"],
        "patient": ["A", "A", "B", "C"], "area": [1.0, 2.0, np.nan, 7.0], "cut": [True, False, False, True],
    })  # fmt: skip
    table = statistics_table(statistics, {"area": "area %", "cut": "cut %"}).set_index(["by", "group"])
    assert list(table.columns) == ["slices", "patients", "area %", "area %_low", "area %_high", "cut %"]
    assert table.loc[("all", "all")].tolist() == pytest.approx([4, 3, 10 / 3, 1.2, 6.0, 50])
    assert table.loc[("class", "glioma")].tolist() == pytest.approx([3, 2, 1.5, 1.1, 1.9, 100 / 3])
    assert list(table.loc["class"].index) == ["glioma", "pituitary"] and list(table.loc["split"].index) == ["train", "test"]
    assert table.loc[("plane", "unknown")].isna().sum() == 3 and table.loc[("plane", "unknown"), "cut %"] == 0
    assert set(table.loc["class x plane x split"].index) == {"glioma axial train", "glioma unknown test", "pituitary axial train"}


def test_planted_outliers_are_flagged_and_nothing_else(tmp_path):
    draw = np.random.default_rng(0)
    images, masks = [], []
    for number in range(60):
        image = np.zeros((64, 64), int)
        image[8:56, 8:56] = draw.integers(60, 140, (48, 48))
        mask = np.zeros((64, 64), np.uint8)
        side = 10 + number % 3
        mask[20 : 20 + side, 20 : 20 + side] = 1
        images.append(image)
        masks.append(mask)
    masks[3][:] = 0
    masks[7][40, 40] = 1
    masks[11][:] = 0
    masks[11][30, 30:32] = 1  # 2 of 4096 pixels
    masks[20][0:12, 20:30], masks[20][20:, :] = 1, 0  # at the upper edge, 80 of its pixels on background
    images[30][8:56, 8:56] += 100  # far brighter tissue
    images[41][20:40, 20:40] = 254  # a far brighter tumour
    dataset = _dataset(tmp_path, [image.astype(np.uint8) for image in images], [f"P{n}" for n in range(60)], ["train"] * 60, masks)
    found = outliers(slice_statistics(dataset))
    assert list(found.columns) == ["row", "id", "label", "plane", "split", "reason", "measure", "value"]
    flagged = {(flag.row, flag.reason): flag.value for flag in found.itertuples()}
    assert flagged[3, "mask is empty"] == 0 and flagged[7, "mask in several pieces"] == 2
    assert flagged[11, "mask is tiny"] == pytest.approx(200 / 4096) and (11, "mask's area far below others") in flagged
    assert (20, "mask on the image's edge") in flagged and flagged[20, "mask mostly on background"] == pytest.approx(100 * 80 / 120)
    assert flagged[30, "tissue's mean far above others"] > 190 and (41, "tumour contrast far above others") in flagged
    assert set(found["row"]) == {3, 7, 11, 20, 30, 41}
    assert list(found["id"]) == [f"s{row:04d}" for row in found["row"]]


@pytest.mark.parametrize(("value", "reason"), [(145.9, None), (146.1, "far above others"), (-50.4, None), (-50.6, "far below others")])
def test_far_is_three_times_the_distance_of_the_quartiles(value, reason):
    """112 slices at 20, 20.5 ... 75.5 and one beside them: quartiles 34 and 62 with one above, 33.5 and 61.5 with one below."""
    quiet = {"label": "glioma", "plane": "axial", "split": "train", "area_percent": 1.0, "extent_percent": 9.0, "components": 1,
             "touches_border": False, "outside_percent": 0.0, "tissue_sd": 30.0, "background_percent": 40.0, "contrast_percent": 5.0}  # fmt: skip
    means = np.r_[np.arange(20.0, 76.0, 0.5), value]
    found = outliers(pd.DataFrame({"tissue_mean": means, **quiet}).assign(id=[f"s{n}" for n in range(len(means))]))
    assert list(found["reason"]) == ([f"tissue's mean {reason}"] if reason else [])
    assert list(found["value"]) == ([value] if reason else []) and list(found["id"]) == ([f"s{len(means) - 1}"] if reason else [])


@given(st.lists(st.sampled_from([*PLANES, "unknown", "oblique"])))
def test_planes_keep_their_order_and_lose_none(planes):
    order = planes_in(planes)
    assert set(order) == set(planes) and len(order) == len(set(order))
    assert order == sorted(order, key=[*PLANES, "oblique", "unknown"].index)


# The shortcut


def _places(rule, *, patients: int = 30, slices: int = 4, split: str = "train") -> pd.DataFrame:
    """Slices whose plane and centroid follow `rule(class number, patient number, draw)`."""
    draw, rows = np.random.default_rng(1), []
    for patient in range(patients):
        for number in range(slices):
            plane, row, column = rule(patient % 3, patient, draw)
            rows.append((f"{split}{patient}-{number}", LABELS[patient % 3], f"{split}{patient}", plane, split, row, column))
    return pd.DataFrame(rows, columns=["id", "label", "patient", "plane", "split", "row", "column"])


def _accuracy(statistics: pd.DataFrame) -> dict[tuple[str, str], float]:
    return shortcut_table(shortcut_predictions(statistics), bootstrap=10).set_index(["sees", "classifier"])["accuracy"].to_dict()


def test_a_class_with_a_place_of_its_own_is_told_by_place():
    found = _accuracy(_places(lambda kind, patient, draw: (PLANES[patient % 2], 20 + 20 * kind + draw.normal(), 40 + draw.normal())))
    assert set(found) == set(VIEWS)
    assert found["place", "nearest neighbours"] == found["plane and place", "logistic regression"] == 1
    assert found["plane and place", "nearest neighbours"] == 1
    assert found["nothing", "most frequent class"] == pytest.approx(1 / 3) and found["plane", "logistic regression"] < 0.6


def test_a_class_with_a_plane_of_its_own_is_told_by_plane():
    found = _accuracy(_places(lambda kind, patient, draw: (PLANES[kind], *draw.uniform(10, 80, 2))))
    assert found["plane", "logistic regression"] == found["plane and place", "nearest neighbours"] == 1
    assert found["place", "nearest neighbours"] < 0.6


def test_knowing_the_patient_is_no_shortcut():
    """Every patient has a spot of its own: its siblings would tell the class, other patients do not."""
    spots = np.random.default_rng(5).permutation(60) * 7.0
    found = _accuracy(_places(lambda kind, patient, draw: ("axial", spots[patient] + draw.normal() / 9, 3.0), patients=60, slices=12))
    assert found["place", "nearest neighbours"] < 0.5


def test_shortcut_looks_at_training_alone_and_scores_each_slice_once():
    rule = lambda kind, patient, draw: (PLANES[patient % 3], *draw.uniform(10, 80, 2))  # noqa: E731
    train, test = _places(rule), _places(rule, split="test")
    alone, mixed = shortcut_predictions(train), shortcut_predictions(pd.concat([test, train], ignore_index=True))
    for view in VIEWS:
        pd.testing.assert_frame_equal(alone[view], mixed[view])
        assert list(alone[view]["id"]) == list(train["id"])
        assert alone[view].filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(1)
    lost = train.assign(row=train["row"].where(train.index != 5))
    assert "train1-1" not in set(shortcut_predictions(lost)["place", "nearest neighbours"]["id"])


def test_knowing_nothing_scores_the_most_frequent_class():
    statistics = _places(lambda kind, patient, draw: ("unknown", 1.0, 1.0))
    statistics = statistics[(statistics["label"] == "pituitary") | (statistics["id"].str[-1] < "2")]  # 40 of 80 are pituitary
    table = shortcut_table(shortcut_predictions(statistics), bootstrap=10).set_index("sees")
    assert table.loc["nothing", ["accuracy", "pituitary", "glioma", "meningioma"]].tolist() == [0.5, 1, 0, 0]
    assert table.loc["plane", "accuracy"] == 0.5  # one unknown plane tells nothing


def test_too_few_patients_give_an_empty_table():
    table = shortcut_table(shortcut_predictions(_places(lambda kind, patient, draw: ("axial", 1.0, 1.0), patients=5)))
    assert len(table) == 0 and {"sees", "classifier", "accuracy", "pituitary_high"} <= set(table.columns)


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=6, max_size=7), seed=st.integers(0, 99))
def test_few_uneven_patients_are_enough(sizes, seed):
    """Two patients a class make two folds; every slice is predicted."""
    rows = [(f"{p}-{n}", LABELS[p % 3], f"P{p}", "axial", "train", 30.0 * (p % 3) + n / 9, 5.0) for p, size in enumerate(sizes) for n in range(size)]  # fmt: skip
    statistics = pd.DataFrame(rows, columns=["id", "label", "patient", "plane", "split", "row", "column"])
    for table in shortcut_predictions(statistics, seed=seed).values():
        assert table[[f"prob_{label}" for label in LABELS]].sum(axis=1).to_numpy() == pytest.approx(1)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_shortcut_is_decided_by_its_seed(seed):
    statistics = _places(lambda kind, patient, draw: (PLANES[patient % 3], *draw.uniform(10, 80, 2)), patients=9)
    first, second = (shortcut_predictions(statistics, seed=seed)["place", "nearest neighbours"] for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_everything_works_where_the_planes_are_unknown(tmp_path):
    images, patients = _shifted_family(12, 32)
    splits = ["train"] * 24 + ["validation"] * 6 + ["test"] * 6
    masks = [draw_slice(n, 32)[1] for n in range(36)]
    dataset = _dataset(tmp_path, images, [f"P{n}" for n in range(36)], splits, masks, planes=["unknown"])
    statistics = slice_statistics(dataset)
    assert list(mean_slices(dataset)) == ["unknown"] and list(class_plane_table(dataset.index).columns) == ["unknown"]
    assert len(statistics_table(statistics, INTENSITY | MASK)) == 1 + 3 + 1 + 3 + 9
    assert set(outliers(statistics)["plane"]) <= {"unknown"}
    assert len(shortcut_table(shortcut_predictions(statistics), bootstrap=10)) == len(VIEWS)
