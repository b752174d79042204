"""The prepared dataset: exact resampling, one slice of memory, all of it or nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from conftest import draw_slice, one_sentence, prepare_small, small_slices
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.data.dataset import INDEX_COLUMNS, Dataset, Slice, dataset_hash, prepare
from xai.paths import LABELS, Study, StudyError

PATIENTS = {"glioma-1": 3, "meningioma-1": 2, "pituitary-1": 1}


def _prepare(study: Study, slices, count: int, size: int = 4, **options) -> None:
    prepare(study, slices, **{"count": count, "image_size": size, "source": "small", "assign_splits": lambda index: ["train"] * len(index), **options})


def _one(image: np.ndarray, mask: np.ndarray | None = None, mni: np.ndarray | None = None) -> Slice:
    mask = np.ones_like(image) if mask is None else mask
    return Slice("only", image, mask, "glioma", "P1", "axial", mni=mni)


def test_halving_averages_areas_exactly(tmp_path):
    means = np.arange(10, 26, dtype=np.uint8).reshape(4, 4)
    offsets = np.tile(np.array([[-9, 3], [8, -2]]), (4, 4))  # sum to 0 in every block of 2 x 2
    image = (np.kron(means, np.ones((2, 2), int)) + offsets).astype(np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[0, 0] = 1  # a quarter of its block
    mask[0:2, 2] = 1  # half
    mask[0, 4:6] = mask[1, 4] = 1  # three quarters
    mask[6:8, 6:8] = 1  # all
    millimetres = np.stack(np.meshgrid(np.arange(8.0), 2 * np.arange(8.0), [5.0], indexing="ij"), axis=-1)[:, :, 0]
    study = Study(tmp_path)
    _prepare(study, [_one(image, mask, millimetres)], 1)
    dataset = Dataset(study)
    assert np.array_equal(dataset.images[0], means)
    expected = np.zeros((4, 4), np.uint8)
    expected[0, 1] = expected[0, 2] = expected[3, 3] = 1
    assert np.array_equal(dataset.masks[0], expected)
    assert dataset.mni.dtype == np.float16 and dataset.mni.shape == (1, 4, 4, 3)
    centres = np.array([0.5, 2.5, 4.5, 6.5])
    assert np.array_equal(dataset.mni[0, :, :, 0], np.tile(centres[:, None], 4))
    assert np.array_equal(dataset.mni[0, :, :, 1], np.tile(2 * centres, (4, 1)))
    assert (dataset.mni[0, :, :, 2] == 5).all()


def test_the_right_size_passes_untouched_and_a_smaller_slice_is_enlarged(tmp_path):
    image, mask = draw_slice(1, 40)
    _prepare(Study(tmp_path / "same"), [_one(image, mask)], 1, size=40)
    dataset = Dataset(Study(tmp_path / "same"))
    assert np.array_equal(dataset.images[0], image) and np.array_equal(dataset.masks[0], mask)
    constant = np.full((3, 3), 77, np.uint8)
    _prepare(Study(tmp_path / "larger"), [_one(constant)], 1, size=7)
    assert (Dataset(Study(tmp_path / "larger")).images[0] == 77).all()


def test_the_files_are_the_contracts(tmp_path):
    study = prepare_small(tmp_path, PATIENTS, lambda index: ["train", "train", "train", "validation", "validation", "test"])
    images, masks = np.load(study.images), np.load(study.masks)
    assert images.dtype == masks.dtype == np.uint8 and images.shape == masks.shape == (6, 40, 40)
    assert not study.mni.exists() and Dataset(study).mni is None
    index = pd.read_csv(study.index)
    assert tuple(index.columns) == INDEX_COLUMNS
    for number, row in index.iterrows():
        image, mask = draw_slice(number)
        assert np.array_equal(images[number], image) and np.array_equal(masks[number], mask)
        assert row["sha256"] == hashlib.sha256(image.tobytes()).hexdigest(), "of the image as it came, before resampling"
    assert list(index["id"]) == [f"s{number:04d}" for number in range(6)]
    assert list(index["split"]) == ["train", "train", "train", "validation", "validation", "test"] and set(index["source"]) == {"small"}
    dataset = Dataset(study)
    assert list(dataset.rows("validation")) == [3, 4] and list(dataset.labels(np.array([5, 0, 3]))) == [2, 0, 1]


def test_reading_maps_the_files(tmp_path):
    study = prepare_small(tmp_path, PATIENTS, lambda index: ["train"] * len(index))
    dataset = Dataset(study)
    assert isinstance(dataset.images, np.memmap) and isinstance(dataset.masks, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0, 0, 0] = 1
    # What is on disk is what is read, also later: nothing was copied.
    with study.images.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([201]))
    assert dataset.images[-1, -1, -1] == 201


def test_names_survive_the_index(tmp_path):
    study = Study(tmp_path)
    image = np.zeros((4, 4), np.uint8)
    _prepare(study, [Slice("007", image, image, "glioma", "NA", "axial", fold=3), Slice("null", image, image, "glioma", "1e5", "axial")], 2)
    index = Dataset(study).index
    assert list(index["id"]) == ["007", "null"] and list(index["patient"]) == ["NA", "1e5"] and list(index["fold"]) == ["3", ""]


def _peak(study: Study, count: int) -> int:
    template = draw_slice(1, 64)
    stream = (Slice(f"{n}", template[0].copy(), template[1].copy(), "glioma", "P1", "axial") for n in range(count))
    tracemalloc.start()
    try:
        _prepare(study, stream, count, size=32)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_at_one_slice(tmp_path):
    """A slice is 8 KiB; its row of the index, which has to be kept, well below one."""
    _peak(Study(tmp_path / "warm"), 10)
    few, many = _peak(Study(tmp_path / "few"), 200), _peak(Study(tmp_path / "many"), 2000)
    assert (many - few) / 1800 < 1500


@pytest.mark.parametrize("given_slices", [0, 5, 7])
def test_another_number_of_slices_than_announced_leaves_nothing(tmp_path, given_slices):
    study = Study(tmp_path / "study")
    stream = [_one(np.zeros((4, 4), np.uint8))] * given_slices
    with pytest.raises(StudyError) as raised:
        _prepare(study, iter(stream), 6)
    assert "expected 6; nothing was written" in one_sentence(str(raised.value))
    assert [path for path in study.root.rglob("*") if path.is_file()] == []


def _fails_at_the_third():
    yield from list(small_slices({"glioma-1": 2}, 4 * 6))
    raise ConnectionError("the source went away")


def _no_split(index):
    raise StudyError("No split is possible.")


@pytest.mark.parametrize(
    ("stream", "options", "error"),
    [
        (_fails_at_the_third, {}, ConnectionError),
        (lambda: small_slices({"glioma-1": 2}), {}, StudyError),
        (lambda: small_slices({"glioma-1": 3}), {"assign_splits": _no_split}, StudyError),
    ],
    ids=["source fails", "too few slices", "no split"],
)
def test_a_failure_keeps_the_dataset_that_was_there(tmp_path, stream, options, error):
    study = prepare_small(tmp_path, PATIENTS, lambda index: ["train"] * 6)
    before = {path: path.read_bytes() for path in study.data.iterdir()}
    with pytest.raises(error):
        _prepare(study, stream(), 3, **options)
    assert {path: path.read_bytes() for path in study.data.iterdir()} == before


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(tiny_disk):
    """The check before passes; then another program takes the space."""
    study = Study(tiny_disk / "study")

    def stream():
        for number, item in enumerate(small_slices({"glioma-1": 6})):
            if number == 2:
                with pytest.raises(OSError), (tiny_disk / "other").open("wb", buffering=0) as other:
                    while True:
                        other.write(b"x" * 1024)
            yield item

    # The check keeps one MiB in reserve, so it passes only on a disk of more than that.
    subprocess.run(["mount", "-o", "remount,size=2m", str(tiny_disk)], check=True)
    with pytest.raises(StudyError) as raised:
        _prepare(study, stream(), 6, size=256)
    assert "disk filled up" in one_sentence(str(raised.value))
    assert [path for path in study.root.rglob("*") if path.is_file()] == []


def test_a_disk_too_small_is_told_before_anything_is_written(tiny_disk):
    study = Study(tiny_disk / "study")
    with pytest.raises(StudyError) as raised:
        _prepare(study, small_slices({"glioma-1": 500}), 500, size=512)
    # 500 x 512 x 512 x 2 bytes and a reserve of one MiB
    assert "needs 263.2 MB for 500 slices, found 1.0 MB free" in one_sentence(str(raised.value))
    assert [path for path in study.root.rglob("*") if path.is_file()] == []


def test_an_index_of_another_length_is_refused(tmp_path):
    study = prepare_small(tmp_path, PATIENTS, lambda index: ["train"] * 6)
    study.index.write_text("\n".join(study.index.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(StudyError) as raised:
        Dataset(study)
    assert "5 rows but images.npy 6 slices" in one_sentence(str(raised.value))


def test_the_hash_names_the_content(tmp_path):
    first = prepare_small(tmp_path / "a", PATIENTS, lambda index: ["train"] * 6)
    same = prepare_small(tmp_path / "b", PATIENTS, lambda index: ["train"] * 6)
    other = prepare_small(tmp_path / "c", PATIENTS, lambda index: ["test"] * 6)
    assert dataset_hash(first) == dataset_hash(same) != dataset_hash(other)
    assert dataset_hash(first) == hashlib.sha256(first.index.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Patients with series of 1 to 10 slices in the test split, the last patient in training."""
    patients = {"glioma-1": 10, "glioma-2": 4, "glioma-3": 1, "meningioma-1": 7, "meningioma-2": 2, "pituitary-1": 3, "pituitary-2": 3}
    study = prepare_small(tmp_path_factory.mktemp("uneven"), patients, lambda index: ["test"] * 27 + ["train"] * 3, size=24)
    return Dataset(study)


