"""The figshare set in its published format, at small size: read exactly, refused in one sentence, good slices kept."""

from __future__ import annotations

import functools
import http.server
import io
import re
import stat
import threading
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from conftest import one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.data import figshare
from xai.data.figshare import FILES, border_agreement, check_figshare, merge_exams, read_figshare
from xai.data.figshare_members import Reader, reason
from xai.paths import StudyError

ZIPS = [name for name in FILES if name.endswith(".zip")]
# Three slices a patient, three in each zip; the last two ids are exams of one patient.
PATIENTS = (("100360", 1), ("MR040240", 2), ("88510", 3), ("MR040240B", 2))
FOLDS = [5, 5, 5, 1, 1, 1, 2, 2, 2, 4, 4, 4]
ROOT_GROUP = b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: Fri Apr 10 12:00:00 2015 HDF5 schema 1.00 ."


def draw(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int16 image, mask and border (x1, y1, ...) of a slice; wider than high, so that a forgotten transposition shows."""
    generator = np.random.default_rng(number)
    image = generator.integers(-50, 2000, (20, 24)).astype(np.int16)
    top, left = generator.integers(2, 10, 2)
    mask = np.zeros((20, 24), np.uint8)
    mask[top : top + 6, left : left + 9] = 1
    # MATLAB counts from one; half a pixel outside the centres of the border pixels.
    low_x, high_x, low_y, high_y = left + 0.5, left + 9.5, top + 0.5, top + 6.5
    return image, mask, np.array([low_x, low_y, high_x, low_y, high_x, high_y, low_x, high_y])


def mat(number: int, **changes) -> bytes:
    """A .mat file as MATLAB -v7.3 writes it: a block of text before the HDF5, arrays transposed, text as uint16 codes, compressed."""
    image, mask, border = draw(number)
    pid, label = PATIENTS[(number - 1) // 3]
    fields = {"label": label, "PID": pid, "image": image, "tumorBorder": border, "tumorMask": mask} | changes
    stored = io.BytesIO()
    with h5py.File(stored, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, value in fields.items():
            if value is None:
                continue
            kind = {"PID": "char", "image": "int16", "tumorMask": "logical"}.get(name, "double")
            if isinstance(value, str):
                value = np.array([[ord(letter) for letter in value]], np.uint16)
            else:
                value = np.atleast_2d(value).astype({"int16": np.int16, "logical": np.uint8}.get(kind, np.float64))
            dataset = group.create_dataset(name, data=value.T, compression="gzip", compression_opts=3, chunks=value.T.shape)
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    content = bytearray(stored.getvalue())
    content[: len(ROOT_GROUP)] = ROOT_GROUP
    content[116:128] = bytes(8) + b"\x00\x02IM"
    return bytes(content)


def write_cvind(path: Path, folds: list[float], version: str = "7.3") -> None:
    column = np.array(folds, dtype=float).reshape(-1, 1)
    if version == "5":
        scipy.io.savemat(path, {"cvind": column})
        return
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("cvind", data=column.T)


@functools.cache
def published(number: int) -> bytes:
    return mat(number)


def members_of(zip_number: int) -> dict[str, bytes]:
    return {f"{number}.mat": published(number) for number in range(3 * zip_number + 1, 3 * zip_number + 4)}


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def edit_zip(path: Path, **changes: bytes | None) -> None:
    """Rewrite a zip with some members changed, added or (None) left out; "n5" stands for "5.mat"."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {f"{name.removeprefix('n')}.mat": content for name, content in changes.items()}
    write_zip(path, {name: content for name, content in members.items() if content is not None})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The five published files, three slices to a zip."""
    folder = tmp_path / "figshare"
    folder.mkdir()
    for number, name in enumerate(ZIPS):
        write_zip(folder / name, members_of(number))
    write_cvind(folder / "cvind.mat", FOLDS)
    return folder


@pytest.fixture
def unpacked(root: Path) -> Path:
    """The same, as the zips unpack: each into a folder of its name."""
    for name in ZIPS:
        with zipfile.ZipFile(root / name) as archive:
            archive.extractall(root / name.removesuffix(".zip"))
        (root / name).unlink()
    return root


EXPECTED = pd.DataFrame({
    "id": [f"{number:04d}" for number in range(1, 13)],
    "member": [f"{ZIPS[(number - 1) // 3]}/{number}.mat" for number in range(1, 13)],
    "label": ["meningioma"] * 3 + ["glioma"] * 3 + ["pituitary"] * 3 + ["glioma"] * 3,
    "patient": ["100360"] * 3 + ["MR040240"] * 3 + ["88510"] * 3 + ["MR040240"] * 3,
    "patient_id": ["100360"] * 3 + ["MR040240"] * 3 + ["88510"] * 3 + ["MR040240B"] * 3,
    "plane": ["unknown"] * 12, "fold": list("555111222444"),
}, dtype=str)  # fmt: skip


def test_the_zips_are_listed_exactly(root):
    index = check_figshare(root)
    pd.testing.assert_frame_equal(index, EXPECTED)
    assert index.attrs == {"skipped": []}
    assert sorted(path.name for path in root.iterdir()) == sorted(FILES)


def test_unpacked_files_are_listed_alike(unpacked):
    expected = EXPECTED.assign(member=EXPECTED["member"].str.replace(".zip/", "/", regex=False))
    pd.testing.assert_frame_equal(check_figshare(unpacked), expected)
    flat = unpacked / "flat"
    flat.mkdir()
    for path in list(unpacked.rglob("[0-9]*.mat")):
        path.rename(flat / path.name)
    (unpacked / "cvind.mat").rename(flat / "cvind.mat")
    pd.testing.assert_frame_equal(check_figshare(flat), expected.assign(member=expected["member"].str.split("/").str[1].astype(str)))


def test_a_slice_in_a_zip_and_beside_it_is_read_from_the_zip(root):
    (root / "5.mat").write_bytes(b"no MATLAB file")
    edit_zip(root / ZIPS[3], n12=None)
    (root / "12.mat").write_bytes(published(12))
    index = check_figshare(root)
    assert list(index["member"]) == [*EXPECTED["member"][:-1], "12.mat"]


def test_images_and_masks_are_read_exactly(root):
    index = check_figshare(root)
    slices = list(read_figshare(root, index))
    assert len(slices) == 12
    for row, item in zip(EXPECTED.itertuples(), slices):
        image, mask, _ = draw(int(row.id))
        low, high = int(image.min()), int(image.max())
        # By whole numbers alone: the nearest to 255 (v - low) / (high - low), halves to even.
        grey = [[round_half_even(255 * (int(value) - low), high - low) for value in line] for line in image]
        assert item.image.dtype == item.mask.dtype == np.uint8 and item.image.flags.c_contiguous and item.mask.flags.c_contiguous
        assert item.image.tolist() == grey and np.array_equal(item.mask, mask)
        assert (item.id, item.label, item.patient, item.plane, item.fold) == (row.id, row.label, row.patient, "unknown", int(row.fold))


def round_half_even(numerator: int, denominator: int) -> int:
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def test_some_rows_in_any_order(root):
    index = check_figshare(root).iloc[[10, 0, 4, 11]]
    assert [item.id for item in read_figshare(root, index)] == ["0011", "0001", "0005", "0012"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed on Linux only")
def test_one_zip_is_open_at_a_time_and_none_in_the_end(root):
    def opened() -> int:
        return sum(link.is_symlink() and str(link.readlink()).endswith(".zip") for link in Path("/proc/self/fd").iterdir())

    index = check_figshare(root)
    assert opened() == 0
    assert [opened() for _ in read_figshare(root, index)] == [1] * 12 and opened() == 0


def test_sizes_stay_and_an_even_image_is_black(root):
    small = np.full((6, 5), 7, np.int16)
    edit_zip(root / ZIPS[1], n5=mat(5, image=small, tumorMask=np.eye(6, 5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no division by zero
        slices = list(read_figshare(root, check_figshare(root)))
    assert (slices[4].image.shape, slices[4].mask.sum()) == ((6, 5), 5) and not slices[4].image.any()
    assert (slices[3].image.shape, slices[3].mask.sum()) == ((20, 24), 54)


def test_halves_are_rounded_to_even(root):
    """255 x 25 / 50 = 127.5 and 255 x 45 / 50 = 229.5, which 255 / 50 rounded first would turn down."""
    steps = np.arange(-7, 44, dtype=np.int16)[:, np.newaxis].repeat(2, axis=1)
    edit_zip(root / ZIPS[1], n5=mat(5, image=steps, tumorMask=np.eye(51, 2)))
    grey = list(read_figshare(root, check_figshare(root)))[4].image[:, 0]
    assert list(grey[[0, 1, 5, 25, 45, 50]]) == [0, 5, 26, 128, 230, 255]


def test_masks_of_other_values_become_one(root):
    edit_zip(root / ZIPS[1], n5=mat(5, tumorMask=draw(5)[1] * 255))
    item = list(read_figshare(root, check_figshare(root)))[4]
    assert np.array_equal(item.mask, draw(5)[1])


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("lying", [False, True])
def test_folds_in_either_version_of_matlab(root, version, lying):
    column = np.arange(1, 13) % 5 + 1
    write_cvind(root / "cvind.mat", column, version)
    if lying and version == "5":
        scipy.io.savemat(root / "cvind.mat", {"cvind": column.astype(np.uint8)})  # a row of small integers
    assert list(check_figshare(root)["fold"]) == [str(fold) for fold in column]


def test_what_zips_carry_beside_slices_is_passed_over(root):
    with zipfile.ZipFile(root / ZIPS[0], "a") as archive:
        archive.mkdir("folder")
        archive.writestr("__MACOSX/._1.mat", b"resource fork")
        archive.writestr("folder/.DS_Store", b"")
        archive.writestr("README.txt", b"This brain tumor dataset ...")
    (root / "README.txt").write_text("3064 T1-weighted contrast-enhanced images")
    (root / "other.zip").write_bytes(b"not ours")
    pd.testing.assert_frame_equal(check_figshare(root), EXPECTED)


def test_slices_in_a_folder_of_the_zip(root):
    write_zip(root / ZIPS[0], {f"brainTumorDataPublic_1-766/{name}": content for name, content in members_of(0).items()})
    index = check_figshare(root)
    assert index["member"][0] == f"{ZIPS[0]}/brainTumorDataPublic_1-766/1.mat"
    assert next(read_figshare(root, index)).id == "0001"


# Repeat exams.


@pytest.mark.parametrize(
    ("patient_id", "patient"),
    [("MR040240", "MR040240"), ("MR040240B", "MR040240"), ("MR029209I", "MR029209"), ("MR024780G", "MR024780"), ("100360", "100360"),
     ("88510", "88510"), ("MR040240BC", "MR040240BC"), ("MR", "MR"), ("B", "B")],
)  # fmt: skip
def test_exams_of_one_patient(patient_id, patient):
    assert merge_exams(patient_id) == patient


@given(st.from_regex(r"(MR)?[0-9]{1,6}[A-Z]?", fullmatch=True))
def test_merging_keeps_the_number_and_nothing_behind_it(patient_id):
    merged = merge_exams(patient_id)
    assert merged == patient_id.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") and merge_exams(merged) == merged


# What is bad is one sentence that names the file; with skip_bad the good ones are kept.


def _cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _flip(path: Path, name: str) -> None:
    """Change one byte in the middle of a member's stored bytes."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(name)
        start = entry.header_offset + 30 + len(name) + entry.compress_size // 2
    content = bytearray(path.read_bytes())
    content[start] ^= 0xFF
    path.write_bytes(bytes(content))


def _put(**changes):
    """Slice 5 with some fields changed."""
    return lambda root: edit_zip(root / ZIPS[1], n5=mat(5, **changes))


def _add(name: str, content: bytes = b"", mode: int = stat.S_IFREG | 0o644):
    def spoil(root: Path) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        with zipfile.ZipFile(root / ZIPS[1], "a") as archive:
            archive.writestr(entry, content or published(1))
    return spoil


def _absurd(root: Path) -> None:
    """65 MiB of zeros in a few kilobytes."""
    edit_zip(root / ZIPS[1], n5=bytes(65 * 2**20))


def _elsewhere(add):
    """Slice 5 whose image is no values but a pointer to a file outside, made by `add(file, path of that file)`."""
    def spoil(root: Path) -> None:
        with h5py.File(root.parent / "secret.h5", "w") as secret:
            secret["image"] = draw(5)[0].T
        draw(5)[0].T.tofile(root.parent / "secret.raw")
        stored = io.BytesIO(mat(5, image=None))
        with h5py.File(stored, "a") as file:
            add(file, root.parent)
        edit_zip(root / ZIPS[1], n5=stored.getvalue())
    return spoil


def _raw(file: h5py.File, folder: Path) -> None:
    file.create_dataset("cjdata/image", (24, 20), np.int16, external=[(str(folder / "secret.raw"), 0, 960)])
    assert np.array_equal(file["cjdata/image"][()], draw(5)[0].T)  # HDF5 would read it


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((24, 20), np.int16)
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "image", (24, 20))
    file.create_virtual_dataset("cjdata/image", layout)


