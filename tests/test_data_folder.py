"""A folder of real files: what is right is read exactly, what is wrong is one sentence within seconds."""

from __future__ import annotations

import shutil
import time
import zlib

import numpy as np
import pandas as pd
import pytest
from conftest import draw_slice, edit_index, one_sentence, run_module
from PIL import Image

from xai.data import check_folder, read_folder
from xai.data.__main__ import main as prepare_main
from xai.data.dataset import Dataset
from xai.paths import Study
from xai.preflight import main as preflight_main
from xai.profiles import load_profile, save_profile

PROFILE = "data: {image_size: 32}\ntraining: {architectures: [vgg16]}\n"


def _set(row: int, **values: str):
    """A change of the index: these columns of one row."""
    def change(index: pd.DataFrame) -> None:
        for column, value in values.items():
            index.loc[row, column] = value
    return change


def _truncate(path) -> None:
    """Cut a file in its pixel data: the header stays readable."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with Image.open(path) as picture:
        assert picture.size == (40, 40)


def _preflight(tmp_path, root, capsys, profile: str = PROFILE) -> tuple[int, str]:
    """Run the check in this process; its exit code and what it prints."""
    (tmp_path / "own.yaml").write_text(profile)
    started = time.perf_counter()
    code = preflight_main(["--profile", str(tmp_path / "own.yaml"), "--study", str(tmp_path / "study"), "--source", "folder", "--root", str(root)])
    assert time.perf_counter() - started < 5
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, printed.err


def test_a_folder_is_read_exactly(folder):
    index = check_folder(folder)
    slices = list(read_folder(folder, index))
    assert [item.id for item in slices] == [f"s{number:03d}" for number in range(18)]
    for number, item in enumerate(slices):
        image, mask = draw_slice(number)
        assert np.array_equal(item.image, image) and item.image.dtype == np.uint8
        assert np.array_equal(item.mask, mask) and item.mask.dtype == np.uint8
    assert (slices[9].label, slices[9].patient, slices[9].plane, slices[9].fold) == ("meningioma", "P4", "axial", 2)
    assert slices[9].mni is None


def test_names_that_look_like_missing_values_or_numbers_stay_as_written(folder):
    edit_index(folder, lambda index: index.replace({"patient": {"P0": "NA", "P1": "007"}}))
    edit_index(folder, _set(0, id="null"))
    slices = list(read_folder(folder, check_folder(folder)))
    assert (slices[0].id, slices[0].patient, slices[2].patient) == ("null", "NA", "007")


def test_fold_is_optional(folder):
    edit_index(folder, _set(3, fold=""))
    folds = [item.fold for item in read_folder(folder, check_folder(folder))]
    assert folds[3] is None and folds[4] == 1
    edit_index(folder, lambda index: index.drop(columns="fold"))
    assert {item.fold for item in read_folder(folder, check_folder(folder))} == {None}


def test_without_patients_slices_that_look_alike_are_one(folder):
    """Slice 3 saved again under the name of slice 10, and nothing else alike."""
    shutil.copyfile(folder / "images" / "3.png", folder / "images" / "10.png")
    edit_index(folder, lambda index: index.drop(columns=["patient", "plane"]))
    index = check_folder(folder)
    assert index["patient"].nunique() == 17 and set(index["patient"][[3, 10]]) == {"like_s003"}
    assert set(index["plane"]) == {"unknown"}


def test_other_ways_to_store_grey_values(folder):
    """Sixteen bits are stretched from their own range; colours become luminance; palettes and bilevel masks are decoded."""
    ramp = np.tile(np.linspace(1000, 1000 + 51 * 39, 40).round().astype(np.uint16), (40, 1))
    Image.fromarray(ramp).save(folder / "images" / "0.png")
    colour = np.zeros((40, 40, 3), np.uint8)
    colour[..., 0], colour[:20, :, 1] = 200, 100
    Image.fromarray(colour).save(folder / "images" / "1.png")
    grey, mask = draw_slice(2)
    alpha = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    Image.fromarray(alpha, "RGBA").save(folder / "images" / "2.png")
    Image.fromarray(mask.astype(bool)).save(folder / "masks" / "2.png")
    palette = Image.fromarray(draw_slice(3)[1], "P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(folder / "masks" / "3.png")
    Image.fromarray(draw_slice(4)[1] * np.uint16(65535)).save(folder / "masks" / "4.png")
    with Image.open(folder / "images" / "0.png") as picture:
        assert picture.mode.startswith("I")
    slices = list(read_folder(folder, check_folder(folder)))
    assert np.array_equal(slices[0].image[7], np.round((ramp[0] - 1000.0) * 255 / (51 * 39)))
    # ITU-R 601: 0.299 x 200 = 59.8 and 0.299 x 200 + 0.587 x 100 = 118.5
    assert set(np.unique(slices[1].image)) == {60, 118}
    assert np.array_equal(slices[2].image, grey) and np.array_equal(slices[2].mask, mask)
    assert np.array_equal(slices[3].mask, draw_slice(3)[1]) and np.array_equal(slices[4].mask, draw_slice(4)[1])


def _lacks_column(root):
    edit_index(root, lambda index: index.drop(columns=["mask", "label"]))


def _other_size(root):
    Image.fromarray(np.full((40, 30), 255, np.uint8)).save(root / "masks" / "5.png")


def _no_image_at_all(root):
    (root / "images" / "5.png").write_text("this is no picture")


def _lying_header(root):
    """A PNG whose header chunk is broken although its signature is right."""
    content = bytearray((root / "images" / "5.png").read_bytes())
    content[16:29] = bytes(13)
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (root / "images" / "5.png").write_bytes(content)


def _outside(root):
    Image.fromarray(draw_slice(0)[0]).save(root.parent / "secret.png")
    edit_index(root, _set(5, image="../secret.png"))


def _linked_outside(root):
    Image.fromarray(draw_slice(0)[0]).save(root.parent / "secret.png")
    (root / "images" / "5.png").unlink()
    (root / "images" / "5.png").symlink_to(root.parent / "secret.png")


def _splits(index: pd.DataFrame, **of_patient: str) -> None:
    """Published splits by patient: the first three patients test, the next validate, the others train."""
    number = index["patient"].str[1:].astype(int)
    index["split"] = np.select([number < 3, number < 6], ["test", "validation"], "train")
    for patient, split in of_patient.items():
        index.loc[index["patient"] == patient, "split"] = split


def _patient_in_two_splits(root):
    def change(index):
        _splits(index)
        index.loc[1, "split"] = "train"
    edit_index(root, change)


BROKEN = {
    "no index": (lambda root: (root / "index.csv").unlink(), ["no index.csv", "id, image, mask"]),
    "index is a folder": (lambda root: ((root / "index.csv").unlink(), (root / "index.csv").mkdir()), ["no index.csv"]),
    "empty index": (lambda root: (root / "index.csv").write_text(""), ["index.csv", "not a readable CSV"]),
    "index of no rows": (lambda root: edit_index(root, lambda index: index[:0]), ["no slice of class glioma, meningioma, pituitary"]),
    "index is no text": (lambda root: (root / "index.csv").write_bytes(b"id\n\xff\xfe\x00"), ["index.csv", "not a readable CSV"]),
    "missing columns": (_lacks_column, ["lacks the column(s) mask, label", "found id, image, patient"]),
    "image missing": (lambda root: (root / "images" / "5.png").unlink(), ["s005 has no image", "images/5.png not found"]),
    "mask missing": (lambda root: (root / "masks" / "5.png").unlink(), ["s005 has no mask", "masks/5.png not found"]),
    "no mask named": (lambda root: edit_index(root, _set(5, mask="")), ["s005 has no mask"]),
    "name too long": (lambda root: edit_index(root, _set(5, image="x" * 400)), ["s005 has no image"]),
    "image is a folder": (lambda root: edit_index(root, _set(5, image="images")), ["s005 has no image"]),
    "mask of another size": (_other_size, ["s005", "mask is 30 x 40 px", "image 40 x 40"]),
    "not an image": (_no_image_at_all, ["s005", "images/5.png is not a readable image"]),
    "broken header": (_lying_header, ["s005", "images/5.png is not a readable image"]),
    "class missing": (lambda root: edit_index(root, lambda index: index[index["label"] != "pituitary"]), ["no slice of class pituitary"]),
    "unknown label": (lambda root: edit_index(root, _set(5, label="no_tumor")), ["s005 has label 'no_tumor'", "glioma, meningioma"]),
    "unknown plane": (lambda root: edit_index(root, _set(5, plane="oblique")), ["s005 has plane 'oblique'", "axial, coronal"]),
    "duplicate id": (lambda root: edit_index(root, _set(5, id="s004")), ["'s004' stands twice"]),
    "id climbs": (lambda root: edit_index(root, _set(5, id="../x")), ["id '../x' is not allowed"]),
    "id is markup": (lambda root: edit_index(root, _set(5, id="<script>")), ["id '<script>' is not allowed"]),
    "id is hidden": (lambda root: edit_index(root, _set(5, id=".x")), ["id '.x' is not allowed"]),
    "id ends a line": (lambda root: edit_index(root, _set(5, id="a\n")), ["id 'a\\n' is not allowed"]),
    "no id": (lambda root: edit_index(root, _set(5, id="")), ["id '' is not allowed"]),
    "no patient": (lambda root: edit_index(root, _set(5, patient="")), ["s005 has no patient"]),
    "path leaves the folder": (_outside, ["s005", "'../secret.png' leaves the data folder"]),
    "link leaves the folder": (_linked_outside, ["s005", "leaves the data folder"]),
    "absolute path": (lambda root: edit_index(root, _set(5, mask=str(root.parent / "own.yaml"))), ["s005", "leaves the data folder"]),
    "patient in two splits": (_patient_in_two_splits, ["patient P0 is in 2 splits (test, train)"]),
    "unknown split": (lambda root: edit_index(root, lambda index: index.assign(split="dev")), ["split 'dev'", "train, validation, test"]),
    "split without a class": (lambda root: edit_index(root, lambda index: _splits(index, P0="train")), ["Split test would hold no glioma"]),
    "no validation": (lambda root: edit_index(root, lambda index: _splits(index, P3="train", P4="train", P5="train")), ["Split validation"]),
    "fold is text": (lambda root: edit_index(root, _set(5, fold="two")), ["s005 has fold 'two'", "whole number"]),
    "fold is a dash": (lambda root: edit_index(root, _set(5, fold="-")), ["s005 has fold '-'"]),
    "too few patients": (lambda root: edit_index(root, lambda index: index.replace({"patient": {"P3": "P0"}})), ["Class glioma has 2 patient(s)"]),
}


@pytest.mark.parametrize(("spoil", "parts"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_one_sentence_before_anything_is_made(tmp_path, folder, capsys, spoil, parts):
    (tmp_path / "own.yaml").write_text(PROFILE)
    spoil(folder)
    code, printed = _preflight(tmp_path, folder, capsys)
    assert code == 2
    message = one_sentence(printed.removeprefix("error: ").removesuffix("\n"))
    for part in parts:
        assert part in message
    assert not (tmp_path / "study").exists()


def test_a_folder_that_is_not_there(tmp_path, capsys):
    code, printed = _preflight(tmp_path, tmp_path / "nowhere", capsys)
    assert code == 2 and f"Data folder {tmp_path / 'nowhere'} not found" in one_sentence(printed.strip())


def test_folds_of_a_profile_that_the_index_does_not_have(tmp_path, folder, capsys):
    with_folds = "data: {image_size: 32, test_fold: 3, validation_fold: 4}\ntraining: {architectures: [vgg16]}\n"
    code, printed = _preflight(tmp_path, folder, capsys, with_folds)
    assert code == 2 and "`data.validation_fold` is 4, but the data's folds are: 1, 2, 3" in one_sentence(printed.strip())
    edit_index(folder, lambda index: index.drop(columns="fold"))
    code, printed = _preflight(tmp_path, folder, capsys, with_folds)
    assert code == 2 and "`data.test_fold` is 3, but the data's folds are: none" in one_sentence(printed.strip())
    assert not (tmp_path / "study").exists()


def test_published_splits_decide(tmp_path, folder, capsys):
    edit_index(folder, lambda index: _splits(index))
    assert _preflight(tmp_path, folder, capsys) == (0, "")
    assert prepare_main(["--study", str(tmp_path / "study")]) == 0
    index = Dataset(Study(tmp_path / "study")).index
    assert {split: set(part["patient"]) for split, part in index.groupby("split")} == {
        "test": {"P0", "P1", "P2"}, "validation": {"P3", "P4", "P5"}, "train": {"P6", "P7", "P8"},
    }  # fmt: skip


def test_slices_per_class_keeps_patients_and_drops_slices(tmp_path, folder, capsys):
    code, _ = _preflight(tmp_path, folder, capsys, "data: {image_size: 32, slices_per_class: 4}\ntraining: {architectures: [vgg16]}\n")
    assert code == 0 and prepare_main(["--study", str(tmp_path / "study")]) == 0
    index = Dataset(Study(tmp_path / "study")).index
    assert index["label"].value_counts().to_dict() == {"glioma": 4, "meningioma": 4, "pituitary": 4}
    assert index["patient"].nunique() == 9 and list(index["id"]) == sorted(index["id"])


def _study(tmp_path, folder) -> Study:
    (tmp_path / "own.yaml").write_text(PROFILE)
    study = Study(tmp_path / "study")
    save_profile(load_profile(tmp_path / "own.yaml", source="folder", root=str(folder)), study.profile)
    return study


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda root: Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "masks" / "7.png"), ["masks/7.png", "s007 is empty"]),
        (lambda root: Image.fromarray(draw_slice(7)[1]).save(root / "masks" / "7.png"), ["s007 is empty", "above 127"]),
        (lambda root: _truncate(root / "masks" / "7.png"), ["masks/7.png is not a readable image"]),
    ],
    ids=["empty mask", "mask of 0 and 1", "truncated mask"],
)
def test_what_only_decoding_can_tell_leaves_nothing_half_written(tmp_path, folder, capsys, spoil, parts):
    spoil(folder)
    study = _study(tmp_path, folder)
    assert prepare_main(["--study", str(study.root)]) == 2
    message = one_sentence(capsys.readouterr().err.strip().splitlines()[-1].removeprefix("error: "))
    for part in parts:
        assert part in message
    assert [path for path in study.root.rglob("*") if path.is_file()] == [study.profile]


def test_a_failed_preparation_keeps_the_former_dataset(tmp_path, folder, capsys):
    study = _study(tmp_path, folder)
    assert prepare_main(["--study", str(study.root)]) == 0
    before = {path: path.read_bytes() for path in study.data.iterdir()}
    _truncate(folder / "images" / "11.png")
    assert prepare_main(["--study", str(study.root)]) == 2
    assert {path: path.read_bytes() for path in study.data.iterdir()} == before


def test_a_study_folder_that_cannot_be_written(tmp_path, folder, capsys):
    (tmp_path / "study").write_text("a file in the way")
    code, printed = _preflight(tmp_path, folder, capsys)
    assert code == 2 and "study cannot be written" in one_sentence(printed.strip())
    (tmp_path / "study").unlink()
    study = _study(tmp_path, folder)
    study.data.write_text("a file in the way")
    assert prepare_main(["--study", str(study.root)]) == 2
    assert "data cannot be written" in one_sentence(capsys.readouterr().err.strip())


# The same as a user sees it: a process, its exit code and its one line.


def test_preflight_as_a_process(tmp_path, folder):
    (folder / "masks" / "5.png").unlink()
    (tmp_path / "own.yaml").write_text(PROFILE)
    code, lines = run_module("xai.preflight", "--profile", tmp_path / "own.yaml", "--study", tmp_path / "study", "--source", "folder", "--root", folder)
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: Slice s005 has no mask:")
    assert not (tmp_path / "study").exists()


def test_preparing_a_truncated_image_as_a_process(tmp_path, folder):
    study = _study(tmp_path, folder)
    _truncate(folder / "images" / "9.png")
    code, lines = run_module("xai.data", "--study", study.root)
    assert code == 2 and len(lines) == 1 and "images/9.png is not a readable image" in lines[0]
    assert [path for path in study.root.rglob("*") if path.is_file()] == [study.profile]


def test_preparing_on_a_small_disk_as_a_process(tmp_path, folder, tiny_disk):
    study = Study(tiny_disk / "study")
    save_profile(load_profile(_study(tmp_path, folder).profile), study.profile)
    code, lines = run_module("xai.data", "--study", study.root)
    assert code == 2 and len(lines) == 1
    assert lines[0].startswith(f"error: {study.data} needs 1.1 MB for 18 slices, found 1.0 MB free;")
    assert [path for path in study.root.rglob("*") if path.is_file()] == [study.profile]