@given(count=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_balanced_rows_are_balanced(uneven, count):
    rows = uneven.balanced_rows("test", count)
    test = uneven.rows("test")
    assert len(rows) == len(set(rows)) == min(count, len(test)) and set(rows) <= set(test) and list(rows) == sorted(rows)
    assert np.array_equal(rows, uneven.balanced_rows("test", count)), "no draw is involved"
    if count > 1:
        assert set(uneven.balanced_rows("test", count - 1)) <= set(rows), "what is shown is part of what is explained"
    chosen, available = uneven.index.iloc[rows], uneven.index.iloc[test]
    for column, groups in (("label", [chosen]), ("patient", [chosen[chosen["label"] == label] for label in LABELS])):
        for group in groups:
            taken = group[column].value_counts()
            among = available[available["label"].isin(group["label"])] if column == "patient" else available
            whole = among[column].value_counts()
            left = [taken.get(name, 0) for name in whole.index if taken.get(name, 0) < whole[name]]
            # Nobody with slices left may be more than one behind anybody else.
            assert not left or not len(taken) or min(left) >= taken.max() - 1


def test_balanced_rows_take_the_middle_of_a_series_first(uneven):
    middles = uneven.balanced_rows("test", 3)
    assert list(middles) == [5, 18, 25], "slices 5 of 0-9, 18 of 15-21 and 25 of 24-26"
    assert np.array_equal(uneven.balanced_rows("test", None), np.arange(27))