def _link(file: h5py.File, folder: Path) -> None:
    file["cjdata/image"] = h5py.ExternalLink(str(folder / "secret.h5"), "image")


def _huge_field(root: Path) -> None:
    """A compressed field that would fill the memory when read."""
    stored = io.BytesIO(mat(5, image=None))
    with h5py.File(stored, "a") as file:
        file.create_dataset("cjdata/image", shape=(100_000, 100_000), dtype="i2", chunks=(1000, 1000), compression="gzip")
    edit_zip(root / ZIPS[1], n5=stored.getvalue())


def _text_label(root: Path) -> None:
    stored = io.BytesIO(mat(5, label=None))
    with h5py.File(stored, "a") as file:
        file["cjdata/label"] = "glioma"
    edit_zip(root / ZIPS[1], n5=stored.getvalue())


def _not_finite(root: Path) -> None:
    stored = io.BytesIO(mat(5, image=None))
    with h5py.File(stored, "a") as file:
        file["cjdata/image"] = np.where(np.eye(24, 20), np.nan, 1.0)
    edit_zip(root / ZIPS[1], n5=stored.getvalue())


def _encrypted(root: Path) -> None:
    content = bytearray((root / ZIPS[1]).read_bytes())
    with zipfile.ZipFile(root / ZIPS[1]) as archive:
        header = archive.getinfo("5.mat").header_offset
    directory = content.rindex(b"PK\x01\x02", 0, content.rindex(b"6.mat") - 10 - 36)
    assert content[directory + 46 : directory + 51] == b"5.mat"
    content[header + 6] |= 1
    content[directory + 8] |= 1
    (root / ZIPS[1]).write_bytes(bytes(content))


