"""Any file a user may bring: read upright, or refused in one sentence. All files are written here."""

from __future__ import annotations

import gzip
import itertools
import os
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import one_sentence
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from xai.inputs import LARGEST_SIDE, gather, read_scan, safe_name, to_grey, words_of
from xai.paths import StudyError

RAMP = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48)


def write_dicom(path, values=None, *, orientation=(1, 0, 0, 0, 1, 0), syntax=ExplicitVRLittleEndian, **changes):
    """An MR image as a scanner writes it; a change to None leaves the element out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["test"])
    dataset.Modality, dataset.PatientName = "MR", "Doe^Jane"
    if values is not None:
        values = np.asarray(values)
        dataset.Rows, dataset.Columns = values.shape[-2:] if values.shape[-1] != 3 else values.shape[-3:-1]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if values.shape[-1] == 3 else (1, "MONOCHROME2")
        if values.shape[-1] == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
        dataset.PixelData = encapsulate([values.tobytes()]) if syntax.is_compressed else values.tobytes()
    if orientation is not None:
        dataset.ImageOrientationPatient, dataset.PixelSpacing = list(map(float, orientation)), [1.0, 1.0]
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_nifti(path, values, affine=np.eye(4)):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


# ---------------------------------------------------------------- pictures


def test_eight_bits_stay_as_they_are(tmp_path):
    values = (RAMP % 251).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(read_scan(tmp_path / "a.png").grey(0), values)


def test_sixteen_bits_are_scaled_by_their_own_range(tmp_path):
    Image.fromarray(RAMP + np.uint16(1000)).save(tmp_path / "a.png")
    scan = read_scan(tmp_path / "a.png")
    assert np.array_equal(scan.grey(0), np.round(RAMP.astype(float) * 255 / RAMP.max()).astype(np.uint8))
    assert "own range" in scan.notes[0]


def test_colours_turn_grey_and_are_noted(tmp_path):
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(np.repeat((RAMP % 200).astype(np.uint8)[..., None], 3, axis=2)).save(tmp_path / "grey.png")
    assert read_scan(tmp_path / "red.png").notes == ("colours turned to grey",)
    assert int(read_scan(tmp_path / "red.png").grey(0)[0, 0]) == round(200 * 0.299)
    assert read_scan(tmp_path / "grey.png").notes == ()


def test_what_is_transparent_is_air(tmp_path):
    picture = np.full((40, 40, 4), 255, np.uint8)
    picture[:20, :, 3] = 0
    Image.fromarray(picture).save(tmp_path / "a.png")
    grey = read_scan(tmp_path / "a.png").grey(0)
    assert grey[:20].max() == 0 and grey[20:].min() == 255


def test_a_photograph_that_lies_on_its_side_is_set_up(tmp_path):
    values = (RAMP % 251).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_scan(tmp_path / "a.png").grey(0), np.rot90(values, -1))


def test_frames_are_slices(tmp_path):
    frames = [Image.fromarray(np.full((40, 40), value, np.uint8)) for value in (10, 20, 30)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    scan = read_scan(tmp_path / "a.tif")
    assert [int(scan.grey(number).mean()) for number in range(len(scan))] == [10, 20, 30]


def test_numbers_that_are_not_finite_are_black():
    assert to_grey(np.array([[np.nan, 1.0], [3.0, np.inf]])).tolist() == [[0, 0], [255, 0]]
    assert to_grey(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]


# ---------------------------------------------------------------- volumes

# What an upright slice must show: its rows and columns run towards these ends of the patient.
ENDS = {"axial": ("back", "left"), "coronal": ("feet", "left"), "sagittal": ("feet", "back")}
AXIS_OF = {"left": (0, -1), "right": (0, 1), "back": (1, -1), "front": (1, 1), "feet": (2, -1), "head": (2, 1)}


@pytest.mark.parametrize("plane", ENDS)
@pytest.mark.parametrize("order, signs", [((0, 1, 2), (1, 1, 1)), ((0, 1, 2), (-1, 1, -1)), ((2, 0, 1), (1, -1, 1)), ((1, 2, 0), (-1, -1, -1))])
def test_a_volume_is_cut_upright_however_it_is_stored(tmp_path, plane, order, signs):
    """Three volumes, each brightening along one patient axis (right, front, head), stored with axes permuted and flipped."""
    sizes = np.array([33, 36, 40])[list(order)]
    affine = np.zeros((4, 4))
    for stored, (patient, sign) in enumerate(zip(order, signs)):
        affine[patient, stored] = sign
    affine[3, 3] = 1
    for number, end in enumerate(ENDS[plane]):
        patient, direction = AXIS_OF[end]
        stored = order.index(patient)
        ramp = np.arange(sizes[stored], dtype=np.float32) * signs[stored] * direction
        values = np.broadcast_to(ramp.reshape([-1 if axis == stored else 1 for axis in range(3)]), sizes)
        scan = read_scan(write_nifti(tmp_path / f"{number}.nii.gz", np.ascontiguousarray(values), affine), plane=plane)
        assert scan.plane == plane and scan.sides_known
        steps = np.diff(scan.values[0], axis=number)
        assert (steps == 1).all(), f"{end} must lie at the end of the {'rows' if number == 0 else 'columns'}"


def test_a_volume_is_cut_across_its_thickest_voxels_and_numbered_as_stored(tmp_path):
    values = np.zeros((40, 6, 44), np.float32)
    values[:, 4] = 9
    scan = read_scan(write_nifti(tmp_path / "a.nii", values, np.diag([1, -5, 1, 1])))
    assert scan.plane == "coronal" and scan.values.shape == (6, 44, 40)
    assert scan.signal().argmax() == 4


def test_pixels_become_square(tmp_path):
    scan = read_scan(write_nifti(tmp_path / "a.nii", np.ones((40, 80, 3), np.float32), np.diag([2, 1, 6, 1])))
    assert scan.plane == "axial" and scan.values.shape == (3, 80, 80)


def test_a_header_that_says_nothing_names_no_side(tmp_path):
    image = nibabel.Nifti1Image(np.ones((40, 40, 3), np.float32), None)
    nibabel.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert not scan.sides_known and "does not say" in scan.notes[0]


@pytest.mark.parametrize("plane, rows, columns", [("axial", (0, 1, 0), (1, 0, 0)), ("coronal", (0, 0, -1), (1, 0, 0)), ("sagittal", (0, 0, -1), (0, 1, 0))])
@pytest.mark.parametrize("flip_rows, flip_columns, turned", itertools.product((1, -1), (1, -1), (False, True)))
def test_a_dicom_slice_is_turned_upright(tmp_path, plane, rows, columns, flip_rows, flip_columns, turned):
    upright_values = RAMP
    stored = upright_values[::flip_rows, ::flip_columns]
    rows, columns = np.multiply(rows, flip_rows), np.multiply(columns, flip_columns)
    if turned:
        stored, rows, columns = stored.T, columns, rows
    path = write_dicom(tmp_path / "a.dcm", np.ascontiguousarray(stored), orientation=(*columns, *rows))
    scan = read_scan(path)
    assert (scan.plane, scan.sides_known, scan.notes) == (plane, True, ())
    assert np.array_equal(scan.values[0], upright_values)


def test_an_inverted_dicom_is_bright_on_dark_again(tmp_path):
    scan = read_scan(write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(scan.values[0], RAMP.max() - RAMP.astype(float))


def test_a_dicom_of_frames_or_colours_or_another_modality(tmp_path):
    frames = np.stack([RAMP, RAMP + 1])
    assert len(read_scan(write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2))) == 2
    colours = np.repeat((RAMP % 200).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_allclose(read_scan(write_dicom(tmp_path / "b.dcm", colours)).values[0], RAMP % 200, atol=1e-3)
    assert read_scan(write_dicom(tmp_path / "c.dcm", RAMP, Modality="CT")).notes == ("the header names the modality CT, not MR",)
    bare = read_scan(write_dicom(tmp_path / "d.dcm", RAMP, orientation=None), plane="coronal")
    assert bare.plane == "coronal" and not bare.sides_known


def test_a_dicom_file_needs_no_ending(tmp_path):
    path = write_dicom(tmp_path / "IM0001", RAMP)
    assert gather([tmp_path]) == ([path], []) and read_scan(path).plane == "axial"


# ---------------------------------------------------------------- refusals


def _png(path, values):
    Image.fromarray(values).save(path)
    return path


def _bytes(path, content):
    path.write_bytes(content)
    return path


def _cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _huge_png(path):
    """A PNG whose header says 20,000 x 20,000; decoding it would take 400 MB."""
    with Image.new("1", (20_000, 20_000)) as picture:
        picture.save(path)
    return path


def _locked_zip(path):
    """A zip with the flag of encryption, as its reader sees it first."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scan.png", b"secret")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    path.write_bytes(content)
    return path