IN_ZIP = f"{ZIPS[1]}/5.mat"
SMALL_ZIP = "brainTumorDataPublic_4-6.zip"  # an unreadable zip tells by its name alone which slices are lost
# What is done, what the sentence names, and which slices are lost.
BAD = {
    "corrupted member": (lambda root: _flip(root / ZIPS[1], "5.mat"), [IN_ZIP, "damaged"], [5]),
    "truncated mat": (lambda root: edit_zip(root / ZIPS[1], n5=published(5)[:3000]), [IN_ZIP, "damaged", "truncated"], [5]),
    "empty mat": (lambda root: edit_zip(root / ZIPS[1], n5=b""), [IN_ZIP, "damaged"], [5]),
    "no MATLAB file": (lambda root: edit_zip(root / ZIPS[1], n5=b"text" * 900), [IN_ZIP, "damaged"], [5]),
    "missing member": (lambda root: edit_zip(root / ZIPS[1], n5=None), ["figshare lacks 5.mat of the slices 1.mat to 12.mat"], [5]),
    "missing members": (lambda root: edit_zip(root / ZIPS[2], n7=None, n8=None) or edit_zip(root / ZIPS[1], n5=None),
                        ["lacks 5.mat, 7.mat to 8.mat of"], [5, 7, 8]),
    "missing zip": (lambda root: (root / ZIPS[1]).unlink(), ["lacks 4.mat to 6.mat", f"({ZIPS[1]} not there)"], [4, 5, 6]),
    "truncated zip": (lambda root: _cut((root / ZIPS[1]).rename(root / SMALL_ZIP)), [f"{SMALL_ZIP} is not a complete"], [4, 5, 6]),
    "empty zip": (lambda root: (root / ZIPS[1]).rename(root / SMALL_ZIP).write_bytes(b""), [f"{SMALL_ZIP} is not a complete"], [4, 5, 6]),
    "label 7": (_put(label=7), [IN_ZIP, "label 7; expected one of 1 (meningioma), 2 (glioma), 3 (pituitary)"], [5]),
    "label 0": (_put(label=0), [IN_ZIP, "label 0"], [5]),
    "label between": (_put(label=1.5), [IN_ZIP, "label 1.5"], [5]),
    "label nan": (_put(label=np.nan), [IN_ZIP, "label nan"], [5]),
    "two labels": (_put(label=[1, 2]), [IN_ZIP, "label 1, 2"], [5]),
    "label is text": (_text_label, [IN_ZIP, "label holds"], [5]),
    "label missing": (_put(label=None), [IN_ZIP, "label"], [5]),
    "other label": (_put(label=3), [IN_ZIP, "labelled pituitary", "patient MR040240 are 5 glioma, 1 pituitary"], [5]),
    "no patient": (_put(PID="  "), [IN_ZIP, "patient id ''"], [5]),
    "patient is markup": (_put(PID="<b>"), [IN_ZIP, "patient id '<b>'"], [5]),
    "patient has a path": (_put(PID="1/../2"), [IN_ZIP, "patient id '1/../2'"], [5]),
    "patient missing": (_put(PID=None), [IN_ZIP, "damaged", "PID"], [5]),
    "mask empty": (_put(tumorMask=np.zeros((20, 24))), [IN_ZIP, "empty tumour mask"], [5]),
    "mask of another size": (_put(tumorMask=np.ones((24, 20))), [IN_ZIP, "mask is 20 x 24 px but the image 24 x 20 px"], [5]),
    "mask missing": (_put(tumorMask=None), [IN_ZIP, "damaged", "tumorMask"], [5]),
    "image not finite": (_not_finite, [IN_ZIP, "grey values that are not finite"], [5]),
    "image not flat": (_put(image=np.ones((4, 5, 3)), tumorMask=np.ones((4, 5, 3))), [IN_ZIP, "two dimensions"], [5]),
    "name is text": (_add("notes.mat"), [f"{ZIPS[1]}/notes.mat is not named by its number"], []),
    "number zero": (_add("0.mat"), [f"{ZIPS[1]}/0.mat is not named by its number"], []),
    "twice": (_add("1.mat"), ["holds slice 1 twice", f"{ZIPS[0]}/1.mat and {ZIPS[1]}/1.mat"], []),
    "same number": (_add("06.mat"), ["holds slice 6 twice"], []),
    "path climbs": (_add("../5.mat"), [ZIPS[1], "'../5.mat' leaves the archive"], []),
    "path climbs inside": (_add("a/../../5.mat"), [ZIPS[1], "leaves the archive"], []),
    "absolute path": (_add("/etc/5.mat"), [ZIPS[1], "'/etc/5.mat' leaves the archive"], []),
    "drive of Windows": (_add("C:5.mat"), [ZIPS[1], "'C:5.mat' leaves the archive"], []),
    "path of Windows": (_add("..\\5.mat"), [ZIPS[1], "leaves the archive"], []),
    "symbolic link": (_add("13.mat", b"/etc/passwd", stat.S_IFLNK | 0o777), [f"{ZIPS[1]}/13.mat is a symbolic link"], []),
    "absurd size": (_absurd, [IN_ZIP, "65 MiB, expected at most 64"], [5]),
    "absurd field": (_huge_field, [IN_ZIP, "image holds 10000000000 values"], [5]),
    "field in a raw file": (_elsewhere(_raw), [IN_ZIP, "image points to another file"], [5]),
    "field is virtual": (_elsewhere(_virtual), [IN_ZIP, "image points to another file"], [5]),
    "field is a link": (_elsewhere(_link), [IN_ZIP], [5]),
    "encrypted": (_encrypted, [IN_ZIP, "encrypted"], [5]),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "parts", "lost"), BAD.values(), ids=BAD)
def test_what_is_bad_is_one_sentence_and_the_good_ones_are_kept(root, spoil, parts, lost):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of names that stand twice
        spoil(root)
    with pytest.raises(StudyError) as caught:
        check_figshare(root)
    message = one_sentence(str(caught.value))
    for part in parts:
        assert part in message, message
    index = check_figshare(root, skip_bad=True)
    assert index.attrs["skipped"] == [message]
    kept = EXPECTED[~EXPECTED["id"].astype(int).isin(lost)].reset_index(drop=True)
    pd.testing.assert_frame_equal(index, kept)
    assert [item.id for item in read_figshare(root, index)] == list(kept["id"])


def test_a_slice_under_another_name_is_told_and_then_missing(root):
    members = members_of(1)
    write_zip(root / ZIPS[1], {"4.mat": members["4.mat"], "5 (1).mat": members["5.mat"], "6.mat": members["6.mat"]})
    with pytest.raises(StudyError) as caught:
        check_figshare(root)
    assert f"{ZIPS[1]}/5 (1).mat is not named by its number" in one_sentence(str(caught.value))
    index = check_figshare(root, skip_bad=True)
    assert index.attrs["skipped"][0] == str(caught.value) and "lacks 5.mat" in index.attrs["skipped"][1]
    assert len(index) == 11 and "0005" not in set(index["id"])