def _huge_nifti(path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((20_000, 20_000, 1))
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return _bytes(path, header.binaryblock + bytes(4))


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
BAD = {
    "empty": (lambda p: _bytes(p / "a.png", b""), "is empty"),
    "text": (lambda p: _bytes(p / "a.png", b"not a picture at all\n" * 20), "no picture, whatever its name says"),
    "html": (lambda p: _bytes(p / "a.jpg", b"<html><script>alert(1)</script>"), "no picture"),
    "truncated png": (lambda p: _cut(_png(p / "a.png", NOISE)), "damaged or cut short"),
    "truncated jpeg": (lambda p: _cut(_png(p / "a.jpg", NOISE)), "damaged or cut short"),
    "head of a png": (lambda p: _cut(_png(p / "a.png", NOISE), 0.004), "no picture|damaged"),
    "one pixel": (lambda p: _png(p / "a.png", np.zeros((1, 1), np.uint8)), "1 x 1 pixels, expected a slice of at least 32"),
    "a line": (lambda p: _png(p / "a.png", np.zeros((2, 500), np.uint8)), "500 x 2 pixels"),
    "20,000 a side": (lambda p: _huge_png(p / "a.png"), "20000 x 20000 pixels, expected at most|larger than"),
    "a wide one": (lambda p: _png(p / "a.png", np.zeros((40, LARGEST_SIDE + 1), np.uint8)), "expected at most 8192"),
    "zip": (lambda p: _locked_zip(p / "a.zip"), "is a zip archive; unpack it, with its password"),
    "zip named png": (lambda p: _locked_zip(p / "a.png"), "is a zip archive"),
    "nifti of four dimensions": (lambda p: write_nifti(p / "a.nii.gz", np.zeros((40, 40, 3, 2), np.float32)), "40 x 40 x 3 x 2, expected three"),
    "nifti cut short": (lambda p: _cut(write_nifti(p / "a.nii.gz", np.random.default_rng(0).random((40, 40, 3)))), "no readable NIfTI"),
    "plain nifti cut short": (lambda p: _cut(write_nifti(p / "a.nii", np.ones((40, 40, 3)))), "no readable NIfTI"),
    "gzip of text": (lambda p: _bytes(p / "a.nii.gz", gzip.compress(b"hello" * 500)), "no readable NIfTI"),
    "text named nifti": (lambda p: _bytes(p / "a.nii", b"hello" * 500), "no readable NIfTI"),
    "huge nifti": (lambda p: _huge_nifti(p / "a.nii"), "20000 x 20000 pixels, expected at most"),
    "thin nifti": (lambda p: write_nifti(p / "a.nii", np.zeros((40, 5, 1), np.float32)), "pixels, expected a slice of at least 32"),
    "nifti in colour": (lambda p: write_nifti(p / "a.nii", np.zeros((40, 40, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])), "holds colours"),
    "dicom without pixels": (lambda p: write_dicom(p / "a.dcm"), "DICOM file without pixels"),
    "dicom with the size alone": (lambda p: write_dicom(p / "a.dcm", RAMP, PixelData=None), "DICOM file without pixels"),
    "dicom cut short": (lambda p: _cut(write_dicom(p / "a.dcm", RAMP), 0.7), "no readable DICOM"),
    "dicom compressed by nothing known": (lambda p: write_dicom(p / "a.dcm", RAMP, syntax=JPEG2000Lossless), "no readable DICOM"),
    "text named dicom": (lambda p: _bytes(p / "a.dcm", b"hello" * 200), "no readable DICOM"),
    "dicom named png": (lambda p: write_dicom(p / "a.png", RAMP), "DICOM file by another name"),
    "huge dicom": (lambda p: write_dicom(p / "a.dcm", RAMP, Rows=20_000, Columns=20_000), "20000 x 20000 pixels"),
    "a folder": (lambda p: p, "cannot be read"),
    "a pipe": (lambda p: _pipe(p / "a.png"), "is no ordinary file"),
    "pdf": (lambda p: _bytes(p / "a.pdf", b"%PDF-1.7\n%" + bytes(40)), "no picture, whatever its name says"),
    "svg": (lambda p: _bytes(p / "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "no picture, whatever its name says"),
    "a dangling link": (lambda p: _dangling(p / "a.png"), "cannot be read"),
    "frames of different sizes": (lambda p: _two_sizes(p / "a.tif"), "pictures of different sizes"),
}  # fmt: skip


def _pipe(path):
    os.mkfifo(path)
    return path


def _dangling(path):
    path.symlink_to(path.parent / "nowhere.png")
    return path


def _two_sizes(path):
    Image.fromarray(NOISE).save(path, save_all=True, append_images=[Image.fromarray(NOISE[:40, :40])])
    return path


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_sentence(tmp_path, name):
    make, expected = BAD[name]
    path = make(tmp_path)
    with pytest.raises(StudyError, match=expected) as caught:
        read_scan(path)
    assert str(path) in one_sentence(str(caught.value))


def test_a_librarys_message_is_cut_between_words_and_without_its_advice():
    assert words_of(ValueError("Bytes are missing (3 of 4) - the file may be damaged. Use force=True")) == "Bytes are missing (3 of 4)"
    long = words_of(ValueError("word " * 60))
    assert long.endswith("word …") and len(long) <= 120
    assert words_of(EOFError()) == "EOFError"


def test_folders_are_searched_by_name_and_leave_out_the_rest(tmp_path):
    for name in ("b.png", "a.JPG", "index.csv", ".hidden.png"):
        _bytes(tmp_path / name, b"x")
    (tmp_path / "below").mkdir()
    files, passed = gather([tmp_path, tmp_path / "b.png"])
    assert [path.name for path in files] == ["a.JPG", "b.png"] and [path.name for path in passed] == ["index.csv"]
    with pytest.raises(StudyError, match="holds no slice"):
        gather([tmp_path / "below"])
    with pytest.raises(StudyError, match="does not exist"):
        gather([tmp_path / "nothing.png"])


def test_names_of_results_are_plain(tmp_path):
    names = {"scan.nii.gz": "scan", "<b>x y.PNG": "b-x-y", "é.png": "slice", "IM0001": "IM0001", "a.b.dcm": "a-b"}
    assert {name: safe_name(tmp_path / name) for name in names} == names