def test_a_whole_zip_that_is_bad_at_the_end(root):
    _cut((root / ZIPS[3]).rename(root / "brainTumorDataPublic_10-12.zip"))
    index = check_figshare(root, skip_bad=True)
    pd.testing.assert_frame_equal(index, EXPECTED[:9])
    assert len(index.attrs["skipped"]) == 1


def test_loose_files_are_refused_alike(unpacked):
    folder = unpacked / ZIPS[1].removesuffix(".zip")
    _cut(folder / "5.mat")
    (folder / "4.mat").rename(folder / "four.mat")
    (unpacked.parent / "secret.mat").write_bytes(published(6))
    (folder / "6.mat").unlink()
    (folder / "6.mat").symlink_to(unpacked.parent / "secret.mat")
    (unpacked / "copy").mkdir()
    (unpacked / "copy" / "1.mat").write_bytes(published(1))
    with (unpacked / "7.mat").open("wb") as file:
        file.truncate(65 * 2**20)
    index = check_figshare(unpacked, skip_bad=True)
    told = index.attrs["skipped"]
    assert len(told) == 6 and all(one_sentence(sentence) for sentence in told)
    parts = ["7.mat has 65 MiB", "6.mat is a link that leaves", "four.mat is not named", "slice 1 twice", "lacks 4.mat", "5.mat is damaged"]
    assert all(part in sentence for sentence, part in zip(told, parts)), told
    assert set(EXPECTED["id"]) - set(index["id"]) == {"0004", "0005", "0006"}


def test_a_patient_with_as_many_slices_of_either_class_is_left_out(root):
    edit_zip(root / ZIPS[0], n1=mat(1, PID="55"), n2=mat(2, PID="55A", label=2))
    index = check_figshare(root, skip_bad=True)
    assert list(index["id"][:2]) == ["0003", "0004"]
    assert [re.search(r"(\d+\.mat) is labelled (\w+)", sentence).groups() for sentence in index.attrs["skipped"]] == [
        ("1.mat", "meningioma"), ("2.mat", "glioma"),
    ]  # fmt: skip


def test_a_number_beyond_the_published_ones(root, monkeypatch):
    monkeypatch.setattr(figshare, "SLICES", 12)
    _add("13.mat")(root)
    with pytest.raises(StudyError, match="13.mat has a number beyond the 12 slices of cvind.mat"):
        check_figshare(root)
    index = check_figshare(root, skip_bad=True)
    pd.testing.assert_frame_equal(index, EXPECTED)
    assert len(index.attrs["skipped"]) == 1


def test_an_unlisted_end_of_the_published_set_is_missing(root, monkeypatch):
    monkeypatch.setattr(figshare, "SLICES", 12)
    edit_zip(root / ZIPS[3], n11=None, n12=None)
    with pytest.raises(StudyError, match="lacks 11.mat to 12.mat of the slices 1.mat to 12.mat"):
        check_figshare(root)


FATAL = {
    "no cvind": (lambda root: (root / "cvind.mat").unlink(), ["figshare has no cvind.mat", "1512427"]),
    "cvind too short": (lambda root: write_cvind(root / "cvind.mat", FOLDS[:-1]), ["cvind.mat", "11 folds", "up to 12", "3064"]),
    "cvind too long": (lambda root: write_cvind(root / "cvind.mat", [*FOLDS, 1], "5"), ["cvind.mat", "13 folds", "up to 12"]),
    "cvind truncated": (lambda root: _cut(root / "cvind.mat"), ["cvind.mat is not a MATLAB file"]),
    "cvind v5 truncated": (lambda root: write_cvind(root / "cvind.mat", FOLDS, "5") or _cut(root / "cvind.mat", 0.7),
                           ["cvind.mat is not a MATLAB file"]),
    "cvind is text": (lambda root: (root / "cvind.mat").write_text("1 2 3"), ["cvind.mat is not a MATLAB file"]),
    "cvind is empty": (lambda root: (root / "cvind.mat").write_bytes(b""), ["cvind.mat is not a MATLAB file"]),
    "cvind of another name": (lambda root: scipy.io.savemat(root / "cvind.mat", {"folds": FOLDS}), ["cvind.mat", "variable cvind"]),
    "cvind of halves": (lambda root: write_cvind(root / "cvind.mat", [0.5, *FOLDS[1:]]), ["cvind.mat holds other values"]),
    "cvind between": (lambda root: write_cvind(root / "cvind.mat", [1.5, *FOLDS[1:]]), ["cvind.mat holds other values"]),
    "cvind of zeros": (lambda root: write_cvind(root / "cvind.mat", [0, *FOLDS[1:]]), ["cvind.mat holds other values"]),
    "cvind of nothing": (lambda root: write_cvind(root / "cvind.mat", [np.nan, *FOLDS[1:]], "5"), ["cvind.mat holds other values"]),
    "nothing there": (lambda root: [path.unlink() for path in root.iterdir()], ["holds neither brainTumorDataPublic_*.zip nor"]),
    "no folder": (lambda root: root.rename(root.parent / "elsewhere"), ["figshare not found"]),
    "a class is missing": (lambda root: [edit_zip(root / ZIPS[2], **{f"n{number}": mat(number, label=2) for number in (7, 8, 9)})],
                           ["no readable slice of class pituitary"]),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "parts"), FATAL.values(), ids=FATAL)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_what_no_slice_can_do_without(root, spoil, parts, skip_bad):
    spoil(root)
    with pytest.raises(StudyError) as caught:
        check_figshare(root, skip_bad=skip_bad)
    message = one_sentence(str(caught.value))
    for part in parts:
        assert part in message, message


@given(st.lists(st.tuples(st.integers(0, len(published(5)) - 1), st.integers(0, 255)), min_size=1, max_size=20), st.floats(0.2, 1))
@settings(max_examples=80, deadline=None)
def test_however_a_file_is_damaged_it_is_one_sentence(tmp_path_factory, flips, share):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(published(5))
    for position, value in flips:
        content[position] = value
    (folder / "5.mat").write_bytes(content[: int(share * len(content))])
    with Reader(folder) as read:
        try:
            read("5.mat")
        except StudyError as error:
            assert str(folder / "5.mat") in one_sentence(str(error))


def test_words_of_a_library_become_part_of_the_sentence():
    assert reason(OSError("can't open (plugin).\n Please verify!  Or not.")) == "can't open (plugin); Please verify; Or not"
    assert reason(KeyError("no 'PID'")) == "no 'PID'" and reason(EOFError()) == "EOFError"


def test_nothing_but_one_bad_zip(root):
    for name in ZIPS[1:]:
        (root / name).unlink()
    _cut(root / ZIPS[0])
    with pytest.raises(StudyError, match=f"{ZIPS[0]} is not a complete zip archive"):
        check_figshare(root, skip_bad=True)


def test_damage_after_the_check_is_told_while_reading(root):
    index = check_figshare(root)
    _flip(root / ZIPS[1], "5.mat")
    read = []
    with pytest.raises(StudyError, match=f"{ZIPS[1]}/5.mat is damaged"):
        for item in read_figshare(root, index):
            read.append(item.id)
    assert read == ["0001", "0002", "0003", "0004"]


# The borders.


def test_borders_agree_with_their_masks(root):
    index = check_figshare(root)
    index.index = index["id"]
    dice = border_agreement(root, index)
    assert dice.name == "dice" and list(dice.index) == list(index["id"]) and (dice == 1).all()


def test_borders_beside_their_masks_show(root):
    _, mask, border = draw(4)
    beside = border + [0, 2] * 4  # two rows lower: 4 of 6 rows overlap
    swapped = border.reshape(-1, 2)[:, ::-1].ravel()
    transposed = np.zeros((24, 24), bool)
    transposed[:20] = mask
    expected = 2 * np.sum(transposed & transposed.T) / (2 * mask.sum())
    edit_zip(root / ZIPS[1], n4=mat(4, tumorBorder=beside), n5=mat(5, tumorBorder=[1, 2, 3]))
    edit_zip(root / ZIPS[1], n6=mat(6, tumorBorder=[1, 2, 3, 4, 5, np.nan]))
    edit_zip(root / ZIPS[2], n9=mat(9, tumorBorder=[1, 2, 30, 40]))
    edit_zip(root / ZIPS[2], n7=mat(7, tumorBorder=draw(7)[2] + 100))
    edit_zip(root / ZIPS[3], n10=mat(10, image=np.pad(draw(4)[0], ((0, 4), (0, 0))), tumorMask=transposed, tumorBorder=swapped))
    dice = border_agreement(root, check_figshare(root)).to_numpy()
    assert dice[3] == pytest.approx(4 / 6) and np.isnan(dice[[4, 5, 8]]).all() and dice[6] == 0
    assert dice[9] == pytest.approx(expected) and expected < 0.9 and (dice[[0, 1, 2, 7, 10, 11]] == 1).all()


# Download first.


@pytest.fixture
def mirror(root: Path):
    """The address of a real server, and the paths it was asked for."""
    asked = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_arguments) -> None:
            """The tests' output is theirs."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_an_empty_folder_is_filled_from_the_given_address(tmp_path, root, mirror):
    address, asked = mirror
    for _ in range(2):
        index = check_figshare(tmp_path / "new", base_url=address)
        pd.testing.assert_frame_equal(index, EXPECTED)
    assert asked == [f"/{name}" for name in FILES]
    assert all((tmp_path / "new" / name).read_bytes() == (root / name).read_bytes() for name in FILES)


def test_only_what_is_missing_is_fetched(tmp_path, root, mirror):
    address, asked = mirror
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ZIPS[0]).write_bytes((root / ZIPS[0]).read_bytes())
    pd.testing.assert_frame_equal(check_figshare(tmp_path / "new", base_url=address), EXPECTED)
    assert asked == [f"/{name}" for name in list(FILES)[1:]]


def test_unpacked_slices_need_no_zips(tmp_path, unpacked, mirror):
    address, asked = mirror
    check_figshare(unpacked, base_url=address)
    assert asked == []
    unpacked.joinpath("cvind.mat").rename(tmp_path / "cvind.mat")
    with pytest.raises(StudyError, match="cvind.mat answered 404"):
        check_figshare(unpacked, base_url=address)
    assert asked == ["/cvind.mat"]


def test_given_checksums_are_held(tmp_path, root, mirror):
    with pytest.raises(StudyError) as caught:
        check_figshare(tmp_path / "new", base_url=mirror[0], checksums=FILES)
    message = one_sentence(str(caught.value))
    assert f"{mirror[0]}/{ZIPS[0]} gave {ZIPS[0]} with the checksum md5:" in message and FILES[ZIPS[0]] in message
    assert not list((tmp_path / "new").iterdir())


def test_the_published_address_is_asked_by_file_ids_and_holds_the_published_checksums(tmp_path, root, mirror, monkeypatch):
    monkeypatch.setattr(figshare, "FIGSHARE_URL", f"{mirror[0]}/files/")
    with pytest.raises(StudyError, match="/files/3381290 answered 404"):
        check_figshare(tmp_path / "new", base_url=f"{mirror[0]}/files")
    (root / "files").mkdir()
    (root / "files" / "3381290").write_bytes((root / ZIPS[0]).read_bytes())
    with pytest.raises(StudyError, match="74b949ad33f042e6e103523091cd1428"):
        check_figshare(tmp_path / "new", base_url=f"{mirror[0]}/files")


def test_the_published_files():
    """Names, and that they number 3,064 slices without a gap."""
    spans = [tuple(map(int, re.fullmatch(r"brainTumorDataPublic_(\d+)-(\d+)\.zip", name).groups())) for name in ZIPS]
    assert [start for start, _ in spans] == [1] + [end + 1 for _, end in spans[:-1]] and spans[-1][1] == figshare.SLICES == 3064
    assert all(re.fullmatch("md5:[0-9a-f]{32}", checksum) for checksum in FILES.values()) and len(set(FILES.values())) == 5
    assert list(figshare.FILE_IDS) == list(FILES) and figshare.FILE_IDS["cvind.mat"] == "7005344"
